// A whole platform as a user has it: `muster up` as a child process on a home of its own, and the command line against it.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { claim } from "./ports.js";
import { repoRoot } from "./repo.js";

const cli = join(repoRoot, "packages/cli/dist/main.js");

export interface InstanceShape {
  readonly index: number;
  readonly state: string;
  readonly presence: string;
  readonly instance_guid: string;
  readonly cell_id: string;
  readonly zone: string;
  readonly address: string;
  readonly ports: readonly { readonly container_port: number; readonly host_port: number }[];
  readonly since: string;
  readonly crash_count: number;
  readonly crash_reason: string;
  readonly placement_error: string;
}

export interface AppShape {
  readonly process_guid: string;
  readonly requested_state: string;
  readonly instances_wanted: number;
  readonly instances: readonly InstanceShape[];
}

export interface ServiceShape {
  readonly name: string;
  readonly role: string;
  readonly pid: number;
  readonly active: boolean;
  readonly healthy: boolean;
}

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Each platform's ports lie this far from the next one's. */
const offsetStep = 50;
/** 400 and more: beside a platform at its usual ports. 70 platforms leave each a few hundred ports for containers, and end below the ports of `freePort`. */
const offsets = Array.from({ length: 70 }, (_, n) => 400 + n * offsetStep);

/** Platforms of all test runs on this machine keep out of each other's ports. @throws when there is no place left */
async function freeOffset(): Promise<number> {
  for (const offset of offsets) if (await claim(`platform-${offset}`)) return offset;
  throw new Error(`${offsets.length} platforms of tests are running`);
}

export class Platform implements AsyncDisposable {
  readonly home: string;
  readonly flags: readonly string[];
  readonly portOffset: number;
  readonly #ownsHome: boolean;
  #up: ChildProcess | undefined;
  #exited: Promise<number> = Promise.resolve(0);

  private constructor(home: string, ownsHome: boolean, flags: readonly string[], portOffset: number) {
    this.home = home;
    this.#ownsHome = ownsHome;
    this.flags = flags;
    this.portOffset = portOffset;
  }

  /** Starts a platform on a new home and waits until every service answers. */
  static async start(flags: readonly string[], home?: string): Promise<Platform> {
    const folder = home ?? (await mkdtemp(join(tmpdir(), "muster-platform-")));
    for (;;) {
      const platform = new Platform(folder, home === undefined, flags, await freeOffset());
      try {
        await platform.up();
        return platform;
      } catch (error) {
        // Somebody who does not ask for his ports where tests do: the next offset stays claimed by nobody else.
        const isTaken = error instanceof Error && error.message.includes("ports are taken by another program");
        if (isTaken) continue;
        await platform[Symbol.asyncDispose]();
        throw error;
      }
    }
  }

  get pid(): number {
    return this.#up?.pid ?? -1;
  }

  /** Starts `up` again on the same home. Resolves with the milliseconds until it was ready. */
  async up(readyMs = 90_000): Promise<number> {
    const begun = performance.now();
    const args = [cli, "up", "--no-demo", "--home", this.home, "--port-offset", String(this.portOffset), ...this.flags];
    const log = createWriteStream(`${this.home}.log`, { flags: "a" });
    const up = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    up.stdout.pipe(log);
    up.stderr.pipe(log);
    this.#up = up;
    this.#exited = new Promise((resolve) => up.once("exit", (code, signal) => resolve(code ?? (signal === null ? -1 : 128))));
    const ready = async (): Promise<boolean> => {
      if (up.exitCode !== null || up.signalCode !== null) throw new Error(`up ended: ${await this.output()}`);
      const result = await this.try("status", "--json");
      return result.status === 0 && (JSON.parse(result.stdout) as { ready: boolean }).ready;
    };
    await this.eventually("every service answers", ready, readyMs, 300);
    return performance.now() - begun;
  }

  output(): Promise<string> {
    return readFile(`${this.home}.log`, "utf8").then(
      (text) => text.slice(-2_000),
      () => "(nothing)",
    );
  }

  /** Runs a verb; whatever its exit status. */
  try(...args: string[]): Promise<CommandResult> {
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        [cli, ...args, "--home", this.home],
        { timeout: 120_000, maxBuffer: 16 * 1024 * 1024 },
        (error, stdout, stderr) => {
          const status = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
          resolve({ status, stdout, stderr });
        },
      );
    });
  }

  /** Runs a verb that must succeed. */
  async muster(...args: string[]): Promise<string> {
    const result = await this.try(...args);
    if (result.status !== 0)
      throw new Error(`muster ${args.join(" ")}: exit ${result.status}: ${result.stderr || result.stdout}`);
    return result.stdout;
  }

  async json<Shape>(...args: string[]): Promise<Shape> {
    return JSON.parse(await this.muster(...args, "--json")) as Shape;
  }

  app(name: string): Promise<AppShape> {
    return this.json<AppShape>("app", name);
  }

  async running(name: string): Promise<InstanceShape[]> {
    const { instances } = await this.app(name);
    return instances.filter((instance) => instance.state === "RUNNING" && instance.presence === "ORDINARY");
  }

  /** The active process of a role, or the one of this name. */
  async service(role: string, name?: string): Promise<ServiceShape> {
    const { services } = await this.json<{ services: ServiceShape[] }>("status");
    const found = services.find(
      (service) => service.role === role && (name === undefined ? service.active : service.name === name),
    );
    if (found === undefined) throw new Error(`no ${role} ${name ?? ""} in ${JSON.stringify(services)}`);
    return found;
  }

  /** Polls until `holds`; fails with what the platform looked like. Resolves with the milliseconds it took. */
  async eventually(what: string, holds: () => Promise<boolean>, ms: number, everyMs = 100): Promise<number> {
    const begun = performance.now();
    let last: unknown;
    while (performance.now() - begun < ms) {
      try {
        if (await holds()) return performance.now() - begun;
      } catch (error) {
        last = error;
        if (error instanceof Error && error.message.startsWith("up ended")) throw error;
      }
      await sleep(everyMs);
    }
    const picture = await this.try("lrps", "--json");
    throw new Error(`${what}: not within ${ms} ms; last error ${String(last)}; rows: ${picture.stdout.slice(0, 3_000)}`);
  }

  /** Ends `up` as Ctrl-C does, and waits for its clean-up. */
  async interrupt(): Promise<number> {
    if (this.#up?.exitCode === null && this.#up.signalCode === null) this.#up.kill("SIGINT");
    return this.#exited;
  }

  /** Ends `up` as nobody should. */
  async kill(): Promise<void> {
    this.#up?.kill("SIGKILL");
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.interrupt();
    if (this.#ownsHome) await rm(this.home, { recursive: true, force: true });
    await rm(`${this.home}.log`, { force: true });
  }
}

/** GETs an instance's page through its mapped port. */
export async function fetchInstance(instance: InstanceShape, containerPort = 8080): Promise<string> {
  const port = instance.ports.find((mapped) => mapped.container_port === containerPort)?.host_port;
  const response = await fetch(`http://${instance.address}:${port}/`, { signal: AbortSignal.timeout(3_000) });
  return response.text();
}
