// The convergence rules about tasks (bbs-semantics.md 7.2, convergence.md 4), each judged for one task. Ages count from the later of the
// stored time and the leader's start (rule T1): what nobody could do while there was no leader is not held against a task.
import { asEpochMs, type ClusterView, type EpochMs, type EpochNs, epochNsToMs, type Task } from "../model/index.js";
import type { CellTime } from "./cells.js";
import { from, holds, lossVerdict, never, type Verdict } from "./verdict.js";
import { flagEnabled, isDockerRootFs } from "./wanted.js";

/** A PENDING task without a place for so long fails. Source: convergence.md 0.1, as the others. */
export const expirePendingMs = 1_800_000;
/** A COMPLETED task is kept for so long after it first was, whether or not anybody heard of it. */
export const expireCompletedMs = 120_000;
/** A completion that is not dealt with is brought up again after so long. */
export const kickTaskMs = 30_000;

type TaskJudge = (view: ClusterView, task: Task, time: CellTime) => Verdict;

const agedAtMs = (sinceNs: EpochNs, ageMs: number, { leaderSinceMs }: CellTime): EpochMs =>
  asEpochMs(Math.max(epochNsToMs(sinceNs), leaderSinceMs) + ageMs);

export const taskExpired: TaskJudge = (_view, task, time) =>
  task.state === "PENDING" ? from(agedAtMs(task.createdAtNs, expirePendingMs, time), time) : never;

/** Running ones finish. */
export const taskDisabled: TaskJudge = (view, task) =>
  task.state === "PENDING" && isDockerRootFs(task.rootFs) && !flagEnabled(view, "diego_docker") ? holds : never;

export const taskCellLost: TaskJudge = (view, task, time) =>
  task.state === "RUNNING" && task.cellId !== undefined ? lossVerdict(view, task.cellId, time, true) : never;

/** Whoever took the completion up has not ended it. */
export const taskUnresolved: TaskJudge = (_view, task, time) =>
  task.state === "RESOLVING" ? from(agedAtMs(task.updatedAtNs, kickTaskMs, time), time) : never;

export const taskCallback: TaskJudge = (_view, task, time) =>
  task.state === "COMPLETED" && task.completionCallbackUrl !== ""
    ? from(agedAtMs(task.updatedAtNs, kickTaskMs, time), time)
    : never;

export const taskOver: TaskJudge = (_view, task, time) =>
  task.state === "COMPLETED" ? from(agedAtMs(task.firstCompletedAtNs, expireCompletedMs, time), time) : never;
