// Apps read from the platform and brought in order: every app verb begins here, and so does the supervisor that vouches for them.
import type { ActualLRP } from "@muster/proto/models/actual_lrp";
import type { AppCalls } from "../client/platform.js";
import { RefusedError } from "../exit.js";
import { type AppAnnotation, appsDomain, formatAnnotation } from "./annotation.js";
import { countRunning } from "./shapes.js";
import { type AppVersion, byName, currentVersion, planSettlements, versionOf } from "./versions.js";

export interface AppsView {
  readonly versions: readonly AppVersion[];
  /** Rows by process guid. */
  readonly rows: ReadonlyMap<string, readonly ActualLRP[]>;
  readonly clusterTimeMs: number;
}

export async function readApps(platform: AppCalls): Promise<AppsView> {
  const [infos, actual, clusterTimeMs] = await Promise.all([
    platform.schedulingInfos(appsDomain),
    platform.actualLRPs({ domain: appsDomain }),
    platform.clusterTimeMs(),
  ]);
  const rows = new Map<string, ActualLRP[]>();
  for (const row of actual) {
    const guid = row.actualLrpKey?.processGuid ?? "";
    const known = rows.get(guid);
    if (known === undefined) rows.set(guid, [row]);
    else known.push(row);
  }
  return { versions: infos.flatMap((info) => versionOf(info) ?? []), rows, clusterTimeMs };
}

const runningIn = (view: AppsView) => {
  const wanted = new Map(view.versions.map((version) => [version.processGuid, version.instances]));
  return (processGuid: string): number => countRunning(view.rows.get(processGuid) ?? [], wanted.get(processGuid) ?? 0);
};

/** Reads the apps and finishes interrupted updates first (rule A1); what it changed is read again. */
export async function readSettledApps(platform: AppCalls): Promise<AppsView> {
  const view = await readApps(platform);
  return (await settle(platform, view)) ? readApps(platform) : view;
}

/** Carries rule A1 out; true when it changed anything. Done twice, or by two at once, it does no harm. */
export async function settle(platform: AppCalls, view: AppsView): Promise<boolean> {
  const settlements = planSettlements(view.versions, runningIn(view), view.clusterTimeMs);
  for (const { winner, losers } of settlements) {
    for (const loser of losers) await platform.remove(loser.processGuid);
    await annotate(platform, winner, { replaces: [], updating_until_ms: 0 });
  }
  return settlements.length > 0;
}

/** Changes part of a version's annotation, and its instances where they are given. */
export async function annotate(
  platform: AppCalls,
  version: AppVersion,
  change: Partial<AppAnnotation>,
  instances?: number,
): Promise<void> {
  await platform.update(version.processGuid, {
    optionalAnnotation: { $case: "annotation", value: formatAnnotation({ ...version.annotation, ...change }) },
    ...(instances === undefined ? {} : { optionalInstances: { $case: "instances", value: instances } }),
  });
}

export interface FoundApp {
  /** The version people see. */
  readonly current: AppVersion;
  /** All of the name, newest first: verbs that change the app change them all. */
  readonly versions: readonly AppVersion[];
  readonly view: AppsView;
}

/** @throws RefusedError when no app has this name. */
export async function findApp(platform: AppCalls, name: string): Promise<FoundApp> {
  const view = await readSettledApps(platform);
  const versions = byName(view.versions).get(name) ?? [];
  const current = currentVersion(versions, view.clusterTimeMs);
  if (current === undefined) throw new RefusedError(`app ${name} not found`, "see `muster apps`");
  return { current, versions, view };
}
