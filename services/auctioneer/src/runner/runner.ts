// The auction runner: follows what waits and every cell's state, auctions what is due, hands it over, tells what failed.
// Everything it touches comes in through its constructor, so that the simulator can run it on a fake clock with faulty calls.
import type { Clock, Entropy } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import { Mirror } from "@muster/shared/mirror";
import type { Cell, CellId, Change } from "@muster/shared/model";
import type { AuctioneerMetrics } from "../metrics.js";
import {
  type AuctionOptions,
  type AuctionPlan,
  type CellState,
  failureReasonOf,
  faultsOf,
  planAuction,
  type Work,
} from "../plan/index.js";
import { CellLink } from "./cell-link.js";
import { FailureWriter } from "./failure-writer.js";
import { Fleet, repAddressOf } from "./fleet.js";
import type { AuctioneerIO } from "./io.js";
import { type Entry, type Verdict, WaitingBook } from "./waiting-book.js";

export interface RunnerSettings {
  readonly auction: AuctionOptions;
  /** Work in one auction; more waits for the next. Bounds how long an auction keeps the process from its streams. */
  readonly maxWorkPerAuction: number;
  /**
   * Work handed to cells and not yet claimed. What is placed faster than it can be claimed would count as lost after `inFlightMs`, and be
   * placed a second time while the first is still on its way.
   */
  readonly maxInFlight: number;
  /** Between the end of an auction and the start of the next: what arrives meanwhile is auctioned together. */
  readonly auctionGapMs: number;
  readonly performDeadlineMs: number;
  readonly inFlightMs: number;
  readonly retryMs: number;
  readonly failureCallsInFlight: number;
  /** Without a word from the BBS for so long, what the mirror shows is too old to act on. */
  readonly watchSilenceMs: number;
}

export const defaultRunnerSettings: Omit<RunnerSettings, "auction"> = {
  maxWorkPerAuction: 10_000,
  maxInFlight: 20_000,
  auctionGapMs: 5,
  performDeadlineMs: 2_000,
  inFlightMs: 30_000,
  retryMs: 30_000,
  failureCallsInFlight: 64,
  watchSilenceMs: 6_000,
};

export interface RunnerOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Log;
  readonly metrics: AuctioneerMetrics;
  readonly io: AuctioneerIO;
  readonly settings: RunnerSettings;
  /** Whether the lock is held now; asked before every act. */
  readonly mayAct: () => boolean;
}

/** How often silence, expired attempts and held work are looked at. */
const sweepMs = 250;
/** A cell's state may trail its claims by this: they travel on different streams. */
const stateLagMs = 2_000;
/** After a plan with a fault, which is a bug of ours: the next may have none. */
const afterFaultMs = 1_000;
/** What Diego keeps of a placement error. */
const maxErrorLength = 1_024;
/** While a cell joins, failures of new work are not final: auctions go on at this pace. */
const joiningGapMs = 50;
/** Work that has waited longer than this fails all the same: some cell may be joining all the time. */
const joiningPatienceMs = 2_000;
/**
 * With much in flight, an auction waits until half of that is claimed, so that each cell gets its work in one request instead of in as many
 * as there are instances; it waits no longer than this, whatever some cells do with theirs.
 */
const gatherMs = 1_000;
/** An auction is followed by a pause of this many times its length: the streams want to be read, and what comes meanwhile is auctioned together. */
const pausePerAuction = 3;
const longestPauseMs = 500;
/** More placements at once are told in one line, unless the level is debug. */
const maxPlacementsLogged = 100;

const fieldsOf = (work: Work) =>
  work.kind === "lrp" ? { process_guid: work.processGuid, index: work.index } : { task_guid: work.taskGuid };

export class AuctionRunner {
  readonly mirror: Mirror;
  readonly fleet: Fleet;
  readonly book: WaitingBook;
  readonly #options: RunnerOptions;
  #writer: FailureWriter | undefined;
  #lastWordMs: number;
  #auctionedMs = Number.NEGATIVE_INFINITY;
  #roomFreed = false;
  #wake: (() => void) | undefined;
  #kicked = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
    const { clock, log, io, settings } = options;
    this.#lastWordMs = clock.elapsedMs();
    this.mirror = new Mirror({
      open: (request, signal) => this.#heard(io.watch(request, signal)),
      kinds: ["desiredLRP", "actualLRP", "task", "cell", "featureFlag"],
      clock,
      log: log.child({ component: "mirror" }),
    });
    this.book = new WaitingBook({
      view: this.mirror.tables,
      times: settings,
      clusterNowMs: () => this.mirror.nowMs(),
      onFlightEnded: ({ key }, cellId, moved) => {
        const picture = this.fleet.link(cellId)?.picture;
        if (moved) {
          picture?.endPending(key, clock.elapsedMs() + stateLagMs);
          return;
        }
        picture?.dropPending(key);
        this.#roomFreed = true;
      },
    });
    this.fleet = new Fleet({
      view: this.mirror.tables,
      open: (presence) => this.#openLink(presence),
      onGone: (cellId) => this.#lost(cellId),
      onRoom: () => this.#room(),
    });
    this.mirror.onChanges((changes, snapshot) => this.#changed(changes, snapshot));
    options.metrics.follow(this);
  }

