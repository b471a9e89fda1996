// The life of a task: desire, start, complete, fail, cancel, reject, resolve, delete (bbs-semantics.md 7; races.md R3, P4).
// A cancelled task is COMPLETED at once and leaves its cell's watch with that; its container goes when the cell's next report of it
// is refused (rule R3). So a cancel needs no mark, and nobody to be told.
import { type TaskDefinition, TaskDefinition as TaskDefinitionCodec } from "@muster/proto/models/task";
import { BbsError } from "@muster/shared/errors";
import {
  asDomainName,
  asEpochNs,
  asTaskGuid,
  type CellId,
  drop,
  epochMsToNs,
  maxTaskResultBytes,
  put,
  type Task,
  type TaskGuid,
  type TaskState,
  type TaskVerb,
  taskMayMove,
  taskMoves,
  type Write,
} from "@muster/shared/model";
import { type Command, type CoreState, type Decision, type DecisionContext, unchanged } from "./decision.js";
import { requireDockerFlag } from "./desired-lrp.js";
import { truncateReason } from "./validation/index.js";

const ok: Decision<void> = unchanged(undefined);
const done = (...writes: Write[]): Decision<void> => ({ writes, reply: undefined });

/** @throws BbsError ResourceNotFound */
function taskOf(state: CoreState, taskGuid: TaskGuid): Task {
  const task = state.tables.task(taskGuid);
  if (task === undefined) throw new BbsError("ResourceNotFound");
  return task;
}

/** States as Diego spells them in messages. */
const spelled: Readonly<Record<TaskState, string>> = {
  PENDING: "Pending",
  RUNNING: "Running",
  COMPLETED: "Completed",
  RESOLVING: "Resolving",
};

const invalidTransition = (from: TaskState, to: TaskState): BbsError =>
  new BbsError("InvalidStateTransition", `Cannot transition from ${spelled[from]} to ${spelled[to]}`, { from, to });

/** @throws BbsError InvalidStateTransition; a refused deletion names Resolving, as in Diego. */
function requireMove(task: Task, verb: TaskVerb): void {
  if (taskMayMove(task.state, verb)) return;
  const { to } = taskMoves[verb];
  throw invalidTransition(task.state, to === "GONE" ? "RESOLVING" : to);
}

const runningElsewhere = (task: Task, cellId: CellId): BbsError =>
  new BbsError("RunningOnDifferentCell", `Running on cell ${task.cellId ?? ""} not ${cellId}`, { cell_id: cellId });

/** The task with `fields` changed; the commit that shows it is part of its auction id (rule P1). */
export const changedTask = (task: Task, fields: Partial<Task>, context: DecisionContext): Task => ({
  ...task,
  updatedAtNs: epochMsToNs(context.nowMs),
  changedAt: context.sequence,
  ...fields,
});

export interface TaskOutcome {
  readonly failed: boolean;
  readonly failureReason: string;
  readonly result: string;
}

/** The task as its end leaves it: no cell any more, the time of its first completion set once. */
export function completedTask(task: Task, { failed, failureReason, result }: TaskOutcome, context: DecisionContext): Task {
  const firstCompletedAtNs = task.firstCompletedAtNs === 0n ? epochMsToNs(context.nowMs) : task.firstCompletedAtNs;
  const outcome = { failed, failureReason: truncateReason(failureReason), result, firstCompletedAtNs };
  return changedTask(task, { ...outcome, state: "COMPLETED", cellId: undefined }, context);
}

/** Why a task fails whose cell is lost, or forgotten. */
export const lostCellReason = "cell disappeared before completion";

export const failedTask = (task: Task, failureReason: string, context: DecisionContext): Task =>
  completedTask(task, { failed: true, failureReason, result: "" }, context);

export interface DesireTaskRequest {
  readonly taskGuid: string;
  readonly domain: string;
  readonly definition: TaskDefinition;
}

/** Desires a validated task. @throws BbsError FeatureDisabled, ResourceExists (whatever the other's domain) */
export const desireTask =
  ({ taskGuid, domain, definition }: DesireTaskRequest): Command<void> =>
  (state, context) => {
    requireDockerFlag(state, definition.rootFs);
    const guid = asTaskGuid(taskGuid);
    if (state.tables.task(guid) !== undefined) throw new BbsError("ResourceExists");
    const nowNs = epochMsToNs(context.nowMs);
    const task: Task = {
      taskGuid: guid,
      domain: asDomainName(domain),
      createdAtNs: nowNs,
      updatedAtNs: nowNs,
      firstCompletedAtNs: asEpochNs(0n),
      state: "PENDING",
      cellId: undefined,
      result: "",
      failed: false,
      failureReason: "",
      rejectionCount: 0,
      rejectionReason: "",
      rootFs: definition.rootFs,
      memoryMb: definition.memoryMb,
      diskMb: definition.diskMb,
      maxPids: definition.maxPids,
      placementTags: definition.placementTags,
      volumeDrivers: definition.volumeMounts.map((mount) => mount.driver),
      completionCallbackUrl: definition.completionCallbackUrl,
      annotation: definition.annotation,
      changedAt: context.sequence,
    };
    const sealed = context.seal(TaskDefinitionCodec.encode(definition).finish());
    return done(put("task", task), put("taskDefinition", { taskGuid: guid, sealed }));
  };

export interface TaskOnCell {
  readonly taskGuid: TaskGuid;
  readonly cellId: CellId;
}

