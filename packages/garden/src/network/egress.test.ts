// Egress rules: which are refused, and what the others become.
import { describe, expect, it } from "vitest";
import type { EgressRule } from "../garden.js";
import { formatIPv4, parseIPv4, rangeToCidrs } from "./addresses.js";
import { egressLines } from "./egress.js";

const refused = (match: string): string[] => [
  `${match}-p tcp -j REJECT --reject-with tcp-reset`,
  `${match}-j REJECT --reject-with icmp-port-unreachable`,
];
const neighbours = refused("-o muster+ ");
const policy = { handle: "h", nameservers: [], hostAddress: "127.0.0.1" };
/** What the rules become, without the chain's name, the neighbours' refusal before them and the refusal of all else after them. */
function linesOf(rules: readonly EgressRule[], over: Partial<Parameters<typeof egressLines>[1]> = {}): string[] {
  const lines = egressLines("C", { ...policy, rules, ...over }).map((line) => line.replace("-A C ", ""));
  expect(lines).toEqual(expect.arrayContaining(neighbours));
  expect(lines.slice(-2)).toEqual(refused(""));
  return lines.filter((line) => !neighbours.includes(line)).slice(0, -2);
}

const tcp = (over: Partial<EgressRule>): EgressRule => ({ protocol: "tcp", destinations: ["10.0.0.1"], ...over });

describe("rules that are none", () => {
  it.each<[string, EgressRule, RegExp]>([
    ["tcp without ports", tcp({}), /either ports or a port range/],
    ["tcp with both", tcp({ ports: [1], portRange: { start: 1, end: 2 } }), /either ports or a port range/],
    ["port 0", tcp({ ports: [0] }), /1 to 65535/],
    ["a port past the last", tcp({ ports: [65_536] }), /1 to 65535/],
    ["a range backwards", tcp({ portRange: { start: 9, end: 8 } }), /port range 9 to 8/],
    ["tcp with an ICMP type", tcp({ ports: [1], icmp: { type: 0, code: 0 } }), /no ICMP type/],
    ["icmp without a type", { protocol: "icmp", destinations: ["10.0.0.1"] }, /needs a type/],
    ["icmp with ports", { protocol: "icmp", destinations: ["10.0.0.1"], ports: [1], icmp: { type: 0, code: 0 } }, /no ports/],
    ["icmp type 256", { protocol: "icmp", destinations: ["10.0.0.1"], icmp: { type: 256, code: 0 } }, /-1 to 255/],
    ["all with ports", { protocol: "all", destinations: ["10.0.0.1"], ports: [1] }, /neither ports/],
    ["TCP in capitals", tcp({ protocol: "TCP", ports: [1] }), /"TCP" is not/],
    ["no destination", tcp({ destinations: [], ports: [1] }), /no destination/],
    ["an empty destination", tcp({ destinations: [""], ports: [1] }), /"" is no address/],
    ["a name", tcp({ destinations: ["example.com"], ports: [1] }), /no address/],
    ["an address of three parts", tcp({ destinations: ["10.0.1"], ports: [1] }), /no address/],
    ["a mask of 33", tcp({ destinations: ["10.0.0.0/33"], ports: [1] }), /no address/],
    ["a range backwards", tcp({ destinations: ["10.0.0.2-10.0.0.1"], ports: [1] }), /no address/],
    ["one bad of a list", tcp({ destinations: ["10.0.0.1,x -j ACCEPT"], ports: [1] }), /no address/],
  ])("%s", (_what, rule, words) => {
    expect(() => linesOf([rule])).toThrow(
      expect.objectContaining({ code: "spec-invalid", message: expect.stringMatching(words) }),
    );
  });

  it("are not swallowed by the bound on their number", () => {
    const many = Array.from({ length: 5_000 }, (_none, port) => tcp({ ports: [port + 1] }));
    expect(() => linesOf(many)).toThrow(/more than 4096/);
  });
});

