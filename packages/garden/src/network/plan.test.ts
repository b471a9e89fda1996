// Names, addresses and rules of a cell's network, from its home alone.
import { describe, expect, it } from "vitest";
import { bridgeConfig } from "./cni.js";
import { parseListening } from "./network.js";
import {
  chooseSubnet,
  egressChain,
  firewallText,
  hasJump,
  jumps,
  networkNames,
  overlaps,
  removalText,
  savedTables,
  subnetAt,
} from "./plan.js";
import { PortPool } from "./ports.js";

const names = networkNames("/srv/a", "cell-1");
const subnet = subnetAt(7);
const mapping = {
  handle: "h",
  containerIp: "10.192.7.2",
  ports: [{ containerPort: 8080, hostPort: 61_001 }],
  egress: [],
  nameservers: ["192.0.2.53"],
};
const plan = {
  names,
  subnet,
  hostAddress: "127.0.0.1",
  protectedAddresses: ["192.0.2.9:8891"],
  mappings: [mapping],
  missingJumps: [],
  write: new Set<string>(),
  remove: [],
};

describe("names", () => {
  it("fit the kernel and differ between cells and homes", () => {
    expect(names.bridge.length).toBeLessThanOrEqual(15);
    for (const chain of Object.values(names.chains)) expect(chain.length).toBeLessThanOrEqual(28);
    expect(new Set([names.key, networkNames("/srv/a", "cell-2").key, networkNames("/srv/b", "cell-1").key]).size).toBe(3);
  });
});

describe("subnets", () => {
  it.each([
    ["10.0.0.0/8", "10.1.2.0/24", true],
    ["10.192.7.0/24", "10.192.7.1", true],
    ["10.192.7.0/24", "10.192.8.0/24", false],
    ["192.168.0.0/16", "10.0.0.0/8", false],
    ["0.0.0.0/0", "10.0.0.0/8", true],
  ])("%s and %s overlap: %s", (a, b, yes) => {
    expect(overlaps(a, b)).toBe(yes);
    expect(overlaps(b, a)).toBe(yes);
  });
  it("are chosen from the cell's own place on, past those in use, until none is left", () => {
    const own = chooseSubnet(names.key, []);
    expect(chooseSubnet(names.key, [])).toEqual(own);
    expect(own?.cidr).toMatch(/^10\.(19[2-9]|2[0-5][0-9])\.[0-9]+\.0\/24$/);
    expect(chooseSubnet(names.key, [own?.cidr ?? ""])).not.toEqual(own);
    expect(chooseSubnet(names.key, ["10.192.0.0/10"])).toBeUndefined();
    expect(bridgeConfig(names, subnet, "/x").ipam.ranges).toEqual([[{ subnet: "10.192.7.0/24", gateway: "10.192.7.1" }]]);
  });
});

