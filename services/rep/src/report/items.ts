// A container or a decided report, as a message to the BBS.
import { type ContainerReport, ContainerState, type ReportItem } from "@muster/proto/muster/v1/report";
import { actualLRPKeyToWire, instanceKeyToWire, netInfoToWire } from "@muster/shared/codec";
import { type ActualLRPKey, asCellId, type CellId, type InstanceGuid, type TaskGuid } from "@muster/shared/model";
import { type ContainerRecord, noTaskContainer, type ReportKind, type TaskReportKind } from "../plan/index.js";

const keysOf = (key: ActualLRPKey, instanceGuid: InstanceGuid, cellId: CellId) => ({
  actualLrpKey: actualLRPKeyToWire(key),
  actualLrpInstanceKey: instanceKeyToWire({ instanceGuid, cellId }),
});

const wireState = (record: ContainerRecord): ContainerReport["state"] => {
  if (record.state === "completed") return ContainerState.CONTAINER_STATE_COMPLETED;
  return record.state === "running" ? ContainerState.CONTAINER_STATE_RUNNING : ContainerState.CONTAINER_STATE_CLAIMED;
};

/** One line of the inventory. */
export function inventoryLine(record: ContainerRecord, cellId: string): ContainerReport {
  const state = wireState(record);
  const nothing = { actualLrpNetInfo: undefined, routable: false, actualLrpInternalRoutes: [], metricTags: {} };
  if (record.task !== undefined) {
    return { actualLrpKey: undefined, actualLrpInstanceKey: undefined, state, ...nothing, taskGuid: record.task.guid };
  }
  const keys = { ...keysOf(record.key, record.instanceGuid, asCellId(cellId)), state, taskGuid: "" };
  if (record.state !== "running") return { ...keys, ...nothing };
  const { actualLrpNetInfo, routable, actualLrpInternalRoutes, metricTags } = startedOf(record, "");
  return { ...keys, actualLrpNetInfo, routable, actualLrpInternalRoutes, metricTags };
}

/** The item of a report about a task; without a container it says that there is none. */
export function taskReportItem(
  report: TaskReportKind,
  taskGuid: TaskGuid,
  record: ContainerRecord | undefined,
  cellId: string,
): Omit<ReportItem, "id"> {
  // The instance key comes back with the reply, which then knows its container; the BBS looks at the task guid alone.
  const keys = {
    actualLrpKey: undefined,
    actualLrpInstanceKey:
      record === undefined ? undefined : instanceKeyToWire({ instanceGuid: record.instanceGuid, cellId: asCellId(cellId) }),
  };
  switch (report) {
    case "task-started":
      return { ...keys, report: { $case: "taskStarted", value: { taskGuid } } };
    case "task-rejected":
      return { ...keys, report: { $case: "taskRejected", value: { taskGuid, rejectionReason: record?.failureReason ?? "" } } };
    case "task-completed": {
      const failed = record?.task?.outcome !== "succeeded";
      const failureReason = record === undefined ? noTaskContainer : failed ? record.failureReason : "";
      const result = record === undefined ? noTaskContainer : (record.task?.result ?? "");
      return { ...keys, report: { $case: "taskCompleted", value: { taskGuid, failed, failureReason, result } } };
    }
  }
}

/** The item of a report; `record` is there for every kind but those about rows without a container. */
export function reportItem(
  report: ReportKind,
  key: ActualLRPKey,
  instanceGuid: InstanceGuid,
  cell: { readonly cellId: string; readonly zone: string },
  record: ContainerRecord | undefined,
): Omit<ReportItem, "id"> {
  const keys = keysOf(key, instanceGuid, asCellId(cell.cellId));
  switch (report) {
    case "claimed":
      return { ...keys, report: { $case: "claimed", value: {} } };
    case "started":
      return { ...keys, report: { $case: "started", value: startedOf(record, cell.zone) } };
    case "crashed":
      return { ...keys, report: { $case: "crashed", value: { errorMessage: record?.failureReason ?? "" } } };
    case "removed":
      return { ...keys, report: { $case: "removed", value: {} } };
    case "remove-evacuating":
      return { ...keys, report: { $case: "removeEvacuating", value: {} } };
    case "evacuate-claimed":
      return { ...keys, report: { $case: "evacuateClaimed", value: {} } };
    case "evacuate-running":
      return { ...keys, report: { $case: "evacuateRunning", value: { started: startedOf(record, cell.zone) } } };
    case "evacuate-stopped":
      return { ...keys, report: { $case: "evacuateStopped", value: {} } };
    case "evacuate-crashed":
      return { ...keys, report: { $case: "evacuateCrashed", value: { errorMessage: record?.failureReason ?? "" } } };
    case "cancel-evacuation":
      return { ...keys, report: { $case: "cancelEvacuation", value: {} } };
  }
}

const startedOf = (record: ContainerRecord | undefined, zone: string) => ({
  actualLrpNetInfo: record?.netInfo === undefined ? undefined : netInfoToWire(record.netInfo),
  actualLrpInternalRoutes: (record?.startInfo?.internalRoutes ?? []).map((hostname) => ({ hostname })),
  metricTags: { ...record?.startInfo?.metricTags },
  routable: record?.routable ?? false,
  availabilityZone: zone,
});
