// Which repairs are due: over everything (the 30 s cycle), or over the keys a change touched (at once).
import type { CellId, Change, ClusterView, EpochMs, Presence, ProcessGuid, Task, TaskGuid, TaskState } from "../model/index.js";
import { type CellTime, rememberMassLoss } from "./cells.js";
import { eachOpenInstance, eachOpenTask } from "./open.js";
import { type Repair, ruleHolds } from "./rules.js";
import type { RuleName } from "./table.js";
import { wantedInstances } from "./wanted.js";

const nobody = "" as ProcessGuid;

export const instanceRepair = (
  rule: RuleName,
  processGuid: ProcessGuid,
  index: number,
  presence: Presence = "ORDINARY",
): Repair => ({
  rule,
  processGuid,
  index,
  presence,
  name: "",
});

export const namedRepair = (rule: RuleName, name: string): Repair => ({
  rule,
  processGuid: nobody,
  index: 0,
  presence: "ORDINARY",
  name,
});

/** A repair that does not hold yet, and when it will if nothing else changes. */
export interface DueRepair {
  readonly repair: Repair;
  readonly dueAtMs: EpochMs;
}

/** What a round of judging found: repairs that hold now, those that will, and when the first of these falls due. */
export interface Findings {
  readonly repairs: Repair[];
  /** In no order; a key and rule at most once. */
  readonly due: DueRepair[];
  nextDueMs: EpochMs | undefined;
}

const noFindings = (): Findings => ({ repairs: [], due: [], nextDueMs: undefined });

function judge(view: ClusterView, repair: Repair, time: CellTime, findings: Findings): void {
  const verdict = ruleHolds(view, repair, time);
  if (verdict.holds) findings.repairs.push(repair);
  else if (verdict.dueAtMs !== undefined) {
    findings.due.push({ repair, dueAtMs: verdict.dueAtMs });
    if (findings.nextDueMs === undefined || verdict.dueAtMs < findings.nextDueMs) findings.nextDueMs = verdict.dueAtMs;
  }
}

/** Judges every rule that is about one instance. */
function judgeInstance(view: ClusterView, processGuid: ProcessGuid, index: number, time: CellTime, findings: Findings): void {
  const rows = view.rows(processGuid, index);
  const ordinary = rows.ORDINARY;
  if (ordinary === undefined) judge(view, instanceRepair("missing", processGuid, index), time, findings);
  else {
    judge(view, instanceRepair("surplus", processGuid, index), time, findings);
    if (ordinary.state === "CRASHED") judge(view, instanceRepair("restart", processGuid, index), time, findings);
    if (ordinary.instanceKey !== undefined) judge(view, instanceRepair("cell-lost", processGuid, index), time, findings);
    if (ordinary.state === "RUNNING") judge(view, instanceRepair("outdated", processGuid, index), time, findings);
  }
  if (rows.SUSPECT !== undefined) judge(view, instanceRepair("surplus", processGuid, index, "SUSPECT"), time, findings);
  if (rows.EVACUATING !== undefined) {
    judge(view, instanceRepair("surplus", processGuid, index, "EVACUATING"), time, findings);
    judge(view, instanceRepair("evacuating-lost", processGuid, index, "EVACUATING"), time, findings);
  }
}

/** The rules that can hold for a task, by its state. */
const taskRules: Readonly<Record<TaskState, readonly RuleName[]>> = {
  PENDING: ["task-expired", "task-disabled"],
  RUNNING: ["task-cell-lost"],
  COMPLETED: ["task-callback", "task-over"],
  RESOLVING: ["task-unresolved"],
};

function judgeTask(view: ClusterView, task: Task, time: CellTime, findings: Findings): void {
  for (const rule of taskRules[task.state]) judge(view, namedRepair(rule, task.taskGuid), time, findings);
}

/** The indices of a process worth a look: all that are wanted and all that have rows. */
function indicesOf(view: ClusterView, processGuid: ProcessGuid): Set<number> {
  const indices = new Set<number>();
  const desired = view.desiredLRP(processGuid);
  const wanted = desired === undefined ? 0 : wantedInstances(view, desired);
  for (let index = 0; index < wanted; index += 1) indices.add(index);
  for (const row of view.rowsOfProcess(processGuid)) indices.add(row.index);
  return indices;
}

