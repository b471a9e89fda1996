// From a DesiredLRP to what the executor does: limits, environment, health checks, and the tree of actions.
import { Action } from "@muster/proto/models/actions";
import type { Check as WireCheck } from "@muster/proto/models/check_definition";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { metricTagsFromWire } from "@muster/shared/codec";
import type { ActualLRPKey, InstanceGuid, MetricTagValue } from "@muster/shared/model";
import { containerEnvironment } from "./environment.js";

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
}

/** Everything that is needed to start one container. */
export interface RunRequest {
  readonly credentials: { readonly username: string; readonly password: string } | undefined;
  readonly rootFs: string;
  readonly cpuWeight: number;
  readonly maxPids: number;
  readonly ports: readonly number[];
  /** The container's layer of the environment. */
  readonly env: readonly string[];
  readonly action: Action;
  readonly start: StartInfo;
}

/** Source: cell.md section 7, cell options. */
const defaultCheckTimeoutMs = 1_000;
const defaultCheckIntervalMs = 30_000;
const defaultLogSource = "CELL";
const defaultHealthSource = "HEALTH";
/** Where Diego's clients keep internal routes: a JSON array of `{hostname}`. */
const internalRouterKey = "internal-router";

type ActionName = keyof Action;
const carriedOut: ReadonlySet<ActionName> = new Set<ActionName>([
  "runAction",
  "timeoutAction",
  "emitProgressAction",
  "tryAction",
  "parallelAction",
  "serialAction",
  "codependentAction",
]);
const deepest = 100;

const nameOf = (action: Action): ActionName | undefined =>
  (Object.keys(action) as ActionName[]).find((name) => action[name] !== undefined);

/** The actions directly below one. */
export function childrenOf(action: Action): readonly (Action | undefined)[] {
  const single = action.timeoutAction ?? action.emitProgressAction ?? action.tryAction;
  if (single !== undefined) return [single.action];
  return (action.parallelAction ?? action.serialAction ?? action.codependentAction)?.actions ?? [];
}

/** Says why this cell cannot carry an action out, or `undefined` when it can. */
export function unsupportedAction(action: Action | undefined, depth = 0): string | undefined {
  const name = action === undefined ? undefined : nameOf(action);
  if (action === undefined || name === undefined) return "container cannot have empty action";
  if (depth > deepest) return `actions are nested more than ${deepest} deep`;
  if (!carriedOut.has(name)) return `this cell cannot carry out a ${name.replace(/Action$/, "")} action`;
  const children = childrenOf(action);
  if (name !== "runAction" && children.length === 0)
    return `a ${name.replace(/Action$/, "")} action needs at least one action in it`;
  for (const child of children) {
    const fault = unsupportedAction(child, depth + 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** The same tree with what may hold secrets left out. */
export function skeletonOf(action: Action): Action {
  const copy = Action.decode(Action.encode(action).finish());
  const strip = (node: Action | undefined): void => {
    if (node?.runAction !== undefined) {
      node.runAction.env = [];
      node.runAction.args = [];
      node.runAction.volumeMountedFiles = [];
    }
    for (const child of node === undefined ? [] : childrenOf(node)) strip(child);
  };
  strip(copy);
  return copy;
}

export const encodeSkeleton = (action: Action): string =>
  Buffer.from(Action.encode(skeletonOf(action)).finish()).toString("base64");
export const decodeSkeleton = (text: string): Action => Action.decode(Buffer.from(text, "base64"));

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

const resolveTag = (tag: MetricTagValue, key: ActualLRPKey, instanceGuid: InstanceGuid): string =>
  "static" in tag ? tag.static : tag.dynamic === "INDEX" ? String(key.index) : instanceGuid;

/** Hostnames of the LRP's internal routes; a value that is not the known JSON means none. */
export function internalRoutesOf(routes: Readonly<Record<string, Uint8Array>>): string[] {
  const bytes = routes[internalRouterKey];
  if (bytes === undefined) return [];
  try {
    const parsed: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    if (!Array.isArray(parsed)) return [];
    return parsed.flatMap((route: unknown) =>
      typeof route === "object" && route !== null && "hostname" in route && typeof route.hostname === "string"
        ? [route.hostname]
        : [],
    );
  } catch {
    return [];
  }
}

const serial = (...actions: Action[]): Action => ({ ...noAction, serialAction: { actions, logSource: "" } });
const codependent = (...actions: Action[]): Action => ({ ...noAction, codependentAction: { actions, logSource: "" } });
const noAction: Action = Action.decode(new Uint8Array(0));

/** Setup first, then the action with its sidecars beside it. Source: cell.md section 6. */
function treeOf(desired: DesiredLRP): Action | undefined {
  if (desired.action === undefined) return undefined;
  const sidecars = desired.sidecars.flatMap((sidecar) => (sidecar.action === undefined ? [] : [sidecar.action]));
  const long = sidecars.length === 0 ? desired.action : codependent(desired.action, ...sidecars);
  return desired.setup === undefined ? long : serial(desired.setup, long);
}

/** Builds the request, or says why this LRP cannot be run here; the text becomes the crash reason. */
export function buildRunRequest(
  desired: DesiredLRP,
  key: ActualLRPKey,
  instanceGuid: InstanceGuid,
): RunRequest | { readonly fault: string } {
  const action = treeOf(desired);
  const fault = unsupportedAction(action);
  if (fault !== undefined || action === undefined) return { fault: fault ?? "container cannot have empty action" };
  if (desired.checkDefinition === undefined && desired.monitor !== undefined) {
    return { fault: "this cell cannot carry out a monitor action; desire the LRP with a check_definition" };
  }
  if (desired.privileged) return { fault: "this cell runs no privileged containers" };
  const tags = metricTagsFromWire(desired.metricTags);
  const both = desired.imageUsername !== "" && desired.imagePassword !== "";
  return {
    credentials: both ? { username: desired.imageUsername, password: desired.imagePassword } : undefined,
    rootFs: desired.rootFs,
    cpuWeight: Math.max(1, desired.cpuWeight),
    maxPids: desired.maxPids,
    ports: [...new Set(desired.ports)],
    env: containerEnvironment(key, instanceGuid, desired.environmentVariables),
    action,
    start: {
      logSource: desired.logSource || defaultLogSource,
      logGuid: desired.logGuid,
      healthSource: desired.checkDefinition?.logSource || defaultHealthSource,
      checks: checksOf(desired.checkDefinition?.checks),
      readinessChecks: checksOf(desired.checkDefinition?.readinessChecks),
      startTimeoutMs: Number(desired.startTimeoutMs) || desired.deprecatedStartTimeoutS * 1_000,
      logBytesPerSecond: desired.logRateLimit === undefined ? -1 : Number(desired.logRateLimit.bytesPerSecond),
      internalRoutes: internalRoutesOf(desired.routes?.routes ?? {}),
      metricTags: Object.fromEntries([...tags].map(([name, tag]) => [name, resolveTag(tag, key, instanceGuid)])),
      skeleton: encodeSkeleton(action),
    },
  };
}
