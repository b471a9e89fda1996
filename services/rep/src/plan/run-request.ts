// From a DesiredLRP to what the executor does: limits, environment, health checks, and the tree of actions.
import type { LentFolder } from "@muster/garden";
import type { Action } from "@muster/proto/models/actions";
import type { Check as WireCheck } from "@muster/proto/models/check_definition";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { metricTagsFromWire } from "@muster/shared/codec";
import type { ActualLRPKey, InstanceGuid } from "@muster/shared/model";
import { resolvedInternalRoutes, resolvedMetricTags } from "@muster/shared/rules";
import { codependent, encodeSkeleton, runCount, serial, unsupportedAction } from "./actions.js";
import { type Dependency, dependenciesOf, withExclusiveLayers } from "./assets.js";
import { containerEnvironment } from "./environment.js";
import { type CellLends, type Identity, lendsNothing, lentTo } from "./lent.js";
import { type Surroundings, surroundingsOf } from "./surroundings.js";

/** One health check. Milliseconds. */
export interface Check {
  readonly kind: "tcp" | "http";
  readonly port: number;
  /** Of an http check. */
  readonly path: string;
  readonly timeoutMs: number;
  readonly intervalMs: number;
}

/** What must outlive a restart of the rep so that an adopted container is watched on. Free of secrets: it is written to disk. */
export interface StartInfo {
  readonly logSource: string;
  readonly logGuid: string;
  readonly healthSource: string;
  readonly checks: readonly Check[];
  readonly readinessChecks: readonly Check[];
  /** 0 waits for ever. */
  readonly startTimeoutMs: number;
  /** Below 0: unlimited. */
  readonly logBytesPerSecond: number;
  readonly internalRoutes: readonly string[];
  readonly metricTags: Readonly<Record<string, string>>;
  /** The action tree without environment and arguments: enough to find its processes again. Base64 of `models.Action`. */
  readonly skeleton: string;
  /** Whether a monitor action says if it is healthy; the action itself is fetched again after a restart, as it may hold secrets. */
  readonly monitored: boolean;
  /** What its certificate says; `undefined`: it was made without one. */
  readonly identity?: Identity | undefined;
}

/** Everything that is needed to start one container. */
export interface RunRequest extends Surroundings {
  readonly credentials: { readonly username: string; readonly password: string } | undefined;
  readonly rootFs: string;
  readonly cpuWeight: number;
  readonly maxPids: number;
  readonly ports: readonly number[];
  /** The container's layer of the environment. */
  readonly env: readonly string[];
  readonly action: Action;
  /** The legacy health check: only where no check definition is given. */
  readonly monitor: Action | undefined;
  readonly dependencies: readonly Dependency[];
  /** Folders of the cell itself. */
  readonly lentFolders: readonly LentFolder[];
  /** More than one process is to run, perhaps one after another: the container must outlive the first of them. */
  readonly severalProcesses: boolean;
  /** Set for a task that only asks what an image is; nothing is created for it. A rootfs URL. */
  readonly inspectImage: string | undefined;
  /** Of a task; empty: it gives no result. */
  readonly resultFile: string;
  /** Health checks that are left out because they name no port, or no kind. */
  readonly skippedChecks: number;
  readonly start: StartInfo;
}

/** Source: cell.md section 7, cell options. */
const defaultCheckTimeoutMs = 1_000;
const defaultCheckIntervalMs = 30_000;
export const defaultLogSource = "CELL";
const defaultHealthSource = "HEALTH";
/** `undefined` for a check that says nothing usable; Diego skips those too. */
function checkOf(check: WireCheck): Check | undefined {
  const { tcpCheck, httpCheck } = check;
  const port = tcpCheck?.port ?? httpCheck?.port ?? 0;
  if (port < 1 || port > 65_535) return undefined;
  const timeoutMs = Number(tcpCheck?.connectTimeoutMs ?? httpCheck?.requestTimeoutMs ?? 0n) || defaultCheckTimeoutMs;
  const intervalMs = Number(tcpCheck?.intervalMs ?? httpCheck?.intervalMs ?? 0n) || defaultCheckIntervalMs;
  return { kind: tcpCheck === undefined ? "http" : "tcp", port, path: httpCheck?.path || "/", timeoutMs, intervalMs };
}

