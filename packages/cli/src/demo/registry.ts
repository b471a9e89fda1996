// A registry for the demo image: Debian's docker-registry as a child process on loopback, its storage in the home folder.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import process from "node:process";
import type { Clock, Entropy } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import { get } from "./http.js";

/** It answers 40 ms after its start; a loaded machine may need longer, a broken one never answers. */
const startLimitMs = 15_000;
const pollMs = 25;
const stopGraceMs = 5_000;
/** Characters of its last output, for the error message when it fails. */
const outputKept = 2_000;
/** Carries a token of our own, so that another registry on the same port is not taken for ours. */
const tokenHeader = "X-Muster-Registry";

export interface DemoRegistryOptions {
  /** Its storage and configuration; created when missing. */
  readonly dir: string;
  /** A free TCP port on 127.0.0.1. */
  readonly port: number;
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Ends the registry when aborted. */
  readonly signal: AbortSignal;
}

export interface DemoRegistry extends AsyncDisposable {
  /** `127.0.0.1:5055`: plain HTTP, so cells must know it as an insecure registry. */
  readonly address: string;
  readonly pid: number;
  /** Resolves when the process has ended, for whatever reason; a supervisor may then start another on the same folder. */
  readonly exited: Promise<void>;
  /** Ends it and resolves once it is gone; may be called again. */
  stop(): Promise<void>;
}

/**
 * Starts a registry and resolves once it answers. It dies with this process, even on kill -9 (the kernel sees to it).
 * Throws OperatorError when docker-registry is missing, the port is taken or it does not answer; leaves no process then.
 */
export async function startDemoRegistry(options: DemoRegistryOptions): Promise<DemoRegistry> {
  const { dir, port, signal } = options;
  signal.throwIfAborted();
  const token = options.entropy.guid();
  await mkdir(path.join(dir, "storage"), { recursive: true });
  const configFile = path.join(dir, "config.yml");
  await writeFile(configFile, JSON.stringify(registryConfig(path.join(dir, "storage"), port, token)));
  // The parent-death signal comes from util-linux; should up be killed, no registry stays behind on the port.
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", "docker-registry", "serve", configFile], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env.PATH ?? "/usr/bin:/bin" },
  });
  const output = keepLastOutput(child);
  const exited = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  const stop = (): Promise<void> => endChild(child, exited, options.clock);
  signal.addEventListener("abort", () => void stop(), { once: true });
  const address = `127.0.0.1:${port}`;
  try {
    await once(child, "spawn", { signal });
    await answering(`http://${address}/v2/`, token, exited, options);
  } catch (cause) {
    await stop();
    signal.throwIfAborted();
    throw explain(cause, port, output());
  }
  return { address, pid: child.pid as number, exited, stop, [Symbol.asyncDispose]: stop };
}

/** JSON is YAML too, and needs no rules of quoting for a home folder's name. */
const registryConfig = (rootdirectory: string, port: number, token: string): unknown => ({
  version: 0.1,
  log: { level: "warn", accesslog: { disabled: true } },
  storage: { filesystem: { rootdirectory } },
  http: { addr: `127.0.0.1:${port}`, headers: { [tokenHeader]: [token] } },
});

function keepLastOutput(child: ChildProcess): () => string {
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      text = (text + chunk).slice(-outputKept);
    });
  }
  return () => text.trim();
}

/** Resolves when the registry answers with our token; throws when the process ends first, or the time is over. */
async function answering(
  url: string,
  token: string,
  exited: Promise<void>,
  { clock, signal }: DemoRegistryOptions,
): Promise<void> {
  const deadlineMs = clock.elapsedMs() + startLimitMs;
  let ended = false;
  void exited.then(() => {
    ended = true;
  });
  while (clock.elapsedMs() < deadlineMs) {
    const answer = await get(url, { clock, signal }).catch(() => undefined);
    if (answer?.status === 200 && answer.headers.get(tokenHeader) === token) return;
    if (ended) throw new Error("docker-registry ended at its start");
    await clock.sleep(pollMs, signal);
  }
  throw new Error(`docker-registry did not answer within ${startLimitMs / 1000} s`);
}

async function endChild(child: ChildProcess, exited: Promise<void>, clock: Clock): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
  const cancel = clock.after(stopGraceMs, () => child.kill("SIGKILL"));
  await exited;
  cancel();
}

function explain(cause: unknown, port: number, output: string): OperatorError {
  if ((cause as NodeJS.ErrnoException).code === "ENOENT" || /setpriv: failed to execute/.test(output)) {
    return new OperatorError(
      "docker-registry is missing, which serves the demo image",
      "install it: apt-get install docker-registry; or run up --no-demo",
      cause,
    );
  }
  if (/address already in use/.test(output)) {
    return new OperatorError(
      `port ${port} of the demo registry is taken`,
      "move every port with --port-offset, or run up --no-demo",
      cause,
    );
  }
  return new OperatorError(`the demo registry failed: ${output.slice(-500)}`, "mend that, or run up --no-demo", cause);
}
