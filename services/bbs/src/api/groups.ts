// The reads of Diego's deprecated groups, from rows that were picked already.
import type { ActualLRPGroup } from "@muster/proto/models/actual_lrp";
import type { ActualLRP, InstanceRows, ProcessGuid } from "@muster/shared/model";
import { groupOf, groupToWire } from "../events/group.js";

const noRows: InstanceRows = { ORDINARY: undefined, EVACUATING: undefined, SUSPECT: undefined };

/** Evacuating and Suspect rows by process and index: few, but in the worst hour of a fleet. */
class Copies {
  readonly #byProcess = new Map<ProcessGuid, Map<number, InstanceRows>>();

  constructor(rows: readonly ActualLRP[]) {
    for (const row of rows) {
      if (row.presence === "ORDINARY") continue;
      const byIndex = this.#byProcess.get(row.processGuid) ?? new Map<number, InstanceRows>();
      byIndex.set(row.index, { ...(byIndex.get(row.index) ?? noRows), [row.presence]: row });
      this.#byProcess.set(row.processGuid, byIndex);
    }
  }

  of(row: ActualLRP): InstanceRows {
    return this.#byProcess.get(row.processGuid)?.get(row.index) ?? noRows;
  }
}

/** One group for each (process guid, index); put together only when it is taken, since a list of all rows must not hold up others. */
export function resolveGroups(rows: readonly ActualLRP[]): Iterable<ActualLRPGroup> {
  const copies = new Copies(rows);
  return {
    *[Symbol.iterator]() {
      const accompanied = new Set<InstanceRows>();
      for (const row of rows) {
        const beside = copies.of(row);
        if (row.presence === "ORDINARY") yield groupToWire(groupOf({ ...beside, ORDINARY: row }));
        if (row.presence === "ORDINARY" && beside !== noRows) accompanied.add(beside);
      }
      for (const row of rows) {
        const alone = copies.of(row);
        if (row.presence === "ORDINARY" || accompanied.has(alone)) continue;
        accompanied.add(alone);
        yield groupToWire(groupOf(alone));
      }
    },
  };
}
