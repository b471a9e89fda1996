// Which processes a platform is made of, and the settings file of each. Pure: folders, ports and certificates are given.
import path from "node:path";
import type { TlsFiles } from "@muster/shared/config";
import type { ServiceRecord } from "../services-file.js";
import type { CellCapacity } from "./capacity.js";
import type { InstanceTrust } from "./certificates.js";
import type { SealingKeys } from "./home.js";
import type { StoreOptions, UpOptions } from "./options.js";
import type { PortPlan } from "./ports.js";

export interface ServicePlan {
  readonly name: string;
  readonly role: "bbs" | "auctioneer" | "converger" | "rep";
  readonly address: string;
  readonly metricsAddress: string;
  readonly config: Readonly<Record<string, unknown>>;
}

export interface PlanInput {
  readonly options: UpOptions;
  readonly ports: PortPlan;
  readonly home: { readonly dir: string; readonly bbsData: string };
  readonly filesOf: (role: string) => TlsFiles;
  readonly instanceTrust: InstanceTrust;
  readonly keys: SealingKeys;
  readonly capacity: CellCapacity;
  readonly insecureRegistries: readonly string[];
}

const loopback = (port: number): string => `127.0.0.1:${port}`;
const times = <Item>(count: number, make: (n: number) => Item): Item[] => Array.from({ length: count }, (_, n) => make(n));

export const cellNames = (cells: number): string[] => times(cells, (n) => `cell-${n + 1}`);

/** Every role and cell that needs a certificate. */
export const rolesOf = (cells: number): string[] => [
  ...["bbs", "auctioneer", "converger", "operator", "controller"],
  ...cellNames(cells).map((name) => `cell:${name}`),
];

/** Cells take the zones in turn: `cell-1` is in `z1`, `cell-2` in `z2`, and so on round. */
export const zoneOf = (cell: number, zones: number): string => `z${(cell % zones) + 1}`;

/** All processes in the order they are started; they are stopped in the opposite one. */
export function planServices(input: PlanInput): readonly ServicePlan[] {
  const { options } = input;
  return [
    ...times(options.bbs, (n) => planBbs(input, n)),
    ...times(options.auctioneers, (n) => planAuctioneer(input, n)),
    ...times(options.convergers, (n) => planConverger(input, n)),
    ...times(options.cells, (n) => planRep(input, n)),
  ];
}

export const bbsAddresses = ({ options, ports }: PlanInput): string[] => times(options.bbs, (n) => loopback(ports.bbs(n).grpc));
export const bbsHttpAddresses = ({ options, ports }: PlanInput): string[] =>
  times(options.bbs, (n) => loopback(ports.bbs(n).http));

function planBbs(input: PlanInput, n: number): ServicePlan {
  const ports = input.ports.bbs(n);
  const { options, home, keys, filesOf } = input;
  const name = `bbs-${n + 1}`;
  return {
    name,
    role: "bbs",
    address: loopback(ports.grpc),
    metricsAddress: loopback(ports.metrics),
    config: {
      name,
      tls: filesOf("bbs"),
      metrics_address: loopback(ports.metrics),
      grpc_address: loopback(ports.grpc),
      http_address: loopback(ports.http),
      store: storeConfig(options.store, home.bbsData),
      presence_ttl_ms: options.presenceTtlMs,
      ...keys,
    },
  };
}

/** The `store` settings of a BBS. */
export function storeConfig(store: StoreOptions, bbsData: string): Readonly<Record<string, unknown>> {
  if (store.driver === "lmdb") return { driver: "lmdb", path: bbsData };
  const file = (name: string, value: string | undefined) => (value === undefined ? {} : { [name]: path.resolve(value) });
  return {
    driver: "etcd",
    endpoints: store.endpoints,
    ...file("ca_file", store.ca),
    ...file("cert_file", store.cert),
    ...file("key_file", store.key),
    ...(store.user === undefined ? {} : { username: store.user }),
    ...file("password_file", store.passwordFile),
    ...(store.quotaMb === undefined ? {} : { quota_mb: store.quotaMb }),
  };
}

function planAuctioneer(input: PlanInput, n: number): ServicePlan {
  const ports = input.ports.auctioneer(n);
  const name = `auctioneer-${n + 1}`;
  return {
    name,
    role: "auctioneer",
    address: loopback(ports.grpc),
    metricsAddress: loopback(ports.metrics),
    config: {
      name,
      tls: input.filesOf("auctioneer"),
      metrics_address: loopback(ports.metrics),
      bbs_addresses: bbsAddresses(input),
      grpc_address: loopback(ports.grpc),
    },
  };
}

function planConverger(input: PlanInput, n: number): ServicePlan {
  const ports = input.ports.converger(n);
  const name = `converger-${n + 1}`;
  return {
    name,
    role: "converger",
    address: "",
    metricsAddress: loopback(ports.metrics),
    config: {
      name,
      tls: input.filesOf("converger"),
      metrics_address: loopback(ports.metrics),
      bbs_addresses: bbsAddresses(input),
      converge_interval_ms: input.options.convergeIntervalMs,
    },
  };
}

function planRep(input: PlanInput, n: number): ServicePlan {
  const { options, home, capacity } = input;
  const ports = input.ports.rep(n);
  const hostPorts = input.ports.hostPorts(n);
  const name = `cell-${n + 1}`;
  return {
    name,
    role: "rep",
    address: loopback(ports.grpc),
    metricsAddress: loopback(ports.metrics),
    config: {
      name,
      tls: input.filesOf(`cell:${name}`),
      metrics_address: loopback(ports.metrics),
      bbs_addresses: bbsAddresses(input),
      listen_address: loopback(ports.grpc),
      cell_id: name,
      cell_index: n,
      zone: zoneOf(n, options.zones),
      presence_ttl_ms: options.presenceTtlMs,
      runtime: options.runtime,
      home: home.dir,
      host_address: "127.0.0.1",
      host_port_first: hostPorts.first,
      host_port_last: hostPorts.last,
      memory_mb: options.cellMemoryMb ?? capacity.memoryMb,
      disk_mb: options.cellDiskMb ?? capacity.diskMb,
      containers: options.cellContainers,
      insecure_registries: input.insecureRegistries,
      instance_identity: input.instanceTrust.authority,
      trusted_system_certificates_dir: input.instanceTrust.trustedDir,
      registry_ca_files: options.registryCaFiles.map((file) => path.resolve(file)),
    },
  };
}

export const recordOf = (plan: ServicePlan, pid: number | undefined): ServiceRecord => ({
  name: plan.name,
  role: plan.role,
  pid: pid ?? 0,
  address: plan.address,
  metrics_address: plan.metricsAddress,
});
