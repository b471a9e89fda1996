// Diego's deprecated view of rows: at most one instance and one evacuating copy for each index (bbs-semantics.md 4.2).
import type { ActualLRPGroup } from "@muster/proto/models/actual_lrp";
import { actualLRPToWire } from "@muster/shared/codec";
import type { ActualLRP } from "@muster/shared/model";

/** Whether `next` takes the instance place from `now`: RUNNING ordinary always, others where nothing better stands there. */
function outranks(next: ActualLRP, now: ActualLRP | undefined): boolean {
  if (now === undefined) return true;
  if (next.presence === "ORDINARY") {
    return next.state === "RUNNING" || (next.state === "CLAIMED" && now.state !== "RUNNING" && now.state !== "CLAIMED");
  }
  return now.state !== "RUNNING" && (next.state === "RUNNING" || next.state === "CLAIMED");
}

/** One group for each (process guid, index), in the order of first appearance. */
export function resolveGroups(rows: readonly ActualLRP[]): ActualLRPGroup[] {
  const groups = new Map<string, { instance?: ActualLRP; evacuating?: ActualLRP }>();
  for (const row of rows) {
    const key = `${row.processGuid}/${row.index}`;
    const group = groups.get(key) ?? {};
    if (row.presence === "EVACUATING") group.evacuating = row;
    else if (outranks(row, group.instance)) group.instance = row;
    groups.set(key, group);
  }
  return [...groups.values()].map(({ instance, evacuating }) => ({
    instance: instance === undefined ? undefined : actualLRPToWire(instance),
    evacuating: evacuating === undefined ? undefined : actualLRPToWire(evacuating),
  }));
}
