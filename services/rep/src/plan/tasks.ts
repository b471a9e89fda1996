// What the BBS has to be told of this cell's tasks: a pure function of containers here and tasks there
// (cell.md section 3; races.md R2, R3). A task's container is never stopped by evacuation: it may finish.
import type { ErrorCode } from "@muster/shared/errors";
import type { Task, TaskGuid } from "@muster/shared/model";
import type { ContainerRecord } from "./container.js";
import { type HarmonizeMode, type ReplyStep, unanswered } from "./harmonize.js";

export type TaskReportKind = "task-started" | "task-completed" | "task-rejected";

/** A report that is due; a task's container ends by the answer to one. */
export interface TaskStep {
  readonly report: TaskReportKind;
  readonly taskGuid: TaskGuid;
  readonly container: ContainerRecord | undefined;
}

/** All that is known of one task. */
export interface TaskFacts {
  readonly taskGuid: TaskGuid;
  /** Its containers: at most one that is not completed. */
  readonly containers: readonly ContainerRecord[];
  /** The task as the mirror has it, if it names this cell. */
  readonly row: Task | undefined;
  /** Whether the BBS has accepted the start of this container since its task was last seen to be there. */
  accepted(container: ContainerRecord): boolean;
  /** Whether a report about the container (or about the task without one) is unanswered, or its outcome has yet to show. */
  settling(container: ContainerRecord | undefined): boolean;
}

const held = (row: Task | undefined): boolean => row?.state === "RUNNING";

function planContainer(facts: TaskFacts, container: ContainerRecord, mode: HarmonizeMode): TaskStep | undefined {
  const { taskGuid, row } = facts;
  if (container.state === "completed") {
    if (facts.settling(container) || container.ending === "discarded") return undefined;
    const report = container.task?.outcome === "rejected" ? "task-rejected" : "task-completed";
    return { report, taskGuid, container };
  }
  if (container.ending === "discarded") return undefined;
  if (facts.settling(container) || container.stopped) return undefined;
  const unknown = !facts.accepted(container) || (mode === "everything" && !held(row));
  return unknown ? { report: "task-started", taskGuid, container } : undefined;
}

/** Decides one task. `rowsComplete`: the mirror is synced and adoption is over, so that what is not here is gone (R5). */
export function planTask(facts: TaskFacts, rowsComplete: boolean, mode: HarmonizeMode): readonly TaskStep[] {
  if (facts.containers.length > 0) {
    return facts.containers.map((container) => planContainer(facts, container, mode)).filter((step) => step !== undefined);
  }
  if (!rowsComplete || !held(facts.row) || facts.settling(undefined)) return [];
  return [{ report: "task-completed", taskGuid: facts.taskGuid, container: undefined }];
}

/** Refusals on which a task's container goes: somebody else has the task, or nobody wants it any more. */
const refusals: ReadonlySet<string> = new Set<ErrorCode>([
  "InvalidStateTransition",
  "ResourceNotFound",
  "RunningOnDifferentCell",
  "FeatureDisabled",
]);

/** What an answer to a report about a task means for its container. */
export function planTaskReply(report: TaskReportKind, errorType: string): Exclude<ReplyStep, "confirm" | "stop"> {
  if (unanswered.has(errorType)) return "again";
  if (report !== "task-started") return "delete";
  if (errorType === "") return "run";
  return refusals.has(errorType) ? "discard" : "later";
}

/** A task whose container is not here. Source: cell.md section 3, for the reason and the result alike. */
export const noTaskContainer = "task container does not exist";
