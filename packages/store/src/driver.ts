// The one interface of the durable store. Drivers move keys and bytes; the codec layer above knows our records.
// The interface keeps away from its drivers; every promise made here is a test of the contract suite for every driver.

/** A key is UTF-8 text, at most 512 bytes; a driver may prefix it. */
export interface StoreWrite {
  readonly key: string;
  /** `undefined` deletes the key. */
  readonly value: Uint8Array | undefined;
}

export interface StoredRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

/** The journal's head. Every commit compares it and moves `sequence` on by one. */
export interface Head {
  /** Random id of this store's life: made when the store is first used, and by a restore. */
  readonly incarnation: string;
  /** Commits so far; 0 in a store that was never written. */
  readonly sequence: bigint;
  /** Terms of leadership so far; the first commit of a term raises it. */
  readonly leaderEpoch: bigint;
  /** Random id of the last commit. */
  readonly batchId: string;
  /** Epoch milliseconds of cluster time; never goes back. */
  readonly clusterTimeMs: number;
  /** Version of the stored records' schema. */
  readonly schemaVersion: number;
}

/** One atomic commit: applied whole or not at all. Its bytes never change between resends. */
export interface StoreBatch {
  /** At most the driver's `maxBatchWrites` and 1,500,000 bytes of keys and values (else `too-large`); no key twice. None at all is a probe. */
  readonly writes: readonly StoreWrite[];
  /** The head before the commit; `sequence` 0 says that the store must still be without one. */
  readonly from: Head;
  /** The head after it: `sequence` one more, `batchId` new, `clusterTimeMs` not less. */
  readonly to: Head;
}

export type CommitResult =
  /** Durable. Also the answer to a resend of a batch that had arrived before. */
  | { readonly ok: true }
  /**
   * The leadership is not ours any more, or the head is neither `from` nor `to`. This call wrote nothing and the batch will not
   * arrive any more; an earlier send of unknown outcome may have been written before, under a head that has moved on since.
   */
  | { readonly ok: false; readonly why: "fenced" }
  /** It may or may not have been written: resend the very same batch. */
  | { readonly ok: false; readonly why: "unknown"; readonly cause: unknown }
  /**
   * The store refused it and was seen to hold `from` afterwards (`no-space`: quota or disk full; `too-large`: over its limits).
   * Sent again later it may be taken; an earlier send of unknown outcome may still arrive, and then fences what follows.
   */
  | { readonly ok: false; readonly why: "refused"; readonly reason: "no-space" | "too-large" | "other"; readonly cause: unknown };

/** A term of leadership, as won by `campaign`. */
export interface Leadership {
  /** Names this term for the driver (etcd: key and create revision). Opaque to callers. */
  readonly token: string;
  /** Aborts the moment the leadership can no longer be vouched for (the reason is an Error saying why); never un-aborts. */
  readonly lost: AbortSignal;
  /** Gives it up in an orderly way, so that a standby need not wait for the TTL; `lost` aborts first. Idempotent, never throws. */
  resign(): Promise<void>;
}

export interface StoreUsage {
  /** Bytes that hold something: records, and the history that is kept of them. */
  readonly usedBytes: number;
  /** Bytes of the file as it counts against the bound: freed room that is written again is in it. Never less than `usedBytes`. */
  readonly fileBytes: number;
  /** `undefined` when the driver knows no bound. */
  readonly allowedBytes: number | undefined;
  /** The store itself has shut out all writes until a person lets them in again (etcd: its NOSPACE alarm is raised). */
  readonly closed: boolean;
  /** What a person does about a store that is full, in one phrase. */
  readonly advice: string;
  /** How often the history was compacted by this process, and how often that failed; none where there is no history. */
  readonly compactions: { readonly done: number; readonly failed: number };
}

export const noCompactions: StoreUsage["compactions"] = { done: 0, failed: 0 };

/** Disposing of a driver gives up its leaderships and frees what it holds; commits under way are waited for. */
export interface StoreDriver extends AsyncDisposable {
  /** So many writes one commit may hold; 127 or more. */
  readonly maxBatchWrites: number;
  /**
   * Wins leadership named `name`, waiting for as long as somebody else holds it or the store does not answer. `value` is what
   * others may read of the holder (its address). `ttlMs` bounds how long a dead holder keeps it, where the driver can lose
   * contact with the store. @throws the signal's reason once it is aborted; OperatorError where waiting cannot help.
   */
  campaign(name: string, value: string, ttlMs: number, signal: AbortSignal): Promise<Leadership>;
  /** The head as it stands; `undefined` in a store that was never written. */
  readHead(signal: AbortSignal): Promise<Head | undefined>;
  /**
   * Every record, streamed in key order (of UTF-8 bytes), all read at the one revision at which the head was `head`. Iterate
   * the records once, to their end or out of the loop: until then, or until the signal aborts, the driver holds the snapshot.
   * Call it as leader, before the first commit of the term. @throws when the store cannot give one consistent state.
   */
  load(signal: AbortSignal): Promise<{ readonly head: Head | undefined; readonly records: AsyncIterable<StoredRecord> }>;
  /**
   * Applies every write or none, moves the head from `from` to `to`, and answers once that is durable. One commit at a time: the
   * caller waits for the answer before the next. Never throws for what `CommitResult` can say.
   * @throws InvariantError for heads that do not follow each other, a key named twice, or a leadership of another driver.
   */
  commit(batch: StoreBatch, leadership: Leadership): Promise<CommitResult>;
  /** Resolves true once the leadership was seen to hold, at the store, after this call was made; false when it is lost. @throws when the store does not answer. */
  confirm(leadership: Leadership): Promise<boolean>;
  usage(signal: AbortSignal): Promise<StoreUsage>;
}
