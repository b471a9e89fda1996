// A clock that moves only when told, and chance that one seed repeats: for tests and the simulator.
import { asEpochMs } from "../model/ids.js";
import type { Clock, Entropy } from "./types.js";

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

const comesFirst = (a: Timer, b: Timer): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** Timers by when they are due, as a binary heap: a simulated house has hundreds, and fires tens of thousands. */
class Timers {
  readonly #heap: Timer[] = [];

  add(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.length;
    for (let above = (at - 1) >> 1; at > 0; above = (at - 1) >> 1) {
      const parent = heap[above] as Timer;
      if (!comesFirst(timer, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = timer;
  }

  /** The earliest that was not cancelled. */
  first(): Timer | undefined {
    for (let top = this.#heap[0]; top?.cancelled; top = this.#heap[0]) this.removeFirst();
    return this.#heap[0];
  }

  removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (let below = 1; below < heap.length; below = 2 * at + 1) {
      const left = heap[below] as Timer;
      const right = heap[below + 1];
      const smaller = right !== undefined && comesFirst(right, left) ? right : left;
      if (!comesFirst(smaller, last)) break;
      heap[at] = smaller;
      at = smaller === left ? below : below + 1;
    }
    heap[at] = last;
  }
}

export interface FakeClock extends Clock {
  /** Moves time on by `ms`, firing timers in order and letting promises settle after each. */
  advance(ms: number): Promise<void>;
  /** Moves the wall clock alone, as an operator or NTP would. */
  jumpWall(ms: number): void;
  /** When the next timer is due, on the elapsed scale; `undefined` when none waits. */
  nextTimerMs(): number | undefined;
}

/** Lets every promise that can settle without time passing settle. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function fakeClock(startMs = 1_700_000_000_000): FakeClock {
  let elapsed = 0;
  let wallOffset = startMs;
  let order = 0;
  const timers = new Timers();
  const after = (ms: number, run: () => void): (() => void) => {
    order += 1;
    const timer: Timer = { atMs: elapsed + Math.max(0, ms), order, run, cancelled: false };
    timers.add(timer);
    return () => {
      timer.cancelled = true;
    };
  };
  return {
    nowMs: () => asEpochMs(wallOffset + elapsed),
    elapsedMs: () => elapsed,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const cancel = after(ms, () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        });
        const onAbort = () => {
          cancel();
          reject(signal?.reason);
        };
        signal?.addEventListener("abort", onAbort, { once: true });
      }),
    jumpWall: (ms) => {
      wallOffset += ms;
    },
    nextTimerMs: () => timers.first()?.atMs,
    advance: async (ms) => {
      const end = elapsed + ms;
      await settle();
      for (let timer = timers.first(); timer !== undefined && timer.atMs <= end; timer = timers.first()) {
        elapsed = Math.max(elapsed, timer.atMs);
        timers.removeFirst();
        timer.run();
        await settle();
      }
      elapsed = end;
      await settle();
    },
  };
}

/** Mulberry32: small, fast and good enough to draw faults from; one stream for each purpose (`seed:purpose`). */
export function seededEntropy(seed: string): Entropy {
  let state = 0x811c9dc5;
  for (let i = 0; i < seed.length; i += 1) state = Math.imul(state ^ seed.charCodeAt(i), 0x01000193);
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const hex = (digits: number): string => {
    let text = "";
    while (text.length < digits) text += next().toString(16).padStart(8, "0");
    return text.slice(0, digits);
  };
  return {
    guid: () => `${hex(8)}-${hex(4)}-4${hex(3)}-${((next() & 3) + 8).toString(16)}${hex(3)}-${hex(12)}`,
    below: (limit) => (limit <= 1 ? 0 : Math.floor((next() / 0x1_0000_0000) * limit)),
  };
}
