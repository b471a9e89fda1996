// When a cell counts as lost, and when many lost at once make us wait (races.md C1, C3).
import { asEpochMs, type Cell, type CellId, type ClusterView, type EpochMs } from "../model/index.js";

/** C3: fewer lost cells than this are never a mass loss. */
const massLossCells = 3;

export interface CellTime {
  readonly nowMs: EpochMs;
  /** Until then a new leader takes the absence of any record for nothing: presences may still be on their way. */
  readonly graceUntilMs: EpochMs;
}

export type Loss =
  | { readonly lost: false }
  /** Lost, but not yet to be acted on: look again then. */
  | { readonly lost: "held"; readonly untilMs: EpochMs }
  | { readonly lost: true };

export const isLive = (cell: Cell | undefined): boolean => cell !== undefined && cell.lostAtMs === undefined;

/** C1: whether rows naming this cell have lost it; hold-back is a matter of its own. */
export function cellLoss(view: Pick<ClusterView, "cell">, cellId: CellId, time: CellTime): Loss {
  const cell = view.cell(cellId);
  if (isLive(cell)) return { lost: false };
  if (cell === undefined && time.nowMs < time.graceUntilMs) return { lost: "held", untilMs: time.graceUntilMs };
  return { lost: true };
}

const lostWithin = (cell: Cell, ttls: number, nowMs: EpochMs): boolean =>
  cell.lostAtMs !== undefined && nowMs - cell.lostAtMs < ttls * cell.ttlMs;

/**
 * C3: when at least 3 cells, and at least half of the live and the recently lost ones, went within 2 TTL, something larger than
 * a cell is broken, so the loss of `cellId` is not acted on yet. Returns when to look again, or `undefined` to act now.
 * Bounded: a cell is held back for at most 3 of its TTLs.
 */
export function holdBackUntilMs(view: Pick<ClusterView, "cells" | "cell">, cellId: CellId, nowMs: EpochMs): EpochMs | undefined {
  const cell = view.cell(cellId);
  if (cell?.lostAtMs === undefined) return undefined;
  const ownBoundMs = cell.lostAtMs + 3 * cell.ttlMs;
  if (nowMs >= ownBoundMs) return undefined;
  let live = 0;
  const recent: number[] = [];
  for (const other of view.cells.values()) {
    if (other.lostAtMs === undefined) live += 1;
    else if (lostWithin(other, 2, nowMs)) recent.push(other.lostAtMs + 2 * other.ttlMs);
  }
  if (recent.length < massLossCells || recent.length * 2 < live + recent.length) return undefined;
  return asEpochMs(Math.min(ownBoundMs, ...recent));
}
