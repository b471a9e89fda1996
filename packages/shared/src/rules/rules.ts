// The convergence rules, one definition each: the converger finds keys with them over its mirror, the BBS core judges the same
// key with them over the truth before it acts. A rule decides; `services/bbs` core/repairs carries out.
import {
  type ActualLRP,
  asEpochMs,
  asTaskGuid,
  type CellId,
  type ClusterView,
  epochNsToMs,
  type Presence,
  type ProcessGuid,
  type Task,
} from "../model/index.js";
import type { CellTime } from "./cells.js";
import { restartAtMs } from "./crash.js";
import { isOutdated } from "./resolved.js";
import type { RuleName } from "./table.js";
import { taskCallback, taskCellLost, taskDisabled, taskExpired, taskOver, taskUnresolved } from "./tasks.js";
import { from, holds, lossVerdict, never, type Verdict } from "./verdict.js";
import { domainFresh, isWanted, stoppedByFlag } from "./wanted.js";

/** One rule and the one key it is about. `presence` matters to rules about rows, `name` to rules about tasks, domains and cells. */
export interface Repair {
  readonly rule: RuleName;
  readonly processGuid: ProcessGuid;
  readonly index: number;
  readonly presence: Presence;
  readonly name: string;
}

/** C2: a missing record is kept this long. */
const missingRecordMs = 600_000;

type Judge = (view: ClusterView, repair: Repair, time: CellTime) => Verdict;

const rowOf = (view: ClusterView, repair: Repair): ActualLRP | undefined =>
  view.rows(repair.processGuid, repair.index)[repair.presence];

const missing: Judge = (view, { processGuid, index }) =>
  isWanted(view, view.desiredLRP(processGuid), index) && view.rows(processGuid, index).ORDINARY === undefined ? holds : never;

const surplus: Judge = (view, repair, time) => {
  const row = rowOf(view, repair);
  if (row === undefined || row.stopMarked) return never;
  const desired = view.desiredLRP(row.processGuid);
  if (isWanted(view, desired, row.index)) return never;
  // W3: the flag needs nobody's word that the domain is complete; everything else does (invariant I14).
  if (desired !== undefined && stoppedByFlag(view, desired)) return holds;
  return domainFresh(view, (desired ?? row).domain, time.nowMs) ? holds : never;
};

const restart: Judge = (view, { processGuid, index }, time) => {
  const row = view.rows(processGuid, index).ORDINARY;
  if (row?.state !== "CRASHED" || !isWanted(view, view.desiredLRP(processGuid), index)) return never;
  const atMs = restartAtMs(row.crashCount, epochNsToMs(row.sinceNs));
  if (atMs === undefined) return never;
  return from(atMs, time);
};

const cellLost: Judge = (view, { processGuid, index }, time) => {
  const row = view.rows(processGuid, index).ORDINARY;
  if (row?.instanceKey === undefined) return never;
  // A row nobody desires waits for the surplus rule, except that a marked one (S3) waits for nothing.
  if (!row.stopMarked && view.desiredLRP(processGuid) === undefined) return never;
  return lossVerdict(view, row.instanceKey.cellId, time, !row.stopMarked);
};

const evacuatingLost: Judge = (view, { processGuid, index }, time) => {
  const row = view.rows(processGuid, index).EVACUATING;
  return row?.instanceKey === undefined ? never : lossVerdict(view, row.instanceKey.cellId, time, !row.stopMarked);
};

const outdated: Judge = (view, { processGuid, index }) => {
  const row = view.rows(processGuid, index).ORDINARY;
  const desired = view.desiredLRP(processGuid);
  if (row?.state !== "RUNNING" || row.stopMarked || row.updateMarked || desired === undefined) return never;
  return isOutdated(desired, row) ? holds : never;
};

/** A rule about the task that `name` names. */
const ofTask =
  (judge: (view: ClusterView, task: Task, time: CellTime) => Verdict): Judge =>
  (view, { name }, time) => {
    const task = view.task(asTaskGuid(name));
    return task === undefined ? never : judge(view, task, time);
  };

const domainExpired: Judge = (view, { name }, time) => {
  const domain = view.domain(name as never);
  if (domain?.expiresAtMs === undefined) return never;
  return from(domain.expiresAtMs, time);
};

const cellGone: Judge = (view, { name }, time) => {
  const cell = view.cell(name as CellId);
  if (cell?.lostAtMs === undefined) return never;
  for (const _ of view.rowsOnCell(cell.cellId)) return never;
  for (const _ of view.tasksOnCell(cell.cellId)) return never;
  return from(asEpochMs(cell.lostAtMs + missingRecordMs), time);
};

const judges: Readonly<Record<RuleName, Judge>> = {
  missing,
  surplus,
  restart,
  "cell-lost": cellLost,
  "evacuating-lost": evacuatingLost,
  outdated,
  "task-expired": ofTask(taskExpired),
  "task-disabled": ofTask(taskDisabled),
  "task-cell-lost": ofTask(taskCellLost),
  "task-unresolved": ofTask(taskUnresolved),
  "task-callback": ofTask(taskCallback),
  "task-over": ofTask(taskOver),
  "domain-expired": domainExpired,
  "cell-gone": cellGone,
};

/** Says whether `repair.rule` holds for its key in this view, at this cluster time. */
export const ruleHolds = (view: ClusterView, repair: Repair, time: CellTime): Verdict => judges[repair.rule](view, repair, time);
