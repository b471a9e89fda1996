// The memory driver: for tests and the simulator, never for what users run.
export { type CommitFault, type MemoryFaults, type MemoryStoreOptions, openMemoryStore } from "./driver.js";
export { type MemoryStore, type MemoryStoreLimits, memoryStore } from "./world.js";
