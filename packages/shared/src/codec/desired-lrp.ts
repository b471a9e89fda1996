// DesiredLRP: Diego's one message <-> our scheduling record plus run information; the record <-> stored bytes.
import * as wire from "@muster/proto/models/desired_lrp";
import * as metrics from "@muster/proto/models/metric_tags";
import { DesiredLRP as StoredDesiredLRP, RunInfo as StoredRunInfo } from "@muster/proto/muster/store/v1/records";
import {
  asDomainName,
  asEpochNs,
  asProcessGuid,
  type DesiredLRP,
  type EpochNs,
  type MetricTagValue,
  type ModificationTag,
  type RunInfo,
  type UpdateStrategy,
} from "../model/index.js";
import { bytesOf, toBuffer } from "./support.js";

const strategyToWire: Record<UpdateStrategy, wire.DesiredLRP_UpdateStrategy> = { ROLLING: 0, RECREATE: 1 };
const strategyFromWire = (value: number): UpdateStrategy => (value === 1 ? "RECREATE" : "ROLLING");

export const metricTagToWire = (tag: MetricTagValue): metrics.MetricTagValue =>
  "static" in tag
    ? { static: tag.static, dynamic: 0 }
    : { static: "", dynamic: metrics.MetricTagValue_DynamicValue[tag.dynamic] };

export const metricTagFromWire = (tag: metrics.MetricTagValue): MetricTagValue => {
  if (tag.dynamic === metrics.MetricTagValue_DynamicValue.INDEX) return { dynamic: "INDEX" };
  if (tag.dynamic === metrics.MetricTagValue_DynamicValue.INSTANCE_GUID) return { dynamic: "INSTANCE_GUID" };
  return { static: tag.static };
};

export const metricTagsFromWire = (tags: Readonly<Record<string, metrics.MetricTagValue>>): Map<string, MetricTagValue> =>
  new Map(Object.entries(tags).map(([name, tag]) => [name, metricTagFromWire(tag)]));

export const metricTagsToWire = (tags: ReadonlyMap<string, MetricTagValue>): Record<string, metrics.MetricTagValue> =>
  Object.fromEntries([...tags].map(([name, tag]) => [name, metricTagToWire(tag)]));

export const routesToWire = (routes: ReadonlyMap<string, Uint8Array>): wire.ProtoRoutes => ({
  routes: Object.fromEntries([...routes].map(([name, value]) => [name, toBuffer(value)])),
});

export const routesFromWire = (routes: wire.ProtoRoutes | undefined): Map<string, Uint8Array> =>
  new Map(Object.entries(routes?.routes ?? {}));

/** The scheduling part of a validated message. */
export const desiredLRPFromWire = (
  message: wire.DesiredLRP,
  modificationTag: ModificationTag,
  createdAtNs: EpochNs,
): DesiredLRP => ({
  processGuid: asProcessGuid(message.processGuid),
  domain: asDomainName(message.domain),
  logGuid: message.logGuid,
  annotation: message.annotation,
  instances: message.instances,
  memoryMb: message.memoryMb,
  diskMb: message.diskMb,
  maxPids: message.maxPids,
  rootFs: message.rootFs,
  routes: routesFromWire(message.routes),
  modificationTag,
  volumeDrivers: message.volumeMounts.map((mount) => mount.driver),
  placementTags: message.PlacementTags,
  metricTags: metricTagsFromWire(message.metricTags),
  updateStrategy: strategyFromWire(message.updateStrategy),
  createdAtNs,
});

/** The message less all that the scheduling record keeps: what gets sealed. */
export const runInfoBytes = (message: wire.DesiredLRP): Uint8Array =>
  bytesOf(wire.DesiredLRP, {
    ...message,
    domain: "",
    logGuid: "",
    annotation: "",
    instances: 0,
    memoryMb: 0,
    diskMb: 0,
    maxPids: 0,
    rootFs: "",
    routes: undefined,
    modificationTag: undefined,
    PlacementTags: [],
    metricTags: {},
    updateStrategy: 0,
    ports: [...new Set(message.ports)],
  });

