// Task: our record <-> Diego's message <-> stored bytes. The definition travels sealed, beside it.
import type * as wire from "@muster/proto/models/task";
import { Task as StoredTask, TaskDefinition as StoredTaskDefinition } from "@muster/proto/muster/store/v1/records";
import { asCellId, asDomainName, asEpochNs, asTaskGuid, type Task, type TaskDefinition, type TaskState } from "../model/index.js";
import { corrupt, toBuffer } from "./support.js";

const stateToWire: Record<TaskState, wire.Task_State> = { PENDING: 1, RUNNING: 2, COMPLETED: 3, RESOLVING: 4 };
const stateFromWire: Readonly<Record<number, TaskState>> = { 1: "PENDING", 2: "RUNNING", 3: "COMPLETED", 4: "RESOLVING" };

/** Diego's message; `definition` is the opened one, or absent for readers that may not see it. */
export const taskToWire = (task: Task, definition: wire.TaskDefinition | undefined): wire.Task => ({
  taskDefinition: definition,
  taskGuid: task.taskGuid,
  domain: task.domain,
  createdAt: task.createdAtNs,
  updatedAt: task.updatedAtNs,
  firstCompletedAt: task.firstCompletedAtNs,
  state: stateToWire[task.state],
  cellId: task.cellId ?? "",
  result: task.result,
  failed: task.failed,
  failureReason: task.failureReason,
  rejectionCount: task.rejectionCount,
  rejectionReason: task.rejectionReason,
});

export const encodeTask = (task: Task): Uint8Array =>
  StoredTask.encode({
    task: taskToWire(task, undefined),
    rootFs: task.rootFs,
    memoryMb: task.memoryMb,
    diskMb: task.diskMb,
    maxPids: task.maxPids,
    placementTags: [...task.placementTags],
    volumeDrivers: [...task.volumeDrivers],
    completionCallbackUrl: task.completionCallbackUrl,
    annotation: task.annotation,
    changedAt: task.changedAt,
  }).finish();

export function decodeTask(bytes: Uint8Array): Task {
  const stored = StoredTask.decode(bytes);
  const state = stored.task === undefined ? undefined : stateFromWire[stored.task.state];
  if (stored.task === undefined || state === undefined) throw corrupt("Task");
  return {
    taskGuid: asTaskGuid(stored.task.taskGuid),
    domain: asDomainName(stored.task.domain),
    createdAtNs: asEpochNs(stored.task.createdAt),
    updatedAtNs: asEpochNs(stored.task.updatedAt),
    firstCompletedAtNs: asEpochNs(stored.task.firstCompletedAt),
    state,
    cellId: stored.task.cellId === "" ? undefined : asCellId(stored.task.cellId),
    result: stored.task.result,
    failed: stored.task.failed,
    failureReason: stored.task.failureReason,
    rejectionCount: stored.task.rejectionCount,
    rejectionReason: stored.task.rejectionReason,
    rootFs: stored.rootFs,
    memoryMb: stored.memoryMb,
    diskMb: stored.diskMb,
    maxPids: stored.maxPids,
    placementTags: stored.placementTags,
    volumeDrivers: stored.volumeDrivers,
    completionCallbackUrl: stored.completionCallbackUrl,
    annotation: stored.annotation,
    changedAt: stored.changedAt,
  };
}

export const encodeTaskDefinition = (record: TaskDefinition): Uint8Array =>
  StoredTaskDefinition.encode({ taskGuid: record.taskGuid, sealed: toBuffer(record.sealed) }).finish();

export function decodeTaskDefinition(bytes: Uint8Array): TaskDefinition {
  const stored = StoredTaskDefinition.decode(bytes);
  return { taskGuid: asTaskGuid(stored.taskGuid), sealed: stored.sealed };
}