/** The one order of repairs: by rule, then key. */
export const compareRepairs = (a: Repair, b: Repair): number =>
  a.rule !== b.rule
    ? a.rule < b.rule
      ? -1
      : 1
    : a.processGuid !== b.processGuid
      ? a.processGuid < b.processGuid
        ? -1
        : 1
      : a.index - b.index ||
        (a.presence < b.presence ? -1 : a.presence > b.presence ? 1 : a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

/** Plans over everything there is. The same view gives the same plan, whatever order its maps are in. */
export const planConvergence = (view: ClusterView, at: CellTime): Findings =>
  planOver(
    view,
    (visit) => eachOpenInstance(view, visit),
    (visit) => eachOpenTask(view, visit),
    at,
  );

/** Calls back for each key to look at. */
export type Instances = (visit: (processGuid: ProcessGuid, index: number) => void) => void;
export type Tasks = (visit: (task: Task) => void) => void;

/** Plans over these instances and tasks, all domains and all missing cells. Each instance and task comes at most once. */
export function planOver(view: ClusterView, instances: Instances, tasks: Tasks, at: CellTime): Findings {
  const time = rememberMassLoss(view, at);
  const findings = noFindings();
  instances((processGuid, index) => judgeInstance(view, processGuid, index, time, findings));
  tasks((task) => judgeTask(view, task, time, findings));
  for (const name of view.domains.keys()) judge(view, namedRepair("domain-expired", name), time, findings);
  for (const [cellId, cell] of view.cells) {
    if (cell.lostAtMs !== undefined) judge(view, namedRepair("cell-gone", cellId), time, findings);
  }
  findings.repairs.sort(compareRepairs);
  return findings;
}

/** What a set of changes may have made due: instances and tasks to look at, and whole processes, cells, domains. */
export interface Touched {
  readonly instances: Map<string, { readonly processGuid: ProcessGuid; readonly index: number }>;
  readonly processes: Set<ProcessGuid>;
  readonly tasks: Set<TaskGuid>;
  readonly cells: Set<CellId>;
  /** Cells that a row or task has ceased to name: nothing may name them any more. */
  readonly emptied: Set<CellId>;
  /** Domains that came or went. */
  readonly domains: Set<string>;
  /** Domains vouched for anew: their end has moved. */
  readonly renewed: Set<string>;
  /** A flag moved: every process may be touched. */
  everything: boolean;
}

export const nothingTouched = (): Touched => ({
  instances: new Map(),
  processes: new Set(),
  tasks: new Set(),
  cells: new Set(),
  emptied: new Set(),
  domains: new Set(),
  renewed: new Set(),
  everything: false,
});

/** Notes what a committed change touches; cheap, so that it can run for every change. */
export function noteChange(touched: Touched, change: Change): void {
  switch (change.kind) {
    case "actualLRP": {
      const row = change.after ?? change.before;
      if (row !== undefined)
        touched.instances.set(`${row.processGuid}/${row.index}`, { processGuid: row.processGuid, index: row.index });
      noteEmptied(touched, change.before?.instanceKey?.cellId, change.after?.instanceKey?.cellId);
      return;
    }
    case "task":
      touched.tasks.add(change.key as TaskGuid);
      noteEmptied(touched, change.before?.cellId, change.after?.cellId);
      return;
    case "desiredLRP":
      touched.processes.add(change.key as ProcessGuid);
      return;
    case "cell":
      if (change.before?.lostAtMs !== change.after?.lostAtMs || change.after === undefined)
        touched.cells.add(change.key as CellId);
      return;
    case "domain":
      (change.before === undefined || change.after === undefined ? touched.domains : touched.renewed).add(change.key);
      return;
    case "featureFlag":
      touched.everything = true;
      return;
    default:
  }
}

function noteEmptied(touched: Touched, before: CellId | undefined, after: CellId | undefined): void {
  if (before !== undefined && before !== after) touched.emptied.add(before);
}

/** Plans over what was touched only. Domains that appeared or went touch everything, since orphans of a domain have no index. */
export function planTouched(view: ClusterView, touched: Touched, at: CellTime): Findings {
  if (touched.everything || touched.domains.size > 0) return planConvergence(view, at);
  const time = rememberMassLoss(view, at);
  const findings = noFindings();
  const seen = new Set<string>();
  const look = (processGuid: ProcessGuid, index: number): void => {
    const key = `${processGuid}/${index}`;
    if (seen.has(key)) return;
    seen.add(key);
    judgeInstance(view, processGuid, index, time, findings);
  };
  for (const { processGuid, index } of touched.instances.values()) look(processGuid, index);
  for (const processGuid of touched.processes) for (const index of indicesOf(view, processGuid)) look(processGuid, index);
  const tasks = new Set(touched.tasks);
  for (const cellId of touched.cells) {
    for (const row of view.rowsOnCell(cellId)) look(row.processGuid, row.index);
    for (const { taskGuid } of view.tasksOnCell(cellId)) tasks.add(taskGuid);
  }
  for (const taskGuid of tasks) {
    const task = view.task(taskGuid);
    if (task !== undefined) judgeTask(view, task, time, findings);
  }
  for (const cellId of new Set([...touched.cells, ...touched.emptied])) {
    judge(view, namedRepair("cell-gone", cellId), time, findings);
  }
  for (const name of touched.renewed) judge(view, namedRepair("domain-expired", name), time, findings);
  findings.repairs.sort(compareRepairs);
  return findings;
}
