// What must hold after every commit: the invariants of convergence.md section 11 that one look at the records can judge.
// Each returns what is wrong, in words that name the row; nothing returned is nothing wrong.
import {
  type ActualLRP,
  actualLRPMoves,
  type Change,
  epochNsToMs,
  type LRPState,
  rowKeyOf,
  sameInstance,
  type Tables,
} from "@muster/shared/model";
import { domainFresh, immediateRestarts, isLive, isWanted, maxRestarts, restartAtMs } from "@muster/shared/rules";

const where = (row: ActualLRP): string =>
  `${rowKeyOf(row)} (${row.state}, instance ${row.instanceKey?.instanceGuid ?? "none"} on ${row.instanceKey?.cellId ?? "no cell"})`;

/** I1-I4, I6, I11, I13: what every row looks like by itself. */
export function rowFaults(key: string, row: ActualLRP): string[] {
  const faults: string[] = [];
  const must = (holds: boolean, what: string): void => {
    if (!holds) faults.push(`${what}: ${where(row)}`);
  };
  const held = row.state === "CLAIMED" || row.state === "RUNNING";
  must(rowKeyOf(row) === key, `I1 a row is stored as what it is, not as ${key}`);
  must(held === (row.instanceKey !== undefined), "I2/I3 an instance key exactly in CLAIMED and RUNNING");
  must((row.state === "RUNNING") === (row.netInfo !== undefined), "I2/I3 net info exactly in RUNNING");
  must(held || row.presence === "ORDINARY", "I2 UNCLAIMED and CRASHED are Ordinary");
  must(row.presence !== "EVACUATING" || row.state === "RUNNING", "I4 an Evacuating row is RUNNING");
  must(row.presence !== "SUSPECT" || held, "I4 a Suspect row is CLAIMED or RUNNING");
  must(row.index >= 0 && row.processGuid !== "" && row.domain !== "" && row.sinceNs > 0n, "I6 index, guid, domain and since");
  must(row.crashCount >= 0, "I6 the crash count is not negative");
  must(row.state !== "CRASHED" || row.crashCount >= immediateRestarts, "I11 CRASHED means at least three crashes");
  must(row.placementError === "" || row.state === "UNCLAIMED", "I13 a placement error only while UNCLAIMED");
  must(!row.stopMarked || held, "S1 only an instance has a stop mark");
  return faults;
}

/** I31: where an Ordinary row is RUNNING there is no Suspect and no Evacuating row any more, but for a marked one (decision 0005). */
export function besideFaults({ processGuid, index }: ActualLRP, tables: Tables): string[] {
  const { ORDINARY: row, SUSPECT: suspect, EVACUATING: evacuating } = tables.rows(processGuid, index);
  if (row?.state !== "RUNNING") return [];
  return [suspect, evacuating].flatMap((other) =>
    other === undefined || other.stopMarked ? [] : [`I31 a row that was left beside a running one: ${where(other)}`],
  );
}

/** I5: one instance, one row; evacuation makes a copy of a row in the command that takes its instance from the other (E1). */
export function instanceFaults(tables: Tables): string[] {
  const rows = new Map<string, ActualLRP>();
  const faults: string[] = [];
  for (const row of tables.actualLRPs.values()) {
    if (row.instanceKey === undefined) continue;
    const other = rows.get(row.instanceKey.instanceGuid);
    if (other !== undefined) faults.push(`I5 one instance in two rows: ${where(other)} and ${where(row)}`);
    rows.set(row.instanceKey.instanceGuid, row);
  }
  return faults;
}

/** One change as the BBS decided it. `tables` hold it and everything decided before it, and nothing decided later. */
export function changeFaults(change: Change, tables: Tables): string[] {
  if (change.kind !== "actualLRP") return [];
  const { before, after } = change;
  if (after === undefined) return before === undefined ? [] : lostFaults(before, tables);
  const faults = [...rowFaults(change.key, after), ...wantedFaults(before, after, tables)];
  if (before === undefined) return [...faults, ...suspectFaults(after, tables)];
  if (before.modificationTag.epoch !== after.modificationTag.epoch)
    return [...faults, ...lostFaults(before, tables), ...newRowFaults(before, after)];
  return [
    ...faults,
    ...moveFaults(before, after),
    ...tagFaults(before, after),
    ...crashFaults(before, after),
    ...markFaults(before, after),
  ];
}

