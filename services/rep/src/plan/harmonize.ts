// What the BBS has to be told and what has to be stopped: a pure function of the containers here and the rows there
// (cell.md section 3; races.md R1-R4, S1-S3). Nothing is decided by what a report may answer: that is `planReply`.
import type { ErrorCode } from "@muster/shared/errors";
import type { ContainerRecord } from "./container.js";
import { type ActualLRP, type ActualLRPKey, type ActualLRPNetInfo, type InstanceGuid, sameNetInfo } from "./rows.js";

export type ReportKind =
  | "claimed"
  | "started"
  | "crashed"
  | "removed"
  | "remove-evacuating"
  | "evacuate-claimed"
  | "evacuate-running"
  | "evacuate-stopped"
  | "evacuate-crashed"
  | "cancel-evacuation";

export interface ReportStep {
  readonly do: "report";
  readonly report: ReportKind;
  readonly key: ActualLRPKey;
  readonly instanceGuid: InstanceGuid;
  readonly reason: "new" | "missing-row" | "row-differs" | "ended" | "no-container" | "evacuating" | "no-longer-evacuating";
}
export interface StopStep {
  readonly do: "stop";
  readonly instanceGuid: InstanceGuid;
  readonly reason: "stop-marked";
}
/** Its routes or tags have changed: what it is published with is read anew, then reported. */
export interface RefreshStep {
  readonly do: "refresh";
  readonly instanceGuid: InstanceGuid;
  readonly reason: "update-marked";
}
export type HarmonizeStep = ReportStep | StopStep | RefreshStep;

/** What the BBS has accepted of a container since its row was last seen to be there. */
export type Accepted =
  | { readonly what: "nothing" }
  | { readonly what: "claimed" }
  /** The cell is being emptied, and it may stay until it is replaced. */
  | { readonly what: "evacuating" }
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
  /** The cell is being emptied (rules E1-E3). */
  readonly evacuating: boolean;
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
  const copied = rows.some((row) => row.presence === "EVACUATING");
  if (container.state === "completed") {
    if (facts.settling || container.ending === "discarded") return undefined;
    if (!facts.evacuating && !copied) return report(container.ending, "ended");
    return report(container.ending === "crashed" ? "evacuate-crashed" : "evacuate-stopped", "ended");
  }
  if (!container.stopped && rows.some((row) => row.stopMarked)) return { do: "stop", instanceGuid, reason: "stop-marked" };
  if (facts.settling || container.stopped) return undefined;
  if (facts.evacuating) {
    if (container.state !== "running") return report("evacuate-claimed", "evacuating");
    // R4: asked again with every comparison, changed or not, until it may go.
    return accepted.what === "evacuating" && mode === "changes" ? undefined : report("evacuate-running", "evacuating");
  }
  if (copied) return report("cancel-evacuation", "no-longer-evacuating");
  if (container.state !== "running") {
    if (accepted.what === "nothing") return report("claimed", "new");
    return mode === "everything" && rows.length === 0 ? report("claimed", "missing-row") : undefined;
  }
  if (rows.some((row) => row.updateMarked)) return { do: "refresh", instanceGuid, reason: "update-marked" };
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
  /** Being evacuated, it stays until it is asked about again. */
  | "keep"
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

/** Reports that end with the container, whatever the answer. */
const lastWords: ReadonlySet<ReportKind> = new Set<ReportKind>([
  "crashed",
  "removed",
  "remove-evacuating",
  "evacuate-stopped",
  "evacuate-crashed",
]);

/** Reports whose answer says whether the container stays. */
const asksToStay: ReadonlySet<ReportKind> = new Set<ReportKind>(["evacuate-claimed", "evacuate-running", "cancel-evacuation"]);

/** Refusals that are no decision about the row, but of a fault in the asking. */
const faults: ReadonlySet<string> = new Set<ErrorCode>(["InvalidRequest", "PermissionDenied", "InvalidRecord", "Deserialize"]);

export function planReply(report: ReportKind, errorType: string, keepContainer = false): ReplyStep {
  if (unanswered.has(errorType)) return "again";
  if (lastWords.has(report)) return "delete";
  if (asksToStay.has(report)) {
    if (faults.has(errorType)) return "later";
    return keepContainer ? "keep" : "discard";
  }
  if (errorType === "") return report === "claimed" ? "run" : "confirm";
  if (!refusals.has(errorType)) return "later";
  return report === "claimed" ? "discard" : "stop";
}
