// From records to work, and from work to what a cell is asked: rule P1's auction ids are made here and nowhere else.
import type { LRPWork, PerformRequest, TaskWork } from "@muster/proto/muster/v1/rep";
import type { ActualLRP, DesiredLRP, Task } from "@muster/shared/model";
import { type Ask, lrpWorkKey, taskWorkKey, type WaitingLRP, type WaitingTask, type Work } from "../plan/index.js";

export const askOf = (record: Pick<DesiredLRP | Task, keyof Ask>): Ask => ({
  rootFs: record.rootFs,
  memoryMb: record.memoryMb,
  diskMb: record.diskMb,
  maxPids: record.maxPids,
  placementTags: record.placementTags,
  volumeDrivers: record.volumeDrivers,
});

export const sameList = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((item, i) => item === b[i]);

export const sameAsk = (a: Ask, b: Ask): boolean =>
  a.rootFs === b.rootFs &&
  a.memoryMb === b.memoryMb &&
  a.diskMb === b.diskMb &&
  a.maxPids === b.maxPids &&
  sameList(a.placementTags, b.placementTags) &&
  sameList(a.volumeDrivers, b.volumeDrivers);

/** The part of an LRP's auction id that the BBS compares: `epoch.index` of the row's modification tag. */
export const tagOf = ({ modificationTag: { epoch, index } }: Pick<ActualLRP, "modificationTag">): string => `${epoch}.${index}`;

export function waitingLRP(row: ActualLRP, ask: Ask): WaitingLRP {
  const { processGuid, index, domain } = row;
  const key = lrpWorkKey(processGuid, index);
  return { kind: "lrp", key, processGuid, index, domain, auctionId: `${processGuid}/${index}@${tagOf(row)}`, ask };
}

export function waitingTask(task: Task): WaitingTask {
  const { taskGuid, domain } = task;
  const key = taskWorkKey(taskGuid);
  return { kind: "task", key, taskGuid, domain, auctionId: `${taskGuid}@${task.changedAt}`, ask: askOf(task) };
}

/** What was judged, as the BBS knows it: the text after the `@` of the auction id. */
export const judgedOf = ({ auctionId }: Work): string => auctionId.slice(auctionId.lastIndexOf("@") + 1);

export function performRequest(cellId: string, works: readonly Work[]): PerformRequest {
  const lrps: LRPWork[] = [];
  const tasks: TaskWork[] = [];
  for (const work of works) {
    if (work.kind === "lrp") lrps.push(lrpWork(work));
    else tasks.push(taskWork(work));
  }
  return { cellId, lrps, tasks };
}

// Field by field: an object spread costs more than the rest of a hand-over.
const lrpWork = ({ auctionId, processGuid, index, domain, ask }: WaitingLRP): LRPWork => ({
  auctionId,
  processGuid,
  index,
  domain,
  rootFs: ask.rootFs,
  memoryMb: ask.memoryMb,
  diskMb: ask.diskMb,
  maxPids: ask.maxPids,
  placementTags: [...ask.placementTags],
  volumeDrivers: [...ask.volumeDrivers],
});

const taskWork = ({ auctionId, taskGuid, domain, ask }: WaitingTask): TaskWork => ({
  auctionId,
  taskGuid,
  domain,
  rootFs: ask.rootFs,
  memoryMb: ask.memoryMb,
  diskMb: ask.diskMb,
  maxPids: ask.maxPids,
  placementTags: [...ask.placementTags],
  volumeDrivers: [...ask.volumeDrivers],
});
