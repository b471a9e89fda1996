// Removing the containers of every cell: the last thing an ending `up` does, and the first of `up --fresh`. The rep's own program does
// it, since only the rep's garden knows what a container is made of.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import type { Clock } from "@muster/shared/clock";
import type { Home } from "./home.js";
import { closeLogFile, openLogFile } from "./log-files.js";
import { logFileOf } from "./supervisor.js";

/** Hundreds of containers are killed at once, but each takes mounts and rules with it. */
const limitMs = 120_000;

/** Cells that have a settings file in this home, also those of an earlier `up` with more cells. */
export const knownCells = (home: Pick<Home, "config">): string[] =>
  existsSync(home.config)
    ? readdirSync(home.config)
        .filter((name) => /^cell-\d+\.json$/.test(name))
        .map((name) => path.basename(name, ".json"))
    : [];

/** Removes everything the given cells left on this machine. @returns the names of cells where that failed; their logs say why. */
export async function removeContainers(
  home: Pick<Home, "config" | "logs">,
  cells: readonly string[],
  repProgram: string,
  clock: Clock,
): Promise<readonly string[]> {
  const failed = await Promise.all(cells.map(async (cell) => ((await removeCell(home, cell, repProgram, clock)) ? [] : [cell])));
  return failed.flat();
}

async function removeCell(home: Pick<Home, "config" | "logs">, cell: string, program: string, clock: Clock): Promise<boolean> {
  const log = openLogFile(logFileOf(home, cell));
  try {
    const args = [program, "--config", path.join(home.config, `${cell}.json`), "--remove-everything"];
    // Its own session, so that an impatient Ctrl-C does not leave half of the containers behind.
    const child = spawn(process.execPath, args, { detached: true, stdio: ["ignore", log, log] });
    const cancel = clock.after(limitMs, () => child.kill("SIGKILL"));
    const [code] = (await once(child, "exit")) as [number | null];
    cancel();
    return code === 0;
  } finally {
    closeLogFile(log);
  }
}
