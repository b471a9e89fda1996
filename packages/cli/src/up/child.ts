// One service process under supervision: started again with a growing delay whenever it ends, until it is told to stop.
import { type ChildProcess, spawn } from "node:child_process";
import type { Clock } from "@muster/shared/clock";
import { controlFdVariable } from "@muster/shared/lifecycle";
import { nextDelayMs } from "./backoff.js";
import { closeLogFile, openLogFile } from "./log-files.js";

export interface ChildSpec {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly logFile: string;
}

export interface ChildEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** How often it has ended since it was last well. */
  readonly ends: number;
}

export interface SupervisedChild {
  readonly name: string;
  /** `undefined` while it is down. */
  pid(): number | undefined;
  /** SIGTERM, then SIGKILL after the grace; resolves once the process is gone for good. */
  stop(graceMs: number): Promise<void>;
  /** At once and without grace. */
  kill(): void;
}

/** The number of the control pipe in the child: it ends when the pipe closes, however the supervisor dies. */
const controlFd = 3;

export interface Supervision {
  readonly clock: Clock;
  readonly onEnd: (end: ChildEnd) => void;
  readonly onStart: (pid: number) => void;
}

/** Starts the child and keeps it running. A program that cannot be started at all counts as one that ended at once. */
export function superviseChild(spec: ChildSpec, { clock, onEnd, onStart }: Supervision): SupervisedChild {
  let child: ChildProcess | undefined;
  let stopping = false;
  let delayMs: number | undefined;
  let ends = 0;
  let cancelRestart = (): void => undefined;
  let whenGone: (() => void)[] = [];

  const start = (): void => {
    if (stopping) return;
    const startedAtMs = clock.elapsedMs();
    const started = spawnChild(spec);
    child = started;
    if (started.pid !== undefined) onStart(started.pid);
    let ended = false;
    const end = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (ended) return;
      ended = true;
      child = undefined;
      const livedMs = clock.elapsedMs() - startedAtMs;
      delayMs = nextDelayMs(delayMs, livedMs);
      ends = delayMs === nextDelayMs(undefined, livedMs) ? 1 : ends + 1;
      if (stopping) {
        for (const gone of whenGone.splice(0)) gone();
        return;
      }
      onEnd({ code, signal, ends });
      cancelRestart = clock.after(delayMs, start);
    };
    started.once("exit", end);
    started.once("error", () => end(null, null));
  };

  const stop = async (graceMs: number): Promise<void> => {
    stopping = true;
    cancelRestart();
    const running = child;
    if (running === undefined) return;
    const gone = new Promise<void>((resolve) => whenGone.push(resolve));
    running.kill("SIGTERM");
    const cancelKill = clock.after(graceMs, () => running.kill("SIGKILL"));
    await gone;
    cancelKill();
    whenGone = [];
  };

  start();
  return {
    name: spec.name,
    pid: () => child?.pid,
    stop,
    kill: () => {
      stopping = true;
      cancelRestart();
      child?.kill("SIGKILL");
    },
  };
}

function spawnChild(spec: ChildSpec): ChildProcess {
  const log = openLogFile(spec.logFile);
  try {
    return spawn(spec.program, [...spec.args], {
      // A session of its own: Ctrl-C in a terminal goes to the supervisor alone, which then stops its children in order.
      detached: true,
      stdio: ["ignore", log, log, "pipe"],
      env: { ...process.env, [controlFdVariable]: String(controlFd) },
    });
  } finally {
    closeLogFile(log);
  }
}
