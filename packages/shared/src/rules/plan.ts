// Which repairs are due: over everything (the 30 s cycle), or over the keys a change touched (at once).
import type { CellId, Change, ClusterView, EpochMs, Presence, ProcessGuid } from "../model/index.js";
import type { CellTime } from "./cells.js";
import { type Repair, type RuleName, ruleHolds } from "./rules.js";
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

/** What a round of judging found: repairs that hold now, and when the next one falls due. */
export interface Findings {
  readonly repairs: Repair[];
  nextDueMs: EpochMs | undefined;
}

const noFindings = (): Findings => ({ repairs: [], nextDueMs: undefined });

function judge(view: ClusterView, repair: Repair, time: CellTime, findings: Findings): void {
  const verdict = ruleHolds(view, repair, time);
  if (verdict.holds) findings.repairs.push(repair);
  else if (verdict.dueAtMs !== undefined && (findings.nextDueMs === undefined || verdict.dueAtMs < findings.nextDueMs)) {
    findings.nextDueMs = verdict.dueAtMs;
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
  }
  if (rows.SUSPECT !== undefined) judge(view, instanceRepair("surplus", processGuid, index, "SUSPECT"), time, findings);
  if (rows.EVACUATING !== undefined) {
    judge(view, instanceRepair("surplus", processGuid, index, "EVACUATING"), time, findings);
    judge(view, instanceRepair("evacuating-lost", processGuid, index, "EVACUATING"), time, findings);
  }
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

const inOrder = (a: Repair, b: Repair): number =>
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

/** Plans over everything: the backstop cycle. The same view gives the same plan, whatever order its maps are in. */
export function planConvergence(view: ClusterView, time: CellTime): Findings {
  const findings = noFindings();
  for (const [processGuid, desired] of view.desiredLRPs) {
    const wanted = wantedInstances(view, desired);
    for (let index = 0; index < wanted; index += 1) {
      if (view.rows(processGuid, index).ORDINARY === undefined) {
        judge(view, instanceRepair("missing", processGuid, index), time, findings);
      }
    }
  }
  for (const row of view.actualLRPs.values()) judgeRow(view, row.processGuid, row.index, row.presence, time, findings);
  for (const name of view.domains.keys()) judge(view, namedRepair("domain-expired", name), time, findings);
  for (const [cellId, cell] of view.cells) {
    if (cell.lostAtMs !== undefined) judge(view, namedRepair("cell-gone", cellId), time, findings);
  }
  findings.repairs.sort(inOrder);
  return findings;
}

function judgeRow(
  view: ClusterView,
  processGuid: ProcessGuid,
  index: number,
  presence: Presence,
  time: CellTime,
  findings: Findings,
): void {
  judge(view, instanceRepair("surplus", processGuid, index, presence), time, findings);
  if (presence === "ORDINARY") {
    judge(view, instanceRepair("restart", processGuid, index), time, findings);
    judge(view, instanceRepair("cell-lost", processGuid, index), time, findings);
  }
  if (presence === "EVACUATING") judge(view, instanceRepair("evacuating-lost", processGuid, index, presence), time, findings);
}

/** What a set of changes may have made due: instances to look at, and whole processes, cells, domains. */
export interface Touched {
  readonly instances: Map<string, { readonly processGuid: ProcessGuid; readonly index: number }>;
  readonly processes: Set<ProcessGuid>;
  readonly cells: Set<CellId>;
  readonly domains: Set<string>;
  /** A flag moved: every process may be touched. */
  everything: boolean;
}

export const nothingTouched = (): Touched => ({
  instances: new Map(),
  processes: new Set(),
  cells: new Set(),
  domains: new Set(),
  everything: false,
});

/** Notes what a committed change touches; cheap, so that it can run for every change. */
export function noteChange(touched: Touched, change: Change): void {
  switch (change.kind) {
    case "actualLRP": {
      const row = change.after ?? change.before;
      if (row !== undefined)
        touched.instances.set(`${row.processGuid}/${row.index}`, { processGuid: row.processGuid, index: row.index });
      if (change.before?.instanceKey !== undefined && change.after === undefined)
        touched.cells.add(change.before.instanceKey.cellId);
      return;
    }
    case "desiredLRP":
      touched.processes.add(change.key as ProcessGuid);
      return;
    case "cell":
      if (change.before?.lostAtMs !== change.after?.lostAtMs || change.after === undefined)
        touched.cells.add(change.key as CellId);
      return;
    case "domain":
      if (change.before === undefined || change.after === undefined) touched.domains.add(change.key);
      return;
    case "featureFlag":
      touched.everything = true;
      return;
    default:
  }
}

/** Plans over what was touched only. Domains that appeared or went touch everything, since orphans of a domain have no index. */
export function planTouched(view: ClusterView, touched: Touched, time: CellTime): Findings {
  if (touched.everything || touched.domains.size > 0) return planConvergence(view, time);
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
  for (const cellId of touched.cells) {
    for (const row of view.rowsOnCell(cellId)) look(row.processGuid, row.index);
    judge(view, namedRepair("cell-gone", cellId), time, findings);
  }
  findings.repairs.sort(inOrder);
  return findings;
}
