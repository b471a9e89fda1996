// The head's codec and the one rule of every commit.
import { describe, expect, it } from "vitest";
import type { Head, StoreBatch } from "./driver.js";
import { judge } from "./fence.js";
import { decodeHead, encodeHead } from "./head.js";

const head = (sequence: bigint, batchId = `b${sequence}`): Head => ({
  incarnation: "i",
  sequence,
  leaderEpoch: 3n,
  batchId,
  clusterTimeMs: 1_700_000_000_123,
  schemaVersion: 1,
});

describe("the head's codec", () => {
  it("gives back what it was given", () => {
    const large = { ...head(2n ** 63n), leaderEpoch: 2n ** 40n };
    expect(decodeHead(encodeHead(large))).toEqual(large);
  });

  it("gives equal bytes for equal heads and other bytes for another batch", () => {
    expect(encodeHead(head(7n))).toEqual(encodeHead({ ...head(7n) }));
    expect(encodeHead(head(7n))).not.toEqual(encodeHead(head(7n, "other")));
  });
});

describe("the fence", () => {
  const batch: StoreBatch = { writes: [], from: head(4n), to: head(5n) };
  const first: StoreBatch = { writes: [], from: head(0n), to: head(1n) };
  it.each([
    { stands: "at from", at: head(4n), leads: true, says: "write" },
    { stands: "at from", at: head(4n), leads: false, says: "fenced" },
    { stands: "at to", at: head(5n), leads: true, says: "arrived" },
    { stands: "at to", at: head(5n), leads: false, says: "arrived" },
    { stands: "at from's sequence under another batch", at: head(4n, "x"), leads: true, says: "fenced" },
    { stands: "at to's sequence under another batch", at: head(5n, "x"), leads: true, says: "fenced" },
    { stands: "beyond to", at: head(6n), leads: true, says: "fenced" },
    { stands: "nowhere", at: undefined, leads: true, says: "fenced" },
  ])("with the head $stands and leads=$leads the batch is: $says", ({ at, leads, says }) => {
    expect(judge(batch, at, leads)).toBe(says);
  });

  it("lets the first commit into an empty store only", () => {
    expect(judge(first, undefined, true)).toBe("write");
    expect(judge(first, undefined, false)).toBe("fenced");
    expect(judge(first, head(4n), true)).toBe("fenced");
  });
});
