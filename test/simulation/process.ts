// A process of the simulated world: its clock stops when it is frozen and its ports never answer again once it is dead.
import type { Clock, FakeClock } from "@muster/shared/clock";
import { asEpochMs, type EpochMs } from "@muster/shared/model";

/** Why links to a dead process break: a killed process's machine says so at once, a lost machine says nothing. */
export type Death = "killed" | "machine-lost";

export class SimProcess {
  readonly name: string;
  /** The machine it runs on: partitions cut machines off, not processes. */
  readonly machine: string;
  readonly clock: Clock;
  readonly #world: FakeClock;
  readonly #timers = new Set<() => void>();
  readonly #onDeath = new Set<(death: Death) => void>();
  readonly #stopped = new AbortController();
  #late: (() => void)[] = [];
  #frozen = false;
  #dead = false;
  #wallOffsetMs = 0;

  constructor(world: FakeClock, name: string, machine: string) {
    this.#world = world;
    this.name = name;
    this.machine = machine;
    this.clock = {
      nowMs: (): EpochMs => asEpochMs(world.nowMs() + this.#wallOffsetMs),
      elapsedMs: () => world.elapsedMs(),
      after: (ms, run) => this.#after(ms, run),
      sleep: (ms, signal) => this.#sleep(ms, signal),
    };
  }

  get alive(): boolean {
    return !this.#dead;
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  /** Aborts when the process dies: only for what the world itself must take back, never for code of the process. */
  get gone(): AbortSignal {
    return this.#stopped.signal;
  }

  /** Runs `step` as the process's own: at once, on thawing, or never. */
  enter(step: () => void): void {
    if (this.#dead) return;
    if (this.#frozen) this.#late.push(step);
    else step();
  }

  /** A promise of the world outside, as this process sees it: settles on thawing, and never once it is dead. */
  gate<Value>(promise: Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      promise.then(
        (value) => this.enter(() => resolve(value)),
        (error: unknown) => this.enter(() => reject(error)),
      );
    });
  }

  onDeath(listener: (death: Death) => void): () => void {
    this.#onDeath.add(listener);
    return () => this.#onDeath.delete(listener);
  }

  kill(death: Death = "killed"): void {
    if (this.#dead) return;
    this.#dead = true;
    this.#late = [];
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
    for (const listener of [...this.#onDeath]) listener(death);
    this.#onDeath.clear();
    this.#stopped.abort(new Error(`${this.name} is dead`));
  }

  freeze(): void {
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
    for (const step of this.#late.splice(0)) this.enter(step);
  }

  /** Moves this process's wall clock alone. */
  jumpWall(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  #after(ms: number, run: () => void): () => void {
    if (this.#dead) return () => undefined;
    let open = true;
    const cancelTimer = this.#world.after(ms, () => {
      this.#timers.delete(cancelTimer);
      this.enter(() => {
        if (open) run();
      });
    });
    this.#timers.add(cancelTimer);
    return () => {
      open = false;
      this.#timers.delete(cancelTimer);
      cancelTimer();
    };
  }

  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.#after(ms, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }
}

const isThing = (value: unknown): value is object =>
  typeof value === "object" &&
  value !== null &&
  Object.getPrototypeOf(value) !== Object.prototype &&
  !(value instanceof Map || value instanceof Error || ArrayBuffer.isView(value));

/**
 * What outlives a process (its machine's containers, its data folder), as the process holds it: once it is dead its calls do
 * nothing, and nothing settles for it any more.
 */
export function heldBy<Thing extends object>(process: SimProcess, thing: Thing): Thing {
  return new Proxy(thing, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return given(process, member);
      return (...args: unknown[]): unknown =>
        process.alive ? given(process, Reflect.apply(member, target, args)) : new Promise(() => undefined);
    },
  });
}

function given(process: SimProcess, value: unknown): unknown {
  if (value instanceof Promise) return process.gate(value.then((settled: unknown) => given(process, settled)));
  if (Array.isArray(value)) return value.map((item: unknown) => given(process, item));
  return isThing(value) ? heldBy(process, value) : value;
}