/**
 * Gives a PENDING task to a cell; repeated by the same cell it changes nothing. A Docker task is not started while the flag is off:
 * the rule that fails it is on its way. @throws BbsError ResourceNotFound, InvalidStateTransition, FeatureDisabled
 */
export const startTask =
  ({ taskGuid, cellId }: TaskOnCell): Command<{ readonly shouldStart: boolean }> =>
  (state, context) => {
    const task = taskOf(state, taskGuid);
    if (task.state === "RUNNING" && task.cellId === cellId) return unchanged({ shouldStart: false });
    requireMove(task, "start");
    requireDockerFlag(state, task.rootFs);
    const started = changedTask(task, { state: "RUNNING", cellId }, context);
    return { writes: [put("task", started)], reply: { shouldStart: true } };
  };

/** The word of the cell that runs it. @throws BbsError ResourceNotFound, RunningOnDifferentCell, InvalidStateTransition */
export const completeTask =
  ({ taskGuid, cellId, ...outcome }: TaskOnCell & TaskOutcome): Command<void> =>
  (state, context) => {
    const task = taskOf(state, taskGuid);
    requireMove(task, "complete");
    if (task.cellId !== cellId) throw runningElsewhere(task, cellId);
    return done(put("task", completedTask(task, withinLimit(outcome), context)));
  };

/** A cell reads no result beyond the limit; one that sends it all the same is told what it should have said. */
const withinLimit = (outcome: TaskOutcome): TaskOutcome =>
  Buffer.byteLength(outcome.result) <= maxTaskResultBytes
    ? outcome
    : { failed: true, failureReason: `result file is too large (over ${maxTaskResultBytes} bytes)`, result: "" };

/** @throws BbsError ResourceNotFound, InvalidStateTransition */
export const failTask =
  (taskGuid: TaskGuid, failureReason: string): Command<void> =>
  (state, context) => {
    const task = taskOf(state, taskGuid);
    requireMove(task, "fail");
    return done(put("task", failedTask(task, failureReason, context)));
  };

/** @throws BbsError ResourceNotFound, InvalidStateTransition */
export const cancelTask =
  (taskGuid: TaskGuid): Command<void> =>
  (state, context) => {
    const task = taskOf(state, taskGuid);
    requireMove(task, "cancel");
    return done(put("task", failedTask(task, "task was cancelled", context)));
  };

export interface RejectTaskRequest {
  readonly taskGuid: TaskGuid;
  readonly reason: string;
  /** So many rejections are forgiven; the next one fails the task. */
  readonly maxRetries: number;
  /** P4: the commit sequence the auctioneer judged; the rejection of an older one changes nothing. */
  readonly auctionId?: string | undefined;
  /** Set when a cell gives the task back: only the one that runs it may. */
  readonly cellId?: CellId | undefined;
}

/**
 * Sends a task back to wait for a place, its former cell still named, as Diego does.
 * @throws BbsError ResourceNotFound; InvalidRequest once it has completed (InvalidStateTransition when it has no retries left
 *   either); RunningOnDifferentCell, InvalidStateTransition to a cell that does not run it.
 */
export const rejectTask =
  ({ taskGuid, reason, maxRetries, auctionId, cellId }: RejectTaskRequest): Command<void> =>
  (state, context) => {
    const task = taskOf(state, taskGuid);
    if (auctionId !== undefined && auctionId !== String(task.changedAt)) return ok;
    const exhausted = task.rejectionCount >= maxRetries;
    if (!taskMayMove(task.state, "reject")) {
      throw exhausted ? invalidTransition(task.state, "COMPLETED") : new BbsError("InvalidRequest");
    }
    if (cellId !== undefined) {
      // A second word about one run must not count twice.
      if (task.state !== "RUNNING") throw invalidTransition(task.state, "PENDING");
      if (task.cellId !== cellId) throw runningElsewhere(task, cellId);
    }
    const rejection = { rejectionCount: task.rejectionCount + 1, rejectionReason: truncateReason(reason) };
    const rejected = changedTask(task, { ...rejection, state: "PENDING" }, context);
    return done(put("task", exhausted ? failedTask(rejected, reason, context) : rejected));
  };

/** Somebody takes the completion up. @throws BbsError ResourceNotFound, InvalidStateTransition */
export const resolvingTask =
  (taskGuid: TaskGuid): Command<Task> =>
  (state, context) => {
    const task = taskOf(state, taskGuid);
    requireMove(task, "resolve");
    const resolving = changedTask(task, { state: "RESOLVING" }, context);
    return { writes: [put("task", resolving)], reply: resolving };
  };

/** @throws BbsError ResourceNotFound, InvalidStateTransition */
export const deleteTask =
  (taskGuid: TaskGuid): Command<void> =>
  (state) => {
    const task = taskOf(state, taskGuid);
    requireMove(task, "delete");
    return done(...droppedTask(task));
  };

/** A task goes with its sealed definition. */
export const droppedTask = (task: Task): Write[] => [
  drop("task", task),
  { kind: "taskDefinition", key: task.taskGuid, record: undefined },
];

/** R3: a task that runs here by the records, and is not in the cell's inventory, has ended without a word. */
export const taskWithoutContainer =
  ({ taskGuid, cellId }: TaskOnCell): Command<void> =>
  (state, context) => {
    const task = state.tables.task(taskGuid);
    if (task?.state !== "RUNNING" || task.cellId !== cellId) return ok;
    const text = "task container does not exist";
    return done(put("task", completedTask(task, { failed: true, failureReason: text, result: text }, context)));
  };
