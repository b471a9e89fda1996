// Where this repository is, for tests that run its built programs.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Found from the sources of the tests, and from what they are built into. */
export const repoRoot = ((): string => {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, "pnpm-workspace.yaml"))) return folder;
  }
  throw new Error("the repository's root was not found");
})();
