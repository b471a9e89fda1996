// The feed of commits: a bounded history to resume from, and watchers that each get every commit their filter meets, in order, or are
// cut. Each commit is encoded once and shared.
import type { Change as WireChange } from "@muster/proto/muster/v1/watch";
import type { Clock } from "@muster/shared/clock";
import { recordCodecs, toBuffer } from "@muster/shared/codec";
import type { CellId, Change, RecordKind } from "@muster/shared/model";
import type { CommittedBatch } from "../journal/options.js";

export interface FeedEntry {
  readonly sequence: bigint;
  readonly changes: readonly FeedChange[];
  readonly bytes: number;
  /** What watchers see of it, by their filter: made once for all who have the same. */
  readonly deliveries: Map<string, Delivery | undefined>;
}

/** One change with its wire form, encoded once. `cells` are those it names before or after. */
export interface FeedChange {
  readonly change: Change;
  readonly wire: WireChange;
  readonly cellBefore: CellId | undefined;
  readonly cellAfter: CellId | undefined;
}

export interface WatchFilter {
  /** The same for filters that see the same. */
  readonly name: string;
  /** Empty: all. */
  readonly kinds: ReadonlySet<RecordKind>;
  /** Only rows and tasks of this cell. */
  readonly cellId: CellId | undefined;
}

/** Bounds of the history kept for resuming. */
const maxHistoryEntries = 20_000;
const maxHistoryBytes = 64 * 1024 * 1024;
/**
 * Messages per millisecond to those who watch everything; beyond it commits are told several at once. 200 watchers of a thousand
 * commits a second would be 200,000 messages, which is more than two cores can send; they hear of a change at most 40 ms later.
 */
const messagesPerMs = 5;
const maxGatherMs = 50;
/** Bounds of what is gathered meanwhile. */
const maxGathered = { commits: 256, bytes: 512 * 1024 };
/** Bounds of what one watcher may have waiting before it counts as slow. */
const maxPendingCommits = 4_096;
const maxPendingBytes = 16 * 1024 * 1024;

const cellOf = (change: Change, side: "before" | "after"): CellId | undefined => {
  if (change.kind === "actualLRP") return change[side]?.instanceKey?.cellId;
  if (change.kind === "task") return change[side]?.cellId;
  return undefined;
};

/** Whether a filter can see this kind of record by cell. */
const hasCell = (kind: RecordKind): boolean => kind === "actualLRP" || kind === "task";

/** What a watcher sees of a change: itself, its removal from the filter, or nothing. */
export function seen(entry: FeedChange, filter: WatchFilter): WireChange | undefined {
  const { kind } = entry.change;
  if (filter.kinds.size > 0 && !filter.kinds.has(kind)) return undefined;
  if (filter.cellId === undefined || !hasCell(kind)) return entry.wire;
  if (entry.cellAfter === filter.cellId) return entry.wire;
  return entry.cellBefore === filter.cellId ? { ...entry.wire, record: undefined } : undefined;
}

function feedEntry(batch: CommittedBatch): FeedEntry {
  const changes: FeedChange[] = [];
  let bytes = 0;
  for (const { change, encoded } of batch.changes) {
    const kind = recordCodecs[change.kind].wireKind;
    if (kind === undefined) continue;
    const record = encoded.value === undefined ? undefined : toBuffer(encoded.value);
    bytes += change.key.length + (record?.byteLength ?? 0) + 32;
    changes.push({
      change,
      wire: { kind, key: change.key, record },
      cellBefore: cellOf(change, "before"),
      cellAfter: cellOf(change, "after"),
    });
  }
  return { sequence: batch.head.sequence, changes, bytes, deliveries: new Map() };
}

/** Several commits as one: whole ones, in order. */
function merged(entries: readonly FeedEntry[]): FeedEntry | undefined {
  const last = entries.at(-1);
  if (last === undefined || entries.length === 1) return last;
  return {
    sequence: last.sequence,
    changes: entries.flatMap(({ changes }) => changes),
    bytes: entries.reduce((sum, { bytes }) => sum + bytes, 0),
    deliveries: new Map(),
  };
}

export interface Delivery {
  readonly sequence: bigint;
  readonly changes: readonly WireChange[];
  readonly bytes: number;
}

