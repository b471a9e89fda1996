// Fixed seeds, a short run each; `node test/dist/contract/edge/main.js --seconds N --seed S` goes on for longer.
import { describe, expect, it } from "vitest";
import { runFuzz } from "./run.js";

/** History keeps at most 64 MiB; what is beyond it would be a leak. */
const maxHeapGrowthMib = 128;

describe("requests that nobody should send", () => {
  it.each([1, 2])("are each answered with a type, or cut, and leave nothing behind (seed %i)", async (seed) => {
    const report = await runFuzz({ seed, seconds: 8, requests: 3_000 });
    expect(report.wrong).toEqual([]);
    expect(report.heap_growth_mib).toBeLessThan(maxHeapGrowthMib);
    // Were everything refused at the door, nothing behind it would have been tried.
    expect(report.answers.ok ?? 0).toBeGreaterThan(report.requests / 20);
    expect(report.answers.InvalidRequest ?? 0).toBeGreaterThan(report.requests / 20);
  });
});
