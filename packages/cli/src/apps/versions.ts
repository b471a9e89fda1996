// An app is one or more versions, each a DesiredLRP; during an update, or after an interrupted one, there are two. Pure: rule A1.
import type { DesiredLRPSchedulingInfo } from "@muster/proto/models/desired_lrp";
import { type AppAnnotation, parseAnnotation } from "./annotation.js";

export interface AppVersion {
  readonly processGuid: string;
  readonly annotation: AppAnnotation;
  /** What the DesiredLRP wants now: 0 while stopped. */
  readonly instances: number;
  readonly memoryMb: number;
  readonly diskMb: number;
}

export const versionOf = (info: DesiredLRPSchedulingInfo): AppVersion | undefined => {
  const annotation = parseAnnotation(info.annotation);
  const processGuid = info.desiredLrpKey?.processGuid ?? "";
  if (annotation === undefined || processGuid === "") return undefined;
  const resource = info.desiredLrpResource;
  return {
    processGuid,
    annotation,
    instances: info.instances,
    memoryMb: resource?.memoryMb ?? 0,
    diskMb: resource?.diskMb ?? 0,
  };
};

/** Newest first; among equals the smaller process guid, as rule A1 settles it. */
export const newestFirst = (a: AppVersion, b: AppVersion): number =>
  b.annotation.version - a.annotation.version || (a.processGuid < b.processGuid ? -1 : a.processGuid > b.processGuid ? 1 : 0);

/** Versions by app name, each list newest first, names in order. */
export function byName(versions: readonly AppVersion[]): ReadonlyMap<string, readonly AppVersion[]> {
  const apps = new Map<string, AppVersion[]>();
  for (const version of [...versions].sort((a, b) => compare(a.annotation.name, b.annotation.name) || newestFirst(a, b))) {
    const app = apps.get(version.annotation.name) ?? [];
    app.push(version);
    apps.set(version.annotation.name, app);
  }
  return apps;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Whether this version does what is asked of it: all instances run, or none is wanted. */
export const isHealthy = (version: AppVersion, running: number): boolean => running >= version.instances;

/**
 * The version people see under the app's name. Shape: the newest that no push is working on; while the first push is, that one.
 * An update shows the version it replaces until it has switched.
 */
export function currentVersion(versions: readonly AppVersion[], nowMs: number): AppVersion | undefined {
  const settled = versions.filter((version) => !isUpdating(version, nowMs) && version.annotation.replaces.length === 0);
  return settled[0] ?? versions.at(-1);
}

/** Whether a push is working on this version: it renews its claim well before it runs out. */
export const isUpdating = (version: AppVersion, nowMs: number): boolean => version.annotation.updating_until_ms > nowMs;

export interface Settlement {
  readonly name: string;
  readonly winner: AppVersion;
  readonly losers: readonly AppVersion[];
}

/**
 * Rule A1: what is left to do of updates that were interrupted. Per name, the highest healthy version wins (then the smaller
 * process guid) and the others go; nothing is decided while a push is at work, or while no version is healthy.
 * @param running counts the running instances of a process guid.
 */
export function planSettlements(
  versions: readonly AppVersion[],
  running: (processGuid: string) => number,
  nowMs: number,
): readonly Settlement[] {
  const settlements: Settlement[] = [];
  for (const [name, app] of byName(versions)) {
    if (app.some((version) => isUpdating(version, nowMs))) continue;
    const winner = app.find((version) => isHealthy(version, running(version.processGuid)));
    if (winner === undefined) continue;
    const losers = app.filter((version) => version !== winner);
    if (losers.length > 0 || winner.annotation.replaces.length > 0) settlements.push({ name, winner, losers });
  }
  return settlements;
}