/** What a filter lets through of an entry; the same object for everybody with this filter. */
function deliveryOf(entry: FeedEntry, filter: WatchFilter): Delivery | undefined {
  if (entry.deliveries.has(filter.name)) return entry.deliveries.get(filter.name);
  const changes: WireChange[] = [];
  let bytes = 0;
  for (const change of entry.changes) {
    const wire = seen(change, filter);
    if (wire === undefined) continue;
    changes.push(wire);
    bytes += wire.key.length + (wire.record?.byteLength ?? 0);
  }
  const delivery = changes.length === 0 ? undefined : { sequence: entry.sequence, changes, bytes };
  entry.deliveries.set(filter.name, delivery);
  return delivery;
}

/** What a watcher that resumed reads until it has caught up: it may be further behind than may wait for it. */
interface History {
  readonly lastSequence: bigint;
  /** The commit after this one; `undefined` after the last, "lost" when it is no longer kept. */
  after(sequence: bigint): FeedEntry | "lost" | undefined;
  /** Nothing that it has read will be offered any more. */
  tell(): void;
}

/** One watcher's queue. `next` gives what came, waits for more, and ends with `undefined` when it was cut. */
export class Watcher {
  readonly filter: WatchFilter;
  /** Where it stands in history; absent once it is offered commits as they come. */
  #behind: { readonly history: History; sequence: bigint } | undefined;
  readonly #pending: Delivery[] = [];
  #pendingBytes = 0;
  #cut: "slow" | "closed" | undefined;
  #wake: (() => void) | undefined;
  #whenCut: (why: "slow" | "closed") => void = () => undefined;

  constructor(filter: WatchFilter, behind?: { readonly history: History; readonly sequence: bigint }) {
    this.filter = filter;
    this.#behind = behind === undefined ? undefined : { ...behind };
  }

  get cut(): "slow" | "closed" | undefined {
    return this.#cut;
  }

