// After a kill -9 of `up` its children end by themselves, but take a moment: the next `up` waits for them, and ends those that hang.
import { readFileSync } from "node:fs";
import type { Clock } from "@muster/shared/clock";
import { readServicesFile } from "../services-file.js";

/** A service has 20 s to end in an orderly way (packages/shared lifecycle). */
const waitMs = 22_000;
const lookMs = 50;

/** Waits until no process of an earlier `up` on this home is left. Only processes that run one of our settings files count. */
export async function awaitLeftovers(servicesFile: string, configDir: string, clock: Clock, signal: AbortSignal): Promise<void> {
  const pids = (readServicesFile(servicesFile)?.services ?? []).map((service) => service.pid).filter((pid) => pid > 0);
  const left = (): number[] => pids.filter((pid) => isOurs(pid, configDir));
  const deadlineMs = clock.elapsedMs() + waitMs;
  while (left().length > 0) {
    if (clock.elapsedMs() >= deadlineMs) {
      for (const pid of left()) process.kill(pid, "SIGKILL");
    }
    await clock.sleep(lookMs, signal);
  }
}

/** Process ids are used again by others: what counts is the settings file on the command line. */
function isOurs(pid: number, configDir: string): boolean {
  try {
    const [, , ...args] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    const state = /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return state !== "Z" && args.some((arg) => arg.startsWith(`${configDir}/`));
  } catch {
    return false;
  }
}
