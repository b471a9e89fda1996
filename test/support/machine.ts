// What this machine has of everything a cell's garden makes: counted before and after, so that nothing that leaks goes unseen.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { namesOnMachine } from "@muster/garden/runc";

const run = promisify(execFile);

export interface MachineCounts {
  readonly mounts: number;
  readonly loops: number;
  readonly netns: number;
  readonly rules: number;
  readonly links: number;
  readonly cgroups: number;
  /** The cell's, and those this process has started. */
  readonly processes: number;
}

const names = (folder: string): Promise<string[]> => readdir(folder).catch((): string[] => []);

/** Names of the cgroups directly below one, in every hierarchy this machine has, whatever its versions; with the one itself as `.`. */
export async function cgroupsBelow(path: string): Promise<string[]> {
  const root = "/sys/fs/cgroup";
  const hierarchies = (await readdir(root, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const found = await Promise.all(
    ["", ...hierarchies.map((entry) => entry.name)].map(async (name) => {
      const entries = await readdir(join(root, name, path), { withFileTypes: true }).catch(() => undefined);
      return entries === undefined ? [] : [".", ...entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)];
    }),
  );
  return found.flat();
}

async function countProcesses(needle: string): Promise<number> {
  const pids = (await names("/proc")).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const [stat, command] = await Promise.all(
        ["stat", "cmdline"].map((file) => readFile(`/proc/${pid}/${file}`, "utf8").catch(() => "")),
      );
      const [state, parent] = (stat?.split(") ")[1] ?? "").split(" ");
      return state !== undefined && state !== "Z" && (Number(parent) === process.pid || command?.includes(needle) === true);
    }),
  );
  return found.filter(Boolean).length;
}

/** What one cell has, and no other cell of this machine. Needs root. */
export async function countMachine(home: string, cellId: string): Promise<MachineCounts> {
  const { runDir, dataDir, cgroupParent, chainPrefix, netnsPrefix, bridge } = namesOnMachine(home, cellId);
  const having = (text: string, ...needles: readonly string[]): number =>
    text.split("\n").filter((line) => needles.some((needle) => line.includes(needle))).length;
  const [mounts, loops, netns, rules, links, cgroups, processes] = await Promise.all([
    readFile("/proc/self/mountinfo", "utf8").then((text) => having(text, runDir, dataDir, netnsPrefix)),
    run("losetup", ["--all"]).then(({ stdout }) => having(stdout, dataDir)),
    names("/run/netns").then((all) => having(all.join("\n"), netnsPrefix)),
    run("iptables-save").then(({ stdout }) => having(stdout, chainPrefix)),
    run("ip", ["-o", "link"]).then(({ stdout }) => having(stdout, bridge)),
    cgroupsBelow(cgroupParent).then((all) => all.filter((name) => name !== ".").length),
    countProcesses(runDir),
  ]);
  return { mounts, loops, netns, rules, links, cgroups, processes };
}

/**
 * Resolves when the folders of these containers are gone: they go last, when everything else of a container is proven to be gone.
 * @throws Error after `ms`
 */
export async function untilGone(home: string, cellId: string, handles: readonly string[], ms: number): Promise<void> {
  const { runDir, dataDir } = namesOnMachine(home, cellId);
  const folders = handles.flatMap((handle) => [join(runDir, "c", handle), join(dataDir, handle)]);
  const deadline = performance.now() + ms;
  for (let left = folders; left.length > 0; left = left.filter((folder) => existsSync(folder))) {
    if (performance.now() > deadline) throw new Error(`still there after ${ms} ms: ${left.join(", ")}`);
    await sleep(1);
  }
}

/** The pid, on this machine, of a container's first process. */
export async function initPid(home: string, cellId: string, handle: string): Promise<number> {
  return Number(await readFile(join(namesOnMachine(home, cellId).runDir, "c", handle, "p", "0", "pid"), "utf8"));
}
