// The cell's pure decisions.
export * from "./actions.js";
export * from "./assets.js";
export * from "./cell-state.js";
export * from "./container.js";
export * from "./environment.js";
export * from "./evacuation.js";
export * from "./harmonize.js";
export * from "./lent.js";
export * from "./lines.js";
export * from "./log-limit.js";
export * from "./perform.js";
export { instancesTouched, instanceThatLostItsRow, sameNetInfo } from "./rows.js";
export * from "./run-request.js";
export * from "./surroundings.js";
export * from "./task-request.js";
export * from "./tasks.js";
export * from "./texts.js";