  /** Runs until the signal aborts; then lets the calls under way end. @throws whatever breaks the house's own rules. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const failed = new AbortController();
    const until = AbortSignal.any([signal, failed.signal]);
    until.addEventListener("abort", () => this.#look(), { once: true });
    this.#writer = this.#openWriter(until);
    const following = this.mirror.run(until);
    const sweeping = this.#sweep(until);
    try {
      await this.#ready(until);
      while (!until.aborted) {
        await this.#kick();
        if (until.aborted) break;
        await clock.sleep(this.#auctionOnce(), until).catch(() => undefined);
      }
    } finally {
      failed.abort();
      await Promise.all([following, sweeping, this.fleet.close(), this.#writer.settled()]);
    }
  }

  /** Every cell as it stands for an auction now. */
  cellStates(): CellState[] {
    return this.fleet.states();
  }

  /** For how long the oldest waiting work has been seen to wait; 0: nothing waits. */
  get longestWaitMs(): number {
    const nowMs = this.#options.clock.elapsedMs();
    let longestMs = 0;
    for (const { sinceMs } of this.book.all()) longestMs = Math.max(longestMs, nowMs - sinceMs);
    return longestMs;
  }

  /** The same auction without the commit. */
  dryRun(work: readonly Work[]): AuctionPlan {
    return planAuction(this.cellStates(), work, this.#options.settings.auction);
  }

  /** Resolves when the mirror is complete and every live cell has told its state, or had the time to. */
  async #ready(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const joining = (): boolean => !this.mirror.synced || this.fleet.joiningUntilMs(clock.elapsedMs()) !== undefined;
    while (!signal.aborted && joining()) await this.#kick();
    this.#look();
  }

  /** Waits until somebody says "look again"; the sweep does so at the latest. */
  async #kick(): Promise<void> {
    if (!this.#kicked) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#kicked = false;
  }

