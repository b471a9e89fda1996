// Load on a service from this process: as much as it takes (closed loop), or at a given pace (open loop), with latencies.
import { systemClock } from "@muster/shared/clock";

export interface LoadFigures {
  readonly calls: number;
  readonly errors: number;
  readonly seconds: number;
  readonly per_second: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
}

/** Makes the n-th call and says when it is over. */
export type Call = (n: number, done: (error: Error | null) => void) => void;

const round = (value: number, digits = 2): number => Number(value.toFixed(digits));

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

class Tally {
  readonly #latencies: number[] = [];
  readonly #startedMs = systemClock.elapsedMs();
  #errors = 0;
  #firstError: Error | undefined;

  get finished(): number {
    return this.#latencies.length + this.#errors;
  }

  over(sinceMs: number, error: Error | null): void {
    if (error === null) {
      this.#latencies.push(systemClock.elapsedMs() - sinceMs);
      return;
    }
    this.#errors += 1;
    this.#firstError ??= error;
  }

  /** @throws when more than one call in a hundred failed: then it was no measurement. */
  figures(): LoadFigures {
    const calls = this.finished;
    if (this.#errors > calls / 100) throw new Error(`${this.#errors} of ${calls} calls failed`, { cause: this.#firstError });
    const seconds = (systemClock.elapsedMs() - this.#startedMs) / 1_000;
    const sorted = this.#latencies.sort((a, b) => a - b);
    return {
      calls,
      errors: this.#errors,
      seconds: round(seconds),
      per_second: Math.round(calls / seconds),
      p50_ms: round(percentile(sorted, 0.5)),
      p99_ms: round(percentile(sorted, 0.99)),
    };
  }
}

/** As fast as it goes with so many calls in flight. */
export const saturate = (
  call: Call,
  { calls, inFlight }: { readonly calls: number; readonly inFlight: number },
): Promise<LoadFigures> => closedLoop(call, inFlight, (started) => started < calls);

/** The same for so long. */
export function saturateFor(
  call: Call,
  { ms, inFlight }: { readonly ms: number; readonly inFlight: number },
): Promise<LoadFigures> {
  const untilMs = systemClock.elapsedMs() + ms;
  return closedLoop(call, inFlight, () => systemClock.elapsedMs() < untilMs);
}

function closedLoop(call: Call, inFlight: number, goesOn: (started: number) => boolean): Promise<LoadFigures> {
  const tally = new Tally();
  return new Promise((resolve, reject) => {
    let started = 0;
    const one = (): void => {
      if (!goesOn(started)) return;
      const n = started;
      started += 1;
      const sinceMs = systemClock.elapsedMs();
      call(n, (error) => {
        tally.over(sinceMs, error);
        one();
        if (tally.finished === started) settle(tally, resolve, reject);
      });
    };
    for (let lanes = 0; lanes < inFlight; lanes += 1) one();
  });
}

/** At a steady pace, whatever comes back; a latency counts from the moment the call was due. */
export function paced(
  call: Call,
  { calls, perSecond }: { readonly calls: number; readonly perSecond: number },
): Promise<LoadFigures> {
  const tally = new Tally();
  const startMs = systemClock.elapsedMs();
  return new Promise((resolve, reject) => {
    let next = 0;
    const tick = (): void => {
      const dueCalls = Math.min(calls, Math.floor(((systemClock.elapsedMs() - startMs) / 1_000) * perSecond));
      for (; next < dueCalls; next += 1) {
        const dueMs = startMs + ((next + 1) / perSecond) * 1_000;
        call(next, (error) => {
          tally.over(dueMs, error);
          if (tally.finished === calls) settle(tally, resolve, reject);
        });
      }
      if (next < calls) setTimeout(tick, 1);
    };
    tick();
  });
}

function settle(tally: Tally, resolve: (figures: LoadFigures) => void, reject: (error: unknown) => void): void {
  try {
    resolve(tally.figures());
  } catch (error) {
    reject(error);
  }
}
