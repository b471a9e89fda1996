// Which version of the stored records a store holds, and who may serve it.
import { OperatorError } from "@muster/shared/errors";
import type { Head, StoredRecord, StoreWrite } from "@muster/store";

/** One step of the records' schema: from `from` to the version after it. */
export interface Migration {
  readonly from: number;
  /** What it does, for the log. */
  readonly about: string;
  /**
   * Pure: the writes that bring one record to the next version; none leaves it as it is. Each record is handed over once, in the order
   * of keys. A write is to the record's own key or to one that sorts before it, since what comes later would be handed over too.
   */
  readonly migrate: (record: StoredRecord) => readonly StoreWrite[];
}

export interface Schema {
  readonly version: number;
  /** One for every version below. */
  readonly migrations: readonly Migration[];
}

/** Version of the records this program writes. Moves only when an older program would do harm. */
export const schemaVersion = 1;

export const currentSchema: Schema = { version: schemaVersion, migrations: [] };

/**
 * Marks in the place of a version. They are above every version, so that also a program that does not know them refuses the store:
 * `migratingMark + n` is a store on its way from version n to the next, `restoringMark` one that a restore has not finished.
 */
export const migratingMark = 0x8000_0000;
export const restoringMark = 0xffff_ffff;

export const isMigrating = (version: number): boolean => version >= migratingMark && version !== restoringMark;

/** The version a store holds, wholly or (while it is migrated) in part. */
export const versionOf = (head: Head): number =>
  isMigrating(head.schemaVersion) ? head.schemaVersion - migratingMark : head.schemaVersion;

/** @throws OperatorError for a store that this program must not touch: of a newer Muster, or half restored. */
export function requireServable(head: Head, schema: Schema): void {
  if (head.schemaVersion === restoringMark) {
    throw new OperatorError(
      "the store holds a restore that was interrupted: it is not whole",
      "run `muster restore FILE` again; it needs no --force for that",
    );
  }
  const version = versionOf(head);
  if (version <= schema.version && (version < schema.version || !isMigrating(head.schemaVersion))) return;
  const newer = isMigrating(head.schemaVersion) ? version + 1 : version;
  throw new OperatorError(
    `the store was written by a newer Muster (records of version ${newer}, this one knows ${schema.version})`,
    "start the newer version, or restore a backup made by this one",
  );
}
