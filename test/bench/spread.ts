// How a few dozen measurements lie.

export interface Spread {
  readonly count: number;
  readonly p50: number;
  /** Of fewer than a hundred values this is the largest. */
  readonly p99: number;
  readonly min: number;
  readonly max: number;
}

const tenths = (value: number): number => Math.round(value * 10) / 10;

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => tenths(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), min: at(0), max: at(1) };
}

/** Milliseconds that `work` took. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
