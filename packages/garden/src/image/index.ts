// Looking images up without a garden, as the command line does for `push`.
export { makeExec } from "../tools/exec.js";
export { RegistryClient, type RegistryOptions, type ResolvedImage } from "./registry.js";
