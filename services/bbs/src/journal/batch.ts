// One batch: the writes of all commands decided since the last flush, and who waits for them.
import { encodeRecord, storeKeyOf } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import type { Change, RecordKind, Write } from "@muster/shared/model";
import { maxKeyBytes, type StoreWrite } from "@muster/store";
import type { CommandNote } from "../events/note.js";

/** Bound of one store commit, beside the writes that its driver takes. */
export const maxBatchBytes = 1024 * 1024;
/** A single command may be this large, alone in its batch; etcd's default request limit is 1.5 MiB. */
export const maxCommandBytes = 1_400_000;

export interface EncodedWrite extends StoreWrite {
  readonly kind: RecordKind;
  readonly recordKey: string;
}

export const encodeWrite = (write: Write): EncodedWrite => ({
  kind: write.kind,
  recordKey: write.key,
  key: storeKeyOf(write.kind, write.key),
  value: write.record === undefined ? undefined : encodeRecord(write.kind, write.record as never),
});

const sizeOf = (writes: readonly StoreWrite[]): number => {
  let bytes = 0;
  for (const write of writes) bytes += write.key.length + (write.value?.byteLength ?? 0);
  return bytes;
};

/**
 * What a store cannot take is refused here, and only the one who asked is told: the store would refuse the whole commit, upon which
 * the BBS loads everything anew. @throws BbsError InvalidRequest stating the size of a command, or of one of its names.
 */
export function requireCommandSize(writes: readonly StoreWrite[]): number {
  for (const { key } of writes) {
    // Names are bounded in characters, as in Diego, and a character may take four bytes.
    const keyBytes = Buffer.byteLength(key);
    if (keyBytes > maxKeyBytes) {
      throw new BbsError(
        "InvalidRequest",
        `a name of the request takes ${keyBytes} bytes as a key; at most ${maxKeyBytes} are possible`,
        {
          key_bytes: keyBytes,
        },
      );
    }
  }
  const bytes = sizeOf(writes);
  if (bytes > maxCommandBytes) {
    throw new BbsError("InvalidRequest", `the request needs ${bytes} bytes of storage; at most ${maxCommandBytes} are possible`, {
      bytes,
    });
  }
  return bytes;
}

/** Somebody who waits for a reply. `settle` is called once: undefined releases the reply, an error replaces it. */
export type Waiter = (error: BbsError | undefined) => void;

/** Gathers until it is sealed or sent. The last write to a key counts; the changes keep their order and their steps between. */
export class Batch {
  readonly writes = new Map<string, EncodedWrite>();
  readonly changes: { readonly change: Change; readonly encoded: EncodedWrite }[] = [];
  /** What event streams are derived from once this is committed; empty while nobody follows one. */
  readonly notes: CommandNote[] = [];
  readonly waiters: Waiter[] = [];
  bytes = 0;
  sealed = false;
  readonly #maxWrites: number;

  /** `maxWrites`: what one commit of the driver may hold. */
  constructor(maxWrites: number) {
    this.#maxWrites = maxWrites;
  }

  /** Whether a command of this size may join. */
  hasRoom(writes: number, bytes: number): boolean {
    if (this.sealed) return false;
    if (this.writes.size === 0) return true;
    return this.writes.size + writes <= this.#maxWrites && this.bytes + bytes <= maxBatchBytes;
  }

  add(change: Change, encoded: EncodedWrite): void {
    this.changes.push({ change, encoded });
    const replaced = this.writes.get(encoded.key);
    this.bytes += sizeOf([encoded]) - (replaced === undefined ? 0 : sizeOf([replaced]));
    this.writes.set(encoded.key, encoded);
  }

  settle(error: BbsError | undefined): void {
    for (const waiter of this.waiters.splice(0)) waiter(error);
  }
}
