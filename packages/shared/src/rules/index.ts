// The convergence rules and the crash policy: pure, one definition used by converger and BBS core alike.
export * from "./cells.js";
export * from "./crash.js";
export * from "./open-keys.js";
export * from "./plan.js";
export * from "./resolved.js";
export * from "./rules.js";
export * from "./table.js";
export * from "./tasks.js";
export type { Verdict } from "./verdict.js";
export * from "./wanted.js";
