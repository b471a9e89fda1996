// What tests and the simulator wire: the pure auction and the runner. A user's process starts in main.ts.
export { type AuctioneerMetrics, auctioneerMetrics } from "./metrics.js";
export * from "./plan/index.js";
export * from "./runner/index.js";
