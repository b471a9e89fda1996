// Which instances and tasks are open: a rule about them holds, or will by time alone. All others need no judging, and those are nearly
// all of them nearly always, which is what makes a plan cheap.
import type { ActualLRP, ClusterView, DesiredLRP, InstanceRows, ProcessGuid, Task } from "../model/index.js";
import { isLive } from "./cells.js";
import { isOutdated } from "./resolved.js";
import { wantedInstances } from "./wanted.js";

const onLostCell = (view: ClusterView, row: ActualLRP | undefined): boolean =>
  row?.instanceKey !== undefined && !isLive(view.cell(row.instanceKey.cellId));

/** A wanted index is open unless its Ordinary row is on its way or well, on a living cell, and told what is desired of it. */
function isWantedOpen(view: ClusterView, desired: DesiredLRP, { ORDINARY: row, EVACUATING: evacuating }: InstanceRows): boolean {
  if (row === undefined || row.state === "CRASHED" || onLostCell(view, row) || onLostCell(view, evacuating)) return true;
  return row.state === "RUNNING" && !row.updateMarked && isOutdated(desired, row);
}

export function isOpenInstance(view: ClusterView, processGuid: ProcessGuid, index: number): boolean {
  const desired = view.desiredLRP(processGuid);
  const rows = view.instancesOfProcess(processGuid).get(index);
  if (desired === undefined || index >= wantedInstances(view, desired)) return rows !== undefined;
  return rows === undefined || isWantedOpen(view, desired, rows);
}

/** A task on a living cell runs; all others wait for a time. */
export const isOpenTask = (view: ClusterView, task: Task): boolean =>
  task.state !== "RUNNING" || (task.cellId !== undefined && !isLive(view.cell(task.cellId)));

/** Calls back for each open instance of a process. */
export function eachOpenIndex(view: ClusterView, processGuid: ProcessGuid, visit: (index: number) => void): void {
  const desired = view.desiredLRP(processGuid);
  const instances = view.instancesOfProcess(processGuid);
  const wanted = desired === undefined ? 0 : wantedInstances(view, desired);
  let wantedWithRows = 0;
  for (let index = 0; index < wanted; index += 1) {
    const rows = instances.get(index);
    if (rows !== undefined) wantedWithRows += 1;
    if (rows === undefined || desired === undefined || isWantedOpen(view, desired, rows)) visit(index);
  }
  if (wantedWithRows === instances.size) return;
  for (const index of instances.keys()) if (index >= wanted) visit(index);
}

/** Looks at everything there is. */
export function eachOpenInstance(view: ClusterView, visit: (processGuid: ProcessGuid, index: number) => void): void {
  const look = (processGuid: ProcessGuid): void => eachOpenIndex(view, processGuid, (index) => visit(processGuid, index));
  for (const processGuid of view.desiredLRPs.keys()) look(processGuid);
  for (const processGuid of view.processesWithRows()) if (!view.desiredLRPs.has(processGuid)) look(processGuid);
}

export function eachOpenTask(view: ClusterView, visit: (task: Task) => void): void {
  for (const task of view.tasks.values()) if (isOpenTask(view, task)) visit(task);
}
