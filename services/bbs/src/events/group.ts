// Diego's deprecated view of rows: at most one instance and one evacuating copy for each index (bbs-semantics.md 4.2).
import type { ActualLRPGroup as WireGroup } from "@muster/proto/models/actual_lrp";
import { actualLRPToWire } from "@muster/shared/codec";
import type { ActualLRP, InstanceRows } from "@muster/shared/model";

export interface Group {
  readonly instance: ActualLRP | undefined;
  readonly evacuating: ActualLRP | undefined;
}

/** Whether `next` takes the instance place from `now`: RUNNING ordinary always, others where nothing better stands there. */
function outranks(next: ActualLRP, now: ActualLRP | undefined): boolean {
  if (now === undefined) return true;
  if (next.presence === "ORDINARY") {
    return next.state === "RUNNING" || (next.state === "CLAIMED" && now.state !== "RUNNING" && now.state !== "CLAIMED");
  }
  return now.state !== "RUNNING" && (next.state === "RUNNING" || next.state === "CLAIMED");
}

/** The group of one (process guid, index). */
export function groupOf({ ORDINARY, SUSPECT, EVACUATING }: InstanceRows): Group {
  const instance = SUSPECT !== undefined && outranks(SUSPECT, ORDINARY) ? SUSPECT : ORDINARY;
  return { instance, evacuating: EVACUATING };
}

/** A row alone, in the place that its presence gives it. */
export const aloneInGroup = (row: ActualLRP): Group =>
  row.presence === "EVACUATING" ? { instance: undefined, evacuating: row } : { instance: row, evacuating: undefined };

/** The one row that stands for a group. */
export function resolved({ instance, evacuating }: Group): ActualLRP | undefined {
  if (instance === undefined || evacuating === undefined) return instance ?? evacuating;
  return instance.state === "RUNNING" || instance.state === "CRASHED" ? instance : evacuating;
}

export const groupToWire = ({ instance, evacuating }: Group): WireGroup => ({
  instance: instance === undefined ? undefined : actualLRPToWire(instance),
  evacuating: evacuating === undefined ? undefined : actualLRPToWire(evacuating),
});
