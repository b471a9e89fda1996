// The shape of a cell, by what its presence says and who has heard of it.
import { asCellId, asEpochMs, type Cell } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { cellShape } from "./cells.js";

const cell: Cell = {
  cellId: asCellId("cell-1"),
  repAddress: "127.0.0.1:1801",
  repUrl: "",
  zone: "z1",
  memoryMb: 100,
  diskMb: 200,
  containers: 10,
  rootfsProviders: [],
  placementTags: [],
  optionalPlacementTags: [],
  annotations: new Map(),
  owner: "me",
  ttlMs: 5_000,
  evacuating: false,
  lostAtMs: undefined,
};
const seen = { healthy: true, freeMemoryMb: 40, freeDiskMb: 50, freeContainers: 6 };

describe("a cell", () => {
  it("has what is free beside what there is", () => {
    expect(cellShape(cell, seen, 4, 1)).toEqual({
      cell_id: "cell-1",
      zone: "z1",
      state: "healthy",
      memory_mb: { total: 100, free: 40 },
      disk_mb: { total: 200, free: 50 },
      containers: { total: 10, free: 6 },
      instances: 4,
      tasks: 1,
      rep_address: "127.0.0.1:1801",
    });
  });

  it.each([
    ["unhealthy", cell, { ...seen, healthy: false }],
    ["unhealthy", cell, undefined],
    ["evacuating", { ...cell, evacuating: true }, seen],
    ["missing", { ...cell, lostAtMs: asEpochMs(1) }, undefined],
    ["missing", { ...cell, lostAtMs: asEpochMs(1), evacuating: true }, seen],
  ] as const)("is %s", (state, record, heard) => {
    expect(cellShape(record, heard, 0, 0).state).toBe(state);
  });
});
