// Why a task has not begun, and what to do. Pure.
import type { Task } from "@muster/shared/model";
import { type Answer, type Refusal, whyNoPlace } from "./placement.js";

export interface TaskFactsToExplain {
  readonly app: string;
  readonly auctioneer: boolean;
  readonly lostCells: readonly string[];
  readonly task: Pick<Task, "rejectionCount" | "rejectionReason">;
  readonly refusals: readonly Refusal[];
  /** So many rejections are forgiven, by the setting `max_task_retries` of the BBS; `undefined`: it does not say. */
  readonly maxRetries: number | undefined;
}

export function explainTask({ app, auctioneer, lostCells, task, refusals, maxRetries }: TaskFactsToExplain): Answer {
  if (!auctioneer) {
    return {
      why: "waits for a place, and no auctioneer answers: nothing is placed",
      what_to_do: "see `muster status` and the auctioneer's log; it is placed as soon as one is active",
    };
  }
  const { rejectionCount, rejectionReason } = task;
  if (rejectionReason === "")
    return { why: "waits for a place", what_to_do: "nothing yet: new work is placed within a second; ask again" };
  const { why, what_to_do } = whyNoPlace(rejectionReason, refusals, { kind: "task", name: app }, lostCells);
  const refused = `refused ${counted(rejectionCount)}; it is tried again every 30 s`;
  const end = maxRetries === undefined ? "" : `, and fails when it has been refused ${counted(maxRetries + 1)}`;
  return { why: `${why} (${refused}${end})`, what_to_do };
}

const counted = (times: number): string => (times === 1 ? "once" : `${times} times`);
