// When a cell counts as lost, and when many lost at once make us wait (races.md C1, C3).
import { asEpochMs, type Cell, type CellId, type ClusterView, type EpochMs } from "../model/index.js";

/** C3: fewer lost cells than this are never a mass loss. */
const massLossCells = 3;

export interface CellTime {
  readonly nowMs: EpochMs;
  /** Until then a new leader takes the absence of any record for nothing: presences may still be on their way. */
  readonly graceUntilMs: EpochMs;
  /** When the leader began: no task is older to it (rule T1). A reader who does not know says 0, and is told when it is not due. */
  readonly leaderSinceMs: EpochMs;
  /** The answer of `massLossEndMs` for this view and time, for those who judge many rows at once (see `rememberMassLoss`). */
  readonly massLoss?: () => EpochMs | undefined;
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
 * a cell is broken. Returns when the first of these losses is 2 TTL old, or `undefined` when there is no such mass loss.
 * Reads every cell: ask once for many rows.
 */
export function massLossEndMs(view: Pick<ClusterView, "cells">, nowMs: EpochMs): EpochMs | undefined {
  let live = 0;
  let recent = 0;
  let firstEndMs = Number.POSITIVE_INFINITY;
  for (const cell of view.cells.values()) {
    if (cell.lostAtMs === undefined) live += 1;
    else if (lostWithin(cell, 2, nowMs)) {
      recent += 1;
      firstEndMs = Math.min(firstEndMs, cell.lostAtMs + 2 * cell.ttlMs);
    }
  }
  return recent < massLossCells || recent * 2 < live + recent ? undefined : asEpochMs(firstEndMs);
}

/** The time with `massLossEndMs` worked out at most once, at the first row that needs it. */
export function rememberMassLoss(view: Pick<ClusterView, "cells">, time: CellTime): CellTime {
  let known: { readonly endMs: EpochMs | undefined } | undefined;
  const massLoss = (): EpochMs | undefined => {
    known ??= { endMs: massLossEndMs(view, time.nowMs) };
    return known.endMs;
  };
  return { ...time, massLoss };
}

/**
 * C3: while there is a mass loss, the loss of `cellId` is not acted on. Returns when to look again, or `undefined` to act now.
 * Bounded: a cell is held back for at most 3 of its TTLs.
 */
export function holdBackUntilMs(
  view: Pick<ClusterView, "cells" | "cell">,
  cellId: CellId,
  time: Pick<CellTime, "nowMs" | "massLoss">,
): EpochMs | undefined {
  const cell = view.cell(cellId);
  if (cell?.lostAtMs === undefined) return undefined;
  const ownBoundMs = cell.lostAtMs + 3 * cell.ttlMs;
  if (time.nowMs >= ownBoundMs) return undefined;
  const endMs = time.massLoss === undefined ? massLossEndMs(view, time.nowMs) : time.massLoss();
  return endMs === undefined ? undefined : asEpochMs(Math.min(ownBoundMs, endMs));
}
