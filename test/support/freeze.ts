// Freezing a process for good: SIGSTOP is sent in a moment, but on a busy machine its threads go on for a while.
import { readdirSync, readFileSync } from "node:fs";
import { systemClock } from "@muster/shared/clock";

const boundMs = 10_000;

/** Whether no thread of it runs: all are stopped, or have ended. */
function standsStill(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    try {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1");
      return "TtZX".includes(stat.charAt(stat.lastIndexOf(")") + 2));
    } catch {
      return true;
    }
  });
}

/** Returns once every thread of the process stands still. @throws when that takes more than 10 s, or there is no such process. */
export function freeze(pid: number): void {
  process.kill(pid, "SIGSTOP");
  const untilMs = systemClock.elapsedMs() + boundMs;
  while (!standsStill(pid)) {
    if (systemClock.elapsedMs() > untilMs) throw new Error(`process ${pid} goes on ${boundMs} ms after SIGSTOP`);
    // Waiting for nothing but time: the caller's next line must find the process frozen, and /proc has no event for it.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  }
}
