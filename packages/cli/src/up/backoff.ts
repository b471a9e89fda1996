// When a service that ended is started again. Pure.

export const restartPolicy = {
  /** A service that was killed is back before anybody misses it. */
  firstMs: 100,
  /** One that cannot come up does not keep a core busy. */
  maxMs: 5_000,
  /** A process that lived this long was well: the next end begins the count anew. */
  resetAfterMs: 10_000,
} as const;

/** The delay before the start after an end, from the delay before the last one and how long the process lived. */
export function nextDelayMs(previousMs: number | undefined, livedMs: number): number {
  if (previousMs === undefined || livedMs >= restartPolicy.resetAfterMs) return restartPolicy.firstMs;
  return Math.min(previousMs * 2, restartPolicy.maxMs);
}
