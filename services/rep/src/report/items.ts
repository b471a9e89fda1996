// A container or a decided report, as a message to the BBS.
import { type ContainerReport, ContainerState, type ReportItem } from "@muster/proto/muster/v1/report";
import { actualLRPKeyToWire, instanceKeyToWire, netInfoToWire } from "@muster/shared/codec";
import { type ActualLRPKey, asCellId, type CellId, type InstanceGuid } from "@muster/shared/model";
import type { ContainerRecord, ReportKind } from "../plan/index.js";

const keysOf = (key: ActualLRPKey, instanceGuid: InstanceGuid, cellId: CellId) => ({
  actualLrpKey: actualLRPKeyToWire(key),
  actualLrpInstanceKey: instanceKeyToWire({ instanceGuid, cellId }),
});

const wireState = (record: ContainerRecord): ContainerReport["state"] => {
  if (record.state === "completed") return ContainerState.CONTAINER_STATE_COMPLETED;
  return record.state === "running" ? ContainerState.CONTAINER_STATE_RUNNING : ContainerState.CONTAINER_STATE_CLAIMED;
};

/** One line of the inventory. */
export const inventoryLine = (record: ContainerRecord, cellId: string): ContainerReport => ({
  ...keysOf(record.key, record.instanceGuid, asCellId(cellId)),
  state: wireState(record),
  actualLrpNetInfo: record.state === "running" && record.netInfo !== undefined ? netInfoToWire(record.netInfo) : undefined,
  routable: record.state === "running" && record.routable,
  taskGuid: "",
  actualLrpInternalRoutes: [],
  metricTags: {},
});

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
  }
}

const startedOf = (record: ContainerRecord | undefined, zone: string) => ({
  actualLrpNetInfo: record?.netInfo === undefined ? undefined : netInfoToWire(record.netInfo),
  actualLrpInternalRoutes: (record?.startInfo?.internalRoutes ?? []).map((hostname) => ({ hostname })),
  metricTags: { ...record?.startInfo?.metricTags },
  routable: record?.routable ?? false,
  availabilityZone: zone,
});
