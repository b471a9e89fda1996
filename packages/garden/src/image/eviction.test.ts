// Which cached images go when the cache is over its bound.
import { describe, expect, it } from "vitest";
import { type CacheEntry, graceMs, planEviction } from "./eviction.js";

const now = 100 * graceMs;
const entry = (hex: string, bytes: number, agoMs: number, mounted = false): CacheEntry => ({
  hex,
  bytes,
  lastUsedMs: now - agoMs,
  mounted,
});

describe("an image cache", () => {
  const entries = [
    entry("new", 10, 1),
    entry("old", 10, 5 * graceMs),
    entry("older", 10, 9 * graceMs),
    entry("run", 10, 50 * graceMs, true),
  ];
  it("below its limit gives nothing up", () => {
    expect(planEviction(entries, 40, now)).toEqual([]);
  });
  it("gives the longest unused up first, and no more than it must", () => {
    expect(planEviction(entries, 39, now)).toEqual(["older"]);
    expect(planEviction(entries.toReversed(), 25, now)).toEqual(["older", "old"]);
  });
  it("never gives up what is mounted or was just asked for", () => {
    expect(planEviction(entries, 0, now)).toEqual(["older", "old"]);
  });
});
