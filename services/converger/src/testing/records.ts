// Small records for tests.
import {
  type ActualLRP,
  type ActualLRPInstanceKey,
  asCellId,
  asDomainName,
  asEpochMs,
  asEpochNs,
  asInstanceGuid,
  asProcessGuid,
  type Cell,
  type DesiredLRP,
  type Domain,
} from "@muster/shared/model";

export const domainName = asDomainName("apps");

export const desiredLRP = (name: string, fields: Partial<DesiredLRP> = {}): DesiredLRP => ({
  processGuid: asProcessGuid(name),
  domain: domainName,
  logGuid: "",
  annotation: "",
  instances: 1,
  memoryMb: 0,
  diskMb: 0,
  maxPids: 0,
  rootFs: "preloaded:x",
  routes: new Map(),
  modificationTag: { epoch: "e", index: 0 },
  volumeDrivers: [],
  placementTags: [],
  metricTags: new Map(),
  updateStrategy: "ROLLING",
  createdAtNs: asEpochNs(0n),
  ...fields,
});

export const actualLRP = (fields: Partial<ActualLRP>): ActualLRP => ({
  processGuid: asProcessGuid("p"),
  index: 0,
  domain: domainName,
  presence: "ORDINARY",
  state: "UNCLAIMED",
  instanceKey: undefined,
  netInfo: undefined,
  crashCount: 0,
  crashReason: "",
  placementError: "",
  sinceNs: asEpochNs(0n),
  modificationTag: { epoch: "e", index: 0 },
  internalRoutes: [],
  metricTags: new Map(),
  routable: false,
  availabilityZone: "",
  stopMarked: false,
  ...fields,
});

const instanceKey = (cellId: string): ActualLRPInstanceKey => ({ instanceGuid: asInstanceGuid("i"), cellId: asCellId(cellId) });

/** A CLAIMED row of `name` at `index` on a cell. */
export const claimed = (name: string, index: number, cellId: string): ActualLRP =>
  actualLRP({ processGuid: asProcessGuid(name), index, state: "CLAIMED", instanceKey: instanceKey(cellId) });

export const cell = (cellId: string, lostAtMs?: number): Cell => ({
  cellId: asCellId(cellId),
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
  lostAtMs: lostAtMs === undefined ? undefined : asEpochMs(lostAtMs),
});

export const domain = (expiresAtMs?: number): Domain => ({
  name: domainName,
  expiresAtMs: expiresAtMs === undefined ? undefined : asEpochMs(expiresAtMs),
});
