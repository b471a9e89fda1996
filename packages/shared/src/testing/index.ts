// Records with plain defaults, for tests only: a test names the fields it is about, and nothing else.
import {
  type ActualLRP,
  asCellId,
  asDomainName,
  asEpochMs,
  asEpochNs,
  asProcessGuid,
  asTaskGuid,
  type Cell,
  type DesiredLRP,
  type Task,
} from "../model/index.js";

/** The instant at which these records were made; cluster time, epoch milliseconds. */
export const t0 = asEpochMs(1_700_000_000_000);

/** One instance of process `p` in domain `d`, with 64 MB of memory and of disk. */
export const desiredLRP = (fields: Partial<DesiredLRP> = {}): DesiredLRP => ({
  processGuid: asProcessGuid("p"),
  domain: asDomainName("d"),
  logGuid: "",
  annotation: "",
  instances: 1,
  memoryMb: 64,
  diskMb: 64,
  maxPids: 0,
  rootFs: "preloaded:busybox",
  routes: new Map(),
  modificationTag: { epoch: "desired", index: 0 },
  volumeDrivers: [],
  placementTags: [],
  metricTags: new Map(),
  updateStrategy: "ROLLING",
  createdAtNs: asEpochNs(0n),
  ...fields,
});

/** The ORDINARY row of index 0 of process `p`, UNCLAIMED since `t0`. */
export const actualLRP = (fields: Partial<ActualLRP> = {}): ActualLRP => ({
  processGuid: asProcessGuid("p"),
  index: 0,
  domain: asDomainName("d"),
  presence: "ORDINARY",
  state: "UNCLAIMED",
  instanceKey: undefined,
  netInfo: undefined,
  crashCount: 0,
  crashReason: "",
  placementError: "",
  sinceNs: asEpochNs(BigInt(t0) * 1_000_000n),
  modificationTag: { epoch: "row", index: 0 },
  internalRoutes: [],
  metricTags: new Map(),
  routable: false,
  availabilityZone: "",
  stopMarked: false,
  updateMarked: false,
  ...fields,
});

/** PENDING task `t` of domain `d` since `t0`, with 64 MB of memory and of disk. */
export const task = (fields: Partial<Task> = {}): Task => ({
  taskGuid: asTaskGuid("t"),
  domain: asDomainName("d"),
  createdAtNs: asEpochNs(BigInt(t0) * 1_000_000n),
  updatedAtNs: asEpochNs(BigInt(t0) * 1_000_000n),
  firstCompletedAtNs: asEpochNs(0n),
  state: "PENDING",
  cellId: undefined,
  result: "",
  failed: false,
  failureReason: "",
  rejectionCount: 0,
  rejectionReason: "",
  rootFs: "preloaded:busybox",
  memoryMb: 64,
  diskMb: 64,
  maxPids: 0,
  placementTags: [],
  volumeDrivers: [],
  completionCallbackUrl: "",
  annotation: "",
  changedAt: 1n,
  ...fields,
});

/** Cell `cell-1`, present, with room for nothing. */
export const cell = (fields: Partial<Cell> = {}): Cell => ({
  cellId: asCellId("cell-1"),
  repAddress: "",
  repUrl: "",
  zone: "",
  memoryMb: 0,
  diskMb: 0,
  containers: 0,
  rootfsProviders: [],
  placementTags: [],
  optionalPlacementTags: [],
  annotations: new Map(),
  owner: "",
  ttlMs: 5_000,
  evacuating: false,
  lostAtMs: undefined,
  ...fields,
});
