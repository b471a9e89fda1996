// A real registry on a random port of the loopback, in a folder of its own: for tests and for the demonstration.
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./ports.js";

export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:<port>`, as insecure registries are listed. */
  readonly host: string;
  /** Ends it; what it holds stays, for `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  stop(): Promise<void>;
}

export interface TestRegistryOptions {
  /** bcrypt'ed htpasswd line, e.g. `user:$2y$…`; without it anybody may pull and push. */
  readonly htpasswd?: string;
  /** Keeps its data in this folder instead of a temporary one. */
  readonly dir?: string;
}

const startTimeoutMs = 15_000;

const answers = (host: string): Promise<boolean> =>
  new Promise((resolve) => {
    const request = get(`http://${host}/v2/`, (response) => {
      response.resume();
      resolve(true);
    });
    request.on("error", () => resolve(false));
  });

/** Starts docker-registry and waits until it answers. @throws Error with its last words when it does not */
export async function startRegistry(options: TestRegistryOptions = {}): Promise<TestRegistry> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), "muster-registry-")));
  const host = `127.0.0.1:${await freePort()}`;
  const config: Record<string, unknown> = {
    version: "0.1",
    log: { level: "error" },
    storage: { filesystem: { rootdirectory: join(dir, "data") }, delete: { enabled: true } },
    http: { addr: host, secret: randomBytes(16).toString("hex") },
  };
  if (options.htpasswd !== undefined) {
    await writeFile(join(dir, "htpasswd"), `${options.htpasswd}\n`);
    config.auth = { htpasswd: { realm: "test", path: join(dir, "htpasswd") } };
  }
  // JSON is YAML too.
  await writeFile(join(dir, "registry.yml"), JSON.stringify(config));
  let child: ChildProcess | undefined;
  const pause = async (): Promise<void> => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once("exit", resolve));
    running.kill("SIGKILL");
    await ended;
  };
  const resume = async (): Promise<void> => {
    let words = "";
    const started = spawn("docker-registry", ["serve", join(dir, "registry.yml")], { stdio: ["ignore", "ignore", "pipe"] });
    child = started;
    started.stderr.on("data", (chunk: Buffer) => {
      words = (words + chunk.toString("utf8")).slice(-2_000);
    });
    const failed = new Promise<never>((_resolve, reject) => {
      started.once("error", reject);
      started.once("exit", (code) => reject(new Error(`docker-registry ended with ${code}: ${words}`)));
    });
    failed.catch(() => {});
    const deadline = performance.now() + startTimeoutMs;
    while (!(await Promise.race([answers(host), failed]))) {
      if (performance.now() > deadline) throw new Error(`docker-registry did not answer: ${words}`);
      await sleep(20);
    }
  };
  const stop = async (): Promise<void> => {
    await pause();
    if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
  };
  try {
    await resume();
  } catch (error) {
    await stop();
    throw error;
  }
  return { host, pause, resume, stop, [Symbol.asyncDispose]: stop };
}
