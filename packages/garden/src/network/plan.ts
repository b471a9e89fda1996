// Names, numbers and rules of one cell's network, all derived from its home and id, so that everything can be found again and removed by
// name. Pure.
import { createHash } from "node:crypto";
import type { EgressRule, MappedPort } from "../garden.js";
import { anyBridge, egressLines, refusals } from "./egress.js";

export interface NetworkNames {
  /** Eight hexadecimal digits of home and cell. */
  readonly key: string;
  /** Kernel limit: 15 characters. */
  readonly bridge: string;
  readonly network: string;
  /** Every network namespace of the cell begins with this; the handle follows. */
  readonly netnsPrefix: string;
  readonly chains: { readonly dnat: string; readonly masquerade: string; readonly forward: string; readonly input: string };
  /** Every container's own chain begins with this; the last part of its address follows. */
  readonly egressPrefix: string;
}

export const shortHash = (...parts: readonly string[]): string =>
  createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 8);

export function networkNames(home: string, cellId: string): NetworkNames {
  const key = shortHash(home, cellId);
  const chain = (end: string): string => `MUSTER-${key}-${end}`;
  return {
    key,
    bridge: `muster${key}`,
    network: `muster-${key}`,
    netnsPrefix: `muster-${key}-`,
    chains: { dnat: chain("DNAT"), masquerade: chain("MASQ"), forward: chain("FWD"), input: chain("IN") },
    egressPrefix: chain("E"),
  };
}

export interface Subnet {
  /** `10.200.7.0/24`, its gateway `10.200.7.1`, and the gateway with the length of the prefix. */
  readonly cidr: string;
  readonly gateway: string;
  readonly gatewayCidr: string;
}

/** 10.192.0.0/10 holds 16,384 networks of 256 addresses, away from what clouds and Docker use by default. */
const subnets = 16_384;

export function subnetAt(index: number): Subnet {
  const n = ((index % subnets) + subnets) % subnets;
  const prefix = `10.${192 + (n >> 8)}.${n & 255}`;
  return { cidr: `${prefix}.0/24`, gateway: `${prefix}.1`, gatewayCidr: `${prefix}.1/24` };
}

const toNumber = (address: string): number => address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);

/** Whether two IPv4 networks (`10.0.0.0/8`; a bare address is a /32) share an address. */
export function overlaps(a: string, b: string): boolean {
  const [addressA = "", lengthA = "32"] = a.split("/");
  const [addressB = "", lengthB = "32"] = b.split("/");
  const size = 2 ** (32 - Math.min(Number(lengthA), Number(lengthB)));
  return Math.floor(toNumber(addressA) / size) === Math.floor(toNumber(addressB) / size);
}

/** The first /24 from the cell's own place on that nothing on this machine uses; `undefined` when all are taken. */
export function chooseSubnet(key: string, inUse: readonly string[]): Subnet | undefined {
  const start = Number.parseInt(key, 16);
  for (let tried = 0; tried < subnets; tried += 1) {
    const subnet = subnetAt(start + tried);
    if (!inUse.some((used) => overlaps(subnet.cidr, used))) return subnet;
  }
  return undefined;
}

/** What the firewall knows of one container. */
export interface Mapping {
  readonly handle: string;
  readonly containerIp: string;
  readonly ports: readonly MappedPort[];
  readonly egress: readonly EgressRule[] | undefined;
  /** IPv4 addresses its resolv.conf names. */
  readonly nameservers: readonly string[];
}

/** The container's own chain is named after its address: no two containers of a cell have the same at a time. */
export const egressChain = (names: NetworkNames, containerIp: string): string =>
  `${names.egressPrefix}${containerIp.split(".").at(-1)}`;

/** A rule that leads from one of the kernel's own chains into one of ours. */
export interface Jump {
  readonly table: "nat" | "filter";
  readonly chain: string;
  /** What it matches; empty for everything. */
  readonly match: string;
  readonly target: string;
}

