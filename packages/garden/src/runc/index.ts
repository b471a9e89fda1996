// Real containers on this machine, with runc.
export { openRuncGarden, type RuncGarden, type RuncGardenOptions } from "./garden.js";
export { findTools, type Tools } from "./tools.js";
