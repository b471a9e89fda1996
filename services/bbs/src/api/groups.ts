// The reads of Diego's deprecated groups, from rows that were picked already.
import type { ActualLRPGroup } from "@muster/proto/models/actual_lrp";
import type { ActualLRP, InstanceRows } from "@muster/shared/model";
import { groupOf, groupToWire } from "../events/group.js";

const noRows: InstanceRows = { ORDINARY: undefined, EVACUATING: undefined, SUSPECT: undefined };

/** One group for each (process guid, index), in the order of first appearance; made a message only when it is taken. */
export function resolveGroups(rows: readonly ActualLRP[]): Iterable<ActualLRPGroup> {
  const groups = new Map<string, InstanceRows>();
  for (const row of rows) {
    const key = `${row.processGuid}/${row.index}`;
    groups.set(key, { ...(groups.get(key) ?? noRows), [row.presence]: row });
  }
  return {
    *[Symbol.iterator]() {
      for (const group of groups.values()) yield groupToWire(groupOf(group));
    },
  };
}