/** What must lead into our chains, for ports that answer on `hostAddress` alone. */
export function jumps(names: NetworkNames, hostAddress: string): readonly Jump[] {
  const { chains } = names;
  const toHost = hostAddress === "0.0.0.0" ? "-m addrtype --dst-type LOCAL" : `-d ${hostAddress}/32`;
  return [
    { table: "nat", chain: "PREROUTING", match: `${toHost} -p tcp `, target: chains.dnat },
    { table: "nat", chain: "OUTPUT", match: `${toHost} -p tcp `, target: chains.dnat },
    { table: "nat", chain: "POSTROUTING", match: "", target: chains.masquerade },
    { table: "filter", chain: "FORWARD", match: "", target: chains.forward },
    { table: "filter", chain: "INPUT", match: "", target: chains.input },
  ];
}

export interface FirewallPlan {
  readonly names: NetworkNames;
  readonly subnet: Subnet;
  readonly hostAddress: string;
  /** `address` or `address:port`, of the platform itself: refused to every container before its own rules are asked. */
  readonly protectedAddresses: readonly string[];
  readonly mappings: readonly Mapping[];
  /** Put first in their chains, before a policy that drops. */
  readonly missingJumps: readonly Jump[];
  /** Chains of containers whose content must be written, and those that are there and belong to nobody. */
  readonly write: ReadonlySet<string>;
  readonly remove: readonly string[];
}

/**
 * The content of our chains, for `iptables-restore --noflush`: naming a chain empties it first, so one call moves them from any state to
 * this one at once. What containers may reach stands in a chain of each, which is written only when it is new: rules may be many.
 */
export function firewallText(plan: FirewallPlan): string {
  const { names, subnet, mappings, missingJumps } = plan;
  const { bridge, chains } = names;
  const insert = (table: "nat" | "filter"): string[] =>
    missingJumps.filter((jump) => jump.table === table).map((jump) => `-I ${jump.chain} 1 ${jump.match}-j ${jump.target}`);
  const dnat = mappings.flatMap(({ handle, containerIp, ports }) =>
    ports.map(
      ({ hostPort, containerPort }) =>
        `-A ${chains.dnat} -p tcp -m tcp --dport ${hostPort} -m comment --comment ${handle} -j DNAT --to-destination ${containerIp}:${containerPort}`,
    ),
  );
  return [
    "*nat",
    `:${chains.dnat} - [0:0]`,
    `:${chains.masquerade} - [0:0]`,
    ...dnat,
    // From this machine's loopback: the container could not answer 127.0.0.1.
    `-A ${chains.masquerade} -s 127.0.0.0/8 -o ${bridge} -j MASQUERADE`,
    // A container that calls its own, or its neighbour's, mapped port.
    `-A ${chains.masquerade} -s ${subnet.cidr} -o ${bridge} -m conntrack --ctstate DNAT -j MASQUERADE`,
    `-A ${chains.masquerade} -s ${subnet.cidr} ! -o ${bridge} -j MASQUERADE`,
    ...insert("nat"),
    "COMMIT",
    "*filter",
    `:${chains.forward} - [0:0]`,
    `:${chains.input} - [0:0]`,
    ...[...plan.write].map((chain) => `:${chain} - [0:0]`),
    ...forwardLines(plan),
    ...inputLines(plan),
    ...mappings
      .filter((mapping) => plan.write.has(egressChain(names, mapping.containerIp)))
      .flatMap((mapping) => ownLines(plan, mapping)),
    ...insert("filter"),
    ...plan.remove.flatMap((chain) => [`-F ${chain}`, `-X ${chain}`]),
    "COMMIT",
    "",
  ].join("\n");
}

const ownLines = ({ names, hostAddress }: FirewallPlan, { handle, containerIp, egress, nameservers }: Mapping) =>
  egressLines(egressChain(names, containerIp), { handle, rules: egress, nameservers, hostAddress });

