// A BBS for tests: in this process on any store, or as the real program that can be killed; and clients in every role, over real
// gRPC and mutual TLS. Certificates are made once a process, since each costs an RSA key.
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  ActiveBbs,
  Calls,
  createSealer,
  type Lifecycle,
  registerServices,
  type Schema,
  type SealerOptions,
  serveHttp,
  whenSent,
} from "@muster/bbs";
import { LocketClient } from "@muster/proto/models/locket";
import { BackupServiceClient } from "@muster/proto/muster/v1/backup";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { FeatureFlagServiceClient } from "@muster/proto/muster/v1/feature_flags";
import { RepairServiceClient } from "@muster/proto/muster/v1/repair";
import { ReportServiceClient } from "@muster/proto/muster/v1/report";
import { WatchServiceClient } from "@muster/proto/muster/v1/watch";
import { type Clock, systemClock, systemEntropy } from "@muster/shared/clock";
import type { BbsError } from "@muster/shared/errors";
import { type Log, silentLog } from "@muster/shared/log";
import type { Health } from "@muster/shared/metrics";
import { dial, serveGrpc } from "@muster/shared/rpc";
import { type Authority, createAuthority, issueCertificate, type TlsMaterial } from "@muster/shared/tls";
import type { Head, Leadership, StoreDriver } from "@muster/store";
import { openEtcdStore } from "@muster/store/etcd";
import { openLmdbStore } from "@muster/store/lmdb";
import { type MemoryFaults, memoryStore, openMemoryStore } from "@muster/store/memory";
import type { EtcdCluster } from "./etcd.js";
import { freePort } from "./ports.js";
import { repoRoot } from "./repo.js";

// --- certificates

const trustedAuthority = "Muster test";
const wallMs = (): number => systemClock.nowMs();
const authorities = new Map<string, Promise<Authority>>();
const issued = new Map<string, Promise<TlsMaterial>>();

const authority = (name: string): Promise<Authority> => {
  const made = authorities.get(name) ?? createAuthority(name, wallMs());
  authorities.set(name, made);
  return made;
};

/** The certificate of an authority by its name; every BBS here trusts `Muster test` alone. */
export const caOf = async (authorityName: string): Promise<Buffer> =>
  Buffer.from((await authority(authorityName)).certificatePem);

/** A certificate for this common name, by the authority that every BBS here trusts, or by another one. */
export function tlsOf(commonName: string, authorityName = trustedAuthority): Promise<TlsMaterial> {
  const name = `${authorityName}/${commonName}`;
  const made = issued.get(name) ?? issue(commonName, authorityName);
  issued.set(name, made);
  return made;
}

async function issue(commonName: string, authorityName: string): Promise<TlsMaterial> {
  const { certificatePem, keyPem } = await issueCertificate(await authority(authorityName), commonName, { nowMs: wallMs() });
  return { ca: await caOf(trustedAuthority), cert: Buffer.from(certificatePem), key: Buffer.from(keyPem) };
}

// --- where the records are; outlives the BBS that serves them

export interface StoreHome extends AsyncDisposable {
  readonly name: "memory" | "lmdb" | "etcd";
  open(): Promise<StoreDriver>;
  /** The store settings of a real BBS; `undefined` where only this process can reach the records. */
  readonly settings: object | undefined;
  /** The store stops answering, until it is let go on. */
  readonly faults: { hang(): void; goOn(): void };
}

