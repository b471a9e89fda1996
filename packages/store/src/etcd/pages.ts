// Everything under a prefix at one pinned revision, in pages that stay under the 4 MiB a gRPC message may have.
import type { IKeyValue } from "etcd3";
import type { EtcdClient } from "./client.js";
import { isTooLarge } from "./errors.js";

/** A page aims at this, so that the next may have records twice as large on average. */
const aimBytes = 2 * 1024 ** 2;
const firstLimit = 256;
const maxLimit = 10_000;

export interface PinnedRange {
  readonly start: Buffer;
  readonly end: Buffer;
  readonly revision: string;
}

/** @throws when etcd no longer has the revision (compacted), does not answer, or the signal aborts. */
export async function* pages(client: EtcdClient, range: PinnedRange, signal: AbortSignal): AsyncGenerator<readonly IKeyValue[]> {
  let start = range.start;
  let limit = firstLimit;
  for (;;) {
    signal.throwIfAborted();
    const page = await readPage(client, { ...range, start }, limit, signal);
    if (page === undefined) {
      limit = Math.max(1, Math.floor(limit / 4));
      continue;
    }
    const last = page.kvs.at(-1);
    if (last !== undefined) yield page.kvs;
    if (!page.more || last === undefined) return;
    start = Buffer.concat([last.key, Buffer.from([0])]);
    limit = nextLimit(page.kvs);
  }
}

/** `undefined` when the page was larger than a message may be. A single record always fits. */
async function readPage(client: EtcdClient, range: PinnedRange, limit: number, signal: AbortSignal) {
  const { start: key, end: range_end, revision } = range;
  try {
    return await client.persist((options) => client.kv.range({ key, range_end, revision, limit }, options), signal);
  } catch (error) {
    if (isTooLarge(error) && limit > 1) return undefined;
    throw error;
  }
}

/** As many records as would fill the aim if they were as large as those of the last page. */
export function nextLimit(kvs: readonly { readonly key: Buffer; readonly value: Buffer }[]): number {
  const bytes = kvs.reduce((sum, { key, value }) => sum + key.length + value.length + 32, 0);
  return Math.min(maxLimit, Math.max(1, Math.floor((aimBytes * kvs.length) / Math.max(1, bytes))));
}
