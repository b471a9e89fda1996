// Which images to give up when the cache is larger than it may be: the longest unused first, never one that is mounted or was asked for
// a moment ago. Pure.

export interface CacheEntry {
  readonly hex: string;
  readonly bytes: number;
  readonly lastUsedMs: number;
  readonly mounted: boolean;
}

/** Between being asked for and being mounted an image looks unused; no create takes this long. */
export const graceMs = 10 * 60_000;

/** The images to remove, in order. The same entries give the same answer, whatever order they come in. */
export function planEviction(entries: readonly CacheEntry[], limitBytes: number, nowMs: number): readonly string[] {
  let total = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  const oldestFirst = [...entries].sort((a, b) => a.lastUsedMs - b.lastUsedMs || (a.hex < b.hex ? -1 : 1));
  const evicted: string[] = [];
  for (const entry of oldestFirst) {
    if (total <= limitBytes) break;
    if (entry.mounted || nowMs - entry.lastUsedMs < graceMs) continue;
    evicted.push(entry.hex);
    total -= entry.bytes;
  }
  return evicted;
}