const checksOf = (checks: readonly WireCheck[] | undefined): Check[] =>
  (checks ?? []).map(checkOf).filter((check) => check !== undefined);

const skippedOf = (checks: readonly WireCheck[] | undefined): number => (checks?.length ?? 0) - checksOf(checks).length;

/** Setup first, the layers of its own before it, then the action with its sidecars beside it. Source: cell.md section 6. */
function treeOf(desired: DesiredLRP): Action | undefined {
  if (desired.action === undefined) return undefined;
  const sidecars = desired.sidecars.flatMap((sidecar) => (sidecar.action === undefined ? [] : [sidecar.action]));
  const long = sidecars.length === 0 ? desired.action : codependent(desired.action, ...sidecars);
  return withExclusiveLayers(desired, desired.setup === undefined ? long : serial(desired.setup, long));
}

/** What a running instance is published with; changes of it reach the instance without a restart. */
export interface Published {
  readonly internalRoutes: readonly string[];
  readonly metricTags: Readonly<Record<string, string>>;
}

export function publishedOf(desired: DesiredLRP, key: ActualLRPKey, instanceGuid: InstanceGuid): Published {
  const routes = new Map(Object.entries(desired.routes?.routes ?? {}));
  const tags = resolvedMetricTags({ metricTags: metricTagsFromWire(desired.metricTags) }, key.index, instanceGuid);
  return { internalRoutes: resolvedInternalRoutes({ routes }), metricTags: Object.fromEntries(tags) };
}

export const noPrivileges = "this cell runs no privileged containers";

/** Both or neither. */
export const credentialsOf = (from: { readonly imageUsername: string; readonly imagePassword: string }) =>
  from.imageUsername !== "" && from.imagePassword !== ""
    ? { username: from.imageUsername, password: from.imagePassword }
    : undefined;

/** Builds the request, or says why this LRP cannot be run here; the text becomes the crash reason. */
export function buildRunRequest(
  desired: DesiredLRP,
  key: ActualLRPKey,
  instanceGuid: InstanceGuid,
  lends: CellLends = lendsNothing,
): RunRequest | { readonly fault: string } {
  const action = treeOf(desired);
  const fault = unsupportedAction(action);
  if (fault !== undefined || action === undefined) return { fault: fault ?? "container cannot have empty action" };
  // A check definition wins, also one without liveness checks.
  const monitor = desired.checkDefinition === undefined ? desired.monitor : undefined;
  const monitorFault = monitor === undefined ? undefined : unsupportedAction(monitor);
  if (monitorFault !== undefined) return { fault: monitorFault };
  if (desired.privileged) return { fault: noPrivileges };
  const lent = lentTo(desired, lends);
  return {
    credentials: credentialsOf(desired),
    rootFs: desired.rootFs,
    cpuWeight: Math.max(1, desired.cpuWeight),
    maxPids: desired.maxPids,
    ports: [...new Set(desired.ports)],
    env: containerEnvironment(key, instanceGuid, desired.environmentVariables, lent.env),
    action,
    monitor,
    dependencies: dependenciesOf(desired),
    lentFolders: lent.folders,
    // Under a monitor a process may leave another behind and end well.
    severalProcesses: monitor !== undefined || runCount(action) > 1,
    inspectImage: undefined,
    ...surroundingsOf(desired),
    resultFile: "",
    skippedChecks: skippedOf(desired.checkDefinition?.checks) + skippedOf(desired.checkDefinition?.readinessChecks),
    start: {
      logSource: desired.logSource || defaultLogSource,
      logGuid: desired.logGuid,
      healthSource: desired.checkDefinition?.logSource || defaultHealthSource,
      checks: checksOf(desired.checkDefinition?.checks),
      readinessChecks: checksOf(desired.checkDefinition?.readinessChecks),
      startTimeoutMs: Number(desired.startTimeoutMs) || desired.deprecatedStartTimeoutS * 1_000,
      logBytesPerSecond: desired.logRateLimit === undefined ? -1 : Number(desired.logRateLimit.bytesPerSecond),
      ...publishedOf(desired, key, instanceGuid),
      skeleton: encodeSkeleton(action),
      monitored: monitor !== undefined,
      identity: lent.identity,
    },
  };
}
