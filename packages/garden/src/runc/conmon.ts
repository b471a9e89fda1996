// Starts processes through conmon, which holds a process's output and exit status when this rep is gone.
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { setPriority } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { Clock } from "@muster/shared/clock";
import { GardenError } from "../garden.js";
import { killGroup, toolEnv } from "../tools/exec.js";

export interface ConmonRequest {
  readonly runcPath: string;
  readonly runcRoot: string;
  readonly containerId: string;
  /** The process's own folder below /run: pid files, exit file, sockets. */
  readonly dir: string;
  /** For the container's init: the bundle. */
  readonly bundle: string | undefined;
  /** For a further process: the file with its spec. */
  readonly execSpec: string | undefined;
  readonly logFile: string;
  /** Unique on this machine. */
  readonly name: string;
  /** Default 30 s. */
  readonly timeoutMs?: number | undefined;
}

/** A log is replaced by a fresh one when it is this large; so this is what is kept, and what a rep that was away can still read. */
export const logBytes = 4 * 1_048_576;
/** runc creates a container in 30 ms; a machine that is out of breath may take seconds. */
const conmonNice = 10;
const startTimeoutMs = 30_000;

export const exitDir = (dir: string): string => join(dir, "exit");
export const exitFile = (dir: string, containerId: string): string => join(exitDir(dir), containerId);
export const pidFile = (dir: string): string => join(dir, "pid");
export const conmonPidFile = (dir: string): string => join(dir, "conmon.pid");

function conmonArgs(request: ConmonRequest): string[] {
  const runtime = ["--runtime", request.runcPath, "--runtime-arg", "--root", "--runtime-arg", request.runcRoot];
  const files = ["--exit-dir", exitDir(request.dir), "--container-pidfile", pidFile(request.dir)];
  const what =
    request.execSpec === undefined
      ? ["--bundle", request.bundle ?? request.dir]
      : ["--bundle", request.dir, "--exec", "--exec-process-spec", request.execSpec];
  const logs = [
    "--log-path",
    `k8s-file:${request.logFile}`,
    "--log-size-max",
    String(logBytes),
    "--no-sync-log",
    "--log-level",
    "error",
  ];
  // --sync: forks once only, so that conmon is our child as long as we live and init's afterwards. --full-attach: its socket stays in the bundle.
  // A session keyring of its own would count against the one user all containers' roots are: at 200 the kernel refuses (maxkeys). No
  // container can use keys anyway: seccomp refuses.
  const keys = ["--no-new-keyring"];
  const sockets = ["--sync", "--full-attach", "--socket-dir-path", request.dir];
  return [
    "--api-version",
    "1",
    "--cid",
    request.containerId,
    "--cuuid",
    request.name,
    "--name",
    request.name,
    ...what,
    ...runtime,
    ...files,
    ...logs,
    ...keys,
    ...sockets,
  ];
}

/**
 * Runs `runc create` (for the init) or `runc exec` under conmon. @returns the process's pid on this machine, once it exists.
 * @throws GardenError process-failed with runc's reason, timeout.
 */
export async function startUnderConmon(clock: Clock, request: ConmonRequest, signal?: AbortSignal): Promise<number> {
  await mkdir(exitDir(request.dir), { recursive: true, mode: 0o700 });
  const child = spawn("conmon", conmonArgs(request), {
    detached: true,
    stdio: ["ignore", "ignore", "ignore", "pipe"],
    env: { ...toolEnv(), _OCI_SYNCPIPE: "3" },
    cwd: "/",
  });
  const pipe = child.stdio[3] as Readable;
  // With --sync conmon writes no pid file of its own: it is the process that was spawned.
  if (child.pid !== undefined) writeFileSync(conmonPidFile(request.dir), String(child.pid), { mode: 0o600 });
  try {
    const line = await new Promise<string>((resolve, reject) => {
      let text = "";
      const timeoutMs = Math.min(startTimeoutMs, request.timeoutMs ?? startTimeoutMs);
      const cancel = clock.after(timeoutMs, () =>
        give(new GardenError("timeout", `the process did not start within ${timeoutMs} ms`)),
      );
      const onAbort = (): void => give(signal?.reason);
      const give = (outcome: unknown): void => {
        cancel();
        signal?.removeEventListener("abort", onAbort);
        if (typeof outcome === "string") resolve(outcome);
        else reject(outcome);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      pipe.on("data", (chunk: Buffer) => {
        text += chunk.toString("utf8");
        if (text.includes("\n")) give(text.slice(0, text.indexOf("\n")));
      });
      pipe.on("end", () => give(new GardenError("tool-failed", "conmon ended without an answer")));
      pipe.on("error", (error) => give(new GardenError("tool-failed", "conmon's answer could not be read", error)));
      child.on("error", (error) => give(new GardenError("tool-failed", "conmon could not be started", error)));
    });
    const pid = readAnswer(line);
    yieldCpu(child);
    return pid;
  } catch (error) {
    if (!(error instanceof GardenError) || error.code !== "process-failed") killGroup(child);
    throw error;
  } finally {
    pipe.destroy();
    child.unref();
  }
}

/** Only once runc has ended: what it starts would inherit it. A container that shouts makes its conmon work, not its neighbours wait. */
function yieldCpu(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) setPriority(child.pid, conmonNice);
  } catch {
    // It has ended already, and the process with it.
  }
}

/** conmon's line: `{"data": <pid>}`, or -1 with runc's log lines. @throws GardenError process-failed */
export function readAnswer(line: string): number {
  let answer: { data?: number; message?: string };
  try {
    answer = JSON.parse(line) as typeof answer;
  } catch (error) {
    throw new GardenError("tool-failed", "conmon's answer could not be read", error);
  }
  if (answer.data !== undefined && answer.data > 0) return answer.data;
  throw new GardenError("process-failed", runcReason(answer.message ?? ""), new Error(answer.message ?? "runc failed"));
}

/** The reason at the end of runc's chain, as a user may read it: `exec: "x": executable file not found in $PATH`. */
export function runcReason(log: string): string {
  const messages = [...log.matchAll(/msg="((?:[^"\\]|\\.)*)"/g)].map((match) =>
    (match[1] ?? "").replaceAll(/\\(.)/g, "$1").replaceAll("\\", ""),
  );
  const last = messages.at(-1) ?? log.trim();
  const marker = "unable to start container process: ";
  const at = last.indexOf(marker);
  const reason = at < 0 ? last : last.slice(at + marker.length);
  return reason === "" ? "the process could not be started" : reason.slice(0, 1_000);
}