  offer(entry: FeedEntry): void {
    // History has it for one who still reads there.
    if (this.#cut !== undefined || this.#behind !== undefined) return;
    const delivery = deliveryOf(entry, this.filter);
    if (delivery === undefined) return;
    if (this.#pending.length >= maxPendingCommits || this.#pendingBytes + delivery.bytes > maxPendingBytes) {
      this.end("slow");
      return;
    }
    this.#pending.push(delivery);
    this.#pendingBytes += delivery.bytes;
    this.#wake?.();
  }

  /** Commits that wait to be taken. */
  get lag(): number {
    return this.#behind === undefined ? this.#pending.length : Number(this.#behind.history.lastSequence - this.#behind.sequence);
  }

  /** Calls `tell` once it is cut: whoever waits for a consumer that takes nothing would not look. */
  whenCut(tell: (why: "slow" | "closed") => void): void {
    this.#whenCut = tell;
    if (this.#cut !== undefined) tell(this.#cut);
  }

  /** What is pending is dropped: the consumer resumes with the last token it was given. */
  end(cut: "slow" | "closed"): void {
    if (this.#cut !== undefined) return;
    this.#cut = cut;
    this.#pending.length = 0;
    this.#pendingBytes = 0;
    this.#wake?.();
    this.#whenCut(cut);
  }

  /** Whether everything offered was taken. */
  get idle(): boolean {
    return this.#pending.length === 0 && this.#cut === undefined && this.#behind === undefined;
  }

  take(): Delivery | undefined {
    const past = this.#fromHistory();
    if (past !== undefined) return past;
    const delivery = this.#cut === undefined ? this.#pending.shift() : undefined;
    if (delivery !== undefined) this.#pendingBytes -= delivery.bytes;
    return delivery;
  }

  /** The next commit of history that it sees; `undefined` once it has caught up. */
  #fromHistory(): Delivery | undefined {
    const behind = this.#behind;
    while (behind !== undefined && this.#cut === undefined) {
      const entry = behind.history.after(behind.sequence);
      if (entry === "lost") this.end("slow");
      else if (entry === undefined) {
        behind.history.tell();
        this.#behind = undefined;
        return undefined;
      } else {
        behind.sequence = entry.sequence;
        const delivery = deliveryOf(entry, this.filter);
        entry.deliveries.clear();
        if (delivery !== undefined) return delivery;
      }
    }
    return undefined;
  }

  /** Resolves when there is something to take, when cut, or when `wait` settles. */
  async more(wait: Promise<void>): Promise<void> {
    if (this.#pending.length > 0 || this.#cut !== undefined) return;
    await Promise.race([
      wait,
      new Promise<void>((resolve) => {
        this.#wake = resolve;
      }),
    ]);
    this.#wake = undefined;
  }
}

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
  readonly #everywhere = new Set<Watcher>();
  readonly #byCell = new Map<CellId, Set<Watcher>>();
  readonly #clock: Clock;
  /** Commits that those who watch everything have not been told of. */
  #gathered: FeedEntry[] = [];
  #gatheredBytes = 0;
  #toldAtMs = Number.NEGATIVE_INFINITY;
  #cancelTelling: (() => void) | undefined;

  /** `reachesBackTo`: the head that was loaded; a watcher that stands there has missed nothing. */
  constructor(sequence: bigint, reachesBackTo: bigint, clock: Clock) {
    this.#clock = clock;
    this.#lastSequence = sequence;
    this.#reachesBackTo = reachesBackTo;
  }

  get lastSequence(): bigint {
    return this.#lastSequence;
  }

  get watchers(): number {
    let count = this.#everywhere.size;
    for (const set of this.#byCell.values()) count += set.size;
    return count;
  }

  /** Of the watcher furthest behind: commits it has not taken. */
  get lag(): number {
    let most = 0;
    for (const watcher of this.#everywhere) most = Math.max(most, watcher.lag);
    for (const set of this.#byCell.values()) for (const watcher of set) most = Math.max(most, watcher.lag);
    return most;
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
    // History keeps the entry, not what was made of it for watchers.
    entry.deliveries.clear();
    this.#gather(entry);
  }

  /** Tells at once while there are few messages to send, else as soon as the pace allows. */
  #gather(entry: FeedEntry): void {
    if (this.#everywhere.size === 0) return;
    this.#gathered.push(entry);
    this.#gatheredBytes += entry.bytes;
    const paceMs = Math.min(maxGatherMs, Math.floor(this.#everywhere.size / messagesPerMs));
    const dueMs = this.#toldAtMs + paceMs - this.#clock.elapsedMs();
    if (dueMs <= 0 || this.#gathered.length >= maxGathered.commits || this.#gatheredBytes >= maxGathered.bytes) this.tell();
    else this.#cancelTelling ??= this.#clock.after(dueMs, () => this.tell());
  }

  /** Offers what was gathered to those who watch everything. Nothing published is kept back after it. */
  tell(): void {
    this.#cancelTelling?.();
    this.#cancelTelling = undefined;
    const entry = merged(this.#gathered);
    if (entry === undefined) return;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#toldAtMs = this.#clock.elapsedMs();
    for (const watcher of this.#everywhere) watcher.offer(entry);
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
  resume(filter: WatchFilter, sequence: bigint): Watcher | undefined {
    if (sequence < this.#reachesBackTo || sequence > this.#lastSequence) return undefined;
    const watcher = new Watcher(filter, { history: this, sequence });
    this.#join(watcher);
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
  join(filter: WatchFilter): Watcher {
    const watcher = new Watcher(filter);
    this.#join(watcher);
    return watcher;
  }

  #join(watcher: Watcher): void {
    // What the others have not been told yet is older than this watcher's beginning.
    this.tell();
    const { cellId } = watcher.filter;
    if (cellId === undefined) this.#everywhere.add(watcher);
    else this.#byCell.set(cellId, (this.#byCell.get(cellId) ?? new Set()).add(watcher));
  }

  leave(watcher: Watcher): void {
    const { cellId } = watcher.filter;
    if (cellId === undefined) {
      this.#everywhere.delete(watcher);
      return;
    }
    const set = this.#byCell.get(cellId);
    set?.delete(watcher);
    if (set?.size === 0) this.#byCell.delete(cellId);
  }

  close(): void {
    this.tell();
    for (const watcher of this.#everywhere) watcher.end("closed");
    for (const set of this.#byCell.values()) for (const watcher of set) watcher.end("closed");
  }
}

const wantsCellless = (filter: WatchFilter): boolean =>
  filter.kinds.size === 0 || [...filter.kinds].some((kind) => !hasCell(kind));
