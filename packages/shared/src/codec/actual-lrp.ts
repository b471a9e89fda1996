// ActualLRP: our record <-> Diego's message <-> stored bytes.
import type * as wire from "@muster/proto/models/actual_lrp";
import { ActualLRP as StoredActualLRP } from "@muster/proto/muster/store/v1/records";
import {
  type ActualLRP,
  type ActualLRPInstanceKey,
  type ActualLRPKey,
  type ActualLRPNetInfo,
  asCellId,
  asDomainName,
  asEpochNs,
  asInstanceGuid,
  asProcessGuid,
  type LRPState,
  lrpStates,
  type Presence,
} from "../model/index.js";
import { bytesOf, corrupt, mapToRecord } from "./support.js";

const presenceToWire: Record<Presence, wire.ActualLRP_Presence> = { ORDINARY: 0, EVACUATING: 1, SUSPECT: 2 };
const presenceFromWire: Readonly<Record<number, Presence>> = { 0: "ORDINARY", 1: "EVACUATING", 2: "SUSPECT" };
const preferredToWire: Record<ActualLRPNetInfo["preferredAddress"], wire.ActualLRPNetInfo_PreferredAddress> = {
  UNKNOWN: 0,
  INSTANCE: 1,
  HOST: 2,
};
const preferredFromWire: Readonly<Record<number, ActualLRPNetInfo["preferredAddress"]>> = {
  0: "UNKNOWN",
  1: "INSTANCE",
  2: "HOST",
};

const emptyInstanceKey: wire.ActualLRPInstanceKey = { instanceGuid: "", cellId: "" };
const emptyNetInfo: wire.ActualLRPNetInfo = {
  address: "",
  ports: [],
  instanceAddress: "",
  preferredAddress: 0,
  instanceIpv6Address: "",
};

export const actualLRPKeyToWire = (key: ActualLRPKey): wire.ActualLRPKey => ({
  processGuid: key.processGuid,
  index: key.index,
  domain: key.domain,
});

export const actualLRPKeyFromWire = (key: wire.ActualLRPKey): ActualLRPKey => ({
  processGuid: asProcessGuid(key.processGuid),
  index: key.index,
  domain: asDomainName(key.domain),
});

export const instanceKeyToWire = (key: ActualLRPInstanceKey): wire.ActualLRPInstanceKey => ({
  instanceGuid: key.instanceGuid,
  cellId: key.cellId,
});

/** An empty or absent key is `undefined`. */
export function instanceKeyFromWire(key: wire.ActualLRPInstanceKey | undefined): ActualLRPInstanceKey | undefined {
  if (key === undefined || (key.instanceGuid === "" && key.cellId === "")) return undefined;
  return { instanceGuid: asInstanceGuid(key.instanceGuid), cellId: asCellId(key.cellId) };
}

export const netInfoToWire = (net: ActualLRPNetInfo): wire.ActualLRPNetInfo => ({
  address: net.address,
  ports: net.ports.map((port) => ({ ...port })),
  instanceAddress: net.instanceAddress,
  preferredAddress: preferredToWire[net.preferredAddress],
  instanceIpv6Address: net.instanceIpv6Address,
});

/** An absent or wholly empty net info is `undefined`. */
export function netInfoFromWire(net: wire.ActualLRPNetInfo | undefined): ActualLRPNetInfo | undefined {
  if (net === undefined || (net.address === "" && net.ports.length === 0)) return undefined;
  return {
    address: net.address,
    ports: net.ports.map((port) => ({ ...port })),
    instanceAddress: net.instanceAddress,
    preferredAddress: preferredFromWire[net.preferredAddress] ?? "UNKNOWN",
    instanceIpv6Address: net.instanceIpv6Address,
  };
}

/** Diego's message: nested messages are always present, `routable` is always set. */
export const actualLRPToWire = (row: ActualLRP): wire.ActualLRP => ({
  actualLrpKey: actualLRPKeyToWire(row),
  actualLrpInstanceKey: row.instanceKey === undefined ? emptyInstanceKey : instanceKeyToWire(row.instanceKey),
  actualLrpNetInfo: row.netInfo === undefined ? emptyNetInfo : netInfoToWire(row.netInfo),
  crashCount: row.crashCount,
  crashReason: row.crashReason,
  state: row.state,
  placementError: row.placementError,
  since: row.sinceNs,
  modificationTag: { ...row.modificationTag },
  presence: presenceToWire[row.presence],
  actualLrpInternalRoutes: row.internalRoutes.map((hostname) => ({ hostname })),
  metricTags: mapToRecord(row.metricTags),
  optionalRoutable: { $case: "routable", value: row.routable },
  availabilityZone: row.availabilityZone,
});

/** @throws BbsError Deserialize when a field has a value no row can have. */
export function actualLRPFromWire(message: wire.ActualLRP, stopMarked: boolean, updateMarked = false): ActualLRP {
  const presence = presenceFromWire[message.presence];
  const state = lrpStates.find((known) => known === message.state) as LRPState | undefined;
  if (presence === undefined || state === undefined || message.actualLrpKey === undefined) throw corrupt("ActualLRP");
  const { processGuid, index, domain } = actualLRPKeyFromWire(message.actualLrpKey);
  // Written out: a spread in front of so many fields makes V8 build the object the slow way, some 100 times slower. Every
  // follower of the watch decodes every row.
  return {
    processGuid,
    index,
    domain,
    presence,
    state,
    instanceKey: instanceKeyFromWire(message.actualLrpInstanceKey),
    netInfo: netInfoFromWire(message.actualLrpNetInfo),
    crashCount: message.crashCount,
    crashReason: message.crashReason,
    placementError: message.placementError,
    sinceNs: asEpochNs(message.since),
    modificationTag: { epoch: message.modificationTag?.epoch ?? "", index: message.modificationTag?.index ?? 0 },
    internalRoutes: message.actualLrpInternalRoutes.map((route) => route.hostname),
    metricTags: new Map(Object.entries(message.metricTags)),
    routable: message.optionalRoutable?.value ?? false,
    availabilityZone: message.availabilityZone,
    stopMarked,
    updateMarked,
  };
}

export const encodeActualLRP = (row: ActualLRP): Uint8Array =>
  bytesOf(StoredActualLRP, { actualLrp: actualLRPToWire(row), stopMarked: row.stopMarked, updateMarked: row.updateMarked });

export function decodeActualLRP(bytes: Uint8Array): ActualLRP {
  const stored = StoredActualLRP.decode(bytes);
  if (stored.actualLrp === undefined) throw corrupt("ActualLRP");
  return actualLRPFromWire(stored.actualLrp, stored.stopMarked, stored.updateMarked);
}
