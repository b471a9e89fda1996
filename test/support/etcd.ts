// Real etcd servers for tests: one member or three, on loopback ports of their own, in a folder of their own that goes with them.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freeze } from "./freeze.js";
import { freePort } from "./ports.js";

export interface EtcdOptions {
  /** 1 or 3; 1 by default. */
  readonly members?: 1 | 3;
  /** `--quota-backend-bytes`; etcd's own default of 2 GiB when absent. */
  readonly quotaBytes?: number;
  /**
   * Serve clients over TLS: with a certificate that etcd makes itself (`true`; its PEM is `caOf(0)`), or with this one. With
   * `trustedCa` only clients that show a certificate of that authority are let in.
   */
  readonly tls?: boolean | { readonly cert: Buffer; readonly key: Buffer; readonly trustedCa?: Buffer };
  /** More of etcd's own flags. */
  readonly flags?: readonly string[];
}

interface Member {
  readonly name: string;
  readonly dir: string;
  readonly clientUrl: string;
  readonly peerUrl: string;
  readonly args: readonly string[];
  process: ChildProcess | undefined;
}

const readyMs = 20_000;
/** What this process has started and not yet cleaned up, for when it ends without an `await using`. */
const leftovers = new Set<EtcdCluster>();
process.once("exit", () => {
  for (const cluster of leftovers) cluster.cleanUpNow();
});

export class EtcdCluster implements AsyncDisposable {
  readonly dir: string;
  readonly #members: Member[];

  constructor(dir: string, members: Member[]) {
    this.dir = dir;
    this.#members = members;
    leftovers.add(this);
  }

  get endpoints(): string[] {
    return this.#members.map(({ clientUrl }) => clientUrl);
  }

  /** Of the members that run. */
  get pids(): number[] {
    return this.#members.flatMap(({ process: child }) => child?.pid ?? []);
  }

  /** Starts a member on the data it has, and waits until it answers as part of a healthy cluster. */
  async start(n = 0): Promise<void> {
    await this.launch(n);
    await this.ready(n);
  }

  /** Starts a member without waiting. */
  async launch(n = 0): Promise<void> {
    const member = this.#member(n);
    const log = openSync(join(this.dir, `${member.name}.log`), "a");
    // setpriv: the kernel ends the server with this process, even if that is killed with -9.
    const child = spawn("setpriv", ["--pdeathsig", "KILL", "etcd", ...member.args], { stdio: ["ignore", log, log] });
    member.process = child;
    await once(child, "spawn");
  }

  async ready(n = 0): Promise<void> {
    const member = this.#member(n);
    for (const until = performance.now() + readyMs; performance.now() < until; await sleep(25)) {
      if (member.process?.exitCode !== null) break;
      if (await isHealthy(member.clientUrl)) return;
    }
    throw new Error(`etcd ${member.name} did not become ready:\n${this.log(n).slice(-2_000)}`);
  }

  async kill9(n = 0): Promise<void> {
    await this.#end(this.#member(n), "SIGKILL");
  }

  async stop(n = 0): Promise<void> {
    await this.#end(this.#member(n), "SIGTERM");
  }

  /** It stands still when this returns. */
  freeze(n = 0): void {
    const pid = this.#member(n).process?.pid;
    if (pid !== undefined) freeze(pid);
  }

  thaw(n = 0): void {
    this.#member(n).process?.kill("SIGCONT");
  }

  log(n = 0): string {
    return readFileSync(join(this.dir, `${this.#member(n).name}.log`), "utf8");
  }

  /** With `tls`: the certificate that signs itself, PEM. */
  caOf(n = 0): Buffer {
    return readFileSync(join(this.#member(n).dir, "fixtures", "client", "cert.pem"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#members.map((member) => this.#end(member, "SIGKILL")));
    await rm(this.dir, { recursive: true, force: true });
    leftovers.delete(this);
  }

  /** For the end of the process: nothing can be awaited any more. */
  cleanUpNow(): void {
    for (const { process: child } of this.#members) child?.kill("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }

  #member(n: number): Member {
    const member = this.#members[n];
    if (member === undefined) throw new Error(`there is no etcd member ${n}`);
    return member;
  }

  async #end(member: Member, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = member.process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
    member.process = undefined;
  }
}

/** Starts the cluster and waits until every member is healthy. */
export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdCluster> {
  const cluster = await lay(options);
  const numbers = cluster.endpoints.map((_, n) => n);
  try {
    for (const n of numbers) await cluster.launch(n);
    for (const n of numbers) await cluster.ready(n);
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function lay(options: EtcdOptions): Promise<EtcdCluster> {
  const dir = await mkdtemp(join(tmpdir(), "muster-etcd-"));
  const count = options.members ?? 1;
  const ports: number[] = [];
  while (ports.length < count * 2) ports.push(await freePort());
  const scheme = options.tls ? "https" : "http";
  const facts = Array.from({ length: count }, (_, n) => ({
    name: `m${n}`,
    dir: join(dir, `m${n}`),
    clientUrl: `${scheme}://127.0.0.1:${ports[n * 2]}`,
    peerUrl: `http://127.0.0.1:${ports[n * 2 + 1]}`,
  }));
  const initialCluster = facts.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  const members = facts.map((fact) => ({ ...fact, args: argsOf(fact, initialCluster, options), process: undefined }));
  return new EtcdCluster(dir, members);
}

function argsOf(fact: Omit<Member, "args" | "process">, initialCluster: string, options: EtcdOptions): string[] {
  return [
    ...["--name", fact.name, "--data-dir", fact.dir],
    ...["--listen-client-urls", fact.clientUrl, "--advertise-client-urls", fact.clientUrl],
    ...["--listen-peer-urls", fact.peerUrl, "--initial-advertise-peer-urls", fact.peerUrl],
    ...["--initial-cluster", initialCluster, "--initial-cluster-token", dirname(fact.dir)],
    // Half of the defaults: elections are over sooner, and leases of one second are allowed.
    ...["--heartbeat-interval", "50", "--election-timeout", "500"],
    ...(options.quotaBytes === undefined ? [] : ["--quota-backend-bytes", `${options.quotaBytes}`]),
    ...tlsFlags(dirname(fact.dir), options.tls),
    ...(options.flags ?? []),
  ];
}

function tlsFlags(dir: string, tls: EtcdOptions["tls"]): string[] {
  if (tls === undefined || tls === false) return [];
  if (tls === true) return ["--auto-tls"];
  const file = (name: string, content: Buffer): string => {
    writeFileSync(join(dir, name), content, { mode: 0o600 });
    return join(dir, name);
  };
  return [
    ...["--cert-file", file("server.crt", tls.cert), "--key-file", file("server.key", tls.key)],
    ...(tls.trustedCa === undefined ? [] : ["--client-cert-auth", "--trusted-ca-file", file("clients.crt", tls.trustedCa)]),
  ];
}

function isHealthy(clientUrl: string): Promise<boolean> {
  if (clientUrl.startsWith("https:")) return accepts(Number(new URL(clientUrl).port));
  return new Promise((resolve) => {
    const get = request(`${clientUrl}/health`, { timeout: 1_000 }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve(body.includes('"true"')));
    });
    get.on("timeout", () => get.destroy());
    get.on("error", () => resolve(false));
    get.end();
  });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
