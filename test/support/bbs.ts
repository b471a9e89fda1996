// A BBS for tests: in this process on any store, or as the real program that can be killed; and clients in every role, over real
// gRPC and mutual TLS. Certificates are made once a process, since each costs an RSA key.
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
import { dial, serveGrpc } from "@muster/shared/rpc";
import { type Authority, createAuthority, issueCertificate, type TlsMaterial } from "@muster/shared/tls";
import type { Head, Leadership, StoreDriver } from "@muster/store";
import { openEtcdStore } from "@muster/store/etcd";
import { openLmdbStore } from "@muster/store/lmdb";
import { type MemoryFaults, memoryStore, openMemoryStore } from "@muster/store/memory";
import type { EtcdCluster } from "./etcd.js";
import { freePort } from "./ports.js";
import { ServiceProcess, type SpawnedService, spawnService, tlsFilesIn } from "./service.js";

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

/** For a whole fleet: a key that takes a thousandth of an RSA key's time. */
export const quickTlsOf = (commonName: string): Promise<TlsMaterial> => issue(commonName, trustedAuthority, "ec");

async function issue(commonName: string, authorityName: string, keyType: "rsa" | "ec" = "rsa"): Promise<TlsMaterial> {
  const options = { nowMs: wallMs(), keyType };
  const { certificatePem, keyPem } = await issueCertificate(await authority(authorityName), commonName, options);
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

/** The settings `tls` of a service: its certificate in files of this folder. */
export const tlsSettings = async (dir: string, commonName: string): Promise<Record<string, string>> =>
  tlsFilesIn(dir, await tlsOf(commonName));

export type BbsState = "standby" | "migrating" | "loading" | "active";

export class BbsProcess extends ServiceProcess<BbsState> {
  readonly address: string;

  constructor(spawned: SpawnedService, address: string) {
    super(spawned);
    this.address = address;
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
  const port = options.port ?? (await freePort());
  const address = `127.0.0.1:${port}`;
  const { keys, activeLabel } = options.keys ?? sealingKeys;
  const settings = {
    name: `bbs-${port}`,
    grpc_address: address,
    store: home.settings,
    leadership_ttl_ms: options.leadershipTtlMs ?? 3_000,
    presence_ttl_ms: options.presenceTtlMs ?? 30_000,
    encryption_keys: Object.fromEntries(keys.map(({ label, passphrase }) => [label, passphrase])),
    active_key_label: activeLabel,
    ...options.settings,
  };
  const { nodeArgs } = options;
  return new BbsProcess(await spawnService("bbs", { settings, nodeArgs, tls: await tlsOf("bbs") }), address);
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
