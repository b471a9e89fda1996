// The converger, for those who wire services together.
export { type ConvergerConfig, convergerConfig } from "./config.js";
export { Converger, type ConvergerIO, type ConvergerOptions } from "./converger.js";
export { type ConvergerMetrics, convergerMetrics } from "./metrics.js";
