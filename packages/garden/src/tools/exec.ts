// The one way a tool is run: with a deadline, a bound on its output, and its whole process group killed when either is passed.
import { type ChildProcess, spawn } from "node:child_process";
import type { Clock } from "@muster/shared/clock";

export interface ExecOptions {
  /** Default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Of stdout; more is an error. Default 4 MiB. Of stderr the last 64 KiB are kept. */
  readonly maxOutputBytes?: number;
}

export interface ExecResult {
  readonly stdout: Buffer;
  readonly stderr: string;
}

export type ToolFault = "exit" | "timeout" | "missing" | "aborted" | "output";

/** A tool that did not do what it was asked. `stderr` holds its own words (stdout's, when it said nothing there). */
export class ToolError extends Error {
  override readonly name = "ToolError";
  readonly tool: string;
  readonly fault: ToolFault;
  readonly code: number | undefined;
  readonly stderr: string;
  readonly stdout: string;

  constructor(
    tool: string,
    fault: ToolFault,
    what: string,
    detail: { code?: number; stderr?: string; stdout?: string; cause?: unknown } = {},
  ) {
    super(`${tool} ${what}`, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.tool = tool;
    this.fault = fault;
    this.code = detail.code;
    this.stderr = detail.stderr ?? "";
    this.stdout = detail.stdout ?? "";
  }
}

/** Runs a tool to its end. @throws ToolError unless it exits with 0; the signal's reason is the cause when it was aborted. */
export type Exec = (tool: string, args: readonly string[], options?: ExecOptions) => Promise<ExecResult>;

const defaultTimeoutMs = 30_000;
const defaultOutputBytes = 4 * 1_048_576;
const stderrBytes = 65_536;
/** How long pipes may stay open, with nothing in them, after the tool itself has ended: a grandchild may hold them. */
const pipeGraceMs = 250;

/** Tools of /usr/sbin must be found also where the caller's PATH lacks it. */
export const toolPath = (): string => `${process.env.PATH ?? ""}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`;

export const toolEnv = (extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv => ({
  ...process.env,
  PATH: toolPath(),
  LC_ALL: "C.UTF-8",
  ...extra,
});

/** Kills a detached child together with everything it started. One that has ended is no error. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    child.kill("SIGKILL");
  }
}

interface Gathered {
  stdout: Buffer[];
  stdoutBytes: number;
  stderr: string;
}

function gather(child: ChildProcess, maxBytes: number, tooMuch: () => void): Gathered {
  const gathered: Gathered = { stdout: [], stdoutBytes: 0, stderr: "" };
  child.stdout?.on("data", (chunk: Buffer) => {
    gathered.stdoutBytes += chunk.length;
    if (gathered.stdoutBytes > maxBytes) tooMuch();
    else gathered.stdout.push(chunk);
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    gathered.stderr = (gathered.stderr + chunk.toString("utf8")).slice(-stderrBytes);
  });
  return gathered;
}

/** The exec of a process that lives by this clock. No tool is given longer than `longestMs`, whatever its caller asks for. */
export function makeExec(clock: Clock, longestMs: number = Number.POSITIVE_INFINITY): Exec {
  return (tool, args, options = {}) =>
    new Promise((resolve, reject) => {
      const { signal } = options;
      if (signal?.aborted) {
        reject(new ToolError(tool, "aborted", "was not started: aborted", { cause: signal.reason }));
        return;
      }
      const child = spawn(tool, args, {
        detached: true,
        stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
        env: toolEnv(options.env),
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      });
      let fault: ToolError | undefined;
      let settled = false;
      const fail = (error: ToolError): void => {
        fault ??= error;
        killGroup(child);
      };
      const timeoutMs = Math.min(options.timeoutMs ?? defaultTimeoutMs, longestMs);
      const cancelTimer = clock.after(timeoutMs, () =>
        fail(new ToolError(tool, "timeout", `did not end within ${timeoutMs} ms`)),
      );
      const onAbort = (): void => fail(new ToolError(tool, "aborted", "was aborted", { cause: signal?.reason }));
      signal?.addEventListener("abort", onAbort, { once: true });
      const maxBytes = options.maxOutputBytes ?? defaultOutputBytes;
      const gathered = gather(child, maxBytes, () => fail(new ToolError(tool, "output", `wrote more than ${maxBytes} bytes`)));
      const settle = (code: number | undefined): void => {
        if (settled) return;
        settled = true;
        cancelTimer();
        signal?.removeEventListener("abort", onAbort);
        const stdout = Buffer.concat(gathered.stdout);
        if (fault !== undefined) reject(fault);
        else if (code === 0) resolve({ stdout, stderr: gathered.stderr });
        else {
          const said = { stderr: gathered.stderr, stdout: stdout.subarray(0, stderrBytes).toString("utf8") };
          reject(
            new ToolError(
              tool,
              "exit",
              code === undefined ? "was killed" : `ended with status ${code}`,
              code === undefined ? said : { code, ...said },
            ),
          );
        }
      };
      child.on("error", (cause) => {
        fault ??= new ToolError(tool, "missing", "could not be started", { cause });
        settle(undefined);
      });
      const settleWhenQuiet = (code: number | undefined, seen: number): void => {
        if (settled) return;
        // A late timer comes before the reading that is due: only a turn of the loop with nothing to read is quiet. Half an answer must
        // never pass for a whole one.
        setImmediate(() => {
          const now = gathered.stdoutBytes + gathered.stderr.length;
          if (now === seen) settle(code);
          else clock.after(pipeGraceMs, () => settleWhenQuiet(code, now));
        });
      };
      child.on("exit", (code) => {
        clock.after(pipeGraceMs, () => settleWhenQuiet(code ?? undefined, gathered.stdoutBytes + gathered.stderr.length));
      });
      child.on("close", (code) => settle(code ?? undefined));
      child.stdin?.on("error", () => {});
      child.stdin?.end(options.input);
    });
}

/** The last line a tool said, for people: stderr's, or stdout's when stderr is empty. */
export function lastWords(error: unknown): string {
  if (!(error instanceof ToolError)) return error instanceof Error ? error.message : String(error);
  const text = error.stderr.trim() === "" ? error.stdout : error.stderr;
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.at(-1)?.trim().slice(0, 1_000) ?? error.message;
}
