// The requests of the driver, as values: its keys, the fenced transaction of a commit, and how its answer is judged.
import type { ICompare, IKeyValue, IRequestOp, ITxnRequest, ITxnResponse } from "etcd3";
import type { Head, StoreBatch } from "../driver.js";
import { judge, type Verdict } from "../fence.js";
import { decodeHead, encodeHead } from "../head.js";

const recordPrefix = "r/";

export class EtcdKeys {
  readonly #prefix: string;
  readonly head: Buffer;
  readonly recordsStart: Buffer;
  /** The first key behind all records: `0` follows `/`. */
  readonly recordsEnd: Buffer;

  constructor(prefix: string) {
    this.#prefix = prefix;
    this.head = Buffer.from(`${prefix}head`);
    this.recordsStart = Buffer.from(`${prefix}${recordPrefix}`);
    this.recordsEnd = Buffer.from(`${prefix}r0`);
  }

  leader(name: string): Buffer {
    return Buffer.from(`${this.#prefix}leader/${name}`);
  }

  record(key: string): Buffer {
    return Buffer.from(`${this.#prefix}${recordPrefix}${key}`);
  }

  recordOf(stored: Buffer): string {
    return stored.toString("utf8", this.recordsStart.length);
  }
}

/** A term of leadership as etcd sees it: the key exists and was created at this revision, which is never used twice. */
export interface Fence {
  readonly key: Buffer;
  readonly createRevision: string;
}

const holds = ({ key, createRevision }: Fence): ICompare => ({
  key,
  target: "Create",
  result: "Equal",
  create_revision: createRevision,
});

const read = (key: Buffer): IRequestOp => ({ request_range: { key } });

/** Puts the leadership key, bound to a lease, unless somebody holds it. */
export const claimRequest = (key: Buffer, value: string, lease: string): ITxnRequest => ({
  compare: [{ key, target: "Create", result: "Equal", create_revision: "0" }],
  success: [{ request_put: { key, value: Buffer.from(value), lease } }],
  failure: [read(key)],
});

/**
 * Succeeds while the term holds. It reads the key in both branches, since etcd answers a transaction without a linearizable read
 * from whatever the member happens to know.
 */
export const confirmRequest = (fence: Fence): ITxnRequest => ({
  compare: [holds(fence)],
  success: [read(fence.key)],
  failure: [read(fence.key)],
});

/** The batch under its fence: the term holds and the head is `from`, to the byte. Otherwise it says what stands instead. */
export function commitRequest(batch: StoreBatch, fence: Fence, keys: EtcdKeys, storedFrom: Buffer | undefined): ITxnRequest {
  const atFrom: ICompare =
    batch.from.sequence === 0n
      ? { key: keys.head, target: "Create", result: "Equal", create_revision: "0" }
      : { key: keys.head, target: "Value", result: "Equal", value: storedFrom ?? Buffer.from(encodeHead(batch.from)) };
  const writes = batch.writes.map(({ key, value }): IRequestOp => {
    if (value === undefined) return { request_delete_range: { key: keys.record(key) } };
    return { request_put: { key: keys.record(key), value: asBuffer(value) } };
  });
  return {
    compare: [holds(fence), atFrom],
    success: [...writes, { request_put: { key: keys.head, value: Buffer.from(encodeHead(batch.to)) } }],
    failure: [read(keys.head), read(fence.key)],
  };
}

export interface Standing {
  readonly verdict: Verdict;
  readonly leads: boolean;
  /** The head's bytes as stored. */
  readonly storedHead: Buffer | undefined;
}

/** Judges the refusal of a commit by what stood in its way. */
export function standingOf(batch: StoreBatch, fence: Fence, response: ITxnResponse): Standing {
  const storedHead = firstOf(response, 0)?.value;
  const leads = firstOf(response, 1)?.create_revision === fence.createRevision;
  const head = storedHead === undefined ? undefined : decodeHead(storedHead);
  return { verdict: judge(batch, head, leads), leads, storedHead };
}

/** The first key that the n-th read of a transaction gave. */
export const firstOf = (response: ITxnResponse, n: number): IKeyValue | undefined => response.responses[n]?.response_range.kvs[0];

export const headOf = (kv: IKeyValue | undefined): Head | undefined => (kv === undefined ? undefined : decodeHead(kv.value));

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
