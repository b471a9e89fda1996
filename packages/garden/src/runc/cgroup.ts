// What the kernel counts and bounds of a container, in cgroups of version 1 (one hierarchy a controller, or a few: `cpu,cpuacct`) or
// version 2 (one for all). A hybrid keeps its controllers in version 1, beside an empty version 2.
import { existsSync, readdirSync } from "node:fs";
import { access, constants, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { OperatorError } from "@muster/shared/errors";
import { isMissing } from "../tools/files.js";

export interface CgroupUsage {
  /** Without the page cache that could be given up at once. */
  readonly memoryBytes: number;
  readonly cpuTimeNs: bigint;
  readonly pids: number;
}

/** What limits and figures of a container need; version 2 keeps devices by a program instead, and CPU time without a controller. */
const controllers = { v1: ["cpu", "cpuacct", "memory", "pids", "devices"], v2: ["cpu", "memory", "pids"] } as const;
/** Where container tools that run inside a container put its other processes. */
const leafOfOthers = "/init";
/** Each moves all there were; a process that forks meanwhile leaves a child behind. */
const moveRounds = 10;

const read = async (file: string): Promise<string> => readFile(file, "utf8").catch(() => "");
const numberIn = (text: string): number => (/^[0-9]+/.test(text) ? Number.parseInt(text, 10) : 0);
const fieldIn = (text: string, name: string): bigint => BigInt(new RegExp(`^${name} ([0-9]+)$`, "m").exec(text)?.[1] ?? "0");
/** Neither made anew nor made short: kernel files are written to as they are. */
const write = (file: string, text: string): Promise<void> => writeFile(file, text, { flag: "r+" });
const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

export class Cgroups {
  readonly #root: string;

  constructor(root = "/sys/fs/cgroup") {
    this.#root = root;
  }

  /** Whether the machine has version 2 alone. */
  get isUnified(): boolean {
    return existsSync(join(this.#root, "cgroup.controllers"));
  }

  /** The folders of a cgroup path (`/muster-…/handle`), one for each hierarchy it may be in. */
  folders(path: string): string[] {
    if (this.isUnified) return [join(this.#root, path)];
    return this.#hierarchies().map((name) => join(this.#root, name, path));
  }

  /**
   * Makes a cell's cgroup where that is ours to do (version 2), with its controllers switched on.
   * @throws OperatorError when containers of this machine cannot be bounded, and why
   */
  async prepare(path: string): Promise<void> {
    const has = this.isUnified ? (await read(join(this.#root, "cgroup.controllers"))).trim().split(" ") : this.#mounted();
    const missing = (this.isUnified ? controllers.v2 : controllers.v1).filter((name) => !has.includes(name));
    if (missing.length > 0) {
      throw new OperatorError(
        `this machine's cgroups have no controller ${missing.join(", ")}: containers could not be bounded`,
        "switch it on in the kernel (for memory: cgroup_enable=memory on its command line) or, inside a container, hand it on to it",
      );
    }
    try {
      if (this.isUnified) await this.#switchOn(path);
      else await access(this.#folderOf("memory"), constants.W_OK);
    } catch (error) {
      throw new OperatorError(
        `this machine's cgroups cannot be changed (${codeOf(error) ?? String(error)})`,
        "run as root, outside of containers or in a privileged one with a cgroup namespace of its own",
      );
    }
  }

  /** Whether a limit on swap may be asked for. For version 2 the path must be prepared. */
  countsSwap(path: string): boolean {
    if (this.isUnified) return existsSync(join(this.#root, path, "memory.swap.max"));
    return existsSync(join(this.#folderOf("memory"), "memory.memsw.limit_in_bytes"));
  }

  /** How many processes the kernel has killed for want of memory since the container began. */
  async oomKills(path: string): Promise<number> {
    const file = this.#file("memory", path, this.isUnified ? "memory.events" : "memory.oom_control");
    return Number(fieldIn(await read(file), "oom_kill"));
  }

  /** All zero once the cgroup is gone. */
  async usage(path: string): Promise<CgroupUsage> {
    const unified = this.isUnified;
    const [memory, stat, cpu, pids] = await Promise.all([
      read(this.#file("memory", path, unified ? "memory.current" : "memory.usage_in_bytes")),
      read(this.#file("memory", path, "memory.stat")),
      read(this.#file("cpuacct", path, unified ? "cpu.stat" : "cpuacct.usage")),
      read(this.#file("pids", path, "pids.current")),
    ]);
    const inactive = Number(fieldIn(stat, unified ? "inactive_file" : "total_inactive_file"));
    return {
      memoryBytes: Math.max(0, numberIn(memory) - inactive),
      cpuTimeNs: unified ? fieldIn(cpu, "usage_usec") * 1_000n : BigInt(numberIn(cpu)),
      pids: numberIn(pids),
    };
  }

  /** Version 1 has them as folders; a link (`cpu` to `cpu,cpuacct`) is another name of one of them. */
  #hierarchies(): string[] {
    try {
      const entries = readdirSync(this.#root, { withFileTypes: true });
      return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    } catch {
      return [];
    }
  }

  #mounted(): string[] {
    return this.#hierarchies().flatMap((name) => name.split(","));
  }

  /** Of version 1. */
  #folderOf(controller: string): string {
    return join(this.#root, this.#hierarchies().find((name) => name.split(",").includes(controller)) ?? controller);
  }

  #file(controller: string, path: string, name: string): string {
    return this.isUnified ? join(this.#root, path, name) : join(this.#folderOf(controller), path, name);
  }

  async #switchOn(path: string): Promise<void> {
    const control = join(this.#root, "cgroup.subtree_control");
    const all = controllers.v2.map((name) => `+${name}`).join(" ");
    for (let round = 1; ; round += 1) {
      try {
        await write(control, all);
        break;
      } catch (error) {
        // Inside a container the root of what one sees is a cgroup like any other: its controllers are its children's only once it has no
        // process of its own.
        if (codeOf(error) !== "EBUSY" || round > moveRounds) throw error;
        await this.#moveOthers();
      }
    }
    await mkdir(join(this.#root, path), { recursive: true });
  }

  async #moveOthers(): Promise<void> {
    await mkdir(join(this.#root, leafOfOthers), { recursive: true });
    const pids = (await read(join(this.#root, "cgroup.procs"))).split("\n").filter((pid) => pid !== "");
    for (const pid of pids) {
      await write(join(this.#root, leafOfOthers, "cgroup.procs"), pid).catch((error: unknown) => {
        // It has ended meanwhile.
        if (codeOf(error) !== "ESRCH" && !isMissing(error)) throw error;
      });
    }
  }
}

export const machineCgroups = new Cgroups();
