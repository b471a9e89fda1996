// Every row of bbs-semantics.md 2.5, and addresses as Go reads them.
import { isIP } from "node:net";
import { type DeepPartial, SecurityGroupRule } from "@muster/proto/models/security_group";
import { describe, expect, it } from "vitest";
import { checkEgressRule } from "./egress.js";
import { validate } from "./faults.js";
import { isDestination, parseIp } from "./ip.js";
import { fields, refusal } from "./testing.js";

const destinations = ["10.0.0.0/8"];
const check = (rule: DeepPartial<SecurityGroupRule>): readonly string[] =>
  refusal(() => validate((faults) => checkEgressRule(faults, SecurityGroupRule.fromPartial({ destinations, ...rule }))));

describe("an egress rule", () => {
  const ports = [80];
  const portRange = { start: 1, end: 2 };
  const icmpInfo = { type: 8, code: 0 };
  it.each<{ rule: DeepPartial<SecurityGroupRule>; says: readonly string[] }>([
    ...["tcp", "udp"].flatMap((protocol) => [
      { rule: { protocol, ports }, says: [] },
      { rule: { protocol, ports: [1, 70_000] }, says: [] },
      { rule: { protocol, portRange }, says: [] },
      { rule: { protocol, portRange: { start: 9, end: 9 } }, says: [] },
      { rule: { protocol }, says: ["Missing required field: ports or port_range"] },
      { rule: { protocol, ports, portRange }, says: ["Invalid: ports and port_range provided"] },
      { rule: { protocol, ports: [80, 0] }, says: fields("ports") },
      { rule: { protocol, portRange: { start: 0, end: 2 } }, says: fields("port_range") },
      { rule: { protocol, portRange: { start: 1, end: 0 } }, says: fields("port_range") },
      { rule: { protocol, portRange: { start: 3, end: 2 } }, says: fields("port_range") },
      { rule: { protocol, ports, icmpInfo }, says: fields("icmp_info") },
    ]),
    ...["icmp", "icmpv6"].flatMap((protocol) => [
      { rule: { protocol, icmpInfo }, says: [] },
      { rule: { protocol }, says: fields("icmp_info") },
      { rule: { protocol, icmpInfo, ports }, says: fields("ports") },
      { rule: { protocol, icmpInfo, portRange }, says: fields("port_range") },
    ]),
    { rule: { protocol: "all" }, says: [] },
    { rule: { protocol: "all", ports, portRange, icmpInfo }, says: fields("port_range", "ports", "icmp_info") },
    { rule: { protocol: "TCP", ports }, says: fields("protocol") },
    { rule: { protocol: "constructor" }, says: fields("protocol") },
    { rule: { protocol: "all", destinations: [] }, says: fields("destinations [ Must have at least 1 destination ]") },
    { rule: { protocol: "all", destinations: ["10.0.0.1", "nowhere"] }, says: fields("destinations [ Invalid IP ]") },
    { rule: { protocol: "all", destinations: ["10.0.0.1,10.0.0.2-10.0.0.9,fd00::/8"] }, says: [] },
    { rule: { protocol: "all", destinations: ["10.0.0.1,"] }, says: fields("destinations [ Invalid IP ]") },
  ])("$rule", ({ rule, says }) => {
    expect(check(rule)).toEqual(says);
  });
});

describe("a destination", () => {
  it.each([
    "0.0.0.0",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "::ffff:10.0.0.1",
    "1:2:3:4:5:6:7:8",
    "1::8",
    "10.0.0.0/0",
    "10.0.0.0/32",
    "fd00::/128",
    "10.0.0.1-10.0.0.1",
    "10.0.0.9-10.0.1.0",
    "::1-::2",
  ])("may be %s", (text) => {
    expect(isDestination(text)).toBe(true);
  });

  it.each([
    "",
    "10.0.0",
    "10.0.0.256",
    "010.0.0.1",
    "10.0.0.1 ",
    "1:2:3:4:5:6:7",
    "1::2::3",
    "1:2:3:4:5:6:7:8::",
    ":1",
    "12345::",
    "fe80::1%eth0",
    "10.0.0.0/33",
    "fd00::/129",
    "10.0.0.0/",
    "10.0.0.2-10.0.0.1",
    "10.0.0.1-",
    "10.0.0.1-::2",
    "10.0.0.1-10.0.0.2-10.0.0.3",
  ])("may not be %j", (text) => {
    expect(isDestination(text)).toBe(false);
  });

  it("is read as the system's parser reads it", () => {
    const parts = ["", "0", "1", "01", "ffff", "10.0.0.1", "::", ":"];
    for (const a of parts)
      for (const b of parts)
        for (const c of parts) {
          const text = [a, b, c].join(":");
          expect(parseIp(text) !== undefined, text).toBe(isIP(text) !== 0);
        }
  });
});
