// Counts what came about in a run, so that a report tells what was met and a test can say that nothing was missed.
import type { ActualLRP, Change } from "@muster/shared/model";

export const eventKinds = [
  "unclaimed",
  "claimed",
  "started",
  "crashed",
  "crashed and waits",
  "restarted after its wait",
  "placement failed",
  "marked to stop",
  "turned suspect",
  "suspect came back",
  "suspect went",
  "cell lost",
  "cell returned",
  "continuation",
] as const;
export type EventKind = (typeof eventKinds)[number];

export class Events {
  readonly counts: Partial<Record<EventKind, number>> = {};
  longestDoubleMs = 0;
  /** The suspect of the change before: promotion drops it and puts the same instance as Ordinary right after. */
  #wentSuspect: ActualLRP | undefined;

  see(change: Change): void {
    if (change.kind === "cell" && change.before !== undefined && change.after !== undefined) {
      if (change.before.lostAtMs === undefined && change.after.lostAtMs !== undefined) this.#count("cell lost");
      if (change.before.lostAtMs !== undefined && change.after.lostAtMs === undefined) this.#count("cell returned");
    }
    if (change.kind === "continuation" && change.before === undefined) this.#count("continuation");
    if (change.kind === "actualLRP") this.#row(change.before, change.after);
  }

  #row(before: ActualLRP | undefined, after: ActualLRP | undefined): void {
    const went = this.#wentSuspect;
    this.#wentSuspect = undefined;
    if (after === undefined) {
      if (before?.presence === "SUSPECT") {
        this.#wentSuspect = before;
        this.#count("suspect went");
      }
      return;
    }
    if (after.presence === "SUSPECT" && before === undefined) this.#count("turned suspect");
    if (went !== undefined && after.instanceKey?.instanceGuid === went.instanceKey?.instanceGuid)
      this.#count("suspect came back");
    else if (after.presence === "ORDINARY") this.#ordinary(before, after);
  }

  #ordinary(before: ActualLRP | undefined, after: ActualLRP): void {
    const moved = before?.state !== after.state;
    if (after.stopMarked && before?.stopMarked !== true) this.#count("marked to stop");
    if (after.crashCount > (before?.crashCount ?? 0)) this.#count(after.state === "CRASHED" ? "crashed and waits" : "crashed");
    if (after.placementError !== "" && after.placementError !== before?.placementError) this.#count("placement failed");
    if (moved && after.state === "UNCLAIMED") this.#count(before?.state === "CRASHED" ? "restarted after its wait" : "unclaimed");
    if (moved && after.state === "CLAIMED") this.#count("claimed");
    if (moved && after.state === "RUNNING") this.#count("started");
  }

  #count(kind: EventKind): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }
}
