// Egress rules (bbs-semantics.md 2.5).
import type { SecurityGroupRule } from "@muster/proto/models/security_group";
import type { Faults } from "./faults.js";
import { isDestination } from "./ip.js";

type PortsNeed = "one-of" | "none";
type IcmpNeed = "required" | "none";

/** Case-sensitive; any other protocol is invalid. */
const protocols: Readonly<Record<string, { readonly ports: PortsNeed; readonly icmp: IcmpNeed }>> = {
  tcp: { ports: "one-of", icmp: "none" },
  udp: { ports: "one-of", icmp: "none" },
  icmp: { ports: "none", icmp: "required" },
  icmpv6: { ports: "none", icmp: "required" },
  all: { ports: "none", icmp: "none" },
};

export function checkEgressRule(faults: Faults, rule: SecurityGroupRule): void {
  const needs = Object.hasOwn(protocols, rule.protocol) ? protocols[rule.protocol] : undefined;
  if (needs === undefined) faults.field("protocol");
  else {
    if (needs.ports === "one-of") checkPorts(faults, rule);
    else refusePorts(faults, rule);
    if ((rule.icmpInfo !== undefined) !== (needs.icmp === "required")) faults.field("icmp_info");
  }
  checkDestinations(faults, rule.destinations);
}

function checkPorts(faults: Faults, { ports, portRange }: SecurityGroupRule): void {
  if (portRange === undefined && ports.length === 0) faults.text("Missing required field: ports or port_range");
  else if (portRange !== undefined && ports.length > 0) faults.text("Invalid: ports and port_range provided");
  else if (portRange === undefined) {
    if (ports.some((port) => port < 1)) faults.field("ports");
  } else if (portRange.start < 1 || portRange.end < 1 || portRange.start > portRange.end) faults.field("port_range");
}

function refusePorts(faults: Faults, { ports, portRange }: SecurityGroupRule): void {
  if (portRange !== undefined) faults.field("port_range");
  if (ports.length > 0) faults.field("ports");
}

function checkDestinations(faults: Faults, destinations: readonly string[]): void {
  if (destinations.length === 0) faults.field("destinations [ Must have at least 1 destination ]");
  else if (!destinations.every((entry) => entry.split(",").every(isDestination))) faults.field("destinations [ Invalid IP ]");
}
