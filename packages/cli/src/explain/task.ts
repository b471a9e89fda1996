// Why a task has not begun, and what to do. Pure.
import type { Task } from "@muster/shared/model";
import { type Answer, type Refusal, whyNoPlace } from "./placement.js";

/** After so many further rejections a waiting task fails; as Diego ships it, and `max_task_retries` of the BBS may say otherwise. */
const usualRetries = 3;

export interface TaskFactsToExplain {
  readonly app: string;
  readonly auctioneer: boolean;
  readonly task: Pick<Task, "rejectionCount" | "rejectionReason">;
  readonly refusals: readonly Refusal[];
}

export function explainTask({ app, auctioneer, task, refusals }: TaskFactsToExplain): Answer {
  if (!auctioneer) {
    return {
      why: "waits for a place, and no auctioneer answers: nothing is placed",
      what_to_do: "see `muster status` and the auctioneer's log; it is placed as soon as one is active",
    };
  }
  const { rejectionCount, rejectionReason } = task;
  if (rejectionReason === "")
    return { why: "waits for a place", what_to_do: "nothing yet: new work is placed within a second; ask again" };
  const { why, what_to_do } = whyNoPlace(rejectionReason, refusals, { kind: "task", name: app });
  const left = Math.max(0, usualRetries + 1 - rejectionCount);
  return { why: `${why} (refused ${rejectionCount} times; with ${left} more refusals it fails)`, what_to_do };
}
