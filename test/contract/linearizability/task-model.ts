// One task as the calls see it, written down a second time from bbs-semantics.md 7, not from the BBS's code. No converger runs beside it,
// so nothing expires, and it has no callback.
import type { Model } from "./checker.js";

export const taskCells = ["cell-1", "cell-2"] as const;
export type TaskCell = (typeof taskCells)[number];

export type TaskOp =
  | { readonly do: "desireTask"; readonly annotation: string }
  | { readonly do: "startTask"; readonly cell: TaskCell }
  | { readonly do: "completeTask"; readonly cell: TaskCell; readonly result: string }
  | { readonly do: "cancelTask" }
  | { readonly do: "resolveTask" }
  | { readonly do: "deleteTask" }
  | { readonly do: "readTask" }
  /** The same, out of a list. */
  | { readonly do: "listTask" };

export interface TaskView {
  readonly state: "Pending" | "Running" | "Completed" | "Resolving";
  /** Of its definition: unique to the desire. */
  readonly annotation: string;
  readonly cell: string;
  readonly failureReason: string;
  readonly result: string;
}

export type TaskState = TaskView | undefined;

type Step = { readonly state: TaskState; readonly result: string };

/** A start that found the task running on that very cell. */
export const alreadyStarted = "already started";
const cancelled = "task was cancelled";

/** A task as one text, its annotation at the end. */
export const taskText = ({ state, annotation, cell, failureReason, result }: TaskView): string =>
  [state, cell, failureReason, result, annotation].filter((part) => part !== "").join(" ");

const readOf = (task: TaskState): string => (task === undefined ? "ResourceNotFound" : taskText(task));

function step(task: TaskState, op: TaskOp): Step {
  const refuse = (result: string): Step => ({ state: task, result });
  const become = (state: TaskState): Step => ({ state, result: "ok" });
  if (op.do === "readTask" || op.do === "listTask") return refuse(readOf(task));
  if (op.do === "desireTask") {
    const pending = { state: "Pending", annotation: op.annotation, cell: "", failureReason: "", result: "" } as const;
    return task === undefined ? become(pending) : refuse("ResourceExists");
  }
  if (task === undefined) return refuse("ResourceNotFound");
  switch (op.do) {
    case "startTask":
      if (task.state === "Running" && task.cell === op.cell) return refuse(alreadyStarted);
      return task.state === "Pending" ? become({ ...task, state: "Running", cell: op.cell }) : refuse("InvalidStateTransition");
    case "completeTask":
      if (task.state !== "Running") return refuse("InvalidStateTransition");
      if (task.cell !== op.cell) return refuse("RunningOnDifferentCell");
      return become({ ...task, state: "Completed", cell: "", result: op.result });
    case "cancelTask":
      return task.state === "Pending" || task.state === "Running"
        ? become({ ...task, state: "Completed", cell: "", failureReason: cancelled })
        : refuse("InvalidStateTransition");
    case "resolveTask":
      return task.state === "Completed" ? become({ ...task, state: "Resolving" }) : refuse("InvalidStateTransition");
    case "deleteTask":
      return task.state === "Resolving" ? become(undefined) : refuse("InvalidStateTransition");
  }
}

export const taskModel: Model<TaskState, TaskOp> = {
  initial: undefined,
  step,
  nameOf: readOf,
};
