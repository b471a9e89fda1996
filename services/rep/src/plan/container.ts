// A container on its way through the cell: states and moves as a table, what is kept of it, and what it holds of the cell.
import type { ActualLRPKey, ActualLRPNetInfo, InstanceGuid, TaskGuid } from "@muster/shared/model";
import type { StartInfo } from "./run-request.js";

export type ContainerState = "reserved" | "initializing" | "created" | "running" | "completed";
export const containerStates: readonly ContainerState[] = ["reserved", "initializing", "created", "running", "completed"];

/** Who may follow whom; a final state has an empty row. Source: cell.md section 5. */
export const containerMoves: Readonly<Record<ContainerState, readonly ContainerState[]>> = {
  reserved: ["initializing", "completed"],
  initializing: ["created", "completed"],
  created: ["running", "completed"],
  running: ["completed"],
  completed: [],
};

/** What a container holds of the cell until it is proven destroyed. MiB. */
export interface Resources {
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly containers: number;
}

/** How a completed container ended, which decides what is reported of it. */
export type Ending =
  /** Nothing asked it to end, or it never became well: the row is told of a crash. */
  | "crashed"
  /** It was asked to stop, or is simply not here any more: the row is told of a removal. */
  | "removed"
  /** The BBS refused the container's claim: nobody waits for a report, it only goes. */
  | "discarded";

/** How a task's container ended; `rejected` means that nothing of the task has run, so that another cell may try. */
export type TaskOutcome = "succeeded" | "failed" | "rejected";

/** What a container has of its task. */
export interface TaskPart {
  readonly guid: TaskGuid;
  /** Where in the container its result is read; empty: it gives none. Known once it is run. */
  readonly resultFile: string;
  /** Both set once completed. */
  readonly outcome: TaskOutcome | undefined;
  readonly result: string;
}

/** One container of this cell. Replaced as a whole, never mutated. */
export interface ContainerRecord {
  /** For a task: its guid in place of a process guid, and index 0: the name its log lines are found by. */
  readonly key: ActualLRPKey;
  /** `undefined` for an LRP's container. */
  readonly task: TaskPart | undefined;
  /** Also the garden handle. */
  readonly instanceGuid: InstanceGuid;
  /** Rule P1: the attempt that placed it here; empty for one that was adopted. */
  readonly auctionId: string;
  readonly rootFs: string;
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly maxPids: number;
  readonly state: ContainerState;
  /** On the elapsed scale of this process; an adopted container counts from its adoption. */
  readonly reservedAtMs: number;
  /** It was asked to stop. */
  readonly stopped: boolean;
  /** Meaningful once completed. */
  readonly ending: Ending;
  readonly failureReason: string;
  /** Set from `created` on. */
  readonly netInfo: ActualLRPNetInfo | undefined;
  readonly routable: boolean;
  /** What a restarted rep needs in order to go on; set from `initializing` on. No secrets. */
  readonly startInfo: StartInfo | undefined;
  /** Steps without a process that have ended well (downloads, uploads): a restarted rep does not carry them out again. */
  readonly stepsDone: readonly string[];
  /** Entries of the download cache that are mounted into the container. */
  readonly cacheKeys: readonly string[];
}

/** What the container keeps the cell from giving to another; a limit of 0 holds nothing. */
export const resourcesOf = (record: Pick<ContainerRecord, "memoryMb" | "diskMb">): Resources => ({
  memoryMb: record.memoryMb,
  diskMb: record.diskMb,
  containers: 1,
});

export const isStarting = (record: ContainerRecord): boolean =>
  record.state === "reserved" || record.state === "initializing" || record.state === "created";

/** Diego keeps at most this many characters of a failure reason. Source: cell.md section 5. */
const failureReasonMaxChars = 10_000;
const truncationMark = " … (cut) … ";

/** Cuts the middle out of a text that is too long, since both its ends tell something. */
export function boundReason(reason: string): string {
  if (reason.length <= failureReasonMaxChars) return reason;
  const half = Math.floor((failureReasonMaxChars - truncationMark.length) / 2);
  return reason.slice(0, half) + truncationMark + reason.slice(-half);
}

/** Whether a container in `from` may become `to`. */
export const mayBecome = (from: ContainerState, to: ContainerState): boolean => containerMoves[from].includes(to);

/** The end of a task as it is reported. */
export interface TaskEnd {
  readonly outcome: TaskOutcome;
  readonly result: string;
}

/** The completed record; one that is completed already stays as it is: the first cause counts. `end` is for tasks: failed when left out. */
export function completed(record: ContainerRecord, ending: Ending, failureReason: string, end?: TaskEnd): ContainerRecord {
  if (record.state === "completed") return record;
  const task = record.task && { ...record.task, outcome: end?.outcome ?? ("failed" as const), result: end?.result ?? "" };
  return { ...record, task, state: "completed", ending, failureReason: boundReason(failureReason), routable: false };
}
