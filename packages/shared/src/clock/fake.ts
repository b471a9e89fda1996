// A clock that moves only when told, and chance that one seed repeats: for tests and the simulator.
import { asEpochMs } from "../model/ids.js";
import type { Clock, Entropy } from "./types.js";

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
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
  const timers = new Set<Timer>();
  const next = (): Timer | undefined => {
    let first: Timer | undefined;
    for (const timer of timers) {
      if (first === undefined || timer.atMs < first.atMs || (timer.atMs === first.atMs && timer.order < first.order))
        first = timer;
    }
    return first;
  };
  const after = (ms: number, run: () => void): (() => void) => {
    order += 1;
    const timer: Timer = { atMs: elapsed + Math.max(0, ms), order, run };
    timers.add(timer);
    return () => timers.delete(timer);
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
    nextTimerMs: () => next()?.atMs,
    advance: async (ms) => {
      const end = elapsed + ms;
      await settle();
      for (let timer = next(); timer !== undefined && timer.atMs <= end; timer = next()) {
        elapsed = Math.max(elapsed, timer.atMs);
        timers.delete(timer);
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
