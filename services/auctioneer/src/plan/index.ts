// The pure half of the auctioneer: no I/O, no clock, no chance.
export { planAuction } from "./auction.js";
export { faultsOf, type PlanFault } from "./faults.js";
export { explain } from "./filters.js";
export { type FailureReason, failureReasonOf, failureReasons } from "./placement-errors.js";
export * from "./types.js";
