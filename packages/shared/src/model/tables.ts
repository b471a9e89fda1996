// All records in memory with their indexes: the BBS core's truth and every mirror's picture of it are this one class,
// so that a rule reads the same in both places.
import type { CellId, DomainName, ProcessGuid, TaskGuid } from "./ids.js";
import type {
  ActualLRP,
  Cell,
  Continuation,
  DesiredLRP,
  Domain,
  FeatureFlag,
  Lock,
  Presence,
  RunInfo,
  Task,
  TaskDefinition,
} from "./records.js";

/** Each kind of record by name. */
export interface RecordOf {
  desiredLRP: DesiredLRP;
  actualLRP: ActualLRP;
  task: Task;
  domain: Domain;
  cell: Cell;
  featureFlag: FeatureFlag;
  lock: Lock;
  runInfo: RunInfo;
  taskDefinition: TaskDefinition;
  continuation: Continuation;
}
export type RecordKind = keyof RecordOf;

/** One record put (with its new content) or deleted (`record: undefined`). */
export type Write = {
  [Kind in RecordKind]: { readonly kind: Kind; readonly key: string; readonly record: RecordOf[Kind] | undefined };
}[RecordKind];

/** A write with what stood there before: what watches, events and incremental rules are derived from. */
export type Change = {
  [Kind in RecordKind]: {
    readonly kind: Kind;
    readonly key: string;
    readonly before: RecordOf[Kind] | undefined;
    readonly after: RecordOf[Kind] | undefined;
  };
}[RecordKind];

export const actualLRPRowKey = (processGuid: ProcessGuid, index: number, presence: Presence): string =>
  `${processGuid}/${index}/${presence}`;

export const rowKeyOf = (row: ActualLRP): string => actualLRPRowKey(row.processGuid, row.index, row.presence);

/** The up to three rows of one (process guid, index). */
export interface InstanceRows {
  readonly ORDINARY: ActualLRP | undefined;
  readonly EVACUATING: ActualLRP | undefined;
  readonly SUSPECT: ActualLRP | undefined;
}

const noRows: InstanceRows = { ORDINARY: undefined, EVACUATING: undefined, SUSPECT: undefined };
const noInstances: ReadonlyMap<number, InstanceRows> = new Map();

/** What one process has: its rows by index, never an index without any, and how many Ordinary ones are RUNNING. */
interface ProcessRows {
  readonly byIndex: Map<number, InstanceRows>;
  running: number;
}

/** Every key a record is stored under, from the record itself. */
export const keyOf: { readonly [Kind in RecordKind]: (record: RecordOf[Kind]) => string } = {
  desiredLRP: (record) => record.processGuid,
  actualLRP: rowKeyOf,
  task: (record) => record.taskGuid,
  domain: (record) => record.name,
  cell: (record) => record.cellId,
  featureFlag: (record) => record.name,
  lock: (record) => record.key,
  runInfo: (record) => record.processGuid,
  taskDefinition: (record) => record.taskGuid,
  continuation: (record) => `${record.processGuid}/${record.work}`,
};

/** Makes the write that puts `record`. */
export function put<Kind extends RecordKind>(kind: Kind, record: RecordOf[Kind]): Write {
  return { kind, key: keyOf[kind](record), record } as Write;
}

/** Makes the write that deletes the record stored as `record` is. */
export function drop<Kind extends RecordKind>(kind: Kind, record: RecordOf[Kind]): Write {
  return { kind, key: keyOf[kind](record), record: undefined } as Write;
}

