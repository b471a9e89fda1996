// Everything under a prefix at one pinned revision, in pages that stay under the 4 MiB a gRPC message may have.
import type { IKeyValue, IRangeResponse } from "etcd3";
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
  let reading = readFitting(client, range, firstLimit, signal);
  for (;;) {
    signal.throwIfAborted();
    const { kvs, more } = await reading;
    const last = kvs.at(-1);
    if (more && last !== undefined) {
      // The next page is on its way while this one is taken in: a load is half waiting otherwise.
      const start = Buffer.concat([last.key, Buffer.from([0])]);
      reading = readFitting(client, { ...range, start }, nextLimit(kvs), signal);
      // Nobody may be there to hear that it failed.
      reading.catch(() => undefined);
    }
    if (last !== undefined) yield kvs;
    if (!more || last === undefined) return;
  }
}

/** Asks for fewer records until they fit into a message. */
async function readFitting(client: EtcdClient, range: PinnedRange, firstTry: number, signal: AbortSignal): Promise<Page> {
  for (let limit = firstTry; ; limit = Math.max(1, Math.floor(limit / 4))) {
    signal.throwIfAborted();
    const page = await readPage(client, range, limit, signal);
    if (page !== undefined) return page;
  }
}

type Page = Pick<IRangeResponse, "kvs" | "more">;

/** `undefined` when the page was larger than a message may be. A single record always fits. */
async function readPage(client: EtcdClient, range: PinnedRange, limit: number, signal: AbortSignal): Promise<Page | undefined> {
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
