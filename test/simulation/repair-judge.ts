// Judges the converger's repairs at the moment they are decided: what the rules are told to leave alone must be left alone. Written from
// races.md and invariant I14 anew, not with the functions that it judges.
import type { ActiveBbs, OwnCalls } from "@muster/bbs";
import { type RepairItem, RepairOutcome } from "@muster/proto/muster/v1/repair";
import { type ActualLRP, asCellId, type CellId, type ClusterView, presences } from "@muster/shared/model";

type View = Pick<ClusterView, "rows" | "desiredLRP" | "task" | "domain" | "cell" | "cells" | "flag">;

export interface RepairEvents {
  /** Surplus was taken although its domain is not fresh, because of the flag (I14's declared exception). */
  takenByFlag(): void;
  wrong(what: string): void;
}

/** Looks at every repair that `own` is asked for. */
export function judgeRepairs(own: OwnCalls, active: ActiveBbs, events: RepairEvents): void {
  const repair = own.repair.bind(own);
  own.repair = async (items) => {
    const { state, journal } = active;
    const nowMs = journal.nowMs();
    const before = items.map((item) => ({
      held: heldBack(state.tables, item, nowMs),
      stale: staleSurplus(state.tables, item, nowMs),
    }));
    const results = await repair(items);
    for (const [at, { outcome }] of results.entries()) {
      const done = outcome === RepairOutcome.REPAIR_OUTCOME_DONE;
      const { held, stale } = before[at] ?? { held: undefined, stale: undefined };
      if (held !== undefined && done) events.wrong(held);
      if (stale === undefined || !done) continue;
      if (stale.byFlag) events.takenByFlag();
      else events.wrong(stale.what);
    }
    return results;
  };
}

const rowOf = (view: View, item: RepairItem): ActualLRP | undefined =>
  view.rows(item.processGuid as never, item.index)[presences[item.presence] ?? "ORDINARY"];

/** I14: surplus in a domain that nobody vouches for; `byFlag` where the flag stops it all the same. */
export function staleSurplus(view: View, item: RepairItem, nowMs: number): { what: string; byFlag: boolean } | undefined {
  const row = item.rule === "surplus" ? rowOf(view, item) : undefined;
  if (row === undefined || row.stopMarked) return undefined;
  const desired = view.desiredLRP(row.processGuid);
  const domain = view.domain((desired ?? row).domain);
  if (domain !== undefined && (domain.expiresAtMs === undefined || domain.expiresAtMs > nowMs)) return undefined;
  const byFlag = desired?.rootFs.startsWith("docker:") === true && view.flag("diego_docker") !== true;
  return { what: `I14 surplus was taken while its domain is not fresh: ${row.processGuid}/${row.index}`, byFlag };
}

/** C3: the loss of a cell that is acted on in the middle of a mass loss. */
export function heldBack(view: View, item: RepairItem, nowMs: number): string | undefined {
  const cellId = lostCellOf(view, item);
  const cell = cellId === undefined ? undefined : view.cell(cellId);
  if (cell?.lostAtMs === undefined || nowMs - cell.lostAtMs >= 3 * cell.ttlMs) return undefined;
  return isMassLoss(view, nowMs)
    ? `C3 ${item.rule} was not held back: ${item.processGuid || item.name} was on ${cellId}`
    : undefined;
}

/** At least three cells, and at least half of the live ones and those, went within two TTLs. */
export function isMassLoss({ cells }: Pick<ClusterView, "cells">, nowMs: number): boolean {
  const all = [...cells.values()];
  const live = all.filter(({ lostAtMs }) => lostAtMs === undefined).length;
  const lately = all.filter(({ lostAtMs, ttlMs }) => lostAtMs !== undefined && nowMs - lostAtMs < 2 * ttlMs).length;
  return lately >= 3 && 2 * lately >= live + lately;
}

function lostCellOf(view: View, item: RepairItem): CellId | undefined {
  if (item.rule === "task-cell-lost") return view.task(item.name as never)?.cellId;
  if (item.rule !== "cell-lost" && item.rule !== "evacuating-lost") return undefined;
  const row = rowOf(view, item);
  // S3: a marked one waits for nothing.
  const cellId = row === undefined || row.stopMarked ? undefined : row.instanceKey?.cellId;
  return cellId === undefined ? undefined : asCellId(cellId);
}
