// What the kernel counts of a container, in cgroups of version 1 (one hierarchy a controller) or 2 (one for all).
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const root = "/sys/fs/cgroup";

/** Whether the machine has version 2 alone; a hybrid keeps its controllers in version 1. */
export const isUnified = (): boolean => existsSync(join(root, "cgroup.controllers"));

/** Whether a limit on swap may be asked for. */
export const countsSwap = (): boolean => (isUnified() ? true : existsSync(join(root, "memory", "memory.memsw.limit_in_bytes")));

/** The folders of a cgroup path (`/muster-…/handle`), one for each hierarchy it may be in. */
export function cgroupFolders(path: string): string[] {
  if (isUnified()) return [join(root, path)];
  const hierarchies = [
    "blkio",
    "cpu",
    "cpu,cpuacct",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_cls,net_prio",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
    "systemd",
    "unified",
  ]; // prettier-ignore
  return hierarchies.map((name) => join(root, name, path));
}

const read = async (file: string): Promise<string> => readFile(file, "utf8").catch(() => "");
const numberIn = (text: string): number => (/^[0-9]+/.test(text) ? Number.parseInt(text, 10) : 0);
const fieldIn = (text: string, name: string): bigint => BigInt(new RegExp(`^${name} ([0-9]+)$`, "m").exec(text)?.[1] ?? "0");

/** How many processes the kernel has killed for want of memory since the container began. */
export async function oomKills(path: string): Promise<number> {
  const file = isUnified() ? join(root, path, "memory.events") : join(root, "memory", path, "memory.oom_control");
  return Number(fieldIn(await read(file), "oom_kill"));
}

export interface CgroupUsage {
  /** Without the page cache that could be given up at once. */
  readonly memoryBytes: number;
  readonly cpuTimeNs: bigint;
  readonly pids: number;
}

export async function cgroupUsage(path: string): Promise<CgroupUsage> {
  const unified = isUnified();
  const file = (controller: string, name: string): string =>
    unified ? join(root, path, name) : join(root, controller, path, name);
  const [memory, stat, cpu, pids] = await Promise.all([
    read(file("memory", unified ? "memory.current" : "memory.usage_in_bytes")),
    read(file("memory", "memory.stat")),
    read(file("cpuacct", unified ? "cpu.stat" : "cpuacct.usage")),
    read(file("pids", "pids.current")),
  ]);
  const inactive = Number(fieldIn(stat, unified ? "inactive_file" : "total_inactive_file"));
  return {
    memoryBytes: Math.max(0, numberIn(memory) - inactive),
    cpuTimeNs: unified ? fieldIn(cpu, "usage_usec") * 1_000n : BigInt(numberIn(cpu)),
    pids: numberIn(pids),
  };
}
