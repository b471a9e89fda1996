// The active BBS: everything that lives for one term of leadership, built from the loaded records. No gRPC, no files: the simulator
// runs this very class.
import type { Clock, Entropy } from "@muster/shared/clock";
import { decodeRecord, parseStoreKey } from "@muster/shared/codec";
import { BbsError, OperatorError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import {
  asCellId,
  asEpochMs,
  type CellId,
  type Change,
  type put,
  type RecordKind,
  type RecordOf,
  Tables,
} from "@muster/shared/model";
import type { Head, Leadership, StoreDriver, StoredRecord } from "@muster/store";
import { BackupSlot } from "../backup/backup.js";
import { type CallbackSettings, CallbackWorkers } from "../callbacks/workers.js";
import { losePresence } from "../core/cells.js";
import type { CoreState, DecisionContext } from "../core/decision.js";
import { workOff } from "../core/desired-lrp.js";
import { releaseLock } from "../core/small-commands.js";
import { EventHubs } from "../events/hub.js";
import { Feed } from "../feed/feed.js";
import { listBounds, Slots, snapshotBounds } from "../feed/slots.js";
import type { WatchSource } from "../feed/watch.js";
import { History } from "../history/history.js";
import { Journal } from "../journal/journal.js";
import type { JournalMetrics, JournalOptions } from "../journal/options.js";
import { migrateStore } from "../schema/migrate.js";
import { currentSchema, type Schema } from "../schema/version.js";
import type { KeyRing } from "../secrets/index.js";
import { isSealed, resealAll, SealSurvey } from "../secrets/reseal.js";
import { Leases, sweepMs } from "../session/leases.js";
import { inventoryDueMs, ReportSession, type SessionEnd, type SessionHost } from "../session/report-session.js";
import { Room } from "../session/room.js";
import { RunInformation } from "../session/run-information.js";

/**
 * So many reported items are in the journal at once, over all cells: some eight commits, enough to keep the store busy, while
 * deciding them stays within a tick of 20 ms and leaves the journal's queue to other callers.
 */
const reportRoom = 1_000;

export interface ActiveOptions {
  readonly store: StoreDriver;
  readonly leadership: Leadership;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Log;
  /** With the keys' labels the stored records are looked at for them, and sealed anew where another key than the active one did. */
  readonly secrets: Pick<DecisionContext, "open" | "seal"> & Partial<KeyRing>;
  /** This program's own when absent; tests have others. */
  readonly schema?: Schema | undefined;
  /** What is done to the records at the start, told as it happens. */
  readonly lifecycle?: Lifecycle | undefined;
  readonly metrics: JournalMetrics;
  readonly whenSent?: ((run: () => void) => void) | undefined;
  /** TTL that presences and locks usually have; the grace after an election follows from it. */
  readonly presenceTtlMs: number;
  /** So many rejections of a task are forgiven; Diego's default when absent. */
  readonly maxTaskRetries?: number | undefined;
  /** Refuses commands that the store has no room for (housekeeping). */
  readonly admit?: JournalOptions["admit"];
  /** How tasks' completion callbacks are made; none are when absent. */
  readonly callbacks?: CallbackSettings | undefined;
  /** The term is over: stop serving at once, exit non-zero. */
  readonly onLost: (cause: BbsError) => void;
}

export interface Lifecycle {
  /** The records are older than this program: nothing is served until `migrated`. */
  migrating(): void;
  migrated(durationMs: number): void;
  /** Everything is sealed under the active key; called only when there was something to do. */
  sealedAnew(durationMs: number): void;
}

export class ActiveBbs implements SessionHost, WatchSource {
  readonly log: Log;
  readonly clock: Clock;
  readonly state: CoreState;
  readonly journal: Journal;
  readonly feed: Feed;
  /** Diego's event streams. */
  readonly events: EventHubs;
  /** What happened lately, for people. */
  readonly history: History;
  readonly leases: Leases;
  readonly callbacks: CallbackWorkers | undefined;
  readonly snapshots = new Slots(snapshotBounds);
  /** Lists under way that are longer than one message. */
  readonly lists = new Slots(listBounds);
  readonly backups = new BackupSlot();
  readonly room = new Room(reportRoom);
  readonly runInformation: RunInformation;
  readonly graceMs: number;
  readonly #options: ActiveOptions;
  readonly #sessions = new Map<CellId, ReportSession>();
  readonly #stop = new AbortController();
  /** One for each session of the last minute. */
  readonly #inventoryTimers = new Set<() => void>();
  #workingOff = false;
  #draining = false;

  private constructor(options: ActiveOptions, tables: Tables, head: Head) {
    this.#options = options;
    this.log = options.log;
    this.clock = options.clock;
    this.graceMs = Math.max(3 * options.presenceTtlMs, 15_000);
    const startMs = Math.max(head.clusterTimeMs, options.clock.nowMs());
    this.state = { tables, graceUntilMs: asEpochMs(startMs + this.graceMs), leaderSinceMs: asEpochMs(startMs) };
    this.feed = new Feed(head.sequence, head.sequence - 1n, options.clock);
    this.events = new EventHubs({ open: (sealed) => options.secrets.open(sealed), log: options.log, clock: options.clock });
    this.history = new History(this.state.leaderSinceMs);
    this.leases = new Leases(options.clock);
    this.runInformation = new RunInformation((sealed) => options.secrets.open(sealed));
    this.journal = new Journal({
      store: options.store,
      leadership: options.leadership,
      head,
      state: this.state,
      clock: options.clock,
      entropy: options.entropy,
      log: options.log,
      secrets: options.secrets,
      metrics: options.metrics,
      whenSent: options.whenSent,
      admit: options.admit,
      note: (changes, hints) => {
        if (hints.crashed) this.history.noteCrash(changes);
        return this.events.note(this.state.tables, changes, hints);
      },
      onCommitted: (batch) => {
        for (const { change } of batch.changes) this.#requireLease(change);
        this.feed.publish(batch);
        this.events.publish(batch.notes);
        this.history.committed(batch.changes, batch.head);
        this.callbacks?.committed(batch.changes);
        if (this.state.tables.continuations.size > 0) void this.#workOff();
      },
      onFenced: (cause) => this.#lost(cause),
      onRefused: (cause) => void this.#reload(cause),
    });
    const { journal, clock, log } = this;
    this.callbacks = options.callbacks && new CallbackWorkers({ ...options.callbacks, journal, clock, log });
  }

  /**
   * Brings the records to this program's version, loads them, takes the head into this term, and begins.
   * @throws OperatorError for a store of a newer version or half restored, and for records that no key opens.
   */
  static async start(options: ActiveOptions): Promise<ActiveBbs> {
    const { store, leadership, clock, entropy, log, lifecycle, schema = currentSchema } = options;
    const onMigrating = lifecycle === undefined ? undefined : () => lifecycle.migrating();
    const migratedInMs = await migrateStore({ store, leadership, clock, entropy, log, schema, onMigrating });
    if (migratedInMs !== undefined) lifecycle?.migrated(migratedInMs);
    const loaded = await store.load(leadership.lost);
    const tables = new Tables();
    const ring = keyRingOf(options.secrets);
    const survey = ring === undefined ? undefined : new SealSurvey(ring);
    await fill(tables, loaded.records, survey);
    survey?.check();
    const head = await takeTerm(options, loaded.head, schema.version);
    const active = new ActiveBbs(options, tables, head);
    active.#inherit();
    void active.#sweep();
    if (tables.continuations.size > 0) void active.#workOff();
    for (const task of tables.tasks.values()) active.callbacks?.offer(task);
    if (ring !== undefined && survey !== undefined && survey.stale.length > 0) void active.#reseal(ring, survey);
    options.log.info(
      { revision: head.sequence.toString(), leader_epoch: head.leaderEpoch.toString(), lrps: tables.actualLRPs.size },
      "serving as the active bbs",
    );
    return active;
  }

  /** Nothing that lived under the last leader expires before it had time to renew here. */
  #inherit(): void {
    const { tables } = this.state;
    for (const cell of tables.cells.values()) {
      if (cell.lostAtMs !== undefined) continue;
      this.leases.renew({ kind: "presence", key: cell.cellId, owner: cell.owner, ttlMs: cell.ttlMs }, this.graceMs);
    }
    for (const lock of tables.locks.values()) this.leases.renew({ kind: "lock", ...lock }, this.graceMs);
  }

  /**
   * A lock or live presence that is stored lives by a lease also when whoever took it never heard of it: the outcome was unknown to
   * him, or his stream had gone. Without one it would outlive its dead owner until the next election.
   */
  #requireLease(change: Change): void {
    const { tables } = this.state;
    if (change.kind === "lock") {
      const lock = tables.locks.get(change.key);
      if (lock !== undefined && !this.leases.holds("lock", lock.key, lock.owner)) this.leases.renew({ kind: "lock", ...lock });
    } else if (change.kind === "cell") {
      const cell = tables.cell(asCellId(change.key));
      if (cell === undefined || cell.lostAtMs !== undefined || this.leases.holds("presence", cell.cellId, cell.owner)) return;
      this.leases.renew({ kind: "presence", key: cell.cellId, owner: cell.owner, ttlMs: cell.ttlMs });
    }
  }

  async #sweep(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.clock.sleep(sweepMs, this.#stop.signal).catch(() => undefined);
      if (this.#stop.signal.aborted) return;
      for (const lease of this.leases.sweep()) this.#expire(lease);
    }
  }

  #expire(lease: {
    readonly kind: "lock" | "presence";
    readonly key: string;
    readonly owner: string;
    readonly ttlMs: number;
  }): void {
    this.log.info({ key: lease.key, kind: lease.kind }, "lease expired");
    this.#options.metrics.expired?.(lease.kind);
    const cellId = asCellId(lease.key);
    const command = lease.kind === "lock" ? releaseLock(lease.key, lease.owner) : losePresence(cellId, lease.owner);
    // C4: a live presence always belongs to a session; one that expires closes its session.
    const session = this.#sessions.get(cellId);
    if (lease.kind === "presence" && session?.owner === lease.owner)
      session.cut("presence expired", new BbsError("Unavailable", "the presence expired"));
    this.journal.submit(command).catch((err: unknown) => {
      // Not written: look again at the next sweep.
      this.leases.restore(lease);
      this.log.debug({ err, key: lease.key }, "expiry not written yet");
    });
  }

  adopt(cellId: CellId, session: ReportSession): void {
    const older = this.#sessions.get(cellId);
    this.#sessions.set(cellId, session);
    if (older !== undefined && older !== session) older.cut("a newer session of the same cell");
    const cancel = this.clock.after(inventoryDueMs, () => {
      this.#inventoryTimers.delete(cancel);
      if (this.#sessions.get(cellId) !== session || session.inventoryDone) return;
      this.leases.drop("presence", cellId, session.owner);
      this.#expire({ kind: "presence", key: cellId, owner: session.owner, ttlMs: 0 });
    });
    this.#inventoryTimers.add(cancel);
  }

  /** Opens a session for one stream; `end` is called once when it is over. */
  openSession(
    certifiedCell: CellId | undefined,
    send: ConstructorParameters<typeof ReportSession>[2],
    end: (end: SessionEnd) => void,
  ): ReportSession {
    const session: ReportSession = new ReportSession(this, certifiedCell, send, (over) => {
      if (session.cellId !== undefined && this.#sessions.get(session.cellId) === session) this.#sessions.delete(session.cellId);
      end(over);
    });
    return session;
  }

  get maxTaskRetries(): number {
    return this.#options.maxTaskRetries ?? defaultMaxTaskRetries;
  }

  get secrets(): ActiveOptions["secrets"] {
    return this.#options.secrets;
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  /** S4: works continuations off, one command of at most 100 records at a time, until none is left. */
  async #workOff(): Promise<void> {
    if (this.#workingOff) return;
    this.#workingOff = true;
    try {
      for (
        let next = this.#firstContinuation();
        next !== undefined && !this.#stop.signal.aborted;
        next = this.#firstContinuation()
      ) {
        await this.journal.submit(workOff(next));
      }
    } catch (err) {
      this.log.warn({ err }, "continuation interrupted; goes on with the next commit");
    } finally {
      this.#workingOff = false;
    }
  }

  /** Interrupted by the end of the term, the next start finds what is left. */
  async #reseal(ring: KeyRing, survey: SealSurvey): Promise<void> {
    const { journal, clock, log } = this;
    try {
      const doneInMs = await resealAll({ journal, ring, clock, log, signal: this.#stop.signal }, survey.stale);
      if (doneInMs !== undefined) this.#options.lifecycle?.sealedAnew(doneInMs);
    } catch (err) {
      log.error({ err }, "sealing stored records anew failed; old encryption keys are still needed");
    }
  }

  #firstContinuation() {
    for (const record of this.state.tables.continuations.values()) return record;
    return undefined;
  }

  /**
   * The store refused a write for good (quota, disk full): what was decided since is not stored, so the tables are loaded anew.
   * Reads are served with the cause in health; commands wait for a probe write that succeeds. Cells and watchers come back by
   * themselves, with their inventory and their token.
   */
  async #reload(cause: BbsError): Promise<void> {
    this.log.error({ err: cause }, "store refuses writes, reading only");
    for (const session of [...this.#sessions.values()]) session.cut("the store takes no writes", cause);
    this.feed.close();
    try {
      const loaded = await this.#options.store.load(this.#options.leadership.lost);
      this.state.tables.clear();
      await fill(this.state.tables, loaded.records);
    } catch (error) {
      this.#lost(new BbsError("Unavailable", "the records could not be loaded anew", {}, error));
      return;
    }
    this.journal.resumeReading();
    while (!this.#stop.signal.aborted) {
      await this.clock.sleep(probeMs, this.#stop.signal).catch(() => undefined);
      if (await this.journal.probe()) {
        this.log.info("store takes writes again");
        return;
      }
    }
  }

  #lost(cause: BbsError): void {
    this.close(cause);
    this.#options.onLost(cause);
  }

  /** Ends the term: sessions and watches are cut, whoever waits gets `cause`. */
  close(cause: BbsError): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(cause);
    for (const cancel of this.#inventoryTimers) cancel();
    this.journal.close(cause);
    this.feed.close();
    this.events.close();
    this.callbacks?.close();
    for (const session of [...this.#sessions.values()]) session.cut("the bbs stops serving", cause);
  }

  /** Whether it takes writes: `grpc.health.v1.Health` says so. */
  get serving(): boolean {
    return !this.#stop.signal.aborted && !this.#draining && !this.journal.stalled && this.journal.readOnlyBecause === undefined;
  }

  /** An orderly end: nothing more is admitted, what was is committed and answered. */
  async drain(): Promise<void> {
    const cause = new BbsError("Unavailable", "this BBS is stopping");
    this.#draining = true;
    this.journal.stopAdmitting(cause);
    await this.journal.drained();
    this.close(cause);
  }
}

/** Source: convergence.md 0.1. */
export const defaultMaxTaskRetries = 3;

/** Between probe writes to a store that refused one. */
const probeMs = 1_000;

const keyRingOf = (secrets: ActiveOptions["secrets"]): KeyRing | undefined => {
  const { labelOf, knows, activeLabel, open, seal } = secrets;
  return labelOf === undefined || knows === undefined || activeLabel === undefined
    ? undefined
    : { labelOf, knows, activeLabel, open, seal };
};

/**
 * One record that nobody can read must not be passed over: its instances would count as surplus, or its cell as free.
 * @throws OperatorError naming it.
 */
function decoded(key: string, kind: RecordKind, value: Uint8Array): RecordOf[RecordKind] {
  try {
    return decodeRecord(kind, value);
  } catch (cause) {
    throw new OperatorError(
      `the stored record ${key} cannot be read (${cause instanceof Error ? cause.message : String(cause)}); nothing is served from a damaged store`,
      "restore the latest backup (muster restore FILE --force); what runs goes on running meanwhile",
    );
  }
}

async function fill(tables: Tables, records: AsyncIterable<StoredRecord>, survey?: SealSurvey): Promise<void> {
  for await (const { key, value } of records) {
    const parsed = parseStoreKey(key);
    if (parsed === undefined) continue;
    const change = tables.apply({ ...parsed, record: decoded(key, parsed.kind, value) } as ReturnType<typeof put>);
    if (isSealed(change) && change.after !== undefined) survey?.see(change.kind, change.key, change.after.sealed);
  }
}

/** The term's first commit: raises the epoch and fences off every earlier leader. */
async function takeTerm(options: ActiveOptions, found: Head | undefined, schemaVersion: number): Promise<Head> {
  const { store, leadership, entropy, clock } = options;
  const from: Head = found ?? {
    incarnation: entropy.guid(),
    sequence: 0n,
    leaderEpoch: 0n,
    batchId: "",
    clusterTimeMs: 0,
    schemaVersion,
  };
  const to: Head = {
    ...from,
    sequence: from.sequence + 1n,
    leaderEpoch: from.leaderEpoch + 1n,
    batchId: entropy.guid(),
    clusterTimeMs: Math.max(from.clusterTimeMs, clock.nowMs()),
    schemaVersion,
  };
  for (;;) {
    const result = await store.commit({ writes: [], from, to }, leadership);
    if (result.ok) return to;
    if (result.why !== "unknown")
      throw new BbsError(
        "Unavailable",
        "the term could not begin",
        { why: result.why },
        "cause" in result ? result.cause : undefined,
      );
    await clock.sleep(100, leadership.lost);
  }
}
