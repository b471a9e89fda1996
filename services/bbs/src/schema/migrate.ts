// Bringing the stored records to this program's version before they are served: a bounded batch at a time, with a durable mark of how
// far it came, so that it may be interrupted at any commit and goes on there.
import { invariant } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { StoredRecord, StoreWrite } from "@muster/store";
import { CommitChain, type CommitTools } from "./commits.js";
import { isMigrating, type Migration, migratingMark, requireServable, type Schema, versionOf } from "./version.js";

export interface MigrateOptions extends CommitTools {
  readonly log: Log;
  readonly schema: Schema;
  /** Called once, before the first commit, when there is something to do. */
  readonly onMigrating?: (() => void) | undefined;
}

/** Sorts before every record; holds the last key that was migrated. No kind of record, so nobody else reads it. */
const markKey = "!migrated";

/**
 * Call it as leader, before the records are loaded. Resolves with the milliseconds it took, or `undefined` when nothing was to do.
 * @throws OperatorError for a store that this program must not touch, or that takes no writes; BbsError when the leadership is lost.
 */
export async function migrateStore(options: MigrateOptions): Promise<number | undefined> {
  const { store, leadership, schema, clock, log } = options;
  const head = await store.readHead(leadership.lost);
  if (head === undefined) return undefined;
  requireServable(head, schema);
  if (head.schemaVersion === schema.version) return undefined;
  const startedMs = clock.elapsedMs();
  options.onMigrating?.();
  const chain = new CommitChain(options, head);
  for (let version = versionOf(head); version < schema.version; version += 1) {
    const migration = schema.migrations.find(({ from }) => from === version);
    invariant(migration !== undefined, `there is no migration from version ${version}`);
    log.info({ step: migration.about, resumed: isMigrating(chain.head.schemaVersion) }, "migrating the stored records");
    await migrateOnce(options, chain, migration);
  }
  const durationMs = clock.elapsedMs() - startedMs;
  log.info({ duration_ms: Math.round(durationMs), version: schema.version }, "the stored records are migrated");
  return durationMs;
}

/** From one version to the next; the last commit raises the version. */
async function migrateOnce(options: MigrateOptions, chain: CommitChain, migration: Migration): Promise<void> {
  // From here on older programs keep off, also if we go no further.
  if (!isMigrating(chain.head.schemaVersion)) await chain.commit([], { schemaVersion: migratingMark + migration.from });
  const { records } = await options.store.load(options.leadership.lost);
  let marked = false;
  let done: Buffer | undefined;
  let last = "";
  for await (const record of records) {
    if (record.key === markKey) {
      marked = true;
      done = Buffer.from(record.value);
      continue;
    }
    const key = Buffer.from(record.key);
    if (done !== undefined && Buffer.compare(key, done) <= 0) continue;
    const writes = migrated(migration, record, key);
    if (!chain.fits(writes, 1) && !chain.empty) {
      await chain.commit([{ key: markKey, value: Buffer.from(last) }]);
      marked = true;
    }
    chain.gather(writes);
    last = record.key;
  }
  await chain.commit(marked ? [{ key: markKey, value: undefined }] : [], { schemaVersion: migration.from + 1 });
}

function migrated(migration: Migration, record: StoredRecord, key: Buffer): readonly StoreWrite[] {
  const writes = migration.migrate(record);
  for (const write of writes) {
    invariant(Buffer.compare(Buffer.from(write.key), key) <= 0, "a migration wrote ahead of the record it was given");
  }
  return writes;
}
