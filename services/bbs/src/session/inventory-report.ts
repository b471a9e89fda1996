// A cell's inventory as commands of the core: one for each key that a row or a container of the cell names, and one for each task that
// runs here by the records and is not in it (races.md C5, R3). A task's container that should not be is told so when it reports.
import { type ContainerReport, ContainerState } from "@muster/proto/muster/v1/report";
import { actualLRPKeyFromWire, instanceKeyFromWire, netInfoFromWire } from "@muster/shared/codec";
import type { ActualLRPInstanceKey, ActualLRPKey, CellId, ProcessGuid } from "@muster/shared/model";
import type { StartRequest } from "../core/actual-lrp.js";
import type { Command, CoreState } from "../core/decision.js";
import { decideInventoryKey, type InventoryContainer } from "../core/inventory.js";
import { taskWithoutContainer } from "../core/task.js";

const stateOf = {
  [ContainerState.CONTAINER_STATE_CLAIMED]: "CLAIMED",
  [ContainerState.CONTAINER_STATE_RUNNING]: "RUNNING",
} as const;

type Keyed = Parameters<typeof decideInventoryKey>[0];

export function inventoryCommands(state: CoreState, cellId: CellId, containers: readonly ContainerReport[]): Command<void>[] {
  const held = new Set(containers.map((report) => report.taskGuid));
  const tasks = [...state.tables.tasksOnCell(cellId)].filter((task) => task.state === "RUNNING" && !held.has(task.taskGuid));
  return [
    ...[...inventoryKeys(state, cellId, containers).values()].map(decideInventoryKey),
    ...tasks.map(({ taskGuid }) => taskWithoutContainer({ taskGuid, cellId })),
  ];
}

function inventoryKeys(state: CoreState, cellId: CellId, containers: readonly ContainerReport[]): Map<string, Keyed> {
  const keys = new Map<string, Keyed & { containers: InventoryContainer[] }>();
  const at = (processGuid: ProcessGuid, index: number): { containers: InventoryContainer[] } => {
    const name = `${processGuid}/${index}`;
    const known = keys.get(name) ?? { cellId, processGuid, index, containers: [] };
    keys.set(name, known);
    return known;
  };
  for (const row of state.tables.rowsOnCell(cellId)) at(row.processGuid, row.index);
  for (const report of containers) {
    const instanceKey = instanceKeyFromWire(report.actualLrpInstanceKey);
    if (report.actualLrpKey === undefined || instanceKey?.cellId !== cellId) continue;
    const key = actualLRPKeyFromWire(report.actualLrpKey);
    at(key.processGuid, key.index).containers.push(inventoryContainer(key, instanceKey, report, state));
  }
  return keys;
}

function inventoryContainer(
  key: ActualLRPKey,
  instanceKey: ActualLRPInstanceKey,
  report: ContainerReport,
  state: CoreState,
): InventoryContainer {
  const containerState = stateOf[report.state as keyof typeof stateOf] ?? "COMPLETED";
  const netInfo = netInfoFromWire(report.actualLrpNetInfo);
  const started: StartRequest | undefined =
    containerState === "RUNNING" && netInfo !== undefined
      ? {
          key,
          instanceKey,
          netInfo,
          internalRoutes: report.actualLrpInternalRoutes.map((route) => route.hostname),
          metricTags: new Map(Object.entries(report.metricTags)),
          routable: report.routable,
          availabilityZone: state.tables.cell(instanceKey.cellId)?.zone ?? "",
        }
      : undefined;
  return { instanceGuid: instanceKey.instanceGuid, state: containerState, started };
}
