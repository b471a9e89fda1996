// The network of one cell: bridge, addresses, host ports and their rules, kept together so that a container gets and loses all at once.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { EgressRule, MappedPort, PortRequest } from "../garden.js";
import { type Exec, lastWords } from "../tools/exec.js";
import { isMissing } from "../tools/files.js";
import { lockFile } from "../tools/lock.js";
import { type CniOptions, connect, disconnect } from "./cni.js";
import { Firewall } from "./firewall.js";
import type { Forwarding } from "./forwarding.js";
import { makeNamespaces, netnsDir } from "./netns.js";
import { chooseSubnet, type Mapping, type NetworkNames, networkNames, type Subnet } from "./plan.js";
import { PortPool, type PortRange } from "./ports.js";

export interface CellNetworkOptions {
  readonly clock: Clock;
  readonly exec: Exec;
  readonly home: string;
  readonly cellId: string;
  readonly hostAddress: string;
  readonly portRange: PortRange;
  readonly pluginDir: string;
  /** Of the cell, below /run. */
  readonly runDir: string;
  /** A file every garden of this machine may lock while it chooses a network. */
  readonly machineLock: string;
  readonly forwarding: Forwarding;
  readonly protectedAddresses: readonly string[];
}

export interface Attachment {
  readonly handle: string;
  /** The file its user namespace is bound to. */
  readonly userns: string;
  /** The host's id for the container's root. */
  readonly idBase: number;
  readonly ports: readonly PortRequest[];
  readonly egress: readonly EgressRule[] | undefined;
  readonly nameservers: readonly string[];
}

export interface Connection {
  readonly containerIp: string;
  readonly ports: readonly MappedPort[];
  /** Settles when the ports are open on the host and the rules in force, or rejects with a GardenError. */
  readonly opened: Promise<void>;
}

interface AddressRow {
  readonly ifname?: string;
  readonly addr_info?: readonly { readonly family?: string; readonly local?: string; readonly prefixlen?: number }[];
}

/** TCP ports that something on this machine listens on, over IPv4 or IPv6 (state 0A of /proc/net/tcp). */
export function parseListening(table: string): number[] {
  return table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((columns) => columns[3] === "0A")
    .map((columns) => Number.parseInt(columns[1]?.split(":")[1] ?? "0", 16));
}

/** A kernel without IPv6 has no such switch. */
function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

/** Has this bridge's inner traffic pass the rules, whatever the machine's other bridges do. @returns false where the kernel cannot. */
async function showBridgeToRules(bridge: string): Promise<boolean> {
  if (!existsSync("/proc/sys/net/bridge/bridge-nf-call-iptables")) return false;
  await writeFile(`/sys/class/net/${bridge}/bridge/nf_call_iptables`, "1");
  return true;
}

async function listeningPorts(): Promise<Set<number>> {
  const tables = await Promise.all(["/proc/net/tcp", "/proc/net/tcp6"].map((file) => readFile(file, "utf8").catch(() => "")));
  return new Set(tables.flatMap(parseListening));
}

export class CellNetwork {
  readonly names: NetworkNames;
  readonly #options: CellNetworkOptions;
  readonly #ports: PortPool;
  #cni: CniOptions | undefined;
  #firewall: Firewall | undefined;

  constructor(options: CellNetworkOptions) {
    this.#options = options;
    this.names = networkNames(options.home, options.cellId);
    this.#ports = new PortPool(options.portRange);
  }

  netnsFile(handle: string): string {
    return join(netnsDir, `${this.names.netnsPrefix}${handle}`);
  }

  /** Makes the bridge, or takes up the one that is there, and finds out which subnet it has. @throws OperatorError */
  async open(): Promise<void> {
    const { clock, exec, machineLock, runDir, hostAddress, protectedAddresses } = this.#options;
    await using _lock = await lockFile(clock, machineLock, 60_000);
    const subnet = await this.#subnet();
    const { bridge } = this.names;
    await exec("ip", ["link", "add", bridge, "type", "bridge"]).catch(() => undefined);
    await exec("ip", ["address", "replace", subnet.gatewayCidr, "dev", bridge]);
    await exec("ip", ["link", "set", bridge, "up"]);
    await writeFile(`/proc/sys/net/ipv4/conf/${bridge}/route_localnet`, "1");
    // Containers have IPv4 addresses alone; over the link's own IPv6 address they would reach this machine past all rules.
    await writeFile(`/proc/sys/net/ipv6/conf/${bridge}/disable_ipv6`, "1").catch(ignoreMissing);
    await this.#options.forwarding.allow();
    const ipamDir = join(runDir, "ipam");
    await mkdir(ipamDir, { recursive: true, mode: 0o700 });
    const bridgeIsFiltered = await showBridgeToRules(bridge);
    this.#cni = { exec, pluginDir: this.#options.pluginDir, names: this.names, subnet, ipamDir, bridgeIsFiltered };
    this.#firewall = new Firewall({ exec, names: this.names, subnet, hostAddress, protectedAddresses });
  }

