// `npm start -- FLAGS`: prepares the clone and the machine, then is `muster up --demo FLAGS` in this very process, so that
// signals, output and the exit code are the command line's own.
import { existsSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { Refusal, releaseSignals, takeSignals } from "./run.mjs";
import { ensureSystemPackages, neededFor } from "./system-packages.mjs";
import { prepareWorkspace, root } from "./workspace.mjs";

export async function start(flags) {
  takeSignals();
  await ensureSystemPackages(neededFor(flags));
  await prepareWorkspace();
  const main = path.join(root, "packages/cli/dist/main.js");
  if (!existsSync(main)) throw new Refusal(`the build left no ${path.relative(root, main)}`);
  releaseSignals();
  process.argv = [process.execPath, main, "up", "--demo", ...flags];
  await import(pathToFileURL(main).href);
  return undefined;
}
