// What this machine has of everything a cell's garden makes: counted before and after, so that nothing that leaks goes unseen.
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { namesOnMachine } from "@muster/garden/runc";

const run = promisify(execFile);

export interface MachineCounts {
  readonly mounts: number;
  readonly loops: number;
  readonly netns: number;
  readonly rules: number;
  readonly links: number;
  /** The cell's, and those this process has started. */
  readonly processes: number;
}

const names = (folder: string): Promise<string[]> => readdir(folder).catch((): string[] => []);

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
  const { runDir, dataDir, chainPrefix, netnsPrefix, bridge } = namesOnMachine(home, cellId);
  const having = (text: string, ...needles: readonly string[]): number =>
    text.split("\n").filter((line) => needles.some((needle) => line.includes(needle))).length;
  const [mounts, loops, netns, rules, links, processes] = await Promise.all([
    readFile("/proc/self/mountinfo", "utf8").then((text) => having(text, runDir, dataDir, netnsPrefix)),
    run("losetup", ["--all"]).then(({ stdout }) => having(stdout, dataDir)),
    names("/run/netns").then((all) => having(all.join("\n"), netnsPrefix)),
    run("iptables-save").then(({ stdout }) => having(stdout, chainPrefix)),
    run("ip", ["-o", "link"]).then(({ stdout }) => having(stdout, bridge)),
    countProcesses(runDir),
  ]);
  return { mounts, loops, netns, rules, links, processes };
}