/** Diego's whole message again, from the record and the opened run information. */
export function desiredLRPToWire(record: DesiredLRP, openedRunInfo: Uint8Array): wire.DesiredLRP {
  return {
    ...wire.DesiredLRP.decode(openedRunInfo),
    processGuid: record.processGuid,
    domain: record.domain,
    logGuid: record.logGuid,
    annotation: record.annotation,
    instances: record.instances,
    memoryMb: record.memoryMb,
    diskMb: record.diskMb,
    maxPids: record.maxPids,
    rootFs: record.rootFs,
    routes: routesToWire(record.routes),
    modificationTag: { ...record.modificationTag },
    PlacementTags: [...record.placementTags],
    metricTags: metricTagsToWire(record.metricTags),
    updateStrategy: strategyToWire[record.updateStrategy],
  };
}

export const schedulingInfoToWire = (record: DesiredLRP): wire.DesiredLRPSchedulingInfo => ({
  desiredLrpKey: { processGuid: record.processGuid, domain: record.domain, logGuid: record.logGuid },
  annotation: record.annotation,
  instances: record.instances,
  desiredLrpResource: { memoryMb: record.memoryMb, diskMb: record.diskMb, rootFs: record.rootFs, maxPids: record.maxPids },
  routes: routesToWire(record.routes),
  modificationTag: { ...record.modificationTag },
  volumePlacement: { driverNames: [...record.volumeDrivers] },
  PlacementTags: [...record.placementTags],
});

/** The partial message of Diego's routing infos. */
export const routingInfoToWire = (record: DesiredLRP): wire.DesiredLRP =>
  wire.DesiredLRP.fromPartial({
    processGuid: record.processGuid,
    domain: record.domain,
    logGuid: record.logGuid,
    instances: record.instances,
    routes: routesToWire(record.routes),
    modificationTag: { ...record.modificationTag },
    metricTags: metricTagsToWire(record.metricTags),
  });

export const encodeDesiredLRP = (record: DesiredLRP): Uint8Array =>
  bytesOf(StoredDesiredLRP, {
    processGuid: record.processGuid,
    domain: record.domain,
    logGuid: record.logGuid,
    annotation: record.annotation,
    instances: record.instances,
    memoryMb: record.memoryMb,
    diskMb: record.diskMb,
    maxPids: record.maxPids,
    rootFs: record.rootFs,
    routes: routesToWire(record.routes).routes,
    modificationTag: { ...record.modificationTag },
    volumeDrivers: [...record.volumeDrivers],
    placementTags: [...record.placementTags],
    metricTags: metricTagsToWire(record.metricTags),
    updateStrategy: strategyToWire[record.updateStrategy],
    createdAtNs: record.createdAtNs,
  });

export function decodeDesiredLRP(bytes: Uint8Array): DesiredLRP {
  const stored = StoredDesiredLRP.decode(bytes);
  return {
    processGuid: asProcessGuid(stored.processGuid),
    domain: asDomainName(stored.domain),
    logGuid: stored.logGuid,
    annotation: stored.annotation,
    instances: stored.instances,
    memoryMb: stored.memoryMb,
    diskMb: stored.diskMb,
    maxPids: stored.maxPids,
    rootFs: stored.rootFs,
    routes: new Map(Object.entries(stored.routes)),
    modificationTag: { epoch: stored.modificationTag?.epoch ?? "", index: stored.modificationTag?.index ?? 0 },
    volumeDrivers: stored.volumeDrivers,
    placementTags: stored.placementTags,
    metricTags: metricTagsFromWire(stored.metricTags),
    updateStrategy: strategyFromWire(stored.updateStrategy),
    createdAtNs: asEpochNs(stored.createdAtNs),
  };
}

export const encodeRunInfo = (record: RunInfo): Uint8Array =>
  bytesOf(StoredRunInfo, { processGuid: record.processGuid, sealed: toBuffer(record.sealed) });

export function decodeRunInfo(bytes: Uint8Array): RunInfo {
  const stored = StoredRunInfo.decode(bytes);
  return { processGuid: asProcessGuid(stored.processGuid), sealed: stored.sealed };
}
