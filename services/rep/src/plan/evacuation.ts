// What a cell that is being emptied still waits for, in words for the operator. Pure.
import type { EvacuationBlocker } from "@muster/proto/muster/v1/rep";
import { lrpStateName, taskState } from "./cell-state.js";
import type { ContainerRecord } from "./container.js";
import type { ActualLRP } from "./rows.js";

/** What is known of one container that is not gone yet. */
export interface Leftover {
  readonly record: ContainerRecord;
  /** Its rows, as far as the mirror knows. */
  readonly rows: readonly ActualLRP[];
  readonly connected: boolean;
  /** The BBS has said that it stays until it is replaced. */
  readonly stays: boolean;
  readonly destroying: boolean;
}

/** Source of the order: what ends by itself first, then what somebody else has to do. */
export function waitingFor({ record, rows, connected, stays, destroying }: Leftover): string {
  if (destroying) return "its container to be destroyed";
  if (record.stopped && record.state !== "completed") return "its processes to end";
  if (!connected) return "a session with the BBS";
  if (record.state === "completed") return "the BBS to take note of its end";
  if (record.task !== undefined) return "the task to end: tasks are not interrupted";
  if (!stays) return "the BBS's answer";
  const own = rows.some((row) => row.presence === "ORDINARY" && row.instanceKey?.instanceGuid === record.instanceGuid);
  return own ? "all other instances to run: its update strategy is RECREATE" : "its replacement to run";
}

export const blockerOf = (leftover: Leftover): EvacuationBlocker => {
  const { record } = leftover;
  const { task, key } = record;
  return {
    instanceGuid: record.instanceGuid,
    processGuid: task === undefined ? key.processGuid : "",
    index: key.index,
    taskGuid: task?.guid ?? "",
    state: task === undefined ? lrpStateName(record) : taskState(record).state,
    waitingFor: waitingFor(leftover),
  };
};

const orderOf = (one: EvacuationBlocker): string =>
  `${one.processGuid === "" ? 1 : 0} ${one.processGuid} ${String(one.index).padStart(10, "0")} ${one.taskGuid} ${one.instanceGuid}`;

/** By process guid and index, then by task guid. */
export const blockersOf = (leftovers: readonly Leftover[]): EvacuationBlocker[] =>
  leftovers.map(blockerOf).toSorted((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
