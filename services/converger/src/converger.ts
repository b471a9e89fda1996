// The converger's loop: follow the BBS, find what must be repaired, ask for it. It decides nothing that the BBS does not judge
// again, so it may be late, doubled or mistaken without harm (design.md section 5).
import { type RepairItem, RepairOutcome, type RepairResult } from "@muster/proto/muster/v1/repair";
import type { WatchRequest, WatchResponse } from "@muster/proto/muster/v1/watch";
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import { Mirror } from "@muster/shared/mirror";
import { asEpochMs, type Change, type EpochMs } from "@muster/shared/model";
import {
  type CellTime,
  compareRepairs,
  type Findings,
  OpenKeys,
  planConvergence,
  type Repair,
  type RuleName,
  rememberMassLoss,
  ruleHolds,
} from "@muster/shared/rules";
import { Bell } from "./bell.js";
import type { ConvergerMetrics } from "./metrics.js";
import { differenceOf } from "./plan/difference.js";
import { DueQueue, repairKey } from "./plan/due-queue.js";
import { type Notes, noNotes, note, widen } from "./plan/touched.js";
import { Unplaced } from "./plan/unplaced.js";
import { repairToWire } from "./wire.js";

export interface ConvergerIO {
  /** WatchService.Watch; ends or throws when it breaks. */
  readonly openWatch: (request: WatchRequest, signal: AbortSignal) => AsyncIterable<WatchResponse>;
  /** RepairService.Repair: at most 1,000 items; one result for each, in their order. */
  readonly repair: (items: readonly RepairItem[], signal: AbortSignal) => Promise<readonly RepairResult[]>;
}

export interface ConvergerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: ConvergerMetrics;
  readonly io: ConvergerIO;
  readonly config: { readonly convergeIntervalMs: number };
}

/** What one Repair call takes. */
const maxBatch = 1_000;
/** After a call without an answer: the next change, or this long. */
const retryMs = 200;

/** So many cycles plan over the open keys before one looks at every record: 5 minutes at the default interval. */
const cyclesPerLook = 10;
/** Of a difference between the two, so many repairs are named in the log. */
const namedInLog = 10;

/** Diego counts as kicked the tasks that a pass failed or called back, and as pruned those it deleted (convergence.md 8.1). */
const kicks: ReadonlySet<RuleName> = new Set(["task-expired", "task-disabled", "task-cell-lost", "task-callback"]);

const noBatch: readonly Repair[] = [];

export class Converger {
  readonly #options: ConvergerOptions;
  readonly #mirror: Mirror;
  readonly #bell = new Bell();
  /** Repairs found and not yet asked for, by key; bounded by the number of rules times keys. */
  readonly #found = new Map<string, Repair>();
  readonly #due = new DueQueue();
  readonly #open: OpenKeys;
  readonly #unplaced = new Unplaced();
  #notes: Notes = noNotes();
  /** Cycles until one looks at every record; a snapshot sets it to 0. */
  #cyclesToLook = 0;
  /** On the elapsed scale; a snapshot sets it to now. */
  #nextCycleMs = 0;
  #retryAtMs: number | undefined;
  /** Calls without an answer since the last one with. */
  #failures = 0;

