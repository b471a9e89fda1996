// Vouching for the apps' domain: without it the converger would not remove surplus instances. Whoever vouches also finishes
// interrupted updates (rule A1).
import { appsDomain } from "../apps/annotation.js";
import { readSettledApps } from "../apps/records.js";
import type { Platform } from "../client/platform.js";

const everyMs = 30_000;
/** Four missed rounds, as Cloud Controller has it. */
const ttlSeconds = 120;
const retryMs = 2_000;

/** Runs until the signal aborts. Failures are told and tried again: the platform heals, and then it must be vouched for at once. */
export async function keepVouching(platform: Platform, onTrouble: (error: unknown) => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    let pauseMs = everyMs;
    try {
      await vouchOnce(platform);
    } catch (error) {
      if (signal.aborted) return;
      pauseMs = retryMs;
      onTrouble(error);
    }
    await platform.clock.sleep(pauseMs, signal).catch(() => undefined);
  }
}

/** Settles first: a domain is fresh only once everything in it is as it should be. */
export async function vouchOnce(platform: Platform): Promise<void> {
  await readSettledApps(platform);
  await platform.upsertDomain(appsDomain, ttlSeconds);
}
