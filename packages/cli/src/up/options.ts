// The flags of `up`, read strictly into one record. Pure.
import { UsageError } from "../exit.js";
import { parseCount, parseDurationMs, parseRegistry, parseSizeMb } from "../flags.js";

/** The flags that name a store, as `up` and `restore` have them. */
export interface StoreFlags {
  readonly store?: string;
  readonly etcd?: string;
  readonly etcdCa?: string;
  readonly etcdCert?: string;
  readonly etcdKey?: string;
  readonly etcdUser?: string;
  readonly etcdPasswordFile?: string;
  readonly etcdQuota?: string;
}

/** As commander hands them over. */
export interface UpFlags extends StoreFlags {
  readonly cells?: string;
  readonly zones?: string;
  readonly bbs?: string;
  readonly auctioneers?: string;
  readonly convergers?: string;
  readonly runtime?: string;
  readonly cellMemory?: string;
  readonly cellDisk?: string;
  readonly cellContainers?: string;
  readonly insecureRegistry?: readonly string[];
  readonly registryCa?: readonly string[];
  readonly presenceTtl?: string;
  readonly convergeInterval?: string;
  readonly portOffset?: string;
  readonly demo?: boolean;
  readonly fresh?: boolean;
}

export type StoreOptions =
  | { readonly driver: "lmdb" }
  | {
      readonly driver: "etcd";
      readonly endpoints: readonly string[];
      readonly ca: string | undefined;
      readonly cert: string | undefined;
      readonly key: string | undefined;
      readonly user: string | undefined;
      readonly passwordFile: string | undefined;
      /** What etcd's servers allow; `undefined`: their own default. */
      readonly quotaMb: number | undefined;
    };

export interface UpOptions {
  readonly cells: number;
  readonly zones: number;
  readonly store: StoreOptions;
  readonly bbs: number;
  readonly auctioneers: number;
  readonly convergers: number;
  readonly runtime: "runc" | "simulated";
  /** `undefined`: the machine's, divided. */
  readonly cellMemoryMb: number | undefined;
  readonly cellDiskMb: number | undefined;
  readonly cellContainers: number;
  readonly insecureRegistries: readonly string[];
  readonly registryCaFiles: readonly string[];
  readonly presenceTtlMs: number;
  readonly convergeIntervalMs: number;
  readonly portOffset: number;
  readonly demo: boolean;
  readonly fresh: boolean;
}

/** A process each; a thousand simulated cells are another program's business (test/simulation). */
export const maxCells = 100;
/** A /24 per cell, less network, bridge and broadcast, with room to spare as Diego's cells have it. */
const defaultContainers = 249;
const maxStandbys = 5;

/** @throws UsageError naming the flag. */
export function parseUpOptions(flags: UpFlags): UpOptions {
  const store = parseStoreOptions(flags);
  const cells = parseCount(flags.cells ?? "2", "--cells", { min: 1, max: maxCells });
  const bbs = parseCount(flags.bbs ?? "1", "--bbs", { min: 1, max: maxStandbys });
  if (bbs > 1 && store.driver === "lmdb") {
    throw new UsageError("--bbs: the embedded store has one user", "give standbys an etcd cluster: --store etcd --etcd URL,…");
  }
  const runtime = flags.runtime ?? "runc";
  if (runtime !== "runc" && runtime !== "simulated")
    throw new UsageError(`--runtime: "${runtime}" is neither runc nor simulated`);
  const demo = flags.demo ?? false;
  return {
    cells,
    zones: parseCount(flags.zones ?? "1", "--zones", { min: 1, max: cells }),
    store,
    bbs,
    auctioneers: parseCount(flags.auctioneers ?? "1", "--auctioneers", { min: 1, max: maxStandbys }),
    convergers: parseCount(flags.convergers ?? "1", "--convergers", { min: 1, max: maxStandbys }),
    runtime,
    cellMemoryMb: flags.cellMemory === undefined ? undefined : parseSizeMb(flags.cellMemory, "--cell-memory"),
    cellDiskMb: flags.cellDisk === undefined ? undefined : parseSizeMb(flags.cellDisk, "--cell-disk"),
    cellContainers: parseCount(flags.cellContainers ?? String(defaultContainers), "--cell-containers", {
      min: 1,
      max: runtime === "runc" ? defaultContainers : 10_000,
    }),
    insecureRegistries: (flags.insecureRegistry ?? []).map((text) => parseRegistry(text, "--insecure-registry")),
    registryCaFiles: flags.registryCa ?? [],
    presenceTtlMs: parseDurationMs(flags.presenceTtl ?? "5s", "--presence-ttl", { minMs: 1_000, maxMs: 300_000 }),
    convergeIntervalMs: parseDurationMs(flags.convergeInterval ?? "30s", "--converge-interval", {
      minMs: 1_000,
      maxMs: 3_600_000,
    }),
    portOffset: parseCount(flags.portOffset ?? "0", "--port-offset", { min: 0, max: 40_000 }),
    demo,
    fresh: flags.fresh ?? false,
  };
}

/** @throws UsageError naming the flag. */
export function parseStoreOptions(flags: StoreFlags): StoreOptions {
  const driver = flags.store ?? (flags.etcd === undefined ? "lmdb" : "etcd");
  const { etcdCa: ca, etcdCert: cert, etcdKey: key, etcdUser: user, etcdPasswordFile: passwordFile, etcdQuota } = flags;
  if (driver === "lmdb") {
    if ((flags.etcd ?? ca ?? cert ?? key ?? user ?? passwordFile ?? etcdQuota) !== undefined)
      throw new UsageError("--etcd…: the store is lmdb", "say --store etcd too");
    return { driver };
  }
  if (driver !== "etcd") throw new UsageError(`--store: "${driver}" is neither lmdb nor etcd`);
  const endpoints = (flags.etcd ?? "").split(",").filter((url) => url !== "");
  if (endpoints.length === 0) throw new UsageError("--store etcd needs --etcd URL,…", "as in: --etcd http://127.0.0.1:2379");
  const odd = endpoints.find((url) => !/^https?:\/\/[^/\s]+:[0-9]{1,5}$/.test(url));
  if (odd !== undefined) throw new UsageError(`--etcd: "${odd}" is not http://HOST:PORT or https://HOST:PORT`);
  if ((user === undefined) !== (passwordFile === undefined))
    throw new UsageError(
      "--etcd-user and --etcd-password-file go together",
      "write the password into a file that only you can read",
    );
  const quotaMb = etcdQuota === undefined ? undefined : parseSizeMb(etcdQuota, "--etcd-quota");
  return { driver, endpoints, ca, cert, key, user, passwordFile, quotaMb };
}
