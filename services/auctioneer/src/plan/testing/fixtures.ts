// Cells and work for tests, sized like Diego's simulation: 100 MB of memory and disk, 100 containers.
import { asCellId, asDomainName, asProcessGuid, asTaskGuid } from "@muster/shared/model";
import { type Ask, type CellState, lrpWorkKey, taskWorkKey, type WaitingLRP, type WaitingTask } from "../types.js";

export function cell(cellId: string, overrides: Partial<CellState> = {}): CellState {
  const total = overrides.total ?? { memoryMb: 100, diskMb: 100, containers: 100 };
  return {
    cellId: asCellId(cellId),
    zone: "Z0",
    cellIndex: 0,
    status: "healthy",
    statusReason: "",
    total,
    available: total,
    startingContainerCount: 0,
    rootFSProviders: [{ scheme: "preloaded", fixedSet: true, names: ["linux"] }],
    volumeDrivers: ["my-driver"],
    placementTags: [],
    optionalPlacementTags: [],
    proxyMemoryMb: 0,
    lrpsByProcess: new Map(),
    taskCount: 0,
    ...overrides,
  };
}

/** A cell that runs `lrps` already, each of 1 MB of memory and disk. */
export function loaded(cellId: string, lrps: Readonly<Record<string, number>>, overrides: Partial<CellState> = {}): CellState {
  const count = Object.values(lrps).reduce((sum, instances) => sum + instances, 0);
  const empty = cell(cellId, overrides);
  const { memoryMb, diskMb, containers } = empty.total;
  return {
    ...empty,
    available: { memoryMb: memoryMb - count, diskMb: diskMb - count, containers: containers - count },
    lrpsByProcess: new Map(Object.entries(lrps)),
  };
}

export const ask = (overrides: Partial<Ask> = {}): Ask => ({
  rootFs: "preloaded:linux",
  memoryMb: 1,
  diskMb: 1,
  maxPids: 0,
  placementTags: [],
  volumeDrivers: [],
  ...overrides,
});

export function lrp(processGuid: string, index: number, needs: Partial<Ask> = {}): WaitingLRP {
  const key = lrpWorkKey(processGuid, index);
  return {
    kind: "lrp",
    key,
    processGuid: asProcessGuid(processGuid),
    index,
    domain: asDomainName("auction"),
    auctionId: `${key}@e.0`,
    ask: ask(needs),
  };
}

export function task(taskGuid: string, needs: Partial<Ask> = {}): WaitingTask {
  const key = taskWorkKey(taskGuid);
  return {
    kind: "task",
    key,
    taskGuid: asTaskGuid(taskGuid),
    domain: asDomainName("auction"),
    auctionId: `${key}@1`,
    ask: ask(needs),
  };
}
