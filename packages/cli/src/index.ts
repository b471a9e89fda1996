// The command line's parts that others may run in-process: none so far but the program itself.
export { makeProgram } from "./program.js";
