// The task state machine as data (bbs-semantics.md 7): code, tests and docs read this one table.
import type { TaskState } from "./records.js";

export interface TaskMove {
  readonly from: readonly TaskState[];
  /** `GONE`: the record is deleted. */
  readonly to: TaskState | "GONE";
}

/**
 * What each verb may find a task in, and what it leaves. Guards beside it: `complete` asks for the cell that runs the task; `reject`
 * fails the task instead once it was rejected too often; `demote` and `expire` are the converger's alone.
 */
export const taskMoves = {
  start: { from: ["PENDING"], to: "RUNNING" },
  complete: { from: ["RUNNING"], to: "COMPLETED" },
  fail: { from: ["PENDING", "RUNNING"], to: "COMPLETED" },
  cancel: { from: ["PENDING", "RUNNING"], to: "COMPLETED" },
  reject: { from: ["PENDING", "RUNNING"], to: "PENDING" },
  resolve: { from: ["COMPLETED"], to: "RESOLVING" },
  demote: { from: ["RESOLVING"], to: "COMPLETED" },
  delete: { from: ["RESOLVING"], to: "GONE" },
  expire: { from: ["COMPLETED"], to: "GONE" },
} as const satisfies Record<string, TaskMove>;
export type TaskVerb = keyof typeof taskMoves;

export const taskMayMove = (from: TaskState, verb: TaskVerb): boolean =>
  (taskMoves[verb].from as readonly TaskState[]).includes(from);

/** What a task may leave in its result file; its cell reads no more, and the BBS keeps no more. Source: cell.md section 3. */
export const maxTaskResultBytes = 51_200;
