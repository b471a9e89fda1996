// The ActualLRP state machine as data (convergence.md 2.9): code, tests and docs read this one table.
import type { ActualLRPInstanceKey, LRPState } from "./records.js";

/** `free`: any instance key; `same-instance`: only the row's own key; `key-cleared`: the move empties the key. */
export type Guard = "free" | "same-instance" | "key-cleared";

/** Ordinary rows. CRASHED has an empty key while requests carry one, so its `same-instance` moves never happen in practice. */
export const actualLRPMoves: Readonly<Record<LRPState, Readonly<Partial<Record<LRPState, Guard>>>>> = {
  UNCLAIMED: { CLAIMED: "free", RUNNING: "free" },
  CLAIMED: { UNCLAIMED: "key-cleared", CLAIMED: "same-instance", RUNNING: "free", CRASHED: "same-instance" },
  RUNNING: { UNCLAIMED: "key-cleared", CLAIMED: "same-instance", RUNNING: "same-instance", CRASHED: "same-instance" },
  CRASHED: { UNCLAIMED: "key-cleared", CLAIMED: "same-instance", RUNNING: "same-instance" },
};

export const sameInstance = (a: ActualLRPInstanceKey | undefined, b: ActualLRPInstanceKey | undefined): boolean =>
  a !== undefined && b !== undefined && a.instanceGuid === b.instanceGuid && a.cellId === b.cellId;

/** Says whether a row in `from` held by `held` may move to `to` on the word of `asked`. */
export function mayMove(
  from: LRPState,
  to: LRPState,
  held: ActualLRPInstanceKey | undefined,
  asked: ActualLRPInstanceKey | undefined,
): boolean {
  const guard = actualLRPMoves[from][to];
  if (guard === undefined) return false;
  return guard === "same-instance" ? sameInstance(held, asked) : true;
}
