// One process of a container, followed by its files: its log, and the exit file conmon writes. Works the same for a process this rep
// started and for one it found.
import { type FSWatcher, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Clock } from "@muster/shared/clock";
import type { GardenProcess, OutputSink, ProcessExit } from "../garden.js";
import { readIfThere } from "../tools/files.js";
import { machineCgroups } from "./cgroup.js";
import { conmonPidFile, exitDir, exitFile, pidFile } from "./conmon.js";
import { LogFollower } from "./log-follower.js";

export interface ProcessFiles {
  readonly id: string;
  /** conmon's folder of this process. */
  readonly dir: string;
  readonly containerId: string;
  readonly logDir: string;
  readonly logFile: string;
  readonly cgroupsPath: string;
  /** Whether it is process 1 of its pid namespace. */
  readonly isInit: boolean;
  readonly oomKillsBefore: number;
}

/** Without an event, files are looked at this often: events can be lost, and a conmon can be killed. */
const pollMs = 1_000;
const conmonGraceMs = 2_000;
const conmonStepMs = 5;
/** What a process counts as when its conmon was killed and nobody saw it end. */
const unknownStatus = 255;
const signalNumbers: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  6: "SIGABRT",
  7: "SIGBUS",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  13: "SIGPIPE",
  14: "SIGALRM",
  15: "SIGTERM",
  31: "SIGSYS",
}; // prettier-ignore
const sigterm = 15;

/** Whether a process neither catches nor ignores SIGTERM, by its /proc status. */
export function leavesTermToKernel(status: string): boolean {
  const mask = (name: string): bigint => BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)`, "m").exec(status)?.[1] ?? "0"}`);
  return (((mask("SigCgt") | mask("SigIgn")) >> BigInt(sigterm - 1)) & 1n) === 0n;
}

export class RuncProcess implements GardenProcess {
  readonly id: string;
  readonly exited: Promise<ProcessExit>;
  readonly #clock: Clock;
  readonly #files: ProcessFiles;
  readonly #watchers: FSWatcher[] = [];
  #settle: ((exit: ProcessExit) => void) | undefined;
  #follower: LogFollower | undefined;
  #cancelPoll = (): void => {};
  #looking = false;
  #lookAgain = false;
  /** Whether the next look asks also who still lives; events alone tell of files. */
  #checkLife = false;
  #endedByTerm = false;
  #exit: ProcessExit | undefined;

