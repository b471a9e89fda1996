// What waits, and since when, and why: rules P1 and P3 as a book that is kept from the mirror's changes. It awaits nothing and
// asks nobody for the time; times are the caller's elapsed milliseconds.
import type {
  ActualLRP,
  CellId,
  Change,
  ClusterView,
  DesiredLRP,
  EpochMs,
  ProcessGuid,
  Task,
  TaskGuid,
} from "@muster/shared/model";
import { epochNsToMs } from "@muster/shared/model";
import { flagEnabled, isDockerRootFs, isWanted } from "@muster/shared/rules";
import { type Ask, type Explanation, lrpWorkKey, taskWorkKey, type Work } from "../plan/index.js";
import { askOf, sameAsk, waitingLRP, waitingTask } from "./requests.js";

/** What the last auction said of one piece of work. */
export interface Verdict {
  readonly judgedAtMs: EpochMs;
  readonly error: string;
  readonly explanation: Explanation;
}

/** One piece of waiting work. Only the book changes it. */
export interface Entry {
  readonly key: string;
  work: Work;
  /** `due`: into the next auction; `in-flight`: handed to a cell; `held`: failed, and not to be tried before `untilMs`. */
  phase: "due" | "in-flight" | "held";
  /** When an entry in flight or held becomes due by itself. */
  untilMs: number;
  /** Held, and due as soon as a cell joins or frees room. */
  waitsForRoom: boolean;
  /** Where it is in flight. */
  cellId: CellId | undefined;
  /** A failure is being written: the row is about to change, so it is not auctioned until then. */
  writtenUntilMs: number;
  /** The placement error that the row holds. */
  errorOnRow: string;
  /** How often in a row a cell refused it. */
  refusals: number;
  /** When it began to wait. */
  readonly sinceMs: number;
  verdict: Verdict | undefined;
}

export interface BookTimes {
  /** P1: an attempt that nobody answered for counts as lost after this. */
  readonly inFlightMs: number;
  /** P3: unplaced work is tried again at the latest after this. */
  readonly retryMs: number;
}

/** An LRP refused by its cell is tried again after this, doubling up to the retry time: the auction worked on an old state. */
const firstRefusalMs = 250;
/** How long the row may take to show a failure that was written. */
const rowChangeMs = 2_000;

export interface BookOptions {
  readonly view: ClusterView;
  readonly times: BookTimes;
  /** Cluster time, for the age of rejections (rule T1). */
  readonly clusterNowMs: () => EpochMs;
  /** Called when an attempt is over: its reservation on the cell goes. `moved`: the row moved, so the cell has most likely taken it. */
  readonly onFlightEnded: (entry: Entry, cellId: CellId, moved: boolean) => void;
}

export class WaitingBook {
  readonly #options: BookOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #due = new Set<Entry>();
  readonly #held = new Set<Entry>();
  readonly #inFlight = new Map<CellId, Set<Entry>>();
  /** One Ask for each process, kept while it stays the same: the auction groups by it. */
  readonly #asks = new Map<ProcessGuid, { readonly desired: DesiredLRP; readonly ask: Ask }>();
  /** P3: when a task was last tried, also while it is away at a cell. */
  readonly #triedAtMs = new Map<TaskGuid, number>();
  #flights = 0;

