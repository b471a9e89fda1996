// Diego's nouns as Muster's records: pure, no I/O.
export * from "./ids.js";
export * from "./moves.js";
export * from "./records.js";
export * from "./tables.js";
export * from "./task-moves.js";
