// What the BBS has to be told and what has to be stopped: a pure function of the containers here and the rows there
// (cell.md section 3; races.md R1-R4, S1-S3). Nothing is decided by what a report may answer: that is `planReply`.
import type { ErrorCode } from "@muster/shared/errors";
import type { ContainerRecord } from "./container.js";
import { type ActualLRP, type ActualLRPKey, type ActualLRPNetInfo, type InstanceGuid, sameNetInfo } from "./rows.js";

export type ReportKind = "claimed" | "started" | "crashed" | "removed" | "remove-evacuating";

export interface ReportStep {
  readonly do: "report";
  readonly report: ReportKind;
  readonly key: ActualLRPKey;
  readonly instanceGuid: InstanceGuid;
  readonly reason: "new" | "missing-row" | "row-differs" | "ended" | "no-container";
}
export interface StopStep {
  readonly do: "stop";
  readonly instanceGuid: InstanceGuid;
  readonly reason: "stop-marked";
}
export type HarmonizeStep = ReportStep | StopStep;

/** What the BBS has accepted of a container since its row was last seen to be there. */
export type Accepted =
  | { readonly what: "nothing" }
  | { readonly what: "claimed" }
  | { readonly what: "started"; readonly netInfo: ActualLRPNetInfo | undefined; readonly routable: boolean };

export const acceptedNothing: Accepted = { what: "nothing" };

/** All that is known of one instance guid. */
export interface InstanceFacts {
  readonly instanceGuid: InstanceGuid;
  readonly container: ContainerRecord | undefined;
  /** Rows of this cell that name the instance, as far as the mirror knows. */
  readonly rows: readonly ActualLRP[];
  readonly accepted: Accepted;
  /** A report about it is unanswered, or its outcome was answered and the mirror has yet to show it. */
  readonly settling: boolean;
}

/** `changes`: what just moved. `everything`: the 30 s comparison, which also mends what was believed to be in order (R4). */
export type HarmonizeMode = "changes" | "everything";

const rowMatches = (row: ActualLRP, container: ContainerRecord): boolean =>
  row.state === "RUNNING" && row.routable === container.routable && sameNetInfo(row.netInfo, container.netInfo);

function planContainer(facts: InstanceFacts, container: ContainerRecord, mode: HarmonizeMode): HarmonizeStep | undefined {
  const { rows, accepted, instanceGuid } = facts;
  const report = (kind: ReportKind, reason: ReportStep["reason"]): ReportStep => ({
    do: "report",
    report: kind,
    key: container.key,
    instanceGuid,
    reason,
  });
  if (container.state === "completed") {
    if (facts.settling || container.ending === "discarded") return undefined;
    return report(container.ending, "ended");
  }
  if (!container.stopped && rows.some((row) => row.stopMarked)) return { do: "stop", instanceGuid, reason: "stop-marked" };
  if (facts.settling || container.stopped) return undefined;
  if (container.state !== "running") {
    if (accepted.what === "nothing") return report("claimed", "new");
    return mode === "everything" && rows.length === 0 ? report("claimed", "missing-row") : undefined;
  }
  // Also when the row looks right: routes and tags reach it with the cell's own report only.
  if (accepted.what !== "started") return report("started", "new");
  if (rows.some((row) => rowMatches(row, container))) return undefined;
  const asAccepted = accepted.routable === container.routable && sameNetInfo(accepted.netInfo, container.netInfo);
  if (asAccepted && mode === "changes") return undefined;
  return report("started", rows.length === 0 ? "missing-row" : "row-differs");
}

/** Decides one instance. `rowsComplete`: the mirror is synced and adoption is over, so that what is not here is gone (R5). */
export function planInstance(facts: InstanceFacts, rowsComplete: boolean, mode: HarmonizeMode): HarmonizeStep | undefined {
  if (facts.container !== undefined) return planContainer(facts, facts.container, mode);
  if (!rowsComplete || facts.settling) return undefined;
  for (const row of facts.rows) {
    const step = { do: "report", key: row, instanceGuid: facts.instanceGuid, reason: "no-container" } as const;
    if (row.presence === "ORDINARY" && row.instanceKey !== undefined) return { ...step, report: "removed" };
    if (row.presence === "EVACUATING") return { ...step, report: "remove-evacuating" };
    // A Suspect row is resolved by the inventory alone (C5).
  }
  return undefined;
}

/** Decides many instances: ordered by guid, so that the same facts give the same plan. */
export function planHarmonize(
  facts: readonly InstanceFacts[],
  rowsComplete: boolean,
  mode: HarmonizeMode,
): readonly HarmonizeStep[] {
  return facts
    .toSorted((a, b) => (a.instanceGuid < b.instanceGuid ? -1 : a.instanceGuid > b.instanceGuid ? 1 : 0))
    .map((one) => planInstance(one, rowsComplete, mode))
    .filter((step) => step !== undefined);
}

/** What an answer to a report means for the container. */
export type ReplyStep =
  /** The claim stands: run it if it has not been. */
  | "run"
  | "confirm"
  /** Somebody else has the index, or nobody wants it: it goes without another report. */
  | "discard"
  /** It runs where it should not: stop it gracefully. */
  | "stop"
  /** The BBS has answered for its outcome (R2): its container may go. */
  | "delete"
  /** No answer that binds anybody (R3): ask again soon. */
  | "again"
  /** A fault of ours or of a certificate, which time alone does not mend: ask again with the next comparison. */
  | "later";

/** Answers that say nothing about the row: nobody was asked, or nobody knows. Everything else is a typed refusal. */
export const unanswered: ReadonlySet<string> = new Set<ErrorCode>([
  "Unavailable",
  "OutcomeUnknown",
  "Timeout",
  "ResourceExhausted",
  "UnknownError",
  "Unimplemented",
]);

/** Refusals on which a container that may still be wanted goes. */
const refusals: ReadonlySet<string> = new Set<ErrorCode>([
  "ActualLRPCannotBeClaimed",
  "ActualLRPCannotBeStarted",
  "ResourceNotFound",
  "RunningOnDifferentCell",
  "FeatureDisabled",
]);

export function planReply(report: ReportKind, errorType: string): ReplyStep {
  if (unanswered.has(errorType)) return "again";
  if (report === "crashed" || report === "removed" || report === "remove-evacuating") return "delete";
  if (errorType === "") return report === "claimed" ? "run" : "confirm";
  if (!refusals.has(errorType)) return "later";
  return report === "claimed" ? "discard" : "stop";
}
