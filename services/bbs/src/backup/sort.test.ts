// Sorting in slices gives what sorting does, and lets others work meanwhile.
import { byKey } from "@muster/shared/backup";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sortInSlices } from "./sort.js";

describe("sortInSlices", () => {
  it.each([0, 1, 1_023, 1_025, 30_000])("sorts %i items as sort does, equal ones in their order", async (length) => {
    const items = Array.from({ length }, (_, at) => ({ rank: (at * 7_919) % 1_000, at }));
    const compare = (a: { rank: number }, b: { rank: number }): number => a.rank - b.rank;
    let pauses = 0;
    const sorted = await sortInSlices(items, compare, async () => {
      pauses += 1;
    });
    expect(sorted).toEqual([...items].sort(compare));
    expect(pauses).toBeGreaterThanOrEqual(Math.floor(length / 1_024));
  });
});

it("keys are in the order of their bytes, whatever characters they have", () => {
  const text = fc.string({ unit: "binary" });
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(Math.sign(byKey(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
  );
});
