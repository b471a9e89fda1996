// What is told of a commit: encoded once, and seen by each filter in one way for all who have it.
import type { Change as WireChange } from "@muster/proto/muster/v1/watch";
import { recordCodecs, toBuffer } from "@muster/shared/codec";
import type { CellId, Change, RecordKind } from "@muster/shared/model";
import type { CommittedBatch } from "../journal/options.js";

/** One commit, or several in order as if they were one. */
export interface FeedEntry {
  readonly sequence: bigint;
  /** So many commits. */
  readonly commits: number;
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

const cellOf = (change: Change, side: "before" | "after"): CellId | undefined => {
  if (change.kind === "actualLRP") return change[side]?.instanceKey?.cellId;
  if (change.kind === "task") return change[side]?.cellId;
  return undefined;
};

/** Whether a filter can see this kind of record by cell. */
export const hasCell = (kind: RecordKind): boolean => kind === "actualLRP" || kind === "task";

/** What a watcher sees of a change: itself, its removal from the filter, or nothing. */
export function seen(entry: FeedChange, filter: WatchFilter): WireChange | undefined {
  const { kind } = entry.change;
  if (filter.kinds.size > 0 && !filter.kinds.has(kind)) return undefined;
  if (filter.cellId === undefined || !hasCell(kind)) return entry.wire;
  if (entry.cellAfter === filter.cellId) return entry.wire;
  return entry.cellBefore === filter.cellId ? { ...entry.wire, record: undefined } : undefined;
}

export function feedEntry(batch: CommittedBatch): FeedEntry {
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
  return { sequence: batch.head.sequence, commits: 1, changes, bytes, deliveries: new Map() };
}

/** Several commits as one: whole ones, in order. */
export function merged(entries: readonly FeedEntry[]): FeedEntry | undefined {
  const last = entries.at(-1);
  if (last === undefined || entries.length === 1) return last;
  return {
    sequence: last.sequence,
    commits: entries.length,
    changes: entries.flatMap(({ changes }) => changes),
    bytes: entries.reduce((sum, { bytes }) => sum + bytes, 0),
    deliveries: new Map(),
  };
}

export interface Delivery {
  readonly sequence: bigint;
  readonly commits: number;
  readonly changes: readonly WireChange[];
  readonly bytes: number;
}

/** What a filter lets through of an entry; the same object for everybody with this filter. */
export function deliveryOf(entry: FeedEntry, filter: WatchFilter): Delivery | undefined {
  if (entry.deliveries.has(filter.name)) return entry.deliveries.get(filter.name);
  const changes: WireChange[] = [];
  let bytes = 0;
  for (const change of entry.changes) {
    const wire = seen(change, filter);
    if (wire === undefined) continue;
    changes.push(wire);
    bytes += wire.key.length + (wire.record?.byteLength ?? 0);
  }
  const delivery = changes.length === 0 ? undefined : { sequence: entry.sequence, commits: entry.commits, changes, bytes };
  entry.deliveries.set(filter.name, delivery);
  return delivery;
}

/** Whether a watch by cell shows records that have none. */
export const wantsCellless = (filter: WatchFilter): boolean =>
  filter.kinds.size === 0 || [...filter.kinds].some((kind) => !hasCell(kind));