  #look(): void {
    this.#kicked = true;
    this.#wake?.();
    this.#wake = undefined;
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    const { clock, metrics } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(sweepMs, signal).catch(() => undefined);
      const fell = this.fleet.look(clock.elapsedMs());
      if (fell > 0) metrics.cellStateFailed(fell);
      const roomFreed = this.#roomFreed;
      this.#roomFreed = false;
      this.book.sweep(clock.elapsedMs(), roomFreed);
      this.#look();
    }
  }

  /** One auction over what is due. Returns how long to wait before the next. */
  #auctionOnce(): number {
    const { clock, log, metrics, settings, mayAct } = this.#options;
    const startMs = clock.elapsedMs();
    const heardLately = startMs - this.#lastWordMs < settings.watchSilenceMs;
    if (!mayAct() || !heardLately || this.book.due === 0) return settings.auctionGapMs;
    const room = this.#roomInFlight(startMs);
    if (room === 0) return settings.auctionGapMs;
    this.#auctionedMs = startMs;
    const work = this.book.dueEntries(room).map((entry) => entry.work);
    const cells = this.cellStates();
    const plan = planAuction(cells, work, settings.auction);
    const faults = faultsOf(plan, cells, work);
    if (faults.length > 0) {
      log.error({ faults: faults.slice(0, 5) }, "auction plan has faults, not carried out");
      return afterFaultMs;
    }
    this.#place(plan, startMs);
    const joining = plan.failures.length > 0 && this.fleet.joiningUntilMs(startMs) !== undefined;
    const early = this.#fail(plan, startMs, joining);
    const durationMs = clock.elapsedMs() - startMs;
    metrics.auctioned(durationMs, work.length);
    if (this.book.due > 0) this.#look();
    return early ? joiningGapMs : Math.max(settings.auctionGapMs, Math.min(longestPauseMs, pausePerAuction * durationMs));
  }

  /** How much work the next auction may take; 0: not now. */
  #roomInFlight(nowMs: number): number {
    const { maxInFlight, maxWorkPerAuction } = this.#options.settings;
    const free = Math.max(0, maxInFlight - this.book.flights);
    const worthwhile = free >= Math.min(this.book.due, maxInFlight / 2) || nowMs - this.#auctionedMs >= gatherMs;
    return worthwhile ? Math.min(free, maxWorkPerAuction) : 0;
  }

  #place(plan: AuctionPlan, nowMs: number): void {
    const { log, metrics, entropy } = this.#options;
    if (plan.placements.length === 0) return;
    const traced = log.child({ trace_id: entropy.guid() });
    const each = plan.placements.length <= maxPlacementsLogged || log.isLevelEnabled("debug");
    const byCell = new Map<CellId, Work[]>();
    for (const { work, cellId } of plan.placements) {
      const entry = this.book.entry(work.key);
      if (entry === undefined) continue;
      this.book.placed(entry, cellId, nowMs);
      metrics.placed(work.kind, nowMs - entry.sinceMs);
      if (each) traced.info({ ...fieldsOf(work), cell_id: cellId }, "work placed");
      const there = byCell.get(cellId);
      if (there === undefined) byCell.set(cellId, [work]);
      else there.push(work);
    }
    if (!each) traced.info({ placements: plan.placements.length, cells: byCell.size }, "much work placed");
    for (const [cellId, works] of byCell) this.fleet.link(cellId)?.hand(works);
  }

  /**
   * Holds what has no place and tells the BBS. New work stays due while a cell is joining: it may be what the work waits for.
   * Says whether any does.
   */
  #fail(plan: AuctionPlan, nowMs: number, joining: boolean): boolean {
    let early = false;
    for (const { work, error, explanation } of plan.failures) {
      const entry = this.book.entry(work.key);
      if (entry === undefined) continue;
      if (joining && nowMs - entry.sinceMs < joiningPatienceMs) {
        early = true;
        continue;
      }
      const verdict: Verdict = { judgedAtMs: this.mirror.nowMs(), error: error.slice(0, maxErrorLength), explanation };
      this.#options.metrics.failed(work.kind, failureReasonOf(error));
      this.#write(entry, verdict.error, this.book.failed(entry, verdict, nowMs));
    }
    return early;
  }

  #refused(work: Work, reason: string): void {
    const entry = this.book.entry(work.key);
    if (entry?.phase !== "in-flight" || entry.work.auctionId !== work.auctionId) return;
    const { clock, metrics } = this.#options;
    const cellId = entry.cellId as CellId;
    const zone = this.fleet.link(cellId)?.presence.zone ?? "";
    const verdicts = [{ cellId, zone, filter: "refused" as const, asked: "to take the work", available: reason }];
    const error = reason.slice(0, maxErrorLength);
    const verdict: Verdict = { judgedAtMs: this.mirror.nowMs(), error, explanation: { verdicts, omitted: 0 } };
    metrics.refused(work.kind);
    this.#write(entry, error, this.book.refused(entry, verdict, clock.elapsedMs()));
  }

  #write(entry: Entry, error: string, news: boolean): void {
    if (!news) return;
    this.#options.log.info({ ...fieldsOf(entry.work), reason: error }, "work not placed");
    this.#writer?.write(entry, error);
  }

  #openWriter(signal: AbortSignal): FailureWriter {
    const { io, clock, log, settings, mayAct } = this.#options;
    return new FailureWriter({
      io,
      book: this.book,
      clock,
      log: log.child({ component: "failure-writer" }),
      callsInFlight: settings.failureCallsInFlight,
      mayAct,
      signal,
    });
  }

  #openLink(presence: Cell): CellLink {
    const { clock, log, io, metrics, settings, mayAct } = this.#options;
    const { cellId } = presence;
    return new CellLink({
      presence,
      io: io.cell(cellId, repAddressOf(presence)),
      clock,
      log: log.child({ component: "cell-link" }),
      performDeadlineMs: settings.performDeadlineMs,
      mayAct,
      stillAsked: (work) => {
        const entry = this.book.entry(work.key);
        return entry?.cellId === cellId && entry.work.auctionId === work.auctionId;
      },
      onJoined: (openedMs) => {
        metrics.cellStateFetched(openedMs);
        this.#room();
      },
      onRoom: () => this.#room(),
      onLost: () => {
        metrics.cellStateFailed(1);
        this.#lost(cellId);
      },
      onAnswer: (work, refusal) => {
        if (refusal !== undefined) this.#refused(work, refusal);
      },
      onPerformed: metrics.performed,
    });
  }

  #changed(changes: readonly Change[], snapshot: boolean): void {
    this.book.apply(changes, this.#options.clock.elapsedMs());
    this.fleet.apply(changes);
    if (this.book.due > 0 || snapshot) this.#look();
  }

  #room(): void {
    this.#roomFreed = true;
    if (this.book.due > 0) this.#look();
  }

  #lost(cellId: CellId): void {
    this.book.cellLost(cellId);
    if (this.book.due > 0) this.#look();
  }

  /** Notes every message of the watch: silence means that we no longer know what waits. */
  async *#heard<Message>(messages: AsyncIterable<Message>): AsyncGenerator<Message, void, undefined> {
    for await (const message of messages) {
      this.#lastWordMs = this.#options.clock.elapsedMs();
      yield message;
    }
  }
}