  constructor(options: ConvergerOptions) {
    this.#options = options;
    const { io, clock, log } = options;
    this.#mirror = new Mirror({
      open: io.openWatch,
      kinds: ["desiredLRP", "actualLRP", "task", "domain", "cell", "featureFlag"],
      clock,
      log,
    });
    this.#open = new OpenKeys(this.#mirror.tables);
    this.#mirror.onChanges((changes, snapshot) => this.#noteAll(changes, snapshot));
  }

  /** Whether the BBS's records are mirrored. */
  get synced(): boolean {
    return this.#mirror.synced;
  }

  /** Works until the signal aborts, then ends; what was not asked for is found again by the next converger. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const following = this.#mirror.run(signal);
    while (!signal.aborted) {
      if (this.#mirror.synced) await this.#round(signal);
      await this.#rest(signal);
    }
    await following;
  }

  #noteAll(changes: readonly Change[], snapshot: boolean): void {
    for (const change of changes) this.#unplaced.note(change);
    if (snapshot) {
      // Everything may have changed: the cycle at once makes notes superfluous.
      this.#options.metrics.synced.set(1);
      this.#notes = noNotes();
      this.#open.rebuild();
      this.#cyclesToLook = 0;
      this.#nextCycleMs = this.#options.clock.elapsedMs();
    } else {
      const nowMs = this.#mirror.nowMs();
      for (const change of changes) note(this.#notes, change, nowMs);
    }
    this.#retryAtMs = undefined;
    this.#bell.ring();
  }

  /** One look at what there is to do, and one call after the other until nothing is left or a call fails. */
  async #round(signal: AbortSignal): Promise<void> {
    const { clock, metrics } = this.#options;
    const startedMs = clock.elapsedMs();
    const full = startedMs >= this.#nextCycleMs;
    if (full) this.#planEverything();
    // The cycle is counted from its end, and may be asked for anew (a snapshot) while its repairs are under way.
    if (full) this.#nextCycleMs = Number.POSITIVE_INFINITY;
    for (;;) {
      this.#planNotes();
      this.#planDue();
      const batch = this.#nextBatch();
      if (batch.length === 0 || !(await this.#ask(batch, signal))) break;
      if (signal.aborted || this.#nextCycleMs <= clock.elapsedMs()) break;
    }
    if (!full) return;
    this.#nextCycleMs = Math.min(this.#nextCycleMs, clock.elapsedMs() + this.#options.config.convergeIntervalMs);
    metrics.runs.inc();
    metrics.duration.observe((clock.elapsedMs() - startedMs) / 1_000);
  }

  get #time(): CellTime {
    // The leader's start, and its grace after it, are the BBS's to know: it answers "not due" with the time left.
    return rememberMassLoss(this.#mirror.tables, {
      nowMs: this.#mirror.nowMs(),
      graceUntilMs: asEpochMs(0),
      leaderSinceMs: asEpochMs(0),
    });
  }

  #planEverything(): void {
    const { metrics, log } = this.#options;
    const { touched } = this.#notes;
    this.#notes = noNotes();
    this.#due.clear();
    this.#found.clear();
    const time = this.#time;
    const kept = this.#timed("open", () => {
      this.#open.refresh(touched);
      return this.#open.plan(time);
    });
    const findings = this.#cyclesToLook === 0 ? this.#lookAtAll(kept, time) : kept;
    this.#cyclesToLook = (this.#cyclesToLook + cyclesPerLook - 1) % cyclesPerLook;
    this.#take(findings);
    const count = (rule: RuleName): number => findings.repairs.filter((repair) => repair.rule === rule).length;
    metrics.missing.set(count("missing"));
    metrics.extra.set(count("surplus"));
    metrics.oldestUnplaced.set(this.#unplaced.oldestMs(this.#mirror.tables, time.nowMs) / 1_000);
    log.debug({ repairs: findings.repairs.length, waiting: findings.due.length }, "cycle planned");
  }

  /** Plans over every record. That the open keys gave another plan is our own mistake: it is told, and this plan counts. */
  #lookAtAll(kept: Findings, time: CellTime): Findings {
    const { metrics, log } = this.#options;
    const whole = this.#timed("all", () => planConvergence(this.#mirror.tables, time));
    const difference = differenceOf(kept, whole);
    if (difference !== undefined) {
      const told = (repairs: readonly Repair[]) => repairs.slice(0, namedInLog).map(fieldsOf);
      const { overlooked, imagined } = difference;
      log.error({ overlooked: told(overlooked), imagined: told(imagined) }, "open keys are not those of the records");
      metrics.planDifferences.inc(overlooked.length + imagined.length);
      this.#open.rebuild();
    }
    return whole;
  }

  #planNotes(): void {
    if (this.#notes.empty) return;
    const notes = this.#notes;
    this.#notes = noNotes();
    const time = this.#time;
    widen(notes, this.#mirror.tables, time.nowMs);
    this.#take(this.#timed("touched", () => this.#open.planTouched(notes.touched, time)));
  }

  #planDue(): void {
    const time = this.#time;
    for (const repair of this.#due.takeDue(time.nowMs).sort(compareRepairs)) this.#judge(repair, time);
    this.#options.metrics.waiting.set(this.#due.size);
  }

  #take(findings: Findings): void {
    for (const repair of findings.repairs) this.#found.set(repairKey(repair), repair);
    for (const { repair, dueAtMs } of findings.due) this.#due.add(repair, dueAtMs);
  }

  #judge(repair: Repair, time: CellTime): void {
    const verdict = ruleHolds(this.#mirror.tables, repair, time);
    if (verdict.holds) this.#found.set(repairKey(repair), repair);
    else if (verdict.dueAtMs !== undefined) this.#due.add(repair, verdict.dueAtMs);
  }

  /** The next repairs to ask for; those that changes have overtaken since they were found fall away. */
  #nextBatch(): readonly Repair[] {
    if (this.#retryAtMs !== undefined && this.#options.clock.elapsedMs() < this.#retryAtMs) return noBatch;
    this.#retryAtMs = undefined;
    const time = this.#time;
    const batch: Repair[] = [];
    for (const [key, repair] of this.#found) {
      this.#found.delete(key);
      if (ruleHolds(this.#mirror.tables, repair, time).holds) batch.push(repair);
      if (batch.length === maxBatch) break;
    }
    return batch;
  }

  /** Asks for a batch; one is in flight at a time. Returns whether it was answered. */
  async #ask(batch: readonly Repair[], signal: AbortSignal): Promise<boolean> {
    const { io, log, metrics, clock } = this.#options;
    try {
      const results = await io.repair(batch.map(repairToWire), signal);
      if (results.length !== batch.length) throw new BbsError("OutcomeUnknown", "the answer does not fit the repairs asked for");
      this.#failures = 0;
      this.#settleAll(batch, results);
      return true;
    } catch (err) {
      if (signal.aborted) return false;
      // What took effect will show in the mirror, and the rest still holds: all of it is judged again.
      for (const repair of batch) this.#found.set(repairKey(repair), repair);
      this.#retryAtMs = clock.elapsedMs() + retryMs;
      metrics.repairCallsFailed.inc();
      this.#failures += 1;
      const level = this.#failures === 1 ? "warn" : "debug";
      log[level]({ err, attempt: this.#failures, retry_ms: retryMs }, "repairs not answered");
      return false;
    }
  }

  #settleAll(batch: readonly Repair[], results: readonly RepairResult[]): void {
    const done: Partial<Record<RuleName, number>> = {};
    for (const [at, repair] of batch.entries()) {
      const outcome = this.#settle(repair, results[at]);
      this.#count(repair.rule, outcome);
      if (outcome === "done") done[repair.rule] = (done[repair.rule] ?? 0) + 1;
    }
    if (Object.keys(done).length > 0) this.#options.log.info({ repairs: done }, "repaired");
  }

  #count(rule: RuleName, result: "done" | "not_due" | "stale"): void {
    const { actions, tasksKicked, tasksPruned } = this.#options.metrics;
    actions.inc({ rule, result });
    if (result !== "done") return;
    if (kicks.has(rule)) tasksKicked.inc();
    if (rule === "task-over") tasksPruned.inc();
  }

  #settle(repair: Repair, result: RepairResult | undefined): "done" | "not_due" | "stale" {
    this.#options.log.debug({ ...fieldsOf(repair), outcome: result?.outcome }, "repair answered");
    switch (result?.outcome) {
      case RepairOutcome.REPAIR_OUTCOME_DONE:
        return "done";
      case RepairOutcome.REPAIR_OUTCOME_NOT_DUE:
        this.#due.add(repair, this.#inMs(Number(result.dueInMs)));
        return "not_due";
      default:
        // The truth has moved on; the change that did it is on its way.
        return "stale";
    }
  }

  /** At least 1 ms ahead, so that an answer of "not due, 0 ms left" never spins. */
  #inMs(ms: number): EpochMs {
    return asEpochMs(this.#mirror.nowMs() + Math.max(1, ms));
  }

  /** Sleeps until a change, the next due repair, the next cycle or the next try. */
  async #rest(signal: AbortSignal): Promise<void> {
    const waitMs = this.#mirror.synced ? this.#untilNextMs() : Number.POSITIVE_INFINITY;
    const disarm = Number.isFinite(waitMs) ? this.#options.clock.after(waitMs, () => this.#bell.ring()) : undefined;
    await this.#bell.wait(signal);
    disarm?.();
  }

  #untilNextMs(): number {
    const elapsedMs = this.#options.clock.elapsedMs();
    const nextDueMs = this.#due.nextMs();
    const waits = [this.#nextCycleMs - elapsedMs];
    if (nextDueMs !== undefined) waits.push(nextDueMs - this.#mirror.nowMs());
    if (this.#retryAtMs !== undefined) waits.push(this.#retryAtMs - elapsedMs);
    return Math.max(0, Math.min(...waits));
  }

  #timed(scope: "open" | "all" | "touched", plan: () => Findings): Findings {
    const { clock, metrics } = this.#options;
    const startedMs = clock.elapsedMs();
    const findings = plan();
    metrics.planDuration.observe({ scope }, (clock.elapsedMs() - startedMs) / 1_000);
    return findings;
  }
}

function fieldsOf({ rule, processGuid, index, presence, name }: Repair): object {
  return name === "" ? { reason: rule, process_guid: processGuid, index, presence } : { reason: rule, name };
}
