// Texts that Diego's users know, byte for byte.
import { utf8Cut } from "./lines.js";

/** A duration as Go prints it: 10s, 1m0s, 1m0.1s, 250ms. Units: milliseconds, to the millisecond. */
export function durationText(ms: number): string {
  const whole = Math.round(ms);
  if (whole < 1_000) return `${whole}ms`;
  const hours = Math.floor(whole / 3_600_000);
  const minutes = Math.floor((whole % 3_600_000) / 60_000);
  const seconds = `${(whole % 60_000) / 1_000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

interface Exit {
  readonly exitStatus: number;
  readonly outOfMemory: boolean;
}

/**
 * The last words about a process: the graceful interval when it had a part in its end, then that something in its container was killed for
 * want of memory, unless the process itself ended well.
 */
export function exitText({ exitStatus, outOfMemory }: Exit, exceededGracefulMs?: number): string {
  const graceful =
    exceededGracefulMs === undefined ? "" : ` (exceeded ${durationText(exceededGracefulMs)} graceful shutdown interval)`;
  return `${exitStatus}${graceful}${outOfMemory && exitStatus !== 0 ? " (out of memory)" : ""}`;
}

/** Bytes as Cloud Foundry prints them: 12M, 1.5K, 900B. */
export function byteText(bytes: number): string {
  const units = ["B", "K", "M", "G", "T"];
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${value.toFixed(1).replace(/\.0$/, "")}${units[unit]}`;
}

/** Diego's bound for one error line of a step. Source: cell.md section 6. */
const errorLineBytes = 1_024;
const truncatedMark = " (error truncated)";

/** A failure as it is shown to the app. */
export function errorLine(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= errorLineBytes) return text;
  return bytes.subarray(0, utf8Cut(bytes, errorLineBytes - truncatedMark.length)).toString("utf8") + truncatedMark;
}

export const texts = {
  cachedFailed: "failed to download cached artifacts",
  credentialsFailed: "failed to create credentials directory",
  creating: (cell: string, instance: string) => `Cell ${cell} creating container for instance ${instance}`,
  created: (cell: string, instance: string) => `Cell ${cell} successfully created container for instance ${instance}`,
  createFailed: (cell: string, instance: string, error: string) =>
    `Cell ${cell} failed to create container for instance ${instance}: ${error}`,
  stopping: (cell: string, instance: string) => `Cell ${cell} stopping instance ${instance}`,
  destroying: (cell: string, instance: string) => `Cell ${cell} destroying container for instance ${instance}`,
  destroyed: (cell: string, instance: string) => `Cell ${cell} successfully destroyed container for instance ${instance}`,
  destroyFailed: (cell: string, instance: string, error: string) =>
    `Cell ${cell} failed to destroy container for instance ${instance}: ${error}`,
  requestingReplacement: (cell: string, instance: string) => `Cell ${cell} requesting replacement for instance ${instance}`,
  evacuationTimeout: (cell: string, instance: string) => `Cell ${cell} reached evacuation timeout for instance ${instance}`,
  stoppedBeforeRunning: "stopped-before-running",
  expired: "expired container",
  missing: "missing garden container",
  notAdopted: "the container could not be adopted after a restart of the cell",
  resultFetchFailed: "failed to fetch result",
  resultTooLarge: (bytes: number) => `result file is too large (over ${bytes} bytes)`,
  monitoring: "Starting health monitoring of container",
  healthy: "Container became healthy",
  unhealthy: "Container became unhealthy",
  readinessStarted: "Starting readiness health monitoring of container",
  ready: "Container passed the readiness health check. Container marked ready and added to route pool.",
  notReady: "Container failed the readiness health check. Container marked not ready and removed from route pool.",
  startupTimedOut: (afterMs: number, attempts: number, text: string) =>
    `Timed out after ${durationText(afterMs)} (${attempts} attempts) waiting for startup check to succeed: ${text}`,
  startupNeverPassed: (afterMs: number) => `Failed after ${durationText(afterMs)}: startup health check never passed.`,
  monitorNeverPassed: (afterMs: number) => `Timed out after ${durationText(afterMs)}: health check never passed.`,
  neverHealthy: (afterMs: number, text: string) => `Instance never healthy after ${durationText(afterMs)}: ${text}`,
  livenessFailed: (text: string) => `Liveness check unsuccessful: ${text}`,
  readinessFailed: (text: string) => `Readiness check unsuccessful: ${text}`,
  becameUnhealthy: (text: string) => `Instance became unhealthy: ${text}`,
} as const;
