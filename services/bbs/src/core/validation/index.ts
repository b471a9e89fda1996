// Validation of every request of Diego's: pure, every fault of a request in one refusal. Requests not named here have no rules.
export * from "./actual-lrp.js";
export * from "./desired-lrp.js";
export * from "./domain.js";
export { Faults, validate } from "./faults.js";
export { maxNameCharacters, truncateReason } from "./limits.js";
export { compactJson, compactRoutes } from "./routes.js";
export * from "./task.js";
