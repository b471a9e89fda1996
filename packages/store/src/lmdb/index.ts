// The embedded driver: one folder, one process, every commit on disk before it is answered.
export { type LmdbStoreOptions, openLmdbStore } from "./driver.js";