  constructor(options: BookOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  get due(): number {
    return this.#due.size;
  }

  get flights(): number {
    return this.#flights;
  }

  entry(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** Waiting entries by kind. */
  *all(): Iterable<Entry> {
    yield* this.#entries.values();
  }

  /** Takes in what the mirror saw change. */
  apply(changes: readonly Change[], nowMs: number): void {
    for (const change of changes) {
      switch (change.kind) {
        case "actualLRP": {
          const row = change.after ?? change.before;
          if (row?.presence === "ORDINARY") this.#lookAtRow(row.processGuid, row.index, nowMs);
          break;
        }
        case "desiredLRP":
          this.#lookAtProcess(change.key as ProcessGuid, nowMs);
          break;
        case "task":
          this.#lookAtTask(change.key as TaskGuid, nowMs);
          break;
        case "featureFlag":
          for (const processGuid of this.#options.view.desiredLRPs.keys()) this.#lookAtProcess(processGuid, nowMs);
          for (const taskGuid of this.#options.view.tasks.keys()) this.#lookAtTask(taskGuid, nowMs);
          break;
        default:
      }
    }
  }

  /** Up to `limit` due entries, those that waited longest first. They stay due until `placed` or `failed`. */
  dueEntries(limit: number): Entry[] {
    const batch: Entry[] = [];
    for (const entry of this.#due) {
      if (batch.length >= limit) break;
      batch.push(entry);
    }
    return batch;
  }

  placed(entry: Entry, cellId: CellId, nowMs: number): void {
    this.#leavePhase(entry);
    entry.phase = "in-flight";
    entry.cellId = cellId;
    entry.untilMs = nowMs + this.#options.times.inFlightMs;
    const there = this.#inFlight.get(cellId) ?? new Set();
    this.#inFlight.set(cellId, there.add(entry));
    this.#flights += 1;
    if (entry.work.kind === "task") this.#triedAtMs.set(entry.work.taskGuid, nowMs);
  }

  /** No cell fits. Says whether the failure is to be written: for an LRP only when it is news. */
  failed(entry: Entry, verdict: Verdict, nowMs: number): boolean {
    this.#hold(entry, nowMs + this.#options.times.retryMs, entry.work.kind === "lrp");
    if (entry.work.kind === "task") this.#triedAtMs.set(entry.work.taskGuid, nowMs);
    entry.verdict = verdict;
    return entry.work.kind === "task" || verdict.error !== entry.errorOnRow;
  }

  /** Its cell refused. Says whether that is to be written. */
  refused(entry: Entry, verdict: Verdict, nowMs: number): boolean {
    entry.refusals += 1;
    const { retryMs } = this.#options.times;
    const waitMs = entry.work.kind === "task" ? retryMs : Math.min(retryMs, firstRefusalMs * 2 ** (entry.refusals - 1));
    this.#hold(entry, nowMs + waitMs, false);
    entry.verdict = verdict;
    return entry.work.kind === "task" || verdict.error !== entry.errorOnRow;
  }

  /** A failure is on its way to the row. */
  writing(entry: Entry, untilMs: number): void {
    entry.writtenUntilMs = untilMs;
  }

  /** The write ended: taken, and the row will show it; or not, and nothing will change. */
  written(entry: Entry, taken: boolean, nowMs: number): void {
    if (entry.writtenUntilMs > 0) entry.writtenUntilMs = taken ? nowMs + rowChangeMs : 0;
  }

  /** P1: the cell's stream or presence is gone, and with it what was in flight there. */
  cellLost(cellId: CellId): void {
    for (const entry of this.#inFlight.get(cellId) ?? []) this.#makeDue(entry);
  }

  /** Makes due what has waited long enough, or waited for room that is there now. */
  sweep(nowMs: number, roomFreed: boolean): void {
    for (const entry of this.#held) {
      const ripe = nowMs >= entry.untilMs || (roomFreed && entry.waitsForRoom);
      if (ripe && nowMs >= entry.writtenUntilMs) this.#makeDue(entry);
    }
    for (const there of this.#inFlight.values()) {
      for (const entry of there) if (nowMs >= entry.untilMs) this.#makeDue(entry);
    }
    for (const [taskGuid, triedAtMs] of this.#triedAtMs) {
      if (nowMs >= triedAtMs + this.#options.times.retryMs) this.#triedAtMs.delete(taskGuid);
    }
  }

  #lookAtProcess(processGuid: ProcessGuid, nowMs: number): void {
    const { view } = this.#options;
    if (view.desiredLRP(processGuid) === undefined) this.#asks.delete(processGuid);
    for (const row of view.rowsOfProcess(processGuid)) {
      if (row.presence === "ORDINARY") this.#lookAtRow(processGuid, row.index, nowMs);
    }
  }

  /** P3: only wanted, unmarked rows wait. */
  #lookAtRow(processGuid: ProcessGuid, index: number, nowMs: number): void {
    const { view } = this.#options;
    const key = lrpWorkKey(processGuid, index);
    const row = view.rows(processGuid, index).ORDINARY;
    const desired = view.desiredLRP(processGuid);
    const waits = row?.state === "UNCLAIMED" && !row.stopMarked && isWanted(view, desired, index);
    if (row === undefined || desired === undefined || !waits) {
      this.#forget(key);
      return;
    }
    this.#waitingRow(key, row, waitingLRP(row, this.#askOf(desired)), nowMs);
  }

  #waitingRow(key: string, row: ActualLRP, work: Work, nowMs: number): void {
    const entry = this.#entries.get(key);
    const sameAttempt = entry?.work.auctionId === work.auctionId && entry.work.ask === work.ask;
    if (entry !== undefined && sameAttempt) return;
    // A failure that was written moves the tag: what is held stays held. Any other move asks anew.
    const written = entry?.phase === "held" && row.placementError !== "" && entry.work.ask === work.ask;
    if (entry !== undefined && written) {
      entry.work = work;
      entry.writtenUntilMs = 0;
      entry.errorOnRow = row.placementError;
      return;
    }
    this.#forget(key);
    this.#enter(work, row.placementError, nowMs, nowMs);
  }

  #lookAtTask(taskGuid: TaskGuid, nowMs: number): void {
    const key = taskWorkKey(taskGuid);
    const task = this.#options.view.task(taskGuid);
    const waits = task?.state === "PENDING" && !this.#stoppedByFlag(task);
    if (task === undefined || !waits) {
      this.#forget(key);
      return;
    }
    const entry = this.#entries.get(key);
    const work = waitingTask(task);
    if (entry?.work.auctionId === work.auctionId) return;
    this.#forget(key);
    this.#enter(work, task.rejectionReason, nowMs, this.#taskDueMs(task, nowMs), entry?.verdict);
  }

  /** P3: once in the retry time. What a predecessor tried shows in the rejection. */
  #taskDueMs(task: Task, nowMs: number): number {
    const { retryMs } = this.#options.times;
    const own = (this.#triedAtMs.get(task.taskGuid) ?? Number.NEGATIVE_INFINITY) + retryMs;
    const rejectedAgoMs = this.#options.clusterNowMs() - epochNsToMs(task.updatedAtNs);
    const rejected = task.rejectionCount > 0 ? nowMs + Math.min(retryMs, retryMs - rejectedAgoMs) : nowMs;
    return Math.max(own, rejected, nowMs);
  }

  #stoppedByFlag(task: Task): boolean {
    return isDockerRootFs(task.rootFs) && !flagEnabled(this.#options.view, "diego_docker");
  }

  #askOf(desired: DesiredLRP): Ask {
    const known = this.#asks.get(desired.processGuid);
    if (known?.desired === desired) return known.ask;
    const fresh = askOf(desired);
    const ask = known !== undefined && sameAsk(known.ask, fresh) ? known.ask : fresh;
    this.#asks.set(desired.processGuid, { desired, ask });
    return ask;
  }

  #enter(work: Work, errorOnRow: string, nowMs: number, dueAtMs: number, verdict?: Verdict): void {
    const entry: Entry = {
      key: work.key,
      work,
      phase: "due",
      untilMs: dueAtMs,
      waitsForRoom: false,
      cellId: undefined,
      writtenUntilMs: 0,
      errorOnRow,
      refusals: 0,
      sinceMs: nowMs,
      verdict,
    };
    this.#entries.set(entry.key, entry);
    if (dueAtMs > nowMs) {
      entry.phase = "held";
      this.#held.add(entry);
    } else this.#due.add(entry);
  }

  #forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#leavePhase(entry, true);
    this.#entries.delete(key);
  }

  #hold(entry: Entry, untilMs: number, waitsForRoom: boolean): void {
    this.#leavePhase(entry);
    entry.phase = "held";
    entry.untilMs = untilMs;
    entry.waitsForRoom = waitsForRoom;
    this.#held.add(entry);
  }

  #makeDue(entry: Entry): void {
    this.#leavePhase(entry);
    entry.phase = "due";
    this.#due.add(entry);
  }

  #leavePhase(entry: Entry, moved = false): void {
    this.#due.delete(entry);
    this.#held.delete(entry);
    const { cellId } = entry;
    if (entry.phase !== "in-flight" || cellId === undefined) return;
    const there = this.#inFlight.get(cellId);
    there?.delete(entry);
    if (there?.size === 0) this.#inFlight.delete(cellId);
    this.#flights -= 1;
    entry.cellId = undefined;
    this.#options.onFlightEnded(entry, cellId, moved);
  }
}
