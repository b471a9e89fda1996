// One real container: its first process is runc's init, started by the first `run`; later ones join it. What must survive the rep is in
// its record, written before anything is started.
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import type { Turnstile } from "@muster/shared/flight";
import type { Log } from "@muster/shared/log";
import type {
  Container,
  ContainerInfo,
  ContainerUsage,
  GardenProcess,
  InstanceIdentity,
  OutputSink,
  ProcessSpec,
  StreamSpec,
  VolumeRequest,
} from "../garden.js";
import { GardenError, lentShell } from "../garden.js";
import { type Exec, lastWords } from "../tools/exec.js";
import { readInside, writeWhole } from "../tools/files.js";
import { writeIdentity } from "./bound-files.js";
import { machineCgroups } from "./cgroup.js";
import { startUnderConmon } from "./conmon.js";
import { type CellLayout, type ContainerLayout, containerLayout, processDir, processLogDir, processLogFile } from "./layout.js";
import { diskUsage } from "./mounts.js";
import { RuncProcess } from "./process.js";
import type { ContainerRecord, ProcessRecord } from "./records.js";
import type { SeccompSpec } from "./seccomp.js";
import { containerSpec, type ProcessFacts, processSpec } from "./spec.js";
import { holderArgs, type LentTools, lentCommand, type StreamPlace, streamInto, streamOutOf } from "./stream.js";
import { type ContainerUser, resolveUser } from "./user.js";

/** What every container of a cell needs of it. */
export interface ContainerTools {
  readonly clock: Clock;
  readonly exec: Exec;
  readonly log: Log;
  readonly runcPath: string;
  readonly cell: CellLayout;
  readonly hostIp: string;
  readonly idBase: number;
  readonly seccomp: SeccompSpec;
  readonly nofileCeiling: number;
  readonly netnsFile: (handle: string) => string;
  readonly toolDeadlineMs: number | undefined;
  /** Found when first asked for. */
  readonly lent: () => Promise<LentTools>;
  /** Shared by all that starts on this cell, so that a crowd does not make everything late. */
  readonly starts: Turnstile;
}

/** Users and groups of an image; ones larger than this are not read to their end. */
const passwdBytes = 1_048_576;
/** A container with this many processes started in its life has a fault above it. */
const maxProcesses = 10_000;
/** How long a new rep waits for runc that was at work when the last one died: as long as the last one would have. */
const resumeWaitMs = 30_000;
const resumeStepMs = 50;

/** The first process of a lasting container. It is the cell's own, does nothing, and sees orphans off. */
const holder: ProcessSpec = { id: "hold", path: "", args: [], dir: "/", user: "0:0", env: [], nofile: undefined };

export class RuncContainer implements Container {
  readonly handle: string;
  readonly #tools: ContainerTools;
  readonly #layout: ContainerLayout;
  readonly #processes = new Map<string, RuncProcess>();
  /** Ports are opened, and rules put in force, while runc makes the container. */
  readonly #portsOpen: Promise<void>;
  #record: ContainerRecord;
  /** Starts are one after another: each is written down before it begins. */
  #starting: Promise<unknown> = Promise.resolve();
  /** Aborted once the container is being destroyed: nothing is started any more. */
  readonly #ending = new AbortController();

  constructor(tools: ContainerTools, record: ContainerRecord, portsOpen: Promise<void>) {
    this.#tools = tools;
    this.#portsOpen = portsOpen;
    this.#record = record;
    this.handle = record.spec.handle;
    this.#layout = containerLayout(tools.cell, this.handle);
  }

  info(): ContainerInfo {
    const { spec, image, containerIp, ports, createdAtMs } = this.#record;
    const first = this.#record.processes[0];
    const ended = first !== undefined && this.#processes.get(first.id)?.exit !== undefined;
    return {
      handle: this.handle,
      state: first === undefined ? "created" : ended ? "stopped" : "active",
      properties: spec.properties,
      containerIp,
      hostIp: this.#tools.hostIp,
      ports,
      imageDigest: image.digest,
      image,
      createdAtMs,
    };
  }

  get volumes(): readonly VolumeRequest[] {
    return this.#record.spec.volumes ?? [];
  }

