// Putting a backup back, with no BBS on the store. The file is read twice: once to judge all of it, once to write it. From the first
// commit to the last the head says that the store is not whole, so no reader ever takes half of it for the truth.
import type { BackupHeader, BackupRecord, BackupResponse } from "@muster/proto/muster/v1/backup";
import { type BackupFacts, readBackup } from "@muster/shared/backup";
import type { Clock, Entropy } from "@muster/shared/clock";
import { decodeRecord, parseStoreKey, storeKeyOf } from "@muster/shared/codec";
import { OperatorError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import { keyOf } from "@muster/shared/model";
import type { Head, Leadership, StoreDriver, StoredRecord, StoreWrite } from "@muster/store";
import { CommitChain } from "../schema/commits.js";
import { currentSchema, restoringMark, type Schema } from "../schema/version.js";
import type { KeyRing } from "../secrets/index.js";
import { SealSurvey } from "../secrets/reseal.js";

export interface RestoreOptions {
  readonly file: string;
  /** The keys the store's BBS will have: what is sealed must open with them. */
  readonly ring: KeyRing;
  /** Opened only once the file has been judged. */
  readonly openStore: () => Promise<StoreDriver>;
  /** Replaces what the store holds. */
  readonly force: boolean;
  /** How long to wait for a leadership that may still lapse. */
  readonly waitMs: number;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Log;
  /** This program's own when absent; tests have others. */
  readonly schema?: Schema | undefined;
}

export interface Restored {
  readonly facts: BackupFacts;
  /** The store's head now: a new incarnation. */
  readonly head: Head;
  /** Records put back: all of the file's but locks. */
  readonly restored: number;
  /** Records that were there before. */
  readonly replaced: number;
}

const leadershipTtlMs = 10_000;

/**
 * All of the file or nothing that a BBS would serve.
 * @throws OperatorError for a file that is damaged, of a newer Muster or sealed under other keys; for a store that a BBS leads, that
 * does not answer, that holds records (without `force`) or takes no writes. BbsError when the leadership is lost meanwhile.
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const judged = await judge(options);
  await using store = await options.openStore();
  const leadership = await campaign(store, options);
  try {
    return await replace(store, leadership, options, judged);
  } finally {
    await leadership.resign();
  }
}

/** Every promise the file makes, before anything is touched. */
async function judge({ file, ring, schema = currentSchema }: RestoreOptions): Promise<BackupFacts> {
  const requireKeys = (labels: readonly string[]): void => {
    const missing = labels.filter((label) => !ring.knows(label));
    if (missing.length === 0) return;
    throw new OperatorError(
      `${file} has records sealed under ${missing.map((label) => JSON.stringify(label)).join(", ")}, and there is no such key here`,
      "put the keys.json of the home that was backed up into this home, then restore again; nothing was changed",
    );
  };
  const survey = new SealSurvey(ring);
  let readable = false;
  const facts = await eachMessage(file, async ({ message }) => {
    if (message?.$case === "header") {
      readable = requireVersion(file, message.value, schema);
      requireKeys(message.value.keyLabels);
    }
    if (message?.$case === "records") for (const record of message.value.records) judgeRecord(file, record, readable, survey);
  });
  survey.check();
  return facts;
}

/** Whether the records are of this program's own version; an older one's are migrated when a BBS first serves them. */
function requireVersion(file: string, { head }: BackupHeader, schema: Schema): boolean {
  const version = head?.schemaVersion ?? 0;
  if (version >= 1 && version <= schema.version) return version === schema.version;
  throw new OperatorError(
    `${file} was taken by a newer Muster (records of version ${version}, this one knows ${schema.version})`,
    "restore it with that version",
  );
}

function judgeRecord(file: string, { key, value }: BackupRecord, readable: boolean, survey: SealSurvey): void {
  const parsed = parseStoreKey(key);
  if (parsed === undefined || !readable) return;
  const record = decoded(file, key, value);
  if (storeKeyOf(parsed.kind, keyOf[parsed.kind](record as never)) !== key) throw unreadable(file, key);
  if (parsed.kind === "runInfo" || parsed.kind === "taskDefinition") {
    survey.see(parsed.kind, parsed.key, (record as { readonly sealed: Uint8Array }).sealed);
  }
}

function decoded(file: string, key: string, value: Uint8Array): unknown {
  const parsed = parseStoreKey(key);
  try {
    return parsed === undefined ? undefined : decodeRecord(parsed.kind, value);
  } catch (cause) {
    throw unreadable(file, key, cause);
  }
}

const unreadable = (file: string, key: string, cause?: unknown): OperatorError =>
  new OperatorError(`${file} holds a record that cannot be read: ${key}`, "take another backup; nothing was changed", cause);

async function campaign(store: StoreDriver, { clock, waitMs }: RestoreOptions): Promise<Leadership> {
  const late = new AbortController();
  const cancel = clock.after(waitMs, () => {
    late.abort(
      new OperatorError(
        `a BBS leads this store, or the store did not answer within ${waitMs / 1000} s`,
        "stop every BBS that uses it, then restore again; nothing was changed",
      ),
    );
  });
  try {
    return await store.campaign("bbs", "a restore", leadershipTtlMs, late.signal);
  } finally {
    cancel();
  }
}

async function replace(
  store: StoreDriver,
  leadership: Leadership,
  options: RestoreOptions,
  judged: BackupFacts,
): Promise<Restored> {
  const { clock, entropy, log, file } = options;
  const found = await store.readHead(leadership.lost);
  const backedUp = judged.header.head;
  const present = await countRecords(store, leadership);
  if (present > 0 && found?.schemaVersion !== restoringMark && !options.force) {
    throw new OperatorError(`the store holds ${present} records already`, "say --force to replace them all; nothing was changed");
  }
  const chain = new CommitChain({ store, leadership, clock, entropy }, found ?? unborn);
  log.info({ records: judged.records, replaced: present }, "restoring");
  // T1: cluster time never goes back. T2: whoever followed the store starts anew with another incarnation.
  await chain.commit([], {
    incarnation: entropy.guid(),
    leaderEpoch: chain.head.leaderEpoch + 1n,
    clusterTimeMs: Math.max(chain.head.clusterTimeMs, Number(backedUp?.clusterTimeMs ?? 0n), clock.nowMs()),
    schemaVersion: restoringMark,
  });
  const { records } = await store.load(leadership.lost);
  for await (const { key } of records) await add(chain, { key, value: undefined });
  if (!chain.empty) await chain.commit();
  let restored = 0;
  const written = await eachMessage(file, async ({ message }) => {
    for (const record of message?.$case === "records" ? message.value.records : []) {
      if (isLock(record)) continue;
      await add(chain, record);
      restored += 1;
    }
  });
  if (written.sha256 !== judged.sha256) throw new OperatorError(`${file} changed while it was read`, "restore again");
  await chain.commit([], { schemaVersion: backedUp?.schemaVersion ?? currentSchema.version });
  return { facts: judged, head: chain.head, restored, replaced: present };
}

/**
 * A lock tells who held it when the backup was taken: nothing rests on it, and put back it would keep everybody else out until it
 * lapsed. A presence is put back, since rows rest on it: it lives until its cell had time to renew it.
 */
const isLock = ({ key }: BackupRecord): boolean => parseStoreKey(key)?.kind === "lock";

/** The head of a store that was never written. */
const unborn: Head = { incarnation: "", sequence: 0n, leaderEpoch: 0n, batchId: "", clusterTimeMs: 0, schemaVersion: 0 };

async function add(chain: CommitChain, write: StoreWrite): Promise<void> {
  if (!chain.empty && !chain.fits([write])) await chain.commit();
  chain.gather([write]);
}

async function countRecords(store: StoreDriver, { lost }: Leadership): Promise<number> {
  const { records } = await store.load(lost);
  let count = 0;
  for await (const _record of records as AsyncIterable<StoredRecord>) count += 1;
  return count;
}

/** Hands every message to `take`; resolves with what the file proved to be. */
async function eachMessage(file: string, take: (message: BackupResponse) => Promise<void>): Promise<BackupFacts> {
  const messages = readBackup(file);
  try {
    for (;;) {
      const next = await messages.next();
      if (next.done === true) return next.value;
      await take(next.value);
    }
  } finally {
    await messages.return(undefined as never);
  }
}
