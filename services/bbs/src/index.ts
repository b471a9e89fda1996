// What tests, the simulator and benchmarks use of the BBS; the running service is main.ts.
export { ActiveBbs, type ActiveOptions, type Lifecycle } from "./active/active-bbs.js";
export { Calls } from "./api/calls.js";
export { registerServices } from "./api/grpc.js";
export { serveHttp } from "./api/http.js";
export { OwnCalls } from "./api/own-calls.js";
export { type Restored, type RestoreOptions, restore } from "./backup/restore.js";
export * from "./core/actual-lrp.js";
export * from "./core/decision.js";
export * from "./core/desired-lrp.js";
export { watch } from "./feed/watch.js";
export { Housekeeper, healthWith } from "./housekeeping/housekeeper.js";
export { type SpaceLevel, spaceLevel } from "./housekeeping/space.js";
export { whenSent } from "./journal/when-sent.js";
export { type Migration, type Schema, schemaVersion } from "./schema/version.js";
export { createSealer, type SealerOptions } from "./secrets/index.js";
export type { ReportSession } from "./session/report-session.js";
