// A backup while serving: every record at the end of one commit, picked in one tick (records are immutable) and encoded in slices.
import type { BackupHeader, BackupResponse } from "@muster/proto/muster/v1/backup";
import { BackupDigest, byKey } from "@muster/shared/backup";
import type { Clock } from "@muster/shared/clock";
import { encodeRecord, recordCodecs, storeKeyOf, toBuffer } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { keyOf, type RecordKind, type RecordOf } from "@muster/shared/model";
import type { CoreState } from "../core/decision.js";
import type { Journal } from "../journal/journal.js";
import type { KeyRing } from "../secrets/index.js";
import { sortInSlices } from "./sort.js";

export interface BackupSource {
  readonly journal: Pick<Journal, "head" | "nowMs" | "readSealed">;
  readonly clock: Clock;
  readonly secrets: Partial<Pick<KeyRing, "labelOf">>;
  /** The backup under way in this BBS, if any. */
  readonly backups: BackupSlot;
}

/** One at a time. Another may begin when the one under way has not been read from for a while. */
export class BackupSlot {
  holder: { lastReadMs: number } | undefined;
}

const stalledMs = 10_000;
const chunkBytes = 512 * 1024;
const maxChunkRecords = 250;
/** Records looked at in one go. */
const sliceRecords = 1_000;

const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Picked {
  readonly key: string;
  readonly kind: RecordKind;
  readonly record: RecordOf[RecordKind];
}

/** @throws BbsError ResourceExhausted while another backup is taken, Unavailable when this one was given up for another. */
export async function* backup(source: BackupSource): AsyncGenerator<BackupResponse, void, undefined> {
  const { backups, clock, journal } = source;
  const now = (): number => clock.elapsedMs();
  if (backups.holder !== undefined && now() - backups.holder.lastReadMs < stalledMs)
    throw new BbsError("ResourceExhausted", "a backup is being taken; try again when it is done");
  const slot = { lastReadMs: now() };
  backups.holder = slot;
  const requireSlot = (): void => {
    slot.lastReadMs = now();
    if (backups.holder !== slot) throw new BbsError("Unavailable", "the backup was given up: nobody read it for a while");
  };
  try {
    const { head } = journal;
    const takenAtMs = journal.nowMs();
    const { reply, sequence } = await journal.readSealed(recordsOf);
    const picked = await inKeyOrder(reply);
    const header: BackupHeader = {
      head: { ...head, sequence, batchId: "", clusterTimeMs: BigInt(Math.round(takenAtMs)) },
      keyLabels: await labelsOf(picked, source.secrets),
    };
    yield { message: { $case: "header", value: header } };
    const digest = new BackupDigest();
    for (const records of chunks(picked)) {
      requireSlot();
      for (const record of records) digest.add(record);
      yield { message: { $case: "records", value: { records } } };
      await pause();
    }
    requireSlot();
    yield { message: { $case: "end", value: { records: digest.records, sha256: digest.digest() } } };
  } finally {
    if (backups.holder === slot) backups.holder = undefined;
  }
}

type Tables = { readonly [Kind in RecordKind]: readonly RecordOf[Kind][] };

/** References to all records, nothing more: this is one tick. */
const recordsOf = ({ tables }: CoreState): Tables => {
  const kinds = Object.keys(recordCodecs) as RecordKind[];
  return Object.fromEntries(kinds.map((kind) => [kind, [...tables.all(kind).values()]])) as unknown as Tables;
};

async function inKeyOrder(tables: Tables): Promise<readonly Picked[]> {
  const picked: Picked[] = [];
  for (const [kind, records] of Object.entries(tables) as [RecordKind, readonly RecordOf[RecordKind][]][]) {
    for (const [at, record] of records.entries()) {
      if (at % sliceRecords === sliceRecords - 1) await pause();
      picked.push({ key: storeKeyOf(kind, keyOf[kind](record as never)), kind, record });
    }
  }
  return sortInSlices(picked, (a, b) => byKey(a.key, b.key), pause);
}

/** What a restore needs the keys of. */
async function labelsOf(picked: readonly Picked[], { labelOf }: BackupSource["secrets"]): Promise<string[]> {
  const labels = new Set<string>();
  for (const [at, { record }] of picked.entries()) {
    if (at % sliceRecords === sliceRecords - 1) await pause();
    if (labelOf === undefined || !("sealed" in record)) continue;
    try {
      labels.add(labelOf(record.sealed));
    } catch {
      // Damaged beyond reading; it is copied as it is.
    }
  }
  return [...labels].sort();
}

function* chunks(picked: readonly Picked[]): Iterable<{ key: string; value: Buffer }[]> {
  let chunk: { key: string; value: Buffer }[] = [];
  let bytes = 0;
  for (const { key, kind, record } of picked) {
    const value = toBuffer(encodeRecord(kind, record as never));
    if (chunk.length > 0 && (chunk.length >= maxChunkRecords || bytes + value.byteLength > chunkBytes)) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push({ key, value });
    bytes += key.length + value.byteLength;
  }
  if (chunk.length > 0) yield chunk;
}
