// The head between our record and its stored bytes (`muster.store.v1.Head`).
import { Head as StoredHead } from "@muster/proto/muster/store/v1/records";
import type { Head } from "./driver.js";

/** The stored bytes of a head. Equal heads give equal bytes, which the etcd driver compares. */
export const encodeHead = (head: Head): Uint8Array =>
  StoredHead.encode({ ...head, clusterTimeMs: BigInt(Math.round(head.clusterTimeMs)) }).finish();

/** @throws when the bytes are not a head. Fields this build does not know are dropped. */
export function decodeHead(bytes: Uint8Array): Head {
  const stored = StoredHead.decode(bytes);
  return {
    incarnation: stored.incarnation,
    sequence: stored.sequence,
    leaderEpoch: stored.leaderEpoch,
    batchId: stored.batchId,
    clusterTimeMs: Number(stored.clusterTimeMs),
    schemaVersion: stored.schemaVersion,
  };
}

/** Whether two heads name the same commit: a batch id is random, so these three say it all. */
export const sameHead = (a: Head, b: Head): boolean =>
  a.sequence === b.sequence && a.batchId === b.batchId && a.incarnation === b.incarnation;