  run(spec: ProcessSpec, output: OutputSink): Promise<GardenProcess> {
    const started = this.#starting.then(async () => {
      if (this.#record.spec.lasting === true && this.#record.processes.length === 0) await this.#run(holder, () => {});
      return this.#run(spec, output);
    });
    this.#starting = started.catch(() => {});
    return started;
  }

  async attach(processId: string, output: OutputSink): Promise<GardenProcess | undefined> {
    const process = this.#processes.get(processId);
    await process?.follow(output);
    return process;
  }

  /** Takes up every process of the record; their ends are seen from here on, also those that were missed. */
  async adopt(): Promise<void> {
    for (const record of this.#record.processes) {
      const process = this.#process(record);
      this.#processes.set(record.id, process);
      await process.follow(() => {});
    }
  }

  probeTcp(port: number, timeoutMs: number): Promise<string | undefined> {
    const to = `${this.#record.containerIp}:${port}`;
    return new Promise((resolve) => {
      const socket = connect({ host: this.#record.containerIp, port });
      const finish = (why: string | undefined): void => {
        cancel();
        socket.destroy();
        resolve(why);
      };
      const cancel = this.#tools.clock.after(timeoutMs, () =>
        finish(`failed to make TCP connection to ${to}: timed out after ${(timeoutMs / 1_000).toFixed(2)} seconds`),
      );
      socket.once("connect", () => finish(undefined));
      socket.once("error", (error: NodeJS.ErrnoException) => {
        const why = error.code === "ECONNREFUSED" ? "connection refused" : error.message;
        finish(`failed to make TCP connection to ${to}: ${why}`);
      });
    });
  }

  async usage(): Promise<ContainerUsage> {
    const { diskMb } = this.#record.spec;
    const { diskMount, dataDir, cgroupsPath } = this.#layout;
    const [counted, diskBytes] = await Promise.all([
      machineCgroups.usage(cgroupsPath),
      diskUsage(this.#tools.exec, { diskMount, dataDir, isLimited: diskMb > 0 }),
    ]);
    return { ...counted, diskBytes: diskBytes + (this.#record.imageBytes ?? 0) };
  }

  async writeIdentity(identity: InstanceIdentity): Promise<void> {
    if (this.#record.spec.hasIdentity !== true)
      throw new GardenError("spec-invalid", `container ${this.handle} was made without a place for an identity`);
    this.#ending.signal.throwIfAborted();
    await writeIdentity(this.#layout.identityDir, identity);
  }

  async streamIn(spec: StreamSpec, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const either = AbortSignal.any([signal, this.#ending.signal]);
    const [tools, place] = await Promise.all([this.#tools.lent(), this.#placeOf(spec)]);
    await streamInto(this.#tools.clock, tools, place, tar, either);
  }

  async *streamOut(spec: StreamSpec, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const either = AbortSignal.any([signal, this.#ending.signal]);
    const [tools, place] = await Promise.all([this.#tools.lent(), this.#placeOf(spec)]);
    yield* streamOutOf(this.#tools.clock, tools, place, either);
  }

  async #placeOf({ path, user }: StreamSpec): Promise<StreamPlace> {
    if (!path.startsWith("/")) throw new GardenError("stream-failed", `${path} is no absolute path`);
    const { rootfs, userns } = this.#layout;
    return { rootfs, userns, path, user: await this.#userOf(user) };
  }

  /** Stops following; what runs goes on. */
  async detach(): Promise<void> {
    await this.#starting;
    await Promise.all([...this.#processes.values()].map((process) => process.detach()));
  }

  /** Kills the init, and with it everything in its pid namespace; resolves when all processes were seen to end, or after `waitMs`. */
  async kill(waitMs: number): Promise<void> {
    this.#ending.abort(new GardenError("process-failed", `container ${this.handle} is being destroyed`));
    await this.#starting;
    const processes = [...this.#processes.values()];
    const first = processes[0];
    if (first === undefined) return;
    await first.signal("SIGKILL");
    const waiting = new AbortController();
    const all = Promise.all(processes.map((process) => process.exited));
    await Promise.race([all, this.#tools.clock.sleep(waitMs, waiting.signal).catch(() => {})]);
    waiting.abort();
    await Promise.all(processes.map((process) => process.endConmon()));
  }

  async #run(spec: ProcessSpec, output: OutputSink): Promise<GardenProcess> {
    this.#ending.signal.throwIfAborted();
    if (this.#processes.has(spec.id)) throw new GardenError("process-failed", `process ${spec.id} was started before`);
    if (this.info().state === "stopped") throw new GardenError("process-failed", "the container has stopped");
    if (this.#record.processes.length >= maxProcesses)
      throw new GardenError("process-failed", "too many processes were started in this container");
    const facts = await this.#facts(spec);
    const record: ProcessRecord = {
      id: spec.id,
      // Numbers of passing processes are used again once nothing of them is left.
      number: 1 + Math.max(-1, ...this.#record.processes.map((one) => one.number)),
      kind: this.#record.processes.length === 0 ? "init" : "exec",
      startedAtMs: this.#tools.clock.nowMs(),
      oomKillsBefore: await machineCgroups.oomKills(this.#layout.cgroupsPath),
    };
    await this.#remember([...this.#record.processes, record]);
    try {
      // Before containers that are still to be made: of a crowd the first runs soon, and not all of them at the end.
      await this.#tools.starts.run(this.#ending.signal, () => this.#start(record, facts), "urgent");
    } catch (error) {
      await this.#remember(this.#record.processes.filter((one) => one.id !== spec.id));
      throw error;
    }
    const process = this.#process(record);
    this.#processes.set(spec.id, process);
    await process.follow(output);
    if (spec.passing === true && record.kind === "exec") void process.exited.then(() => this.#forget(process, record));
    return process;
  }

  /** Takes its turn among the starts, so that its number is free before the next is chosen. */
  #forget(process: RuncProcess, record: ProcessRecord): void {
    const forgotten = this.#starting.then(async () => {
      await process.endConmon();
      await process.detach();
      this.#processes.delete(record.id);
      await this.#remember(this.#record.processes.filter((one) => one.id !== record.id));
      const folders = [processDir(this.#layout, record.number), processLogDir(this.#layout, record.number)];
      await Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));
    });
    // What is left of it goes with the container.
    this.#starting = forgotten.catch(() => undefined);
  }

  async #start(record: ProcessRecord, facts: ProcessFacts): Promise<void> {
    const { clock, cell, runcPath } = this.#tools;
    const dir = processDir(this.#layout, record.number);
    const isInit = record.kind === "init";
    const spec = isInit ? join(this.#layout.bundle, "config.json") : join(dir, "process.json");
    await Promise.all([
      mkdir(dir, { recursive: true, mode: 0o711 }),
      mkdir(processLogDir(this.#layout, record.number), { recursive: true, mode: 0o700 }),
    ]);
    await writeFile(spec, JSON.stringify(isInit ? this.#containerSpec(facts, await this.#lentFiles()) : processSpec(facts)), {
      mode: 0o600,
    });
    await startUnderConmon(clock, {
      runcPath,
      runcRoot: cell.runcRoot,
      containerId: this.handle,
      dir,
      bundle: isInit ? this.#layout.bundle : undefined,
      execSpec: isInit ? undefined : spec,
      logFile: processLogFile(this.#layout, record.number),
      name: `${this.handle}-${record.number}`,
      timeoutMs: this.#tools.toolDeadlineMs,
    });
    if (!isInit) return;
    // Nothing of the container runs before its rules are in force.
    await this.#portsOpen;
    await this.startCreated();
  }

  /**
   * Goes on where the last rep died while it started the first process. What a conmon holds is let begin. What never began and is held by
   * nobody is forgotten: the container counts as created, and nobody takes its process for one that ran and failed.
   * `seen` is what runc said of the container, `ask` what it says now; `undefined`: it does not know it.
   */
  async resume(seen: string | undefined, ask: () => Promise<string | undefined>): Promise<void> {
    const first = this.#record.processes[0];
    if (first === undefined) return;
    const process = this.#process(first);
    let status = seen;
    for (let waitedMs = 0; status === undefined && waitedMs < resumeWaitMs; waitedMs += resumeStepMs) {
      // runc may still be making it.
      if ((await process.conmonPid()) === undefined) break;
      await this.#tools.clock.sleep(resumeStepMs);
      status = await ask();
    }
    if (status !== undefined && status !== "created") return;
    if (status === "created" && (await process.conmonPid()) !== undefined) return this.startCreated();
    if (await process.hasExitFile()) return;
    await process.signal("SIGKILL");
    await process.endConmon();
    await this.#remember([]);
  }

  /** Lets a container that runc has made, but not started, begin. @throws GardenError process-failed */
  async startCreated(): Promise<void> {
    const { exec, cell, runcPath } = this.#tools;
    try {
      await exec(runcPath, ["--root", cell.runcRoot, "start", this.handle], { timeoutMs: 20_000 });
    } catch (error) {
      throw new GardenError("process-failed", `the container could not be started (${lastWords(error)})`, error);
    }
  }

  async #facts(spec: ProcessSpec): Promise<ProcessFacts> {
    const { image } = this.#record;
    return {
      args: await this.#argsOf(spec),
      cwd: spec.dir === "" ? image.workingDir : spec.dir,
      user: await this.#userOf(spec.user),
      env: [...image.env, ...this.#record.spec.env, ...spec.env],
      nofile: spec.nofile,
      nofileCeiling: this.#tools.nofileCeiling,
    };
  }

  async #argsOf(spec: ProcessSpec): Promise<string[]> {
    if (spec === holder) return holderArgs(await this.#tools.lent());
    const own = this.#record.spec.lasting === true && spec.path === lentShell;
    return own ? [...lentCommand(await this.#tools.lent(), "sh"), ...spec.args] : [spec.path, ...spec.args];
  }

  async #lentFiles(): Promise<readonly string[]> {
    return this.#record.spec.lasting === true ? (await this.#tools.lent()).files : [];
  }

  /** Empty: the image's user. */
  async #userOf(asked: string): Promise<ContainerUser> {
    const [passwd, group] = await Promise.all([
      readInside(this.#layout.rootfs, "/etc/passwd", passwdBytes),
      readInside(this.#layout.rootfs, "/etc/group", passwdBytes),
    ]);
    return resolveUser(asked === "" ? this.#record.image.user : asked, passwd, group);
  }

  #containerSpec(process: ProcessFacts, lent: readonly string[]) {
    const { spec } = this.#record;
    return containerSpec(
      {
        hostname: spec.hostname,
        idBase: this.#tools.idBase,
        netns: this.#tools.netnsFile(this.handle),
        userns: this.#layout.userns,
        cgroupsPath: this.#layout.cgroupsPath,
        etcDir: this.#layout.etcDir,
        memoryMb: spec.memoryMb,
        maxPids: spec.maxPids,
        cpuWeight: spec.cpuWeight,
        isUnified: machineCgroups.isUnified,
        swapLimit: machineCgroups.countsSwap(this.#tools.cell.cgroupParent),
        hasIPv6: existsSync("/proc/sys/net/ipv6"),
        lentFiles: lent,
        folders: this.#record.mounts ?? [],
        seccomp: this.#tools.seccomp,
      },
      process,
    );
  }

  #process(record: ProcessRecord): RuncProcess {
    return new RuncProcess(this.#tools.clock, {
      id: record.id,
      dir: processDir(this.#layout, record.number),
      containerId: this.handle,
      logDir: processLogDir(this.#layout, record.number),
      logFile: processLogFile(this.#layout, record.number),
      cgroupsPath: this.#layout.cgroupsPath,
      isInit: record.kind === "init",
      oomKillsBefore: record.oomKillsBefore,
    });
  }

  async #remember(processes: readonly ProcessRecord[]): Promise<void> {
    this.#record = { ...this.#record, processes };
    await writeWhole(this.#layout.recordFile, JSON.stringify(this.#record));
  }
}

/** This process's own hard limit of open files. */
export async function nofileCeiling(): Promise<number> {
  const limits = await readFile("/proc/self/limits", "utf8");
  const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1];
  return hard === undefined ? 1_024 : Number(hard);
}