  constructor(clock: Clock, files: ProcessFiles) {
    this.id = files.id;
    this.#clock = clock;
    this.#files = files;
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  /** Its end, when it has ended and that was seen. */
  get exit(): ProcessExit | undefined {
    return this.#exit;
  }

  /** Begins to follow, or follows with another sink; what the log still holds is given first. */
  async follow(sink: OutputSink): Promise<void> {
    if (this.#exit !== undefined) {
      const ended = new LogFollower(this.#clock, this.#files.logFile, sink);
      await ended.drain();
      await ended.close();
      return;
    }
    const before = this.#follower;
    this.#follower = new LogFollower(this.#clock, this.#files.logFile, sink);
    await before?.close();
    if (this.#watchers.length === 0) this.#watch();
    await this.#look();
  }

  /** Stops following; the process itself goes on. */
  async detach(): Promise<void> {
    this.#cancelPoll();
    for (const watcher of this.#watchers.splice(0)) watcher.close();
    this.#settle = undefined;
    await this.#follower?.close();
    this.#follower = undefined;
  }

  async signal(name: "SIGTERM" | "SIGKILL"): Promise<void> {
    const pid = await this.pid();
    if (pid === undefined) return;
    // The kernel spares a pid namespace's first process the signals it does not handle; elsewhere SIGTERM would have ended it.
    const status =
      name === "SIGTERM" && this.#files.isInit ? await readIfThere(`/proc/${pid}/status`).catch(() => undefined) : undefined;
    const spared = status !== undefined && leavesTermToKernel(status);
    if (spared) this.#endedByTerm = true;
    if (name === "SIGKILL" || spared) this.#follower?.rush();
    try {
      process.kill(pid, spared ? "SIGKILL" : name);
    } catch {
      // It has ended meanwhile.
    }
  }

  /** Its pid on this machine while it lives; never that of another process that was given the same number since. */
  async pid(): Promise<number | undefined> {
    const pid = Number(await readIfThere(pidFile(this.#files.dir)));
    if (!Number.isInteger(pid) || pid <= 1) return undefined;
    const cgroups = await readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => "");
    return cgroups.split("\n").some((line) => line.endsWith(`:${this.#files.cgroupsPath}`)) ? pid : undefined;
  }

  /** The conmon that holds it, while it lives. */
  async conmonPid(): Promise<number | undefined> {
    const pid = Number(await readIfThere(conmonPidFile(this.#files.dir)));
    if (!Number.isInteger(pid) || pid <= 1) return undefined;
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    return command.includes(this.#files.dir) ? pid : undefined;
  }

  /** Whether conmon has written down how it ended: then it had begun. */
  async hasExitFile(): Promise<boolean> {
    return (await readIfThere(exitFile(this.#files.dir, this.#files.containerId))) !== undefined;
  }

  /** Sees conmon off: it ends by itself once it has written what there was. One that does not is killed. */
  async endConmon(): Promise<void> {
    for (let waitedMs = 0; waitedMs < conmonGraceMs; waitedMs += conmonStepMs) {
      if ((await this.conmonPid()) === undefined) return;
      await this.#clock.sleep(conmonStepMs);
    }
    const pid = await this.conmonPid();
    try {
      // With what it has started and waits for: it leads a group of its own, in which the container's processes are not.
      if (pid !== undefined) process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  }

  #watch(): void {
    for (const folder of [exitDir(this.#files.dir), this.#files.logDir]) {
      try {
        const watcher = watch(folder, { persistent: false }, () => void this.#look());
        watcher.on("error", () => watcher.close());
        this.#watchers.push(watcher);
      } catch {
        // No watches left on this machine: the poll will do.
      }
    }
    const poll = (): void => {
      this.#cancelPoll = this.#clock.after(pollMs, () => {
        if (this.#settle === undefined) return;
        this.#checkLife = true;
        void this.#look();
        poll();
      });
    };
    poll();
  }

  /** Reads what is new; many events become one look. */
  async #look(): Promise<void> {
    if (this.#looking) {
      this.#lookAgain = true;
      return;
    }
    this.#looking = true;
    try {
      do {
        this.#lookAgain = false;
        const status = await this.#exitStatus();
        await this.#follower?.drain();
        if (status !== undefined) await this.#end(status);
      } while (this.#lookAgain && this.#settle !== undefined);
    } finally {
      this.#looking = false;
    }
  }

  async #exitStatus(): Promise<number | undefined> {
    const text = await readIfThere(exitFile(this.#files.dir, this.#files.containerId)).catch(() => undefined);
    if (text !== undefined && /^[0-9]+/.test(text)) return Number.parseInt(text, 10);
    if (!this.#checkLife) return undefined;
    this.#checkLife = false;
    if ((await this.conmonPid()) !== undefined || (await this.pid()) !== undefined) return undefined;
    // Both are gone; conmon's last act may have been the file.
    const late = await readIfThere(exitFile(this.#files.dir, this.#files.containerId)).catch(() => undefined);
    return late !== undefined && /^[0-9]+/.test(late) ? Number.parseInt(late, 10) : unknownStatus;
  }

  async #end(status: number): Promise<void> {
    const settle = this.#settle;
    if (settle === undefined) return;
    const kills = await machineCgroups.oomKills(this.#files.cgroupsPath);
    const exitStatus = this.#endedByTerm && status === 128 + 9 ? 128 + sigterm : status;
    this.#exit = { exitStatus, signal: signalNumbers[exitStatus - 128], outOfMemory: kills > this.#files.oomKillsBefore };
    this.#settle = undefined;
    this.#cancelPoll();
    for (const watcher of this.#watchers.splice(0)) watcher.close();
    await this.#follower?.close();
    settle(this.#exit);
  }
}
