// What must hold while cells are emptied or lost: no instance is given up before the fate of its replacement is decided (races.md C5,
// E1, E3; I24, I29, I30).
import { type ActualLRP, type CellId, type Change, type InstanceGuid, sameInstance, type Tables } from "@muster/shared/model";
import { isLive, isWanted, wantedInstances } from "@muster/shared/rules";

export interface Machines {
  /** Whether the instance's process runs on the cell, by the machine's own word. */
  runs(cellId: CellId, instanceGuid: InstanceGuid): boolean;
  evacuates(cellId: CellId): boolean;
}

const where = (row: ActualLRP): string =>
  `${row.processGuid}/${row.index} (${row.presence}, instance ${row.instanceKey?.instanceGuid ?? "none"} on ${row.instanceKey?.cellId ?? "no cell"})`;

/** Follows every change in the order of its decision; `end` closes a commit. */
export class EvacuationJudge {
  readonly #machines: Machines;
  /** Evacuating and Suspect rows that went in this commit, and nothing yet that allows it. */
  #unexplained: ActualLRP[] = [];

  constructor(machines: Machines) {
    this.#machines = machines;
  }

  /** `tables` hold the change and nothing decided later. */
  see(change: Change, tables: Tables): string[] {
    if (change.kind !== "actualLRP") return [];
    const { before, after } = change;
    const copy = before?.presence !== "ORDINARY" && before?.state === "RUNNING";
    const went = copy && !sameInstance(before.instanceKey, after?.instanceKey) ? [before] : [];
    this.#unexplained = [...this.#unexplained, ...went].filter((row) => !this.#mayGo(row, tables));
    if (after?.presence === "EVACUATING" && tables.desiredLRP(after.processGuid)?.updateStrategy === "RECREATE")
      return [`I30 a second copy of an instance that is to be recreated: ${where(after)}`];
    return before === undefined || after === undefined ? [] : this.#unclaimed(before, after, tables);
  }

  end(): string[] {
    const faults = this.#unexplained.map(
      (row) => `${row.presence === "SUSPECT" ? "I24" : "I29"} given up before its replacement's fate was decided: ${where(row)}`,
    );
    this.#unexplained = [];
    return faults;
  }

  #mayGo(row: ActualLRP, tables: Tables): boolean {
    const { ORDINARY: ordinary, EVACUATING: evacuating, SUSPECT: suspect } = tables.rows(row.processGuid, row.index);
    const emptied =
      row.presence === "EVACUATING" || (row.instanceKey !== undefined && this.#machines.evacuates(row.instanceKey.cellId));
    const replaced = ordinary?.state === "RUNNING" || (emptied && ordinary?.state === "CRASHED");
    const goesOn = evacuating !== undefined || sameInstance(ordinary?.instanceKey, row.instanceKey);
    // The key's one place for a Suspect went to an instance that was told to stop (decision 0005); this one may start again.
    const gaveWay = row.presence === "SUSPECT" && suspect?.stopMarked === true;
    return row.stopMarked || replaced || goesOn || gaveWay || !this.#runsWanted(row, tables);
  }

  /** Whether somebody still wants what runs there; an Evacuating row goes with its cell, a Suspect one outlives it. */
  #runsWanted({ processGuid, index, instanceKey, presence }: ActualLRP, tables: Tables): boolean {
    if (instanceKey === undefined || (presence !== "SUSPECT" && !isLive(tables.cell(instanceKey.cellId)))) return false;
    const wanted = isWanted(tables, tables.desiredLRP(processGuid), index);
    return wanted && this.#machines.runs(instanceKey.cellId, instanceKey.instanceGuid);
  }

  /** A running instance that loses its row to the cell's emptying: a copy keeps it (E1), or all others of its process run (I30). */
  #unclaimed(before: ActualLRP, after: ActualLRP, tables: Tables): string[] {
    const moved = before.presence === "ORDINARY" && before.state === "RUNNING" && after.state === "UNCLAIMED";
    if (!moved || before.crashCount !== after.crashCount || !this.#runsWanted(before, tables)) return [];
    if (before.instanceKey === undefined || !this.#machines.evacuates(before.instanceKey.cellId)) return [];
    const desired = tables.desiredLRP(before.processGuid);
    if (desired?.updateStrategy === "ROLLING") {
      const copy = tables.rows(before.processGuid, before.index).EVACUATING;
      return sameInstance(copy?.instanceKey, before.instanceKey) ? [] : [`E1 unclaimed without a copy: ${where(before)}`];
    }
    const count = desired === undefined ? 0 : wantedInstances(tables, desired);
    for (let index = 0; index < count; index += 1) {
      if (index === before.index || tables.rows(before.processGuid, index).ORDINARY?.state === "RUNNING") continue;
      return [`I30 ${before.processGuid}/${index} does not run, and the next one is stopped: ${where(before)}`];
    }
    return [];
  }
}
