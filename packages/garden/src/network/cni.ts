// CNI plugins, driven through their exec protocol: CNI_* in the environment, configuration on stdin, result or error as JSON on stdout.
import { GardenError } from "../garden.js";
import { type Exec, lastWords, ToolError, toolPath } from "../tools/exec.js";
import type { NetworkNames, Subnet } from "./plan.js";

export interface CniOptions {
  readonly exec: Exec;
  /** Where the plugins are: Debian's /usr/lib/cni, upstream's /opt/cni/bin. */
  readonly pluginDir: string;
  readonly names: NetworkNames;
  readonly subnet: Subnet;
  /** Where host-local writes down who has which address. */
  readonly ipamDir: string;
  /** Whether what passes within the bridge is shown to iptables (the kernel's br_netfilter). */
  readonly bridgeIsFiltered: boolean;
}

/** Plugins answer in tens of milliseconds; one that hangs must not hold a create for long. */
const timeoutMs = 20_000;

/** The bridge plugin's configuration. Masquerading is ours (firewall.ts): the plugin's own costs four iptables calls per container. */
export const bridgeConfig = (names: NetworkNames, subnet: Subnet, ipamDir: string) => ({
  cniVersion: "1.0.0",
  name: names.network,
  type: "bridge",
  bridge: names.bridge,
  isGateway: true,
  ipMasq: false,
  hairpinMode: true,
  ipam: {
    type: "host-local",
    dataDir: ipamDir,
    ranges: [[{ subnet: subnet.cidr, gateway: subnet.gateway }]],
    routes: [{ dst: "0.0.0.0/0" }],
  },
});

async function callBridge(
  options: CniOptions,
  command: "ADD" | "DEL",
  containerId: string,
  netns: string,
  signal?: AbortSignal,
): Promise<string> {
  const { stdout } = await options.exec(`${options.pluginDir}/bridge`, [], {
    timeoutMs,
    signal,
    input: JSON.stringify(bridgeConfig(options.names, options.subnet, options.ipamDir)),
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerId,
      CNI_NETNS: netns,
      CNI_IFNAME: "eth0",
      CNI_PATH: options.pluginDir,
      PATH: toolPath(),
    },
  });
  return stdout.toString("utf8");
}

interface BridgeResult {
  readonly ips?: readonly { readonly address?: string }[];
  readonly interfaces?: readonly { readonly name?: string; readonly sandbox?: string }[];
}

/** Connects a network namespace to the cell's bridge. @returns the container's IPv4 address. @throws GardenError tool-failed */
export async function connect(options: CniOptions, containerId: string, netns: string, signal: AbortSignal): Promise<string> {
  try {
    const result = JSON.parse(await callBridge(options, "ADD", containerId, netns, signal)) as BridgeResult;
    const address = result.ips?.[0]?.address?.split("/")[0];
    if (address === undefined) throw new GardenError("tool-failed", "the bridge plugin gave the container no address");
    if (!options.bridgeIsFiltered) await isolate(options, result, signal);
    return address;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof GardenError) throw error;
    throw new GardenError("tool-failed", `the container could not be connected to the network (${cniWords(error)})`, error);
  }
}

/**
 * Neighbours share a bridge and must not hear each other: what one sends goes to the gateway alone, where the rules are. Not done where
 * the kernel shows the rules what passes within a bridge, since a neighbour's mapped port would then be cut off too.
 */
async function isolate(options: CniOptions, result: BridgeResult, signal: AbortSignal): Promise<void> {
  const veth = result.interfaces?.find(({ name, sandbox }) => !sandbox && name !== options.names.bridge)?.name;
  if (veth === undefined) throw new GardenError("tool-failed", "the bridge plugin made no link for the container");
  await options.exec("ip", ["link", "set", "dev", veth, "type", "bridge_slave", "isolated", "on"], { timeoutMs, signal });
}

/** Undoes `connect`, also when it was only half done; gives the address back. */
export async function disconnect(options: CniOptions, containerId: string, netns: string): Promise<void> {
  await callBridge(options, "DEL", containerId, netns);
}

function cniWords(error: unknown): string {
  if (error instanceof ToolError) {
    try {
      const said = JSON.parse(error.stdout) as { msg?: string; details?: string };
      if (typeof said.msg === "string") return [said.msg, said.details].filter(Boolean).join(": ");
    } catch {
      // It said something else than the protocol asks for: its last line will do.
    }
  }
  return lastWords(error);
}
