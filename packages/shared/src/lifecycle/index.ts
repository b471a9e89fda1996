// How a service process lives and ends: signals, the supervisor's control pipe, exit codes.
import { setMaxListeners } from "node:events";
import { Socket } from "node:net";
import { systemClock } from "../clock/index.js";
import { OperatorError } from "../errors/index.js";
import type { Log } from "../log/index.js";

export { type FolderLock, lockFolder } from "./folder-lock.js";

/** `up` hands each child one end of a pipe under this number's name; when it closes, the supervisor is gone. */
export const controlFdVariable = "MUSTER_CONTROL_FD";

export type StopReason = "SIGTERM" | "SIGINT" | "supervisor-gone";

export interface ServiceContext {
  /** Aborts when the process should end in an orderly way; the reason is a StopReason. */
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** Exit status for a process that gave up its lock or leadership: the supervisor starts it anew as a standby. */
export const exitLostLeadership = 75;

export class LostLeadershipError extends Error {
  override readonly name = "LostLeadershipError";
}

/**
 * Runs a service's `main` until it returns, then exits: 0 in an orderly end, 75 on a lost leadership, 78 when a person must mend
 * something, 1 otherwise. `main` must end soon after the signal aborts; after `graceMs` the process exits all the same.
 */
export function runService(log: Log, main: (context: ServiceContext) => Promise<void>, graceMs = 20_000): void {
  const stop = new AbortController();
  // Everything in the process that waits listens to this one signal: their number says nothing of a leak.
  setMaxListeners(0, stop.signal);
  const end = (reason: StopReason): void => {
    if (stop.signal.aborted) return;
    log.info({ reason }, "stopping");
    stop.abort(reason);
    systemClock.after(graceMs, () => {
      log.error({ reason }, "did not stop in time");
      process.exit(1);
    });
  };
  process.on("SIGTERM", () => end("SIGTERM"));
  process.on("SIGINT", () => end("SIGINT"));
  const controlFd = Number(process.env[controlFdVariable]);
  if (Number.isInteger(controlFd) && controlFd > 2) {
    // A socket, not a file stream: that one's read would hold a thread which Node waits for at its exit, for ever.
    const pipe = new Socket({ fd: controlFd, readable: true, writable: false });
    pipe.on("data", () => undefined);
    pipe.on("close", () => end("supervisor-gone"));
    pipe.on("error", () => end("supervisor-gone"));
  }
  const fail = (err: unknown): void => {
    log.error({ err, ...(err instanceof OperatorError ? { hint: err.hint } : {}) }, "service failed");
    process.exit(err instanceof LostLeadershipError ? exitLostLeadership : err instanceof OperatorError ? 78 : 1);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
  main({ signal: stop.signal, log }).then(() => process.exit(0), fail);
}
