// Egress rules (Diego's security group rules), checked and turned into rules of a container's own iptables chain. Pure.
import type { EgressRule } from "../garden.js";
import { GardenError } from "../garden.js";
import { parseIPv4, rangeToCidrs } from "./addresses.js";

/** What one container may reach. */
export interface EgressPolicy {
  /** Marks log lines. */
  readonly handle: string;
  /** `undefined`: the caller knows of no rules; then the world is open, but never this machine or a neighbour. */
  readonly rules: readonly EgressRule[] | undefined;
  /** IPv4 addresses of its resolv.conf: always reachable on port 53. */
  readonly nameservers: readonly string[];
  /** Where mapped ports answer: a neighbour's mapped port counts as this address, as it would on another machine. */
  readonly hostAddress: string;
}

/** A container with more lines than this makes every start on the cell slow; Cloud Foundry's own groups stay far below. */
const maxLines = 4_096;
/** The kernel's multiport match holds 15 ports. */
const portsPerLine = 15;
/** A chatty container must not flood the kernel's log. */
const logLimit = "-m limit --limit 10/second --limit-burst 100";
/** The kernel keeps 29 characters, the blank included. */
const logPrefixBytes = 28;
/** All bridges of this product on this machine. */
export const anyBridge = "muster+";
/** Refused at once: a reset for TCP, since the kernel sends one host but one ICMP refusal a second. */
export const refusals = (match: string): readonly string[] => [
  `${match} -p tcp -j REJECT --reject-with tcp-reset`,
  `${match} -j REJECT --reject-with icmp-port-unreachable`,
];

const open: readonly EgressRule[] = [{ protocol: "all", destinations: ["0.0.0.0/0"] }];

type Destination =
  | { readonly kind: "network"; readonly cidr: string }
  | { readonly kind: "range"; readonly first: number; readonly last: number; readonly text: string }
  /** Containers have no IPv6 address beyond their own loopback: accepted, and without effect. */
  | { readonly kind: "ipv6" };

const invalid = (what: string): never => {
  throw new GardenError("spec-invalid", `invalid egress rule: ${what}`);
};

function parseDestination(text: string): Destination {
  if (text.includes(":")) return /^[0-9a-fA-F:.]+(\/\d{1,3}|-[0-9a-fA-F:.]+)?$/.test(text) ? { kind: "ipv6" } : wrong(text);
  const [from = "", to, ...more] = text.split("-");
  if (more.length > 0) return wrong(text);
  if (to !== undefined) {
    const [first, last] = [parseIPv4(from), parseIPv4(to)];
    if (first === undefined || last === undefined || first > last) return wrong(text);
    return { kind: "range", first, last, text };
  }
  const [address = "", length = "32", ...rest] = text.split("/");
  if (parseIPv4(address) === undefined || !/^\d{1,2}$/.test(length) || Number(length) > 32 || rest.length > 0) return wrong(text);
  return { kind: "network", cidr: `${address}/${length}` };
}

const wrong = (text: string): never => invalid(`destination "${text.slice(0, 100)}" is no address, network or range`);

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535;

/** Source: bbs-semantics.md section 2.5. */
function checkPorts(rule: EgressRule): void {
  const { protocol, ports = [], portRange, icmp } = rule;
  const hasPorts = ports.length > 0 || portRange !== undefined;
  switch (protocol) {
    case "tcp":
    case "udp":
      if (ports.length > 0 === (portRange !== undefined)) invalid(`${protocol} needs either ports or a port range`);
      if (!ports.every(isPort)) invalid(`${protocol} ports are 1 to 65535`);
      if (portRange !== undefined && !(isPort(portRange.start) && isPort(portRange.end) && portRange.start <= portRange.end))
        invalid(`the port range ${portRange.start} to ${portRange.end} is none`);
      if (icmp !== undefined) invalid(`${protocol} has no ICMP type`);
      return;
    case "icmp":
    case "icmpv6":
      if (hasPorts) invalid(`${protocol} has no ports`);
      if (icmp === undefined) invalid(`${protocol} needs a type and a code`);
      if (icmp !== undefined && !(isIcmpNumber(icmp.type) && isIcmpNumber(icmp.code))) invalid("ICMP numbers are -1 to 255");
      return;
    case "all":
      if (hasPorts || icmp !== undefined) invalid("all has neither ports nor an ICMP type");
      return;
    default:
      invalid(`protocol "${String(protocol).slice(0, 100)}" is not tcp, udp, icmp, icmpv6 or all`);
  }
}

const isIcmpNumber = (value: number): boolean => Number.isInteger(value) && value >= -1 && value <= 255;

/** Any type, or any code, is -1 in Cloud Foundry's rules and 255 in Garden's. */
const isAny = (value: number): boolean => value < 0 || value === 255;

function destinationsOf(rule: EgressRule): readonly Destination[] {
  const texts = rule.destinations.flatMap((list) => list.split(",")).map((text) => text.trim());
  if (texts.length === 0) invalid("it has no destination");
  return texts.map(parseDestination);
}

