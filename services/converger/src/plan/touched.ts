// What changes make the converger look at: the rules' own notes, and what only a reader with a clock can tell.
import type { Change, ClusterView, EpochMs } from "@muster/shared/model";
import { noteChange, nothingTouched, type Touched } from "@muster/shared/rules";

/** Everything noted since the last plan. */
export interface Notes {
  readonly touched: Touched;
  /** A cell was lost or came back: hold-back may have begun or ended for others. */
  cellsMoved: boolean;
  empty: boolean;
}

export const noNotes = (): Notes => ({ touched: nothingTouched(), cellsMoved: false, empty: true });

/** Notes one change; cheap, so that it can run for every change. `nowMs` is cluster time. */
export function note(notes: Notes, change: Change, nowMs: EpochMs): void {
  notes.empty = false;
  noteChange(notes.touched, change);
  if (change.kind === "cell" && change.before?.lostAtMs !== change.after?.lostAtMs) notes.cellsMoved = true;
  if (change.kind === "domain" && change.before?.expiresAtMs !== undefined && change.before.expiresAtMs <= nowMs) {
    // Stale until now, vouched for again: what was kept for want of freshness may go.
    notes.touched.domains.add(change.key);
  }
}

/** No hold-back outlasts this many TTLs after a loss (rule C3). */
const holdBackTtls = 3;

/** Adds the cells whose hold-back may have ended with the return of others. */
export function widen(notes: Notes, view: ClusterView, nowMs: EpochMs): void {
  if (!notes.cellsMoved) return;
  for (const [cellId, { lostAtMs, ttlMs }] of view.cells) {
    if (lostAtMs !== undefined && nowMs - lostAtMs < holdBackTtls * ttlMs) notes.touched.cells.add(cellId);
  }
}