/** What rules and planners read. Lookups are constant time; iterators are bounded by what they yield. */
export interface ClusterView {
  desiredLRP(processGuid: ProcessGuid): DesiredLRP | undefined;
  rows(processGuid: ProcessGuid, index: number): InstanceRows;
  /** Rows of a process by index, in no order. */
  rowsOfProcess(processGuid: ProcessGuid): Iterable<ActualLRP>;
  /** The same by index; an index without a row is not in it. */
  instancesOfProcess(processGuid: ProcessGuid): ReadonlyMap<number, InstanceRows>;
  processesWithRows(): Iterable<ProcessGuid>;
  rowsOnCell(cellId: CellId): Iterable<ActualLRP>;
  tasksOnCell(cellId: CellId): Iterable<Task>;
  cell(cellId: CellId): Cell | undefined;
  domain(name: DomainName): Domain | undefined;
  flag(name: string): boolean | undefined;
  task(taskGuid: TaskGuid): Task | undefined;
  readonly desiredLRPs: ReadonlyMap<ProcessGuid, DesiredLRP>;
  readonly actualLRPs: ReadonlyMap<string, ActualLRP>;
  readonly tasks: ReadonlyMap<TaskGuid, Task>;
  readonly domains: ReadonlyMap<DomainName, Domain>;
  readonly cells: ReadonlyMap<CellId, Cell>;
  /** Cells that rows name, whether or not they have a record. */
  cellsNamedByRows(): Iterable<CellId>;
}

/** Mutable tables; only `apply` changes them. */
export class Tables implements ClusterView {
  readonly desiredLRPs = new Map<ProcessGuid, DesiredLRP>();
  readonly actualLRPs = new Map<string, ActualLRP>();
  readonly tasks = new Map<TaskGuid, Task>();
  readonly domains = new Map<DomainName, Domain>();
  readonly cells = new Map<CellId, Cell>();
  readonly featureFlags = new Map<string, FeatureFlag>();
  readonly locks = new Map<string, Lock>();
  readonly runInfos = new Map<string, RunInfo>();
  readonly taskDefinitions = new Map<string, TaskDefinition>();
  readonly continuations = new Map<string, Continuation>();

  readonly #byProcess = new Map<ProcessGuid, ProcessRows>();
  readonly #rowsByCell = new Map<CellId, Set<string>>();
  readonly #tasksByCell = new Map<CellId, Set<TaskGuid>>();
  readonly #desiredByDomain = new Map<DomainName, Set<ProcessGuid>>();

