// What a cell reports, item by item, as commands of the core. A cell speaks in its own name only.
import type { ReportItem, ReportReply, Started } from "@muster/proto/muster/v1/report";
import { actualLRPKeyFromWire, instanceKeyFromWire, netInfoFromWire } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { type ActualLRPInstanceKey, type ActualLRPKey, asTaskGuid, type CellId, type TaskGuid } from "@muster/shared/model";
import {
  type ClaimRequest,
  claimActualLRP,
  crashActualLRP,
  reportRemoved,
  type StartRequest,
  startActualLRP,
} from "../core/actual-lrp.js";
import type { Command } from "../core/decision.js";
import {
  cancelEvacuation,
  evacuateClaimedActualLRP,
  evacuateCrashedActualLRP,
  evacuateRunningActualLRP,
  evacuateStoppedActualLRP,
  removeEvacuatingActualLRP,
} from "../core/evacuation.js";
import { completeTask, rejectTask, startTask } from "../core/task.js";
import { validateInstance } from "../core/validation/index.js";
import type { ToRun } from "./run-information.js";

/** What the core says of one item besides accepting it. */
export interface ReportOutcome extends Partial<Pick<ReportReply, "keepContainer" | "shouldStart">> {
  readonly refusal?: BbsError;
  /** What an accepted claim is for, as it stood when that was decided. */
  readonly toRun?: ToRun;
}

export interface Reporter {
  readonly cellId: CellId;
  readonly maxTaskRetries: number;
}

type Report = NonNullable<ReportItem["report"]>;
type TaskReport = Extract<Report, { $case: "taskStarted" | "taskCompleted" | "taskRejected" }>;

const isTaskReport = (report: Report): report is TaskReport =>
  report.$case === "taskStarted" || report.$case === "taskCompleted" || report.$case === "taskRejected";

/** @throws BbsError InvalidRequest for an item that says too little, PermissionDenied for one that names another cell. */
export function reportCommand(item: ReportItem, reporter: Reporter): Command<ReportOutcome> {
  const { report } = item;
  if (report === undefined) throw new BbsError("InvalidRequest", "Invalid field: report");
  return isTaskReport(report) ? taskCommand(report, reporter) : instanceCommand(item, report, reporter);
}

/** Whether the container of an item that nobody could decide stays (bbs-semantics.md 5). */
export const keepsUndecided = ({ report }: ReportItem): boolean =>
  report?.$case === "evacuateClaimed" || report?.$case === "evacuateRunning" || report?.$case === "cancelEvacuation";

const accepted: ReportOutcome = {};

/** A command that only accepts or refuses. */
const plain =
  (command: Command<void>): Command<ReportOutcome> =>
  (state, context) => ({ ...command(state, context), reply: accepted });

/** The cell may read what it claims from here on; it is picked in the same tick, as a read would be. */
const claimed =
  (request: ClaimRequest): Command<ReportOutcome> =>
  (state, context) => {
    const decision = claimActualLRP(request)(state, context);
    const record = state.tables.desiredLRP(request.processGuid);
    const sealed = state.tables.runInfos.get(request.processGuid)?.sealed;
    return { ...decision, reply: record === undefined || sealed === undefined ? accepted : { toRun: { record, sealed } } };
  };

function instanceCommand(item: ReportItem, report: Exclude<Report, TaskReport>, { cellId }: Reporter): Command<ReportOutcome> {
  const keys = keysOf(item, cellId);
  const { key, instanceKey } = keys;
  const named = { processGuid: key.processGuid, index: key.index, instanceKey };
  switch (report.$case) {
    case "claimed":
      return claimed(named);
    case "started":
      return plain(startActualLRP(startRequestOf(key, instanceKey, report.value)));
    case "crashed":
      return plain(crashActualLRP({ ...keys, reason: report.value.errorMessage }));
    case "removed":
      return plain(reportRemoved(named));
    case "evacuateClaimed":
      return evacuateClaimedActualLRP(keys);
    case "evacuateRunning":
      return evacuateRunningActualLRP(startRequestOf(key, instanceKey, report.value.started));
    case "evacuateStopped":
      return evacuateStoppedActualLRP(keys);
    case "evacuateCrashed":
      return evacuateCrashedActualLRP({ ...keys, reason: report.value.errorMessage });
    case "removeEvacuating":
      return plain(removeEvacuatingActualLRP(keys));
    case "cancelEvacuation":
      return cancelEvacuation(keys);
  }
}

function taskCommand({ $case, value }: TaskReport, { cellId, maxTaskRetries }: Reporter): Command<ReportOutcome> {
  const taskGuid = taskGuidOf(value.taskGuid);
  switch ($case) {
    case "taskStarted":
      return startTask({ taskGuid, cellId });
    case "taskCompleted": {
      const { failed, failureReason, result } = value;
      return plain(completeTask({ taskGuid, cellId, failed, failureReason, result }));
    }
    case "taskRejected": {
      if (value.rejectionReason === "") throw new BbsError("InvalidRequest", "Invalid field: failure_reason");
      return plain(rejectTask({ taskGuid, cellId, reason: value.rejectionReason, maxRetries: maxTaskRetries }));
    }
  }
}

function taskGuidOf(taskGuid: string): TaskGuid {
  if (taskGuid === "") throw new BbsError("InvalidRequest", "Invalid field: task_guid");
  return asTaskGuid(taskGuid);
}

function keysOf(item: ReportItem, cellId: CellId): { readonly key: ActualLRPKey; readonly instanceKey: ActualLRPInstanceKey } {
  validateInstance(item);
  const instanceKey = instanceKeyFromWire(item.actualLrpInstanceKey);
  if (item.actualLrpKey === undefined || instanceKey === undefined) throw new BbsError("InvalidRequest");
  if (instanceKey.cellId !== cellId)
    throw new BbsError("PermissionDenied", `a report of cell ${cellId} names cell ${instanceKey.cellId}`);
  return { key: actualLRPKeyFromWire(item.actualLrpKey), instanceKey };
}

/** @throws BbsError InvalidRequest without an address. */
function startRequestOf(key: ActualLRPKey, instanceKey: ActualLRPInstanceKey, started: Started | undefined): StartRequest {
  const netInfo = netInfoFromWire(started?.actualLrpNetInfo);
  if (started === undefined || netInfo === undefined) throw new BbsError("InvalidRequest", "Invalid field: actual_lrp_net_info");
  return {
    key,
    instanceKey,
    netInfo,
    internalRoutes: started.actualLrpInternalRoutes.map((route) => route.hostname),
    metricTags: new Map(Object.entries(started.metricTags)),
    routable: started.routable,
    availabilityZone: started.availabilityZone,
  };
}