/** From and to containers: answers, then each container's own chain; a source that is no container's gets nowhere. */
function forwardLines({ names, mappings, protectedAddresses }: FirewallPlan): string[] {
  const { bridge, chains } = names;
  const add = `-A ${chains.forward}`;
  const guarded = protectedAddresses.flatMap((text) => {
    const [address, port] = text.split(":");
    const match = `${add} -i ${bridge} -d ${address}`;
    return port === undefined ? refusals(match) : [`${match} -p tcp -m tcp --dport ${port} -j REJECT --reject-with tcp-reset`];
  });
  return [
    `${add} -i ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    ...guarded,
    ...mappings.map(
      ({ handle, containerIp }) =>
        `${add} -s ${containerIp}/32 -i ${bridge} -m comment --comment ${handle} -j ${egressChain(names, containerIp)}`,
    ),
    ...refusals(`${add} -i ${bridge}`),
    `${add} -o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    // What comes from another cell's container is for that container's chain to judge.
    `${add} ! -i ${anyBridge} -o ${bridge} -m conntrack --ctstate DNAT -j ACCEPT`,
    ...refusals(`${add} ! -i ${anyBridge} -o ${bridge}`),
  ];
}

/** To this machine itself: answers, and its name server if it is one. */
function inputLines({ names, mappings }: FirewallPlan): string[] {
  const { bridge, chains } = names;
  const add = `-A ${chains.input} -i ${bridge}`;
  const servers = [...new Set(mappings.flatMap((mapping) => mapping.nameservers))].sort();
  return [
    `${add} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    // route_localnet would let a container reach what listens on this machine's 127.0.0.1 (CVE-2020-8558).
    `${add} -d 127.0.0.0/8 -j DROP`,
    ...servers.flatMap((server) =>
      ["udp", "tcp"].map((protocol) => `${add} -d ${server}/32 -p ${protocol} -m ${protocol} --dport 53 -j ACCEPT`),
    ),
    ...refusals(add),
  ];
}

/** Takes out the jumps that are there and our chains, for `iptables-restore --noflush`. `saved` is the output of iptables-save. */
export function removalText(names: NetworkNames, saved: string): string {
  const chains = Object.values(names.chains);
  const lines: string[] = [];
  for (const [table, rows] of savedTables(saved)) {
    const shared = chains.filter((chain) => rows.some((row) => row.startsWith(`:${chain} `)));
    const ours = [...shared, ...(table === "filter" ? egressChains(names, saved) : [])];
    if (ours.length === 0) continue;
    const isOwn = (row: string): boolean => ours.some((chain) => row.startsWith(`-A ${chain} `));
    const jumpRows = rows.filter(
      (row) => row.startsWith("-A ") && !isOwn(row) && chains.some((chain) => row.endsWith(`-j ${chain}`)),
    );
    lines.push(`*${table}`, ...jumpRows.map((row) => row.replace(/^-A /, "-D ")));
    lines.push(...ours.map((chain) => `-F ${chain}`), ...ours.map((chain) => `-X ${chain}`), "COMMIT");
  }
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

/** The rows of each table in iptables-save's output. */
export function savedTables(saved: string): Map<string, string[]> {
  const tables = new Map<string, string[]>();
  let rows: string[] = [];
  for (const line of saved.split("\n")) {
    if (line.startsWith("*")) {
      rows = [];
      tables.set(line.slice(1), rows);
    } else if (!line.startsWith("#")) rows.push(line);
  }
  return tables;
}

/** The chains of containers that are there. */
export const egressChains = (names: NetworkNames, saved: string): readonly string[] =>
  (savedTables(saved).get("filter") ?? [])
    .filter((row) => row.startsWith(`:${names.egressPrefix}`))
    .map((row) => row.slice(1, row.indexOf(" ")));

/** Whether a jump into `target` stands in `chain`; what it matches before that is ours alone. */
export const hasJump = (saved: ReadonlyMap<string, readonly string[]>, table: string, chain: string, target: string): boolean =>
  (saved.get(table) ?? []).some((row) => row.startsWith(`-A ${chain} `) && row.endsWith(`-j ${target}`));
