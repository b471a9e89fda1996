// The Ordinary rows that wait for a place, kept as changes come.
import { type ActualLRP, type Change, type ClusterView, type EpochMs, epochNsToMs } from "@muster/shared/model";
import { isWanted } from "@muster/shared/rules";

export class Unplaced {
  readonly #rows = new Map<string, ActualLRP>();

  note(change: Change): void {
    if (change.kind !== "actualLRP") return;
    const { after } = change;
    if (after?.state === "UNCLAIMED" && after.presence === "ORDINARY") this.#rows.set(change.key, after);
    else this.#rows.delete(change.key);
  }

  /** How long the oldest wanted one has waited, ms, since it began to or was last refused for another reason; 0 when none waits. */
  oldestMs(view: ClusterView, nowMs: EpochMs): number {
    let sinceNs: ActualLRP["sinceNs"] | undefined;
    for (const row of this.#rows.values()) {
      if (sinceNs !== undefined && row.sinceNs >= sinceNs) continue;
      if (isWanted(view, view.desiredLRP(row.processGuid), row.index)) sinceNs = row.sinceNs;
    }
    return sinceNs === undefined ? 0 : Math.max(0, nowMs - epochNsToMs(sinceNs));
  }
}