describe("rules", () => {
  it("are written whole: our chains, every mapping, and only the jumps that are missing", () => {
    const [first, ...others] = jumps(names, "127.0.0.1");
    const text = firewallText({ ...plan, missingJumps: first === undefined ? [] : [first] });
    expect(text).toContain(`:${names.chains.dnat} - [0:0]`);
    expect(text).toContain("--dport 61001 -m comment --comment h -j DNAT --to-destination 10.192.7.2:8080");
    expect(text).toContain(`-I PREROUTING 1 -d 127.0.0.1/32 -p tcp -j ${names.chains.dnat}`);
    for (const jump of others) expect(text).not.toContain(`-I ${jump.chain} `);
    expect(text).toContain(`-A ${names.chains.input} -i ${names.bridge} -d 127.0.0.0/8 -j DROP`);
  });

  it("write a container's own chain only when it is new, and take away those of nobody", () => {
    const own = egressChain(names, mapping.containerIp);
    expect(own.length).toBeLessThanOrEqual(28);
    const again = firewallText({ ...plan, remove: [`${names.egressPrefix}9`] });
    expect(again).not.toContain(`:${own} `);
    expect(again).toContain(`-F ${names.egressPrefix}9\n-X ${names.egressPrefix}9\nCOMMIT`);
    const fresh = firewallText({ ...plan, write: new Set([own]) });
    expect(fresh).toContain(`:${own} - [0:0]`);
    expect(fresh).toContain(`-A ${own} -d 192.0.2.53/32 -p udp --dport 53 -j ACCEPT`);
  });

  it("ask first for answers, then for the platform's own addresses, then the container's chain, and refuse a source that is none's", () => {
    const lines = firewallText(plan).split("\n");
    const from = lines.filter((line) => line.startsWith(`-A ${names.chains.forward} `) && line.includes(` -i ${names.bridge} `));
    expect(from.map((line) => line.replace(`-A ${names.chains.forward} `, ""))).toEqual([
      `-i ${names.bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
      `-i ${names.bridge} -d 192.0.2.9 -p tcp -m tcp --dport 8891 -j REJECT --reject-with tcp-reset`,
      `-s 10.192.7.2/32 -i ${names.bridge} -m comment --comment h -j ${egressChain(names, mapping.containerIp)}`,
      `-i ${names.bridge} -p tcp -j REJECT --reject-with tcp-reset`,
      `-i ${names.bridge} -j REJECT --reject-with icmp-port-unreachable`,
    ]);
  });
  it("answer on every address of the machine only when told so", () => {
    expect(jumps(names, "0.0.0.0")[0]?.match).toContain("--dst-type LOCAL");
  });
  it("are taken away by name, and nobody else's with them", () => {
    const saved = [
      "*nat",
      ":PREROUTING ACCEPT [0:0]",
      `:${names.chains.dnat} - [0:0]`,
      ":OTHER - [0:0]",
      `-A PREROUTING -d 127.0.0.1/32 -p tcp -j ${names.chains.dnat}`,
      "-A PREROUTING -j OTHER",
      "COMMIT",
      "*filter",
      ":INPUT ACCEPT [0:0]",
      `:${names.chains.forward} - [0:0]`,
      `:${names.egressPrefix}2 - [0:0]`,
      `-A FORWARD -j ${names.chains.forward}`,
      `-A ${names.chains.forward} -s 10.192.7.2/32 -j ${names.egressPrefix}2`,
      "COMMIT",
    ].join("\n");
    expect(removalText(names, saved)).toBe(
      [
        "*nat",
        `-D PREROUTING -d 127.0.0.1/32 -p tcp -j ${names.chains.dnat}`,
        `-F ${names.chains.dnat}`,
        `-X ${names.chains.dnat}`,
        "COMMIT",
        "*filter",
        `-D FORWARD -j ${names.chains.forward}`,
        `-F ${names.chains.forward}`,
        `-F ${names.egressPrefix}2`,
        `-X ${names.chains.forward}`,
        `-X ${names.egressPrefix}2`,
        "COMMIT",
        "",
      ].join("\n"),
    );
    expect(removalText(networkNames("/other", "cell-1"), saved)).toBe("");
    expect(hasJump(savedTables(saved), "nat", "PREROUTING", names.chains.dnat)).toBe(true);
    expect(hasJump(savedTables(saved), "nat", "OUTPUT", names.chains.dnat)).toBe(false);
  });
});

describe("host ports", () => {
  it("go round, skip what is busy, and come back", () => {
    const pool = new PortPool({ first: 10, last: 13 });
    pool.adopt("old", [{ containerPort: 1, hostPort: 10 }]);
    expect(pool.take("a", [8_080, 8_080, 9_090], (port) => port === 11)).toEqual([
      { containerPort: 8_080, hostPort: 12 },
      { containerPort: 9_090, hostPort: 13 },
    ]);
    pool.giveBack("old");
    expect(pool.take("b", [1])).toEqual([{ containerPort: 1, hostPort: 10 }]);
    expect(() => pool.take("c", [1, 2])).toThrow(expect.objectContaining({ code: "port-exhausted" }));
    // What the failed call took first was given back.
    expect(pool.take("d", [1])).toEqual([{ containerPort: 1, hostPort: 11 }]);
  });
  it("in use are read from the kernel's table", () => {
    const table = [
      "  sl  local_address rem_address   st",
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000",
      "   1: 0100007F:1F91 0100007F:0050 01 00000000:00000000",
    ].join("\n");
    expect(parseListening(table)).toEqual([8_080]);
  });
});
