// What judging a rule for one key says, and the verdict on a lost cell that rules about rows and about tasks share.
import type { CellId, ClusterView, EpochMs } from "../model/index.js";
import { type CellTime, cellLoss, holdBackUntilMs } from "./cells.js";

export type Verdict =
  | { readonly holds: true }
  /** Does not hold; `dueAtMs` says when it will if nothing else changes. */
  | { readonly holds: false; readonly dueAtMs: EpochMs | undefined };

export const holds: Verdict = { holds: true };
export const never: Verdict = { holds: false, dueAtMs: undefined };
export const dueAt = (dueAtMs: EpochMs): Verdict => ({ holds: false, dueAtMs });

/** Holds from `atMs` on. */
export const from = (atMs: EpochMs, time: Pick<CellTime, "nowMs">): Verdict => (atMs <= time.nowMs ? holds : dueAt(atMs));

/** Whether the loss of a cell may be acted on now, for a row or task that names it. */
export function lossVerdict(view: ClusterView, cellId: CellId, time: CellTime, waitForHoldBack: boolean): Verdict {
  const loss = cellLoss(view, cellId, time);
  if (loss.lost === false) return never;
  if (loss.lost === "held") return dueAt(loss.untilMs);
  const heldUntilMs = waitForHoldBack ? holdBackUntilMs(view, cellId, time) : undefined;
  return heldUntilMs === undefined ? holds : dueAt(heldUntilMs);
}
