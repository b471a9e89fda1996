// Everything that is asked, of LRPs and of tasks, and what a history of either is held to.
import { checkHistory, type Verdict } from "./checker.js";
import type { Call, History } from "./history.js";
import { type LRPOp, lrpModel } from "./lrp-model.js";
import { type TaskOp, taskModel } from "./task-model.js";

export type Op = LRPOp | TaskOp;

const taskOps: ReadonlySet<Op["do"]> = new Set<TaskOp["do"]>([
  "desireTask",
  "startTask",
  "completeTask",
  "cancelTask",
  "resolveTask",
  "deleteTask",
  "readTask",
  "listTask",
]);

export const isTaskOp = (op: Op): op is TaskOp => taskOps.has(op.do);

const reads: ReadonlySet<Op["do"]> = new Set<Op["do"]>(["read", "readRows", "readTask", "listTask"]);
export const isRead = (op: Op): boolean => reads.has(op.do);

/** Judges the history of one key, whose calls are all of one kind. */
export function judgeHistory(kind: "lrp" | "task", history: History<Op>): Verdict<Op> {
  return kind === "lrp"
    ? checkHistory(lrpModel, history as readonly Call<LRPOp>[])
    : checkHistory(taskModel, history as readonly Call<TaskOp>[]);
}