export async function memoryHome(): Promise<StoreHome> {
  const world = memoryStore(systemClock);
  const faults: MemoryFaults = {};
  return {
    name: "memory",
    open: () => openMemoryStore(world, { faults }),
    settings: undefined,
    faults: {
      hang: () => {
        faults.cutOff = true;
      },
      goOn: () => {
        faults.cutOff = false;
      },
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

export async function lmdbHome(): Promise<StoreHome> {
  const path = await mkdtemp(join(tmpdir(), "muster-bbs-"));
  const never = (): never => {
    throw new Error("an embedded store does not hang");
  };
  return {
    name: "lmdb",
    open: () => openLmdbStore({ path, clock: systemClock }),
    settings: { driver: "lmdb", path },
    faults: { hang: never, goOn: never },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

/** A place of its own in a running etcd. Disposing of it leaves the server alone. */
export async function etcdHome(etcd: EtcdCluster): Promise<StoreHome> {
  const prefix = `/bbs/${randomUUID()}/`;
  const { endpoints } = etcd;
  return {
    name: "etcd",
    open: () => openEtcdStore({ endpoints, prefix, clock: systemClock }),
    settings: { driver: "etcd", endpoints, prefix },
    faults: { hang: () => etcd.freeze(), goOn: () => etcd.thaw() },
    [Symbol.asyncDispose]: async () => undefined,
  };
}

// --- a BBS in this process

const passphrase = "a passphrase for tests only";
/** Every BBS here seals with this key, so that one may read what another has written. */
export const sealingKeys = { keys: [{ label: "k1", passphrase }], activeLabel: "k1" };
const sealer = createSealer(sealingKeys);

export interface BbsOptions {
  /** 30 s by default: whoever tests expiry asks for less. */
  readonly presenceTtlMs?: number;
  readonly leadershipTtlMs?: number;
  /** The BBS's own clock; the store keeps the machine's. */
  readonly clock?: Clock;
  /** `sealingKeys` when absent. */
  readonly keys?: SealerOptions;
  readonly schema?: Schema;
  readonly lifecycle?: Lifecycle;
  readonly log?: Log;
}

export class InProcessBbs implements AsyncDisposable {
  readonly active: ActiveBbs;
  readonly address: string;
  /** Diego's HTTP API. */
  readonly httpAddress: string;
  /** Why the term ended, once it did. */
  readonly lost: Promise<BbsError>;
  /** Commits that wrote at least one record. */
  readonly commits: { count: number };
  readonly #end: () => Promise<void>;
  #ended: Promise<void> | undefined;

  constructor(facts: Pick<InProcessBbs, "active" | "address" | "httpAddress" | "lost" | "commits">, end: () => Promise<void>) {
    this.active = facts.active;
    this.address = facts.address;
    this.httpAddress = facts.httpAddress;
    this.lost = facts.lost;
    this.commits = facts.commits;
    this.#end = end;
  }

  get head(): Head {
    return this.active.journal.head;
  }

  /** An orderly end; the home keeps the records. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }
}

/** Opens the home's store, wins the leadership and serves on a port of its own. */
export async function startBbs(home: StoreHome, options: BbsOptions = {}): Promise<InProcessBbs> {
  const tls = await tlsOf("bbs");
  const log = options.log ?? silentLog();
  const store = await home.open();
  const leadership: Leadership = await store.campaign(
    "bbs",
    "test",
    options.leadershipTtlMs ?? 10_000,
    new AbortController().signal,
  );
  const commits = { count: 0 };
  let lose: (cause: BbsError) => void = () => undefined;
  const lost = new Promise<BbsError>((resolve) => {
    lose = resolve;
  });
  const active = await ActiveBbs.start({
    store,
    leadership,
    clock: options.clock ?? systemClock,
    entropy: systemEntropy,
    log,
    secrets: options.keys === undefined ? sealer : createSealer(options.keys),
    schema: options.schema,
    lifecycle: options.lifecycle,
    metrics: {
      committed: (writes) => {
        if (writes > 0) commits.count += 1;
      },
      resent: () => undefined,
    },
    whenSent,
    presenceTtlMs: options.presenceTtlMs ?? 30_000,
    onLost: lose,
  }).catch(async (error: unknown) => {
    // Refused: whoever starts the next one finds the store free.
    await store[Symbol.asyncDispose]();
    throw error;
  });
  const serve = { log, elapsedMs: () => systemClock.elapsedMs() };
  const server = await serveGrpc("127.0.0.1:0", tls, (grpc) => registerServices(grpc, active, serve));
  const http = await serveHttp("127.0.0.1:0", tls, new Calls(active), serve);
  const addresses = { address: `127.0.0.1:${server.port}`, httpAddress: `127.0.0.1:${http.port}` };
  return new InProcessBbs({ active, ...addresses, lost, commits }, async () => {
    await active.drain();
    await http.close();
    await server.close(100);
    await leadership.resign();
    await store[Symbol.asyncDispose]();
  });
}

// --- the real program

/** The program of a service, as it is started. @throws when it is not built */
export function serviceMain(name: "auctioneer" | "bbs" | "converger" | "rep"): string {
  const file = join(repoRoot, "services", name, "dist", "main.js");
  if (!existsSync(file)) throw new Error(`${file} is not built: run \`npx tsc -b services/${name}\` first`);
  return file;
}

/** The settings `tls` of a service: its certificate in files of this folder. */
export async function tlsSettings(dir: string, commonName: string): Promise<Record<string, string>> {
  const { ca, cert, key } = await tlsOf(commonName);
  const file = async (name: string, content: Buffer): Promise<string> => {
    await writeFile(join(dir, name), content);
    return join(dir, name);
  };
  return { ca_file: await file("ca", ca), cert_file: await file("cert", cert), key_file: await file("key", key) };
}

const leftovers = new Set<BbsProcess>();
process.once("exit", () => {
  for (const left of leftovers) left.cleanUpNow();
});

export type BbsState = "standby" | "migrating" | "loading" | "active";

export class BbsProcess implements AsyncDisposable {
  readonly address: string;
  readonly pid: number;
  /** Resolves with the exit status, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  readonly #dir: string;
  readonly #healthUrl: string;

  constructor(child: ChildProcess, dir: string, address: string, healthUrl: string) {
    this.#child = child;
    this.#dir = dir;
    this.address = address;
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

  async state(): Promise<BbsState | undefined> {
    return (await this.health())?.state as BbsState | undefined;
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
    const text = await this.metrics();
    const line = text.split("\n").find((one) => one.startsWith(`${name} `) || one.startsWith(`${name}{`));
    return Number(line?.slice(line.lastIndexOf(" ") + 1) ?? 0);
  }

  /** @throws with the end of its log when it does not come to that state in time. */
  async until(state: BbsState, withinMs = 20_000): Promise<void> {
    for (const deadline = performance.now() + withinMs; performance.now() < deadline; await sleep(20)) {
      if (!this.running) break;
      if ((await this.state()) === state) return;
    }
    throw new Error(`the bbs did not become ${state} in ${withinMs} ms:\n${this.log().slice(-3_000)}`);
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

export interface BbsProcessOptions extends BbsOptions {
  /** The gRPC port; a free one by default. A BBS that is started anew keeps the address that clients know. */
  readonly port?: number;
  /** For node itself: `--cpu-prof` and the like. */
  readonly nodeArgs?: readonly string[];
  /** More of the program's settings. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

/** Starts `services/bbs/dist/main.js` on this home; a standby while another one leads. */
export async function spawnBbs(home: StoreHome, options: BbsProcessOptions = {}): Promise<BbsProcess> {
  const mainFile = serviceMain("bbs");
  const dir = await mkdtemp(join(tmpdir(), "muster-bbs-process-"));
  const [port, metricsPort] = [options.port ?? (await freePort()), await freePort()];
  const configFile = join(dir, "config.json");
  const { keys, activeLabel } = options.keys ?? sealingKeys;
  const config = {
    name: `bbs-${port}`,
    grpc_address: `127.0.0.1:${port}`,
    metrics_address: `127.0.0.1:${metricsPort}`,
    tls: await tlsSettings(dir, "bbs"),
    store: home.settings,
    leadership_ttl_ms: options.leadershipTtlMs ?? 3_000,
    presence_ttl_ms: options.presenceTtlMs ?? 30_000,
    encryption_keys: Object.fromEntries(keys.map(({ label, passphrase }) => [label, passphrase])),
    active_key_label: activeLabel,
    ...options.settings,
  };
  await writeFile(configFile, JSON.stringify(config));
  const args = [...(options.nodeArgs ?? []), mainFile, "--config", configFile];
  const log = openSync(join(dir, "log"), "a");
  // setpriv: the kernel ends the BBS with this process, even if that is killed with -9.
  const child = spawn("setpriv", ["--pdeathsig", "KILL", process.execPath, ...args], { stdio: ["ignore", log, log] });
  await once(child, "spawn");
  closeSync(log);
  return new BbsProcess(child, dir, config.grpc_address, `http://${config.metrics_address}/health`);
}

// --- clients

export interface BbsClients extends Disposable {
  readonly backup: InstanceType<typeof BackupServiceClient>;
  readonly bbs: InstanceType<typeof BBSServiceClient>;
  readonly locket: InstanceType<typeof LocketClient>;
  readonly flags: InstanceType<typeof FeatureFlagServiceClient>;
  readonly repair: InstanceType<typeof RepairServiceClient>;
  readonly report: InstanceType<typeof ReportServiceClient>;
  readonly watch: InstanceType<typeof WatchServiceClient>;
}

/** Every client of the BBS with the certificate of this common name (`operator`, `cell:cell-1`, …). They connect when first used. */
export async function clientsOf(addresses: readonly string[], commonName: string): Promise<BbsClients> {
  return clientsWith(addresses, await tlsOf(commonName));
}

export function clientsWith(addresses: readonly string[], tls: TlsMaterial): BbsClients {
  const clients = {
    backup: dial(BackupServiceClient, addresses, tls),
    bbs: dial(BBSServiceClient, addresses, tls),
    locket: dial(LocketClient, addresses, tls),
    flags: dial(FeatureFlagServiceClient, addresses, tls),
    repair: dial(RepairServiceClient, addresses, tls),
    report: dial(ReportServiceClient, addresses, tls),
    watch: dial(WatchServiceClient, addresses, tls),
  };
  return {
    ...clients,
    [Symbol.dispose]: () => {
      for (const client of Object.values(clients)) client.close();
    },
  };
}