describe("rules", () => {
  it.each<[string, EgressRule, string[]]>([
    ["a port", tcp({ ports: [443] }), ["-d 10.0.0.1/32 -p tcp -m multiport --dports 443 -j ACCEPT"]],
    ["ports, each once", tcp({ ports: [443, 80, 80] }), ["-d 10.0.0.1/32 -p tcp -m multiport --dports 80,443 -j ACCEPT"]],
    [
      "a range of ports to a range of addresses over udp",
      { protocol: "udp", destinations: ["10.0.0.1-10.0.0.9"], portRange: { start: 1, end: 9 } },
      ["-m iprange --dst-range 10.0.0.1-10.0.0.9 -p udp --dport 1:9 -j ACCEPT"],
    ],
    [
      "everything to several networks",
      { protocol: "all", destinations: ["10.0.0.0/8, 192.168.0.0/16", "0.0.0.0/0"] },
      ["-d 10.0.0.0/8 -j ACCEPT", "-d 192.168.0.0/16 -j ACCEPT", "-j ACCEPT"],
    ],
    [
      "one kind of ICMP",
      { protocol: "icmp", destinations: ["0.0.0.0/0"], icmp: { type: 8, code: 0 } },
      ["-p icmp -m icmp --icmp-type 8/0 -j ACCEPT"],
    ],
    [
      "any code",
      { protocol: "icmp", destinations: ["1.2.3.4"], icmp: { type: 3, code: -1 } },
      ["-d 1.2.3.4/32 -p icmp -m icmp --icmp-type 3 -j ACCEPT"],
    ],
    ["any ICMP", { protocol: "icmp", destinations: ["0.0.0.0/0"], icmp: { type: -1, code: -1 } }, ["-p icmp -j ACCEPT"]],
    ["IPv6, of which containers have none", tcp({ destinations: ["2001:db8::/32", "::1-::2"], ports: [1] }), []],
    ["ICMPv6", { protocol: "icmpv6", destinations: ["0.0.0.0/0"], icmp: { type: 1, code: 1 } }, []],
    [
      "logged",
      tcp({ ports: [1], log: true }),
      [
        '-d 10.0.0.1/32 -p tcp -m multiport --dports 1 -m limit --limit 10/second --limit-burst 100 -j LOG --log-prefix "h "',
        "-d 10.0.0.1/32 -p tcp -m multiport --dports 1 -j ACCEPT",
      ],
    ],
  ])("%s", (_what, rule, lines) => {
    expect(linesOf([rule])).toEqual(lines);
  });

  it("of many ports are cut into lines the kernel can hold", () => {
    const ports = Array.from({ length: 31 }, (_none, at) => at + 1);
    expect(linesOf([tcp({ ports })]).map((line) => line.split("--dports ")[1]?.split(" ")[0]?.split(",").length)).toEqual([
      15, 15, 1,
    ]);
  });

  it("without any: name servers alone; left out: the world", () => {
    const dns = { nameservers: ["192.0.2.53"] };
    expect(linesOf([], dns)).toEqual(["udp", "tcp"].map((kind) => `-d 192.0.2.53/32 -p ${kind} --dport 53 -j ACCEPT`));
    expect(egressLines("C", { ...policy, rules: undefined })).toEqual([
      ...refused("-A C -o muster+ "),
      "-A C -j ACCEPT",
      ...refused("-A C "),
    ]);
  });

  it("of this machine's address hold for neighbours' mapped ports, as they would from another machine", () => {
    const outside = { hostAddress: "192.0.2.7" };
    const mapped = "-o muster+ -p tcp -m conntrack --ctstate DNAT --ctorigdst";
    const first = (rule: EgressRule) => linesOf([rule], outside).filter((line) => line.startsWith("-o muster+"));
    expect(first(tcp({ destinations: ["192.0.2.0/24"], portRange: { start: 1, end: 9 } }))).toEqual([
      `${mapped} 192.0.2.0/24 --ctorigdstport 1:9 -j ACCEPT`,
    ]);
    expect(first(tcp({ destinations: ["192.0.2.6-192.0.2.7"], ports: [5, 6] }))).toEqual([
      `${mapped} 192.0.2.6/31 --ctorigdstport 5 -j ACCEPT`,
      `${mapped} 192.0.2.6/31 --ctorigdstport 6 -j ACCEPT`,
    ]);
    expect(first({ protocol: "all", destinations: ["0.0.0.0/0"] })).toEqual([`${mapped} 0.0.0.0/0 -j ACCEPT`]);
    expect(first(tcp({ destinations: ["192.0.3.0/24"], ports: [1] }))).toEqual([]);
    expect(first({ protocol: "udp", destinations: ["0.0.0.0/0"], ports: [1] })).toEqual([]);
  });
});

describe("addresses", () => {
  it.each(["1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4.5", "a.b.c.d", ""])("%s is none", (text) => {
    expect(parseIPv4(text)).toBeUndefined();
  });

  it.each([
    ["10.0.0.1", "10.0.0.1", ["10.0.0.1/32"]],
    ["10.0.0.1", "10.0.0.6", ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]],
    ["0.0.0.0", "255.255.255.255", ["0.0.0.0/0"]],
    ["255.255.255.254", "255.255.255.255", ["255.255.255.254/31"]],
  ])("%s to %s are whole networks", (first, last, cidrs) => {
    expect(rangeToCidrs(parseIPv4(first) ?? -1, parseIPv4(last) ?? -1)).toEqual(cidrs);
    expect(formatIPv4(parseIPv4(first) ?? -1)).toBe(first);
  });
});
