// Counts what came about in a run, so that a report tells what was met and a test can say that nothing was missed.
import type { ActualLRP, Change, Task } from "@muster/shared/model";

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
  "evacuated",
  "evacuating row went",
  "evacuating row came back",
  "cell emptying",
  "emptying taken back",
  "task started",
  "task rejected",
  "task succeeded",
  "task failed",
  "task cancelled",
  "task rejected too often",
  "task's cell lost",
  "task failed by the flag",
  "task resolving",
  "task left unresolved",
  "task gone",
  "mass loss",
  "stale surplus taken by the flag",
] as const;
export type EventKind = (typeof eventKinds)[number];

export class Events {
  readonly counts: Partial<Record<EventKind, number>> = {};
  longestDoubleMs = 0;
  /** The suspect of the change before: promotion drops it and puts the same instance as Ordinary right after. */
  #wentSuspect: ActualLRP | undefined;
  #wentEvacuating: ActualLRP | undefined;

  see(change: Change): void {
    if (change.kind === "cell" && change.before !== undefined && change.after !== undefined) {
      if (change.before.lostAtMs === undefined && change.after.lostAtMs !== undefined) this.count("cell lost");
      if (change.before.lostAtMs !== undefined && change.after.lostAtMs === undefined) this.count("cell returned");
    }
    if (change.kind === "task") this.#task(change.before, change.after);
    if (change.kind === "cell" && change.after !== undefined) {
      const was = change.before?.evacuating ?? false;
      if (!was && change.after.evacuating) this.count("cell emptying");
      if (was && !change.after.evacuating) this.count("emptying taken back");
    }
    if (change.kind === "continuation" && change.before === undefined) this.count("continuation");
    if (change.kind === "actualLRP") this.#row(change.before, change.after);
  }

  #row(before: ActualLRP | undefined, after: ActualLRP | undefined): void {
    const went = this.#wentSuspect;
    this.#wentSuspect = undefined;
    this.#evacuating(before, after);
    if (after === undefined) {
      if (before?.presence === "SUSPECT") {
        this.#wentSuspect = before;
        this.count("suspect went");
      }
      return;
    }
    if (after.presence === "SUSPECT" && before === undefined) this.count("turned suspect");
    if (went !== undefined && after.instanceKey?.instanceGuid === went.instanceKey?.instanceGuid) this.count("suspect came back");
    else if (after.presence === "ORDINARY") this.#ordinary(before, after);
  }

  #evacuating(before: ActualLRP | undefined, after: ActualLRP | undefined): void {
    const left = this.#wentEvacuating;
    this.#wentEvacuating = undefined;
    if (before === undefined && after?.presence === "EVACUATING") this.count("evacuated");
    if (after === undefined && before?.presence === "EVACUATING") {
      this.#wentEvacuating = before;
      this.count("evacuating row went");
    }
    const same = left !== undefined && after?.instanceKey?.instanceGuid === left.instanceKey?.instanceGuid;
    if (same && after?.presence === "ORDINARY") this.count("evacuating row came back");
  }

  #task(before: Task | undefined, after: Task | undefined): void {
    if (after === undefined) this.count("task gone");
    else if (before !== undefined && after.rejectionCount > before.rejectionCount)
      this.count(after.failed ? "task rejected too often" : "task rejected");
    else if (before?.state !== "RUNNING" && after.state === "RUNNING") this.count("task started");
    else if (before?.state === "RESOLVING" && after.state === "COMPLETED") this.count("task left unresolved");
    else if (before?.state === "COMPLETED" && after.state === "RESOLVING") this.count("task resolving");
    else if (before !== undefined && after.state === "COMPLETED") this.count(endOf(after));
  }

  #ordinary(before: ActualLRP | undefined, after: ActualLRP): void {
    const moved = before?.state !== after.state;
    if (after.stopMarked && before?.stopMarked !== true) this.count("marked to stop");
    if (after.crashCount > (before?.crashCount ?? 0)) this.count(after.state === "CRASHED" ? "crashed and waits" : "crashed");
    if (after.placementError !== "" && after.placementError !== before?.placementError) this.count("placement failed");
    if (moved && after.state === "UNCLAIMED") this.count(before?.state === "CRASHED" ? "restarted after its wait" : "unclaimed");
    if (moved && after.state === "CLAIMED") this.count("claimed");
    if (moved && after.state === "RUNNING") this.count("started");
  }

  count(kind: EventKind): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }
}

function endOf({ failed, failureReason }: Task): EventKind {
  if (!failed) return "task succeeded";
  if (failureReason === "task was cancelled") return "task cancelled";
  if (failureReason === "cell disappeared before completion") return "task's cell lost";
  return failureReason.includes("diego_docker") ? "task failed by the flag" : "task failed";
}
