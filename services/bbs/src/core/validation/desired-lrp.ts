// Requests about DesiredLRPs (bbs-semantics.md 2.1 and 2.2).
import type { Check, CheckDefinition } from "@muster/proto/models/check_definition";
import type { DesiredLRP, DesiredLRPUpdate, ProtoRoutes } from "@muster/proto/models/desired_lrp";
import type {
  DesiredLRPByProcessGuidRequest,
  DesireLRPRequest,
  RemoveDesiredLRPRequest,
  UpdateDesiredLRPRequest,
} from "@muster/proto/models/desired_lrp_requests";
import { type MetricTagValue, MetricTagValue_DynamicValue } from "@muster/proto/models/metric_tags";
import type { VolumeMount } from "@muster/proto/models/volume_mount";
import { checkAction, checkFilled, checkOptionalAction } from "./actions.js";
import { checkAnnotation, checkImages, checkResources, guidPattern, isLogRateLimit } from "./definition.js";
import { checkEgressRule } from "./egress.js";
import { type Faults, validate } from "./faults.js";
import { checkLength, maxInstances, maxRootFsCharacters, maxRoutesBytes, maxVolumeMountedFilesBytes } from "./limits.js";
import { compactRoutes } from "./routes.js";

/** @throws BbsError InvalidRequest with every fault; for a route that is not JSON, when all else is well, with Diego's plain text. */
export function validateDesireLRP(request: DesireLRPRequest): void {
  validate((faults) => {
    if (request.desiredLrp === undefined) faults.field("desired_lrp");
    else checkDesiredLRP(faults, request.desiredLrp);
  });
  compactRoutes(request.desiredLrp?.routes);
}

/** @throws BbsError InvalidRequest, as `validateDesireLRP`. A missing update is refused, where Diego's handler crashes. */
export function validateUpdateDesiredLRP(request: UpdateDesiredLRPRequest): void {
  validate((faults) => {
    checkFilled(faults, { process_guid: request.processGuid });
    if (request.update === undefined) faults.field("update");
    else checkUpdate(faults, request.update);
  });
  compactRoutes(request.update?.routes);
}

/** No pattern: a guid that could never exist is merely not found. @throws BbsError InvalidRequest */
export const validateDesiredLRPByProcessGuid = (request: DesiredLRPByProcessGuidRequest): void =>
  validate((faults) => checkFilled(faults, { process_guid: request.processGuid }));

/** @throws BbsError InvalidRequest */
export const validateRemoveDesiredLRP = (request: RemoveDesiredLRPRequest): void =>
  validate((faults) => checkFilled(faults, { process_guid: request.processGuid }));

function checkDesiredLRP(faults: Faults, lrp: DesiredLRP): void {
  checkFilled(faults, { domain: lrp.domain });
  if (!guidPattern.test(lrp.processGuid)) faults.field("process_guid");
  checkResources(faults, lrp);
  checkInstances(faults, lrp.instances);
  checkAnnotation(faults, lrp.annotation);
  checkRoutesSize(faults, lrp.routes);
  checkRequiredMetricTags(faults, lrp.metricTags, lrp.metricsGuid);
  if (!isLogRateLimit(lrp.logRateLimit)) {
    faults.field("log_rate_limit_bytes_per_second");
    faults.field("log_rate_limit");
  }
  checkLengths(faults, lrp);
  checkRunInfo(faults, lrp);
}

function checkLengths(faults: Faults, lrp: DesiredLRP): void {
  checkLength(faults, "process_guid", lrp.processGuid);
  checkLength(faults, "domain", lrp.domain);
  checkLength(faults, "log_guid", lrp.logGuid);
  checkLength(faults, "rootfs", lrp.rootFs, maxRootFsCharacters);
}

function checkRunInfo(faults: Faults, lrp: DesiredLRP): void {
  checkVolumeMountedFiles(faults, lrp);
  checkOptionalAction(faults, "setup", lrp.setup);
  checkAction(faults, "action", lrp.action);
  checkOptionalAction(faults, "monitor", lrp.monitor);
  if (lrp.environmentVariables.some(({ name }) => name === "")) faults.text("invalid field: name cannot be blank");
  for (const rule of lrp.egressRules) faults.within("egress_rules", (inner) => checkEgressRule(inner, rule));
  checkImages(faults, lrp);
  checkSidecars(faults, lrp);
  for (const mount of lrp.volumeMounts) checkVolumeMount(faults, mount);
  if (lrp.checkDefinition !== undefined) checkCheckDefinition(faults, lrp.checkDefinition);
}