/** W1, W2: no instance is claimed or started at an index that is not wanted, save where nobody can say what is. */
function wantedFaults(before: ActualLRP | undefined, after: ActualLRP, tables: Tables): string[] {
  if (after.presence !== "ORDINARY" || (after.state !== "CLAIMED" && after.state !== "RUNNING")) return [];
  if (before?.state === after.state && sameInstance(before.instanceKey, after.instanceKey)) return [];
  if (isWanted(tables, tables.desiredLRP(after.processGuid), after.index)) return [];
  const inserted = before?.modificationTag.epoch !== after.modificationTag.epoch;
  // A Suspect that came back brings its own tag; a row that a start inserted has a new one.
  if (inserted && after.modificationTag.index > 0) return [];
  if (inserted && !domainFresh(tables, after.domain, epochNsToMs(after.sinceNs))) return [];
  return [`W1 ${after.state} at an index that is not wanted: ${where(after)}`];
}

/** S1, S2: a mark goes only with its instance, and its row with both. */
function markFaults(before: ActualLRP, after: ActualLRP): string[] {
  if (!before.stopMarked || after.stopMarked) return [];
  if (after.instanceKey === undefined) return [`S2 a marked row lost its instance and stayed: ${where(before)}`];
  return sameInstance(before.instanceKey, after.instanceKey) ? [`S2 a stop mark was taken back: ${where(after)}`] : [];
}

/** A row in the place of another, in one command: only where the old one went (I8). */
const newRowFaults = (before: ActualLRP, after: ActualLRP): string[] =>
  after.presence === "ORDINARY" &&
  before.presence === "ORDINARY" &&
  after.state !== "UNCLAIMED" &&
  after.instanceKey === undefined
    ? [`I8 a row took another's place in a state no new row has: ${where(after)}`]
    : [];

/** I8, I9: only the moves of the table. A row that stays what it is may change its data. */
function moveFaults(before: ActualLRP, after: ActualLRP): string[] {
  const sameKey = sameInstance(before.instanceKey, after.instanceKey);
  const same = before.state === after.state && (sameKey || before.instanceKey === after.instanceKey);
  if (same) return [];
  const guard = actualLRPMoves[before.state][after.state];
  const allowed = guard === "free" || (guard === "same-instance" && (sameKey || cleared(after.state))) || guard === "key-cleared";
  return allowed ? [] : [`I8 a move that is not in the table, from ${where(before)} to ${where(after)}`];
}

/** A crash empties the key by the word of the row's own instance; the report itself is not seen here. */
const cleared = (state: LRPState): boolean => state === "CRASHED" || state === "UNCLAIMED";

/** I7: the tag never goes back, and moves with state and data. */
function tagFaults(before: ActualLRP, after: ActualLRP): string[] {
  const moved = after.modificationTag.index - before.modificationTag.index;
  if (moved < 0) return [`I7 the modification tag went back: ${where(after)}`];
  return moved === 0 && before.state !== after.state ? [`I7 a state changed without its tag: ${where(after)}`] : [];
}

/** I10, I12. */
function crashFaults(before: ActualLRP, after: ActualLRP): string[] {
  const faults: string[] = [];
  const { crashCount: was } = before;
  const { crashCount: is } = after;
  if (is !== was && is !== was + 1 && is !== 1) faults.push(`I10 the crash count went from ${was} to ${is}: ${where(after)}`);
  if (before.state !== "CRASHED" || after.state !== "UNCLAIMED") return faults;
  if (was >= maxRestarts) faults.push(`I11 restarted after ${was} crashes: ${where(after)}`);
  const due = restartAtMs(was, epochNsToMs(before.sinceNs));
  const atMs = epochNsToMs(after.sinceNs);
  if (due !== undefined && atMs < due) faults.push(`I12 restarted ${due - atMs} ms early: ${where(after)}`);
  return faults;
}

/** I22: the loss of a cell alone takes no running instance that is wanted; it turns Suspect. */
function lostFaults(before: ActualLRP, tables: Tables): string[] {
  const { instanceKey, presence, state, stopMarked, processGuid, index } = before;
  if (presence !== "ORDINARY" || state !== "RUNNING" || stopMarked || instanceKey === undefined) return [];
  if (!isWanted(tables, tables.desiredLRP(processGuid), index) || isLive(tables.cell(instanceKey.cellId))) return [];
  const suspect = tables.rows(processGuid, index).SUSPECT;
  return sameInstance(suspect?.instanceKey, instanceKey) ? [] : [`I22 the loss of its cell took ${where(before)}`];
}

/** I27: nothing turns Suspect while its cell is live. */
function suspectFaults(after: ActualLRP, tables: Tables): string[] {
  const cellId = after.instanceKey?.cellId;
  if (after.presence !== "SUSPECT" || cellId === undefined || !isLive(tables.cell(cellId))) return [];
  return [`I27 its cell is live: ${where(after)}`];
}
