// One container of the simulated garden: its processes are timers.
import type {
  Container,
  ContainerInfo,
  ContainerSpec,
  ContainerUsage,
  GardenProcess,
  OutputSink,
  ProcessExit,
  ProcessSpec,
  StreamSpec,
} from "../garden.js";
import { GardenError, lentShell } from "../garden.js";
import type { SimulatedGardenOptions } from "./index.js";

/** What the cell's own shell is told takes no time, and succeeds. */
const endsWell = { afterMs: 1, exit: { exitStatus: 0, signal: undefined, outOfMemory: false } } as const;

class SimulatedProcess implements GardenProcess {
  readonly id: string;
  readonly exited: Promise<ProcessExit>;
  readonly #options: SimulatedGardenOptions;
  #settle: ((exit: ProcessExit) => void) | undefined;
  #sink: OutputSink;

  constructor(options: SimulatedGardenOptions, id: string, sink: OutputSink) {
    this.id = id;
    this.#options = options;
    this.#sink = sink;
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get running(): boolean {
    return this.#settle !== undefined;
  }

  follow(sink: OutputSink): void {
    this.#sink = sink;
  }

  say(text: string): void {
    this.#sink("stdout", Buffer.from(text), this.#options.clock.nowMs());
  }

  end(exit: ProcessExit): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(exit);
  }

  async signal(name: "SIGTERM" | "SIGKILL"): Promise<void> {
    const exit: ProcessExit = { exitStatus: name === "SIGTERM" ? 143 : 137, signal: name, outOfMemory: false };
    // SIGTERM is answered in a moment of the process's own choosing; SIGKILL at once.
    if (name === "SIGTERM") this.#options.clock.after(1 + this.#options.entropy.below(20), () => this.end(exit));
    else this.end(exit);
  }
}

export class SimulatedContainer implements Container {
  readonly handle: string;
  readonly #options: SimulatedGardenOptions;
  readonly #spec: ContainerSpec;
  readonly #facts: Omit<ContainerInfo, "state">;
  readonly #processes = new Map<string, SimulatedProcess>();
  readonly #streams = new Map<string, Uint8Array>();
  #readyAtMs = Number.POSITIVE_INFINITY;
  #startedAtMs = 0;

  constructor(options: SimulatedGardenOptions, spec: ContainerSpec, facts: Omit<ContainerInfo, "state">) {
    this.#options = options;
    this.#spec = spec;
    this.#facts = facts;
    this.handle = spec.handle;
  }

  get state(): ContainerInfo["state"] {
    const first = this.#first();
    if (first === undefined) return "created";
    return first.running || this.#spec.lasting === true ? "active" : "stopped";
  }

  info(): ContainerInfo {
    return { ...this.#facts, state: this.state };
  }

  async run(spec: ProcessSpec, output: OutputSink): Promise<GardenProcess> {
    if (this.#processes.has(spec.id)) throw new GardenError("process-failed", `process ${spec.id} was started before`);
    if (this.state === "stopped") throw new GardenError("process-failed", "the container has stopped");
    const { clock, entropy, behaviour } = this.#options;
    const process = new SimulatedProcess(this.#options, spec.id, output);
    if (this.#processes.size === 0) {
      const { min, max } = this.#options.readyMs ?? { min: 5, max: 50 };
      this.#startedAtMs = clock.elapsedMs();
      this.#readyAtMs = this.#startedAtMs + min + entropy.below(max - min + 1);
    }
    this.#processes.set(spec.id, process);
    process.say(`simulated process ${spec.id} started\n`);
    const end = behaviour?.(this.#spec, spec) ?? (spec.path === lentShell ? endsWell : undefined);
    if (end !== undefined) clock.after(end.afterMs, () => this.#end(process, end.exit));
    return process;
  }

  async attach(processId: string, output: OutputSink): Promise<GardenProcess | undefined> {
    const process = this.#processes.get(processId);
    process?.follow(output);
    return process;
  }

  async probeTcp(port: number, timeoutMs: number): Promise<string | undefined> {
    const listens =
      this.#facts.ports.some((mapped) => mapped.containerPort === port) || this.#facts.image.exposedTcpPorts.includes(port);
    const up = this.#first()?.running === true && this.#options.clock.elapsedMs() >= this.#readyAtMs;
    return listens && up && timeoutMs > 0
      ? undefined
      : `failed to make TCP connection to ${this.#facts.containerIp}:${port}: connection refused`;
  }

  async usage(): Promise<ContainerUsage> {
    const running = [...this.#processes.values()].filter((process) => process.running).length;
    const aliveMs = running === 0 ? 0 : this.#options.clock.elapsedMs() - this.#startedAtMs;
    // A tenth of a core and a quarter of the memory asked for: plausible, and the same at every run.
    return {
      memoryBytes: Math.floor((this.#spec.memoryMb * 1_048_576) / 4),
      diskBytes: 4_096,
      cpuTimeNs: BigInt(Math.floor(aliveMs * 100_000)),
      pids: running,
    };
  }

  endFirst(exit: ProcessExit): void {
    const first = this.#first();
    if (first !== undefined) this.#end(first, exit);
  }

  kill(): void {
    for (const process of this.#processes.values()) process.end({ exitStatus: 137, signal: "SIGKILL", outOfMemory: false });
  }

  /** Nobody reads it. */
  writeIdentity(): Promise<void> {
    return Promise.resolve();
  }

  /** Keeps the stream as it came: what is under a path is what was last put there. */
  async streamIn({ path }: StreamSpec, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of tar) {
      signal.throwIfAborted();
      chunks.push(chunk);
    }
    this.#streams.set(path, Buffer.concat(chunks));
  }

  async *streamOut({ path }: StreamSpec, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    signal.throwIfAborted();
    const found = this.#streams.get(path) ?? this.#options.files?.(this.#spec, path);
    if (found === undefined) throw new GardenError("stream-failed", `reading failed: ${path}: no such file or directory`);
    yield found;
  }

  #first(): SimulatedProcess | undefined {
    return this.#processes.values().next().value;
  }

  /** When the first process ends, so does every other: it was the container's init. */
  #end(process: SimulatedProcess, exit: ProcessExit): void {
    const wasFirst = process === this.#first();
    process.end(exit);
    if (!wasFirst || this.#spec.lasting === true) return;
    for (const other of this.#processes.values()) other.end({ exitStatus: 137, signal: "SIGKILL", outOfMemory: false });
  }
}
