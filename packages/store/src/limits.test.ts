// What a batch may hold, and what ends its caller.
import { InvariantError } from "@muster/shared/errors";
import { describe, expect, it } from "vitest";
import type { Head, StoreBatch, StoreWrite } from "./driver.js";
import { maxBatchBytes, maxBatchWrites, maxKeyBytes, refuseOversize } from "./limits.js";

const head = (sequence: bigint): Head => ({
  incarnation: "i",
  sequence,
  leaderEpoch: 1n,
  batchId: `b${sequence}`,
  clusterTimeMs: 1_000,
  schemaVersion: 1,
});
const batch = (writes: readonly StoreWrite[]): StoreBatch => ({ writes, from: head(1n), to: head(2n) });
const puts = (count: number): StoreWrite[] => Array.from({ length: count }, (_, i) => ({ key: `k${i}`, value: Buffer.alloc(1) }));

describe("the bounds of a batch", () => {
  it.each([
    { what: "no write at all", writes: [], refused: false },
    { what: "as many writes as allowed", writes: puts(maxBatchWrites), refused: false },
    { what: "one write too many", writes: puts(maxBatchWrites + 1), refused: true },
    { what: "as many bytes as allowed", writes: [{ key: "k", value: Buffer.alloc(maxBatchBytes - 1) }], refused: false },
    { what: "one byte too many", writes: [{ key: "k", value: Buffer.alloc(maxBatchBytes) }], refused: true },
    { what: "the longest key", writes: [{ key: "k".repeat(maxKeyBytes), value: undefined }], refused: false },
    {
      what: "a key one byte longer, counted in UTF-8",
      writes: [{ key: `é${"k".repeat(511)}`, value: undefined }],
      refused: true,
    },
  ])("$what: refused $refused", ({ writes, refused }) => {
    const answer = refuseOversize(batch(writes), maxBatchWrites);
    if (refused) expect(answer).toMatchObject({ ok: false, why: "refused", reason: "too-large" });
    else expect(answer).toBeUndefined();
  });

  it.each([
    { what: "heads two commits apart", broken: { writes: [], from: head(1n), to: head(3n) } },
    { what: "a batch id used again", broken: { writes: [], from: head(1n), to: { ...head(2n), batchId: "b1" } } },
    { what: "time going back", broken: { writes: [], from: head(1n), to: { ...head(2n), clusterTimeMs: 999 } } },
    { what: "a key twice", broken: batch([...puts(1), ...puts(1)]) },
    { what: "an empty key", broken: batch([{ key: "", value: undefined }]) },
  ])("ends the caller for $what", ({ broken }) => {
    expect(() => refuseOversize(broken, maxBatchWrites)).toThrow(InvariantError);
  });
});