  readonly #tables: { readonly [Kind in RecordKind]: Map<string, RecordOf[Kind]> } = {
    desiredLRP: this.desiredLRPs as Map<string, DesiredLRP>,
    actualLRP: this.actualLRPs,
    task: this.tasks as Map<string, Task>,
    domain: this.domains as Map<string, Domain>,
    cell: this.cells as Map<string, Cell>,
    featureFlag: this.featureFlags,
    lock: this.locks,
    runInfo: this.runInfos,
    taskDefinition: this.taskDefinitions,
    continuation: this.continuations,
  };

  /** Carries the write out and returns it with what it replaced. */
  apply(write: Write): Change {
    const table = this.#tables[write.kind] as Map<string, RecordOf[RecordKind]>;
    const before = table.get(write.key);
    if (write.record === undefined) table.delete(write.key);
    else table.set(write.key, write.record);
    const change = { kind: write.kind, key: write.key, before, after: write.record } as Change;
    this.#index(change);
    return change;
  }

  applyAll(writes: readonly Write[]): Change[] {
    return writes.map((write) => this.apply(write));
  }

  get<Kind extends RecordKind>(kind: Kind, key: string): RecordOf[Kind] | undefined {
    return this.#tables[kind].get(key);
  }

  /** All records of one kind, in insertion order. */
  all<Kind extends RecordKind>(kind: Kind): ReadonlyMap<string, RecordOf[Kind]> {
    return this.#tables[kind];
  }

  clear(): void {
    for (const table of Object.values(this.#tables)) table.clear();
    this.#byProcess.clear();
    this.#rowsByCell.clear();
    this.#tasksByCell.clear();
    this.#desiredByDomain.clear();
  }

  desiredLRP(processGuid: ProcessGuid): DesiredLRP | undefined {
    return this.desiredLRPs.get(processGuid);
  }

  rows(processGuid: ProcessGuid, index: number): InstanceRows {
    return this.#byProcess.get(processGuid)?.byIndex.get(index) ?? noRows;
  }

  *rowsOfProcess(processGuid: ProcessGuid): Iterable<ActualLRP> {
    for (const rows of this.instancesOfProcess(processGuid).values()) {
      if (rows.ORDINARY !== undefined) yield rows.ORDINARY;
      if (rows.EVACUATING !== undefined) yield rows.EVACUATING;
      if (rows.SUSPECT !== undefined) yield rows.SUSPECT;
    }
  }

  instancesOfProcess(processGuid: ProcessGuid): ReadonlyMap<number, InstanceRows> {
    return this.#byProcess.get(processGuid)?.byIndex ?? noInstances;
  }

  processesWithRows(): Iterable<ProcessGuid> {
    return this.#byProcess.keys();
  }

  /** How many of a process's Ordinary rows are RUNNING, wanted or not. */
  runningOfProcess(processGuid: ProcessGuid): number {
    return this.#byProcess.get(processGuid)?.running ?? 0;
  }

  *rowsOnCell(cellId: CellId): Iterable<ActualLRP> {
    for (const key of this.#rowsByCell.get(cellId) ?? []) {
      const row = this.actualLRPs.get(key);
      if (row !== undefined) yield row;
    }
  }

  *tasksOnCell(cellId: CellId): Iterable<Task> {
    for (const guid of this.#tasksByCell.get(cellId) ?? []) {
      const task = this.tasks.get(guid);
      if (task !== undefined) yield task;
    }
  }

  desiredInDomain(domain: DomainName): Iterable<ProcessGuid> {
    return this.#desiredByDomain.get(domain) ?? [];
  }

  cell(cellId: CellId): Cell | undefined {
    return this.cells.get(cellId);
  }

  domain(name: DomainName): Domain | undefined {
    return this.domains.get(name);
  }

  flag(name: string): boolean | undefined {
    return this.featureFlags.get(name)?.enabled;
  }

  task(taskGuid: TaskGuid): Task | undefined {
    return this.tasks.get(taskGuid);
  }

  cellsNamedByRows(): Iterable<CellId> {
    return this.#rowsByCell.keys();
  }

  #index(change: Change): void {
    switch (change.kind) {
      case "actualLRP":
        this.#indexRow(change.key, change.before, change.after);
        return;
      case "task":
        move(this.#tasksByCell, change.before?.cellId, change.after?.cellId, change.key as TaskGuid);
        return;
      case "desiredLRP":
        move(this.#desiredByDomain, change.before?.domain, change.after?.domain, change.key as ProcessGuid);
        return;
      default:
    }
  }

  #indexRow(key: string, before: ActualLRP | undefined, after: ActualLRP | undefined): void {
    const row = after ?? before;
    if (row === undefined) return;
    const known = this.#byProcess.get(row.processGuid);
    const { byIndex } = known ?? { byIndex: new Map<number, InstanceRows>() };
    const rows: InstanceRows = { ...(byIndex.get(row.index) ?? noRows), [row.presence]: after };
    if (rows.ORDINARY === undefined && rows.EVACUATING === undefined && rows.SUSPECT === undefined) byIndex.delete(row.index);
    else byIndex.set(row.index, rows);
    const running = (known?.running ?? 0) + Number(runs(after)) - Number(runs(before));
    if (byIndex.size === 0) this.#byProcess.delete(row.processGuid);
    else if (known === undefined) this.#byProcess.set(row.processGuid, { byIndex, running });
    else known.running = running;
    move(this.#rowsByCell, before?.instanceKey?.cellId, after?.instanceKey?.cellId, key);
  }
}

const runs = (row: ActualLRP | undefined): boolean => row?.presence === "ORDINARY" && row.state === "RUNNING";

/** Moves `member` from the set at `from` to the set at `to`, either of which may be nowhere. */
function move<Key, Member>(index: Map<Key, Set<Member>>, from: Key | undefined, to: Key | undefined, member: Member): void {
  if (from === to) return;
  if (from !== undefined) {
    const set = index.get(from);
    set?.delete(member);
    if (set?.size === 0) index.delete(from);
  }
  if (to !== undefined) {
    const set = index.get(to);
    if (set === undefined) index.set(to, new Set([member]));
    else set.add(member);
  }
}
