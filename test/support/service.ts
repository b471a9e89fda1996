// A service as the real program, that can be killed and asked for its health and metrics.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Health } from "@muster/shared/metrics";
import type { TlsMaterial } from "@muster/shared/tls";
import { freePort } from "./ports.js";
import { repoRoot } from "./repo.js";

export type ServiceName = "auctioneer" | "bbs" | "converger" | "rep";

/** The program of a service, as it is started. @throws when it is not built */
export function serviceMain(name: ServiceName): string {
  const file = join(repoRoot, "services", name, "dist", "main.js");
  if (!existsSync(file)) throw new Error(`${file} is not built: run \`npx tsc -b services/${name}\` first`);
  return file;
}

/** The settings `tls` of a service: its certificate in files of this folder. */
export async function tlsFilesIn(dir: string, { ca, cert, key }: TlsMaterial): Promise<Record<string, string>> {
  const file = async (name: string, content: Buffer): Promise<string> => {
    await writeFile(join(dir, name), content);
    return join(dir, name);
  };
  return { ca_file: await file("ca", ca), cert_file: await file("cert", cert), key_file: await file("key", key) };
}

const leftovers = new Set<ServiceProcess>();
process.once("exit", () => {
  for (const left of leftovers) left.cleanUpNow();
});

/** What a process object is made of. */
export interface SpawnedService {
  readonly service: ServiceName;
  readonly child: ChildProcess;
  /** Holds its settings, keys and log; goes with it. */
  readonly dir: string;
  readonly healthUrl: string;
}

export class ServiceProcess<State extends string = string> implements AsyncDisposable {
  readonly pid: number;
  /** Resolves with the exit status, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  readonly #service: ServiceName;
  readonly #dir: string;
  readonly #healthUrl: string;

  constructor({ service, child, dir, healthUrl }: SpawnedService) {
    this.#service = service;
    this.#child = child;
    this.#dir = dir;
    this.#healthUrl = healthUrl;
    this.pid = child.pid ?? -1;
    this.exited = once(child, "exit").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
    leftovers.add(this);
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  log(): string {
    return readFileSync(join(this.#dir, "log"), "utf8");
  }

  async state(): Promise<State | undefined> {
    return (await this.health())?.state as State | undefined;
  }

  /** What `/health` says; `undefined` when nothing answers. */
  async health(): Promise<Health | undefined> {
    try {
      const response = await fetch(this.#healthUrl, { signal: AbortSignal.timeout(1_000) });
      return (await response.json()) as Health;
    } catch {
      return undefined;
    }
  }

  /** All of `/metrics`. */
  async metrics(): Promise<string> {
    return (await fetch(this.#healthUrl.replace("/health", "/metrics"), { signal: AbortSignal.timeout(5_000) })).text();
  }

  /** A sample of `/metrics` by its full name; 0 when it is not there. */
  async metric(name: string): Promise<number> {
    return sampleOf(await this.metrics(), name);
  }

  /** @throws with the end of its log when it does not come to that state in time. */
  async until(state: State, withinMs = 20_000): Promise<void> {
    for (const deadline = performance.now() + withinMs; performance.now() < deadline; await sleep(20)) {
      if (!this.running) break;
      if ((await this.state()) === state) return;
    }
    throw new Error(`the ${this.#service} did not become ${state} in ${withinMs} ms:\n${this.log().slice(-3_000)}`);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.running) {
      this.#child.kill("SIGKILL");
      await this.exited;
    }
    await rm(this.#dir, { recursive: true, force: true });
    leftovers.delete(this);
  }

  /** For the end of the process: nothing can be awaited any more. */
  cleanUpNow(): void {
    this.#child.kill("SIGKILL");
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** One sample of a page of metrics by its full name, with what it needs of its labels; 0 when it is not there. */
export function sampleOf(page: string, name: string, ...labels: readonly string[]): number {
  const line = page
    .split("\n")
    .find((one) => (one.startsWith(`${name} `) || one.startsWith(`${name}{`)) && labels.every((label) => one.includes(label)));
  return Number(line?.slice(line.lastIndexOf(" ") + 1) ?? 0);
}

export interface ServiceOptions {
  /** The program's own; TLS files and the metrics address are added. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly tls: TlsMaterial;
  /** For node itself: `--cpu-prof` and the like. */
  readonly nodeArgs?: readonly string[] | undefined;
}

/** Starts `services/<service>/dist/main.js` with a folder of its own for its settings and log. */
export async function spawnService(service: ServiceName, { settings, tls, nodeArgs }: ServiceOptions): Promise<SpawnedService> {
  const main = serviceMain(service);
  const dir = await mkdtemp(join(tmpdir(), `muster-${service}-process-`));
  const metricsAddress = `127.0.0.1:${await freePort()}`;
  const configFile = join(dir, "config.json");
  await writeFile(configFile, JSON.stringify({ metrics_address: metricsAddress, tls: await tlsFilesIn(dir, tls), ...settings }));
  const args = [...(nodeArgs ?? []), main, "--config", configFile];
  const log = openSync(join(dir, "log"), "a");
  // setpriv: the kernel ends the service with this process, even if that is killed with -9.
  const child = spawn("setpriv", ["--pdeathsig", "KILL", process.execPath, ...args], { stdio: ["ignore", log, log] });
  await once(child, "spawn");
  closeSync(log);
  return { service, child, dir, healthUrl: `http://${metricsAddress}/health` };
}
