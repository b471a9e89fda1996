// The bounds of a batch. Bytes and keys are the same for every driver; writes are what the driver says, and at least etcd's.
import { InvariantError, invariant } from "@muster/shared/errors";
import type { CommitResult, StoreBatch } from "./driver.js";

/** What every driver takes: etcd's default bound is 128 operations in a transaction; the head is the 128th. */
export const maxBatchWrites = 127;
/** etcd's default bound is 1.5 MiB for a request: the rest is for the head, the fence and 127 times the key prefix and framing. */
export const maxBatchBytes = 1_500_000;
export const maxKeyBytes = 512;

type Refused = Extract<CommitResult, { why: "refused" }>;

/** The bytes of a batch's keys and values. */
export function batchBytes(batch: StoreBatch): number {
  let bytes = 0;
  for (const { key, value } of batch.writes) bytes += Buffer.byteLength(key) + (value?.byteLength ?? 0);
  return bytes;
}

/**
 * Refuses a batch beyond the limits, before any driver looks at it.
 * @throws InvariantError when the heads do not follow each other or a key comes twice: that is a fault of the caller's code.
 */
export function refuseOversize(batch: StoreBatch, maxWrites: number): Refused | undefined {
  invariant(batch.to.sequence === batch.from.sequence + 1n, "a batch must move the head's sequence on by one");
  invariant(batch.to.batchId !== batch.from.batchId, "a batch needs a batch id of its own");
  invariant(batch.to.clusterTimeMs >= batch.from.clusterTimeMs, "cluster time must not go back");
  const keys = new Set<string>();
  for (const { key } of batch.writes) {
    invariant(key !== "" && !keys.has(key), "a batch must name every key once and no empty key");
    keys.add(key);
    const bytes = Buffer.byteLength(key);
    if (bytes > maxKeyBytes) return tooLarge(`a key of ${bytes} bytes, where ${maxKeyBytes} are allowed`);
  }
  if (batch.writes.length > maxWrites) return tooLarge(`${batch.writes.length} writes, where ${maxWrites} are allowed`);
  const bytes = batchBytes(batch);
  if (bytes > maxBatchBytes) return tooLarge(`${bytes} bytes, where ${maxBatchBytes} are allowed`);
  return undefined;
}

const tooLarge = (what: string): Refused => ({
  ok: false,
  why: "refused",
  reason: "too-large",
  cause: new InvariantError(`the batch has ${what}`),
});