function checkUpdate(faults: Faults, update: DesiredLRPUpdate): void {
  if (update.optionalInstances !== undefined) checkInstances(faults, update.optionalInstances.value);
  if (update.optionalAnnotation !== undefined) checkAnnotation(faults, update.optionalAnnotation.value);
  checkRoutesSize(faults, update.routes);
  faults.within("metric_tags", (inner) => checkMetricTagValues(inner, update.metricTags));
  // Presence counts, not content: empty strings are allowed.
  if (update.optionalImagePassword !== undefined && update.optionalImageUsername === undefined) faults.field("image_username");
  if (update.optionalImageUsername !== undefined && update.optionalImagePassword === undefined) faults.field("image_password");
}

function checkInstances(faults: Faults, instances: number): void {
  if (instances < 0) faults.field("instances");
  if (instances > maxInstances) faults.field(`instances: more than ${maxInstances}`);
}

function checkRoutesSize(faults: Faults, routes: ProtoRoutes | undefined): void {
  let bytes = 0;
  for (const value of Object.values(routes?.routes ?? {})) bytes += value.length;
  if (bytes > maxRoutesBytes) faults.field("routes");
}

type MetricTags = Readonly<Record<string, MetricTagValue>>;

function checkRequiredMetricTags(faults: Faults, tags: MetricTags, metricsGuid: string): void {
  // On the wire an empty map is an absent one.
  if (Object.keys(tags).length === 0) {
    faults.field("metric_tags");
    return;
  }
  faults.within("metric_tags", (inner) => {
    checkMetricTagValues(inner, tags);
    if (metricsGuid !== "" && (!Object.hasOwn(tags, "source_id") || tags.source_id?.static !== metricsGuid)) {
      inner.field("source_id should match metrics_guid");
    }
  });
}

const dynamicValues: ReadonlySet<number> = new Set([
  MetricTagValue_DynamicValue.INDEX,
  MetricTagValue_DynamicValue.INSTANCE_GUID,
]);

/** Exactly one of a static text and a dynamic value; an unknown dynamic value counts as none. */
function checkMetricTagValues(faults: Faults, tags: MetricTags): void {
  for (const tag of Object.values(tags)) {
    if ((tag.static !== "") !== dynamicValues.has(tag.dynamic)) continue;
    faults.field("static");
    faults.field("dynamic");
  }
}

function checkVolumeMountedFiles(faults: Faults, lrp: DesiredLRP): void {
  let bytes = 0;
  for (const file of lrp.volumeMountedFiles) bytes += Buffer.byteLength(file.content);
  if (bytes > maxVolumeMountedFilesBytes) faults.field("volumeMountedFiles");
}

function checkSidecars(faults: Faults, lrp: DesiredLRP): void {
  faults.within("sidecars", (inner) => {
    for (const sidecar of lrp.sidecars) {
      checkAction(inner, "action", sidecar.action);
      if (sidecar.memoryMb < 0) inner.field("memory_mb");
      if (sidecar.diskMb < 0) inner.field("disk_mb");
    }
  });
}

function checkVolumeMount(faults: Faults, mount: VolumeMount): void {
  if (mount.driver === "") faults.text("invalid volume_mount driver");
  if (mount.mode !== "r" && mount.mode !== "rw") faults.text("invalid volume_mount mode");
  if (mount.shared?.volumeId === "") faults.text("invalid volume_mount volume id");
  if (mount.dedicated?.mounterId === "") faults.text("invalid volume_mount mounter id");
}

function checkCheckDefinition(faults: Faults, definition: CheckDefinition): void {
  faults.within("check_definition", (inner) => {
    for (const check of [...definition.checks, ...definition.readinessChecks]) checkCheck(inner, check);
  });
}

function checkCheck(faults: Faults, { tcpCheck, httpCheck }: Check): void {
  if (tcpCheck !== undefined && httpCheck !== undefined) {
    faults.field("check");
    return;
  }
  // Neither: there is no port, which is what Diego reports too.
  const port = (tcpCheck ?? httpCheck)?.port ?? 0;
  if (port < 1 || port > 65_535) faults.field("port");
}
