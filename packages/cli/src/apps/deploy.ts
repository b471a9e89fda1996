// Bringing a version of an app into being, beside the one it replaces, and switching over when it is healthy (rule A1).
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import type { AppCalls } from "../client/platform.js";
import { RefusedError, WaitedInVainError } from "../exit.js";
import { type AppAnnotation, formatAnnotation } from "./annotation.js";
import { annotate, readApps, settle } from "./records.js";
import { type AppVersion, byName, isUpdating } from "./versions.js";
import { waitRunning } from "./wait.js";

/** Rule A1: a push that has not renewed its claim for this long is taken for dead, and anybody may finish its work. */
export const updateClaimMs = 30_000;
const renewEveryMs = 10_000;
/** On top of the start time-out: fetching the image on each cell, and waiting for a place. */
const fetchAllowanceMs = 120_000;

export interface Deployment {
  /** The new version; its annotation is written by `deploy`. */
  readonly desired: DesiredLRP;
  readonly annotation: AppAnnotation;
  readonly clusterTimeMs: number;
  /** Every version of the name there was. */
  readonly before: readonly AppVersion[];
  readonly wait: boolean;
  readonly onProgress: (text: string) => void;
  /** Called when it did not start, while what is left of it can still be looked at. */
  readonly onFailed: (processGuid: string) => Promise<void>;
}

/**
 * Desires the new version and, unless told otherwise, waits until it is healthy and puts it in the place of the old one.
 * An update that fails is taken back: the old version goes on as before.
 * @throws WaitedInVainError when it did not start; RefusedError when another update is at work.
 */
export async function deploy(platform: AppCalls, deployment: Deployment): Promise<void> {
  const { before, annotation, clusterTimeMs } = deployment;
  if (before.some((version) => isUpdating(version, clusterTimeMs))) {
    throw new RefusedError(
      `another push of ${annotation.name} is at work`,
      "wait until it is done, or for 30 s if it was interrupted",
    );
  }
  const claimed: AppAnnotation = {
    ...annotation,
    replaces: before.map((version) => version.processGuid),
    updating_until_ms: clusterTimeMs + updateClaimMs,
  };
  await platform.desire({ ...deployment.desired, annotation: formatAnnotation(claimed) });
  const version: AppVersion = {
    processGuid: deployment.desired.processGuid,
    annotation: claimed,
    instances: deployment.desired.instances,
    memoryMb: deployment.desired.memoryMb,
    diskMb: deployment.desired.diskMb,
  };
  if (deployment.wait || version.instances === 0) await seeThrough(platform, version, deployment);
}

async function seeThrough(platform: AppCalls, version: AppVersion, deployment: Deployment): Promise<void> {
  const { desired, before, onProgress, onFailed } = deployment;
  const outcome = await waitRunning(platform, {
    processGuid: version.processGuid,
    instances: version.instances,
    timeoutMs: Number(desired.startTimeoutMs) + fetchAllowanceMs,
    onChange: onProgress,
    onLook: renewer(platform, version),
  });
  const { name } = version.annotation;
  if (outcome.ok) {
    await switchOver(platform, version, before);
    return;
  }
  await onFailed(version.processGuid);
  if (before.length === 0) {
    await annotate(platform, version, { updating_until_ms: 0 });
    throw new WaitedInVainError(
      `app ${name} did not start: ${outcome.why}`,
      `see \`muster logs ${name} --recent\` and \`muster explain ${name}\``,
    );
  }
  await platform.remove(version.processGuid);
  throw new WaitedInVainError(
    `the new version of ${name} did not start: ${outcome.why}`,
    "it was taken back; the version before it goes on",
  );
}

/** Keeps the claim on the update alive while the wait goes on. */
function renewer(platform: AppCalls, version: AppVersion): () => Promise<void> {
  let renewedAtMs = platform.clock.elapsedMs();
  return async () => {
    if (platform.clock.elapsedMs() - renewedAtMs < renewEveryMs) return;
    renewedAtMs = platform.clock.elapsedMs();
    await annotate(platform, version, { updating_until_ms: (await platform.clusterTimeMs()) + updateClaimMs });
  };
}

async function switchOver(platform: AppCalls, version: AppVersion, before: readonly AppVersion[]): Promise<void> {
  for (const old of before) await platform.remove(old.processGuid);
  await annotate(platform, version, { replaces: [], updating_until_ms: 0 });
  // Two pushes may have begun in the same instant: rule A1 says which of them stays.
  const view = await readApps(platform);
  const rivals = byName(view.versions).get(version.annotation.name) ?? [];
  if (rivals.length < 2) return;
  await settle(platform, view);
  const after = await readApps(platform);
  if (!after.versions.some((other) => other.processGuid === version.processGuid)) {
    throw new RefusedError(
      `another push of ${version.annotation.name} at the same time took precedence`,
      "look at it, then push again",
    );
  }
}
