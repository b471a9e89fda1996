// The environment of a container and of its processes, layer above layer (cell.md section 9; the image's own lies below them all).
import type { ActualLRPKey, ActualLRPNetInfo, InstanceGuid } from "@muster/shared/model";

export interface Variable {
  readonly name: string;
  readonly value: string;
}

/** Joins layers, the later winning, into `NAME=value` in order of first appearance. */
export function mergeEnvironment(...layers: readonly (readonly Variable[])[]): string[] {
  const merged = new Map<string, string>();
  for (const layer of layers) for (const { name, value } of layer) merged.set(name, value);
  return [...merged].map(([name, value]) => `${name}=${value}`);
}

/** The container's layer: who the instance is, then what the DesiredLRP says, then what the cell lends. */
export function containerEnvironment(
  key: ActualLRPKey,
  instanceGuid: InstanceGuid,
  desired: readonly Variable[],
  lent: readonly Variable[] = [],
): string[] {
  const index = String(key.index);
  const identity: readonly Variable[] = [
    { name: "INSTANCE_GUID", value: instanceGuid },
    { name: "INSTANCE_INDEX", value: index },
    { name: "CF_INSTANCE_GUID", value: instanceGuid },
    { name: "CF_INSTANCE_INDEX", value: index },
  ];
  return mergeEnvironment(identity, desired, lent);
}

/** The process's layer: what its action says, then, above everything, where the instance answers. */
export function processEnvironment(action: readonly Variable[], net: ActualLRPNetInfo): string[] {
  const [first] = net.ports;
  const external = first === undefined ? "" : String(first.hostPort);
  const address: readonly Variable[] = [
    { name: "CF_INSTANCE_IP", value: net.address },
    { name: "CF_INSTANCE_INTERNAL_IP", value: net.instanceAddress },
    ...(net.instanceIpv6Address === "" ? [] : [{ name: "CF_INSTANCE_INTERNAL_IPV6", value: net.instanceIpv6Address }]),
    { name: "CF_INSTANCE_PORT", value: external },
    { name: "CF_INSTANCE_ADDR", value: external === "" ? "" : `${net.address}:${external}` },
    {
      name: "CF_INSTANCE_PORTS",
      value: JSON.stringify(net.ports.map((port) => ({ external: port.hostPort, internal: port.containerPort }))),
    },
  ];
  return mergeEnvironment(action, address);
}
