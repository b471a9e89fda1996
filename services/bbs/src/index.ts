// What tests, the simulator and benchmarks use of the BBS; the running service is main.ts.
export { ActiveBbs, type ActiveOptions } from "./active/active-bbs.js";
export { Calls } from "./api/calls.js";
export { registerServices } from "./api/grpc.js";
export { serveHttp } from "./api/http.js";
export { OwnCalls } from "./api/own-calls.js";
export * from "./core/actual-lrp.js";
export * from "./core/decision.js";
export * from "./core/desired-lrp.js";
export { watch } from "./feed/watch.js";
export { whenSent } from "./journal/when-sent.js";
export { createSealer } from "./secrets/index.js";
export type { ReportSession } from "./session/report-session.js";
