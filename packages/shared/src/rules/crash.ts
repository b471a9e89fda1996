// The crash policy, to the last number (convergence.md section 3).
import { type ActualLRP, asEpochMs, type EpochMs, epochNsToMs } from "../model/index.js";

/** Crashes below this count restart at once. */
export const immediateRestarts = 3;
/** From this count on an instance is never restarted. */
export const maxRestarts = 200;
const backoffBaseMs = 30_000;
const backoffCapMs = 960_000;
/** 30 s × 2^5 is the cap of 16 min. */
const backoffMaxExponent = 5;
/** An instance that ran longer than this starts counting anew. */
export const crashResetMs = 300_000;

/**
 * Names the earliest instant at which a crashed instance may be auctioned again.
 * Shape: counts below 3 at once; then 30 s, doubling up to 16 min; from 200 on never (`undefined`).
 * Units: `crashedAtMs` and the result are cluster time. Source: convergence.md section 3.
 */
export function restartAtMs(crashCount: number, crashedAtMs: EpochMs): EpochMs | undefined {
  if (crashCount >= maxRestarts) return undefined;
  if (crashCount < immediateRestarts) return crashedAtMs;
  const exponent = Math.min(crashCount - immediateRestarts, backoffMaxExponent);
  return asEpochMs(crashedAtMs + Math.min(backoffCapMs, backoffBaseMs * 2 ** exponent));
}

/** The crash count after one more crash: 1 for an instance that had been RUNNING for more than 5 minutes. */
export const nextCrashCount = (row: ActualLRP, nowMs: EpochMs): number =>
  row.state === "RUNNING" && nowMs - epochNsToMs(row.sinceNs) > crashResetMs ? 1 : row.crashCount + 1;