/** @throws GardenError spec-invalid at the first rule that is none: as in Diego, one bad rule fails the container. */
export function checkEgress(rules: readonly EgressRule[] | undefined): void {
  for (const rule of rules ?? []) {
    checkPorts(rule);
    destinationsOf(rule);
  }
}

/** Ports as pairs, an empty list for every port. */
const portMatches = ({ ports = [], portRange }: EgressRule): readonly string[] => {
  if (portRange !== undefined) return [`--dport ${portRange.start}:${portRange.end}`];
  const unique = [...new Set(ports)].sort((a, b) => a - b);
  return Array.from({ length: Math.ceil(unique.length / portsPerLine) }, (_none, at) => {
    return `-m multiport --dports ${unique.slice(at * portsPerLine, (at + 1) * portsPerLine).join(",")}`;
  });
};

function protocolMatches(rule: EgressRule): readonly string[] {
  switch (rule.protocol) {
    case "tcp":
    case "udp":
      return portMatches(rule).map((ports) => `-p ${rule.protocol} ${ports}`);
    case "icmp": {
      const { type = -1, code = -1 } = rule.icmp ?? {};
      if (isAny(type)) return ["-p icmp"];
      return [`-p icmp -m icmp --icmp-type ${isAny(code) ? type : `${type}/${code}`}`];
    }
    case "all":
      return [""];
    default:
      return [];
  }
}

function addressMatch(destination: Destination): string | undefined {
  if (destination.kind === "ipv6") return undefined;
  if (destination.kind === "range") return `-m iprange --dst-range ${destination.text}`;
  return destination.cidr === "0.0.0.0/0" ? "" : `-d ${destination.cidr}`;
}

const joined = (...parts: readonly string[]): string => parts.filter((part) => part !== "").join(" ");

/** Each match, logged first when the rule says so. */
function accept(chain: string, handle: string, log: boolean | undefined, match: string): string[] {
  const line = joined(`-A ${chain}`, match, "-j ACCEPT");
  if (log !== true) return [line];
  return [joined(`-A ${chain}`, match, logLimit, `-j LOG --log-prefix "${handle.slice(0, logPrefixBytes)} "`), line];
}

/** What a rule says of connections that were led to a neighbour's mapped port: judged by where they were meant to go. */
function mappedLines(chain: string, policy: EgressPolicy, rule: EgressRule): string[] {
  const host = parseIPv4(policy.hostAddress) ?? 0;
  // The containers cannot reach this machine's loopback at all.
  if ((rule.protocol !== "tcp" && rule.protocol !== "all") || policy.hostAddress.startsWith("127.")) return [];
  const { ports = [], portRange } = rule;
  const wanted =
    portRange === undefined
      ? [...new Set(ports)].map((port) => `--ctorigdstport ${port}`)
      : [`--ctorigdstport ${portRange.start}:${portRange.end}`];
  const networks = destinationsOf(rule).flatMap((destination) => {
    if (destination.kind === "ipv6") return [];
    return destination.kind === "network" ? [destination.cidr] : rangeToCidrs(destination.first, destination.last);
  });
  return networks
    .filter((cidr) => host === 0 || holds(cidr, host))
    .flatMap((cidr) =>
      (rule.protocol === "all" ? [""] : wanted).flatMap((port) =>
        accept(
          chain,
          policy.handle,
          rule.log,
          joined(`-o ${anyBridge} -p tcp -m conntrack --ctstate DNAT --ctorigdst ${cidr}`, port),
        ),
      ),
    );
}

function holds(cidr: string, address: number): boolean {
  const [network = "", length = "32"] = cidr.split("/");
  const size = 2 ** (32 - Number(length));
  return Math.floor((parseIPv4(network) ?? 0) / size) === Math.floor(address / size);
}

/**
 * The lines of the container's chain, for packets that begin a connection: its name servers, what its rules allow, and a refusal of all
 * else. A neighbour on this machine is never reached by its own address.
 * @throws GardenError spec-invalid
 */
export function egressLines(chain: string, policy: EgressPolicy): readonly string[] {
  checkEgress(policy.rules);
  const rules = policy.rules ?? open;
  const dns = policy.nameservers.flatMap((server) =>
    ["udp", "tcp"].map((protocol) => `-A ${chain} -d ${server}/32 -p ${protocol} --dport 53 -j ACCEPT`),
  );
  const mapped = rules.flatMap((rule) => mappedLines(chain, policy, rule));
  const ordinary = rules.flatMap((rule) =>
    destinationsOf(rule).flatMap((destination) => {
      const address = addressMatch(destination);
      if (address === undefined) return [];
      return protocolMatches(rule).flatMap((match) => accept(chain, policy.handle, rule.log, joined(address, match)));
    }),
  );
  const lines = [...mapped, ...refusals(`-A ${chain} -o ${anyBridge}`), ...dns, ...ordinary, ...refusals(`-A ${chain}`)];
  if (lines.length > maxLines) invalid(`the rules come to ${lines.length} lines, more than ${maxLines}`);
  return lines;
}
