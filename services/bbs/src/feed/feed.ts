// The feed of commits: a bounded history to resume from, and watchers that each get every commit their filter meets, in order, or are
// cut. Each commit is encoded once and shared.
import type { Clock } from "@muster/shared/clock";
import type { CellId } from "@muster/shared/model";
import type { CommittedBatch } from "../journal/options.js";
import { type FeedEntry, feedEntry, hasCell, merged, type WatchFilter, wantsCellless } from "./entry.js";
import { Pace } from "./pace.js";
import { type History, Watcher } from "./watcher.js";

/** Bounds of the history kept for resuming. */
const maxHistoryEntries = 20_000;
const maxHistoryBytes = 64 * 1024 * 1024;
/** Bounds of what is gathered before it is told. */
const maxGathered = { commits: 256, bytes: 512 * 1024 };

/**
 * Who watches. Schedulers (auctioneer, converger, cells) act on what they hear and are few or see one cell each: they hear of every
 * commit at once. Followers may be many: they hear of several commits at a time.
 */
export type Audience = "scheduler" | "follower";

export class Feed implements History {
  /** Dropped entries leave a hole at once, since few of them may be many bytes; the holes go now and then. */
  readonly #history: (FeedEntry | undefined)[] = [];
  /** Where the holes end. */
  #start = 0;
  #bytes = 0;
  #lastSequence: bigint;
  /** History holds every commit after this one. */
  #reachesBackTo: bigint;
  readonly #observers: ((batch: CommittedBatch) => void)[] = [];
  /** Those who watch everything. */
  readonly #schedulers = new Set<Watcher>();
  readonly #followers = new Set<Watcher>();
  readonly #byCell = new Map<CellId, Set<Watcher>>();
  readonly #pace: Pace;
  /** Commits that followers have not been told of. */
  #gathered: FeedEntry[] = [];
  #gatheredBytes = 0;

  /** `reachesBackTo`: the head that was loaded; a watcher that stands there has missed nothing. */
  constructor(sequence: bigint, reachesBackTo: bigint, clock: Clock) {
    this.#pace = new Pace(clock, () => this.tell());
    this.#lastSequence = sequence;
    this.#reachesBackTo = reachesBackTo;
  }

  get lastSequence(): bigint {
    return this.#lastSequence;
  }

  get watchers(): number {
    let count = 0;
    for (const set of this.#sets()) count += set.size;
    return count;
  }

  /** Of the watcher furthest behind: commits it has not taken. */
  get lag(): number {
    let most = 0;
    for (const set of this.#sets()) for (const watcher of set) most = Math.max(most, watcher.lag);
    return most;
  }

  *#sets(): Iterable<Set<Watcher>> {
    yield this.#schedulers;
    yield this.#followers;
    yield* this.#byCell.values();
  }

  /** Shows `look` every commit from now on, before watchers get it. It must not throw. */
  observe(look: (batch: CommittedBatch) => void): void {
    this.#observers.push(look);
  }

  publish(batch: CommittedBatch): void {
    for (const look of this.#observers) look(batch);
    const entry = feedEntry(batch);
    this.#lastSequence = entry.sequence;
    this.#remember(entry);
    if (entry.changes.length === 0) return;
    for (const watcher of this.#concerned(entry)) watcher.offer(entry);
    for (const watcher of this.#schedulers) watcher.offer(entry);
    this.#gather(entry);
    // History keeps the entry, not what was made of it for watchers.
    entry.deliveries.clear();
  }

  #gather(entry: FeedEntry): void {
    if (this.#followers.size === 0) return;
    this.#gathered.push(entry);
    this.#gatheredBytes += entry.bytes;
    const full = this.#gathered.length >= maxGathered.commits || this.#gatheredBytes >= maxGathered.bytes;
    this.#pace.push(this.#followers.size, full);
  }

  /** Offers followers what was gathered. Nothing published is kept back after it. */
  tell(): void {
    const entry = merged(this.#gathered);
    if (entry === undefined) return;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#pace.told();
    for (const watcher of this.#followers) watcher.offer(entry);
    entry.deliveries.clear();
  }

  /** Watchers by cell whose cell the commit names, or that want kinds which have no cell. */
  #concerned(entry: FeedEntry): Set<Watcher> {
    const concerned = new Set<Watcher>();
    const add = (cellId: CellId | undefined): void => {
      if (cellId !== undefined) for (const watcher of this.#byCell.get(cellId) ?? []) concerned.add(watcher);
    };
    let cellless = false;
    for (const change of entry.changes) {
      add(change.cellBefore);
      add(change.cellAfter);
      cellless ||= !hasCell(change.change.kind);
    }
    if (cellless)
      for (const set of this.#byCell.values())
        for (const watcher of set) if (wantsCellless(watcher.filter)) concerned.add(watcher);
    return concerned;
  }

  #remember(entry: FeedEntry): void {
    this.#history.push(entry);
    this.#bytes += entry.bytes;
    while (this.#history.length - this.#start > maxHistoryEntries || this.#bytes > maxHistoryBytes) {
      const dropped = this.#history[this.#start];
      if (dropped === undefined) break;
      this.#history[this.#start] = undefined;
      this.#bytes -= dropped.bytes;
      this.#reachesBackTo = dropped.sequence;
      this.#start += 1;
    }
    if (this.#start > maxHistoryEntries) {
      this.#history.splice(0, this.#start);
      this.#start = 0;
    }
  }

  /** Joins after `sequence`; `undefined` when history does not reach it, or it is of the future. */
  resume(filter: WatchFilter, audience: Audience, sequence: bigint): Watcher | undefined {
    if (sequence < this.#reachesBackTo || sequence > this.#lastSequence) return undefined;
    const watcher = new Watcher(filter, { history: this, sequence });
    this.#join(watcher, audience);
    return watcher;
  }

  /** The commit after this one; `undefined` after the last, "lost" when it is no longer kept. */
  after(sequence: bigint): FeedEntry | "lost" | undefined {
    if (sequence >= this.#lastSequence) return undefined;
    if (sequence < this.#reachesBackTo) return "lost";
    const oldest = this.#history[this.#start];
    // The commit that began this term changed nothing and is not kept: who stands before it has missed nothing.
    if (oldest === undefined) return undefined;
    // Commits are numbered without gaps.
    const ahead = Math.max(0, Number(sequence + 1n - oldest.sequence));
    return this.#history[this.#start + ahead] ?? "lost";
  }

  /** Joins now: takes every commit from here on. */
  join(filter: WatchFilter, audience: Audience): Watcher {
    const watcher = new Watcher(filter);
    this.#join(watcher, audience);
    return watcher;
  }

  #join(watcher: Watcher, audience: Audience): void {
    // What followers have not been told yet is older than this watcher's beginning.
    this.tell();
    const { cellId } = watcher.filter;
    if (cellId !== undefined) this.#byCell.set(cellId, (this.#byCell.get(cellId) ?? new Set()).add(watcher));
    else if (audience === "scheduler") this.#schedulers.add(watcher);
    else this.#followers.add(watcher);
  }

  leave(watcher: Watcher): void {
    this.#schedulers.delete(watcher);
    this.#followers.delete(watcher);
    const { cellId } = watcher.filter;
    if (cellId === undefined) return;
    const set = this.#byCell.get(cellId);
    set?.delete(watcher);
    if (set?.size === 0) this.#byCell.delete(cellId);
  }

  close(): void {
    this.tell();
    this.#pace.stop();
    for (const set of this.#sets()) for (const watcher of set) watcher.end("closed");
  }
}