  /** Takes up the containers of an earlier rep: their ports, rules and addresses; every other address is given back. */
  async adopt(mappings: readonly Mapping[]): Promise<void> {
    for (const mapping of mappings) this.#ports.adopt(mapping.handle, mapping.ports);
    await this.#opened().firewall.reset(mappings);
    await this.#freeAddresses(new Set(mappings.map((mapping) => mapping.handle)));
  }

  /**
   * Makes a container's namespaces, connects them, and begins to open its ports. On failure `detach` takes away what was made.
   * @throws GardenError port-exhausted, tool-failed
   */
  async attach(wanted: Attachment, signal: AbortSignal): Promise<Connection> {
    const { clock, exec } = this.#options;
    const { cni, firewall } = this.#opened();
    const { handle, userns, idBase, egress, nameservers } = wanted;
    // The kernel takes its time to say who listens, so it is asked meanwhile.
    const listening = wanted.ports.length === 0 ? new Set<number>() : listeningPorts();
    const files = { netns: this.netnsFile(handle), userns };
    const containerIp = await makeNamespaces(clock, exec, files, idBase, (netns) => connect(cni, handle, netns, signal), signal);
    const busy = await listening;
    const containerPorts = wanted.ports.map((request) => request.containerPort);
    const ports = this.#ports.take(handle, containerPorts, (port) => busy.has(port));
    const opened = firewall.open({ handle, containerIp, ports, egress, nameservers });
    // Whoever runs the container waits for it; until then nobody may be listening.
    opened.catch(() => {});
    return { containerIp, ports, opened };
  }

  /** Undoes `attach`. `netns` is empty when the namespace is gone. Idempotent. */
  async detach(handle: string, netns: string): Promise<void> {
    const { cni, firewall } = this.#opened();
    const parts = await Promise.allSettled([firewall.close(handle), disconnect(cni, handle, netns)]);
    for (const part of parts) if (part.status === "rejected") throw part.reason;
    this.#ports.giveBack(handle);
  }

  /** Takes the whole network of the cell away. */
  async remove(): Promise<void> {
    const { exec } = this.#options;
    await this.#firewall?.remove();
    await exec("ip", ["link", "delete", this.names.bridge]).catch(async (error: unknown) => {
      if ((await this.#addresses()).some((row) => row.ifname === this.names.bridge)) throw error;
    });
  }

  #opened(): { cni: CniOptions; firewall: Firewall } {
    if (this.#cni === undefined || this.#firewall === undefined) throw new Error("the cell's network was not opened");
    return { cni: this.#cni, firewall: this.#firewall };
  }

  async #addresses(): Promise<AddressRow[]> {
    return JSON.parse((await this.#options.exec("ip", ["-json", "address", "show"])).stdout.toString("utf8")) as AddressRow[];
  }

  /** The subnet the bridge has already, or else the first free one. */
  async #subnet(): Promise<Subnet> {
    const used = (row: AddressRow): string[] =>
      (row.addr_info ?? []).filter((info) => info.family === "inet").map((info) => `${info.local}/${info.prefixlen}`);
    const rows = await this.#addresses();
    const own = rows.find((row) => row.ifname === this.names.bridge);
    const address = own === undefined ? undefined : used(own).find((cidr) => cidr.endsWith(".1/24"));
    if (address !== undefined) {
      const gateway = address.slice(0, -"/24".length);
      return { cidr: `${gateway.slice(0, -2)}.0/24`, gateway, gatewayCidr: address };
    }
    const routes = await this.#routes();
    const subnet = chooseSubnet(this.names.key, [...rows.flatMap(used), ...routes]);
    if (subnet === undefined)
      throw new OperatorError("no free network is left", "every /24 of 10.192.0.0/10 is in use on this machine; free one");
    return subnet;
  }

  async #routes(): Promise<string[]> {
    const { stdout } = await this.#options.exec("ip", ["-json", "-4", "route", "show", "table", "all"]);
    const rows = JSON.parse(stdout.toString("utf8")) as { dst?: string }[];
    return rows.map((row) => row.dst ?? "default").filter((dst) => /^[0-9]/.test(dst) && !dst.startsWith("0.0.0.0"));
  }

  /** host-local remembers an address in a file that holds its container's id; those of containers that are gone are given back. */
  async #freeAddresses(known: ReadonlySet<string>): Promise<void> {
    const folder = join(this.#options.runDir, "ipam", this.names.network);
    for (const name of await readdir(folder).catch((): string[] => [])) {
      if (!/^[0-9.]+$/.test(name)) continue;
      const owner = (await readFile(join(folder, name), "utf8").catch(() => "")).split(/\s/)[0] ?? "";
      if (!known.has(owner)) await rm(join(folder, name), { force: true });
    }
  }
}

/** For people: what kept the network from being made. */
export const networkFault = (error: unknown): OperatorError =>
  error instanceof OperatorError
    ? error
    : new OperatorError(
        `the cell's network could not be made (${lastWords(error)})`,
        "check that this is root with iptables and iproute2, and no other tool removes bridges",
        error,
      );
