// Counts of records for the metrics: walked a slice at a time, since a quarter of a million rows in one tick would hold up every call.
import {
  type CellId,
  type EpochMs,
  type LRPState,
  lrpStates,
  type Presence,
  type ProcessGuid,
  presences,
  type Tables,
  type TaskState,
} from "@muster/shared/model";
import { domainFresh } from "@muster/shared/rules";

export interface RecordTally {
  /** Rows by `state/presence`; every pair is there. */
  readonly rows: ReadonlyMap<`${LRPState}/${Presence}`, number>;
  readonly tasks: ReadonlyMap<TaskState, number>;
  /** Instances over all DesiredLRPs. */
  readonly instancesDesired: number;
  /** Processes with at least one CRASHED ordinary row. */
  readonly processesCrashing: number;
  readonly cellsPresent: number;
  /** Cells without a live presence that CLAIMED or RUNNING rows still name. */
  readonly cellsSuspect: number;
  /** Whether somebody vouches for it, by name. */
  readonly domains: ReadonlyMap<string, boolean>;
}

/** Records looked at before others get their turn: well below a millisecond. */
const slice = 2_000;

const noRows = (): Map<`${LRPState}/${Presence}`, number> =>
  new Map(lrpStates.flatMap((state) => presences.map((presence) => [`${state}/${presence}`, 0] as const)));
const noTasks = (): Map<TaskState, number> =>
  new Map([
    ["PENDING", 0],
    ["RUNNING", 0],
    ["COMPLETED", 0],
    ["RESOLVING", 0],
  ]);

/** Counts what `tables` hold; `pause` lets others run. Records that change meanwhile count as before or as after. */
export async function tallyRecords(tables: Tables, nowMs: EpochMs, pause: () => Promise<void>): Promise<RecordTally> {
  const walk = async <Item>(items: Iterable<Item>, look: (item: Item) => void): Promise<void> => {
    let seen = 0;
    for (const item of items) {
      look(item);
      seen += 1;
      if (seen % slice === 0) await pause();
    }
  };
  const live = (cellId: CellId): boolean => {
    const cell = tables.cell(cellId);
    return cell !== undefined && cell.lostAtMs === undefined;
  };
  const rows = noRows();
  const crashing = new Set<ProcessGuid>();
  const suspect = new Set<CellId>();
  await walk(tables.actualLRPs.values(), (row) => {
    const key = `${row.state}/${row.presence}` as const;
    rows.set(key, (rows.get(key) ?? 0) + 1);
    if (row.state === "CRASHED" && row.presence === "ORDINARY") crashing.add(row.processGuid);
    const cellId = row.state === "CLAIMED" || row.state === "RUNNING" ? row.instanceKey?.cellId : undefined;
    if (cellId !== undefined && !suspect.has(cellId) && !live(cellId)) suspect.add(cellId);
  });
  const tasks = noTasks();
  await walk(tables.tasks.values(), ({ state }) => tasks.set(state, (tasks.get(state) ?? 0) + 1));
  let instancesDesired = 0;
  await walk(tables.desiredLRPs.values(), ({ instances }) => {
    instancesDesired += instances;
  });
  let cellsPresent = 0;
  await walk(tables.cells.values(), ({ lostAtMs }) => {
    if (lostAtMs === undefined) cellsPresent += 1;
  });
  const domains = new Map<string, boolean>();
  await walk(tables.domains.keys(), (name) => domains.set(name, domainFresh(tables, name, nowMs)));
  return { rows, tasks, instancesDesired, processesCrashing: crashing.size, cellsPresent, cellsSuspect: suspect.size, domains };
}
