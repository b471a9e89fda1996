// Flags, ports and settings files of a platform.
import { describe, expect, it } from "vitest";
import { UsageError } from "../exit.js";
import { nextDelayMs } from "./backoff.js";
import { divideCapacity } from "./capacity.js";
import { parseUpOptions, type UpFlags } from "./options.js";
import { planPorts } from "./ports.js";
import { type PlanInput, planServices } from "./service-plan.js";

const inputFor = (flags: UpFlags): PlanInput => {
  const options = parseUpOptions(flags);
  return {
    options,
    ports: planPorts(options.portOffset, options.cells),
    home: { dir: "/home/m", bbsData: "/home/m/data/bbs" },
    filesOf: (role) => ({ ca_file: "ca", cert_file: `${role}.crt`, key_file: `${role}.key` }),
    instanceTrust: { authority: { cert_file: "i.crt", key_file: "i.key" }, trustedDir: "/home/m/certs/trusted" },
    keys: { encryption_keys: { a: "0123456789abcdef" }, active_key_label: "a" },
    capacity: { memoryMb: 1_000, diskMb: 2_000 },
    insecureRegistries: [],
  };
};

describe("flags of up", () => {
  it("have the defaults of the command line's page", () => {
    expect(parseUpOptions({})).toMatchObject({
      cells: 2,
      zones: 1,
      store: { driver: "lmdb" },
      bbs: 1,
      runtime: "runc",
      cellContainers: 249,
      presenceTtlMs: 5_000,
      convergeIntervalMs: 30_000,
      demo: false,
    });
  });

  it.each<[string, UpFlags]>([
    ["more zones than cells", { cells: "2", zones: "3" }],
    ["standbys of the embedded store", { bbs: "2" }],
    ["etcd without an address", { store: "etcd" }],
    ["an address that is no URL", { store: "etcd", etcd: "127.0.0.1:2379" }],
    ["a user without a password", { etcd: "http://127.0.0.1:2379", etcdUser: "muster" }],
    ["a password without a user", { etcd: "http://127.0.0.1:2379", etcdPasswordFile: "pw" }],
    ["a quota for lmdb", { etcdQuota: "4G" }],
    ["a quota that is no size", { etcd: "http://127.0.0.1:2379", etcdQuota: "lots" }],
    ["an address for lmdb", { store: "lmdb", etcd: "http://127.0.0.1:2379" }],
    ["an unknown runtime", { runtime: "docker" }],
    ["no cells", { cells: "0" }],
    ["an offset beyond all ports", { portOffset: "99999" }],
  ])("refuse %s", (_, flags) => {
    expect(() => parseUpOptions(flags)).toThrow(UsageError);
  });
});

describe("ports", () => {
  const all = (offset: number, cells: number): number[] => {
    const ports = planPorts(offset, cells);
    const each = Array.from({ length: cells }, (_, n) => n);
    return [
      ...[0, 1, 2, 3, 4].flatMap((n) => [
        ports.bbs(n).http,
        ports.bbs(n).metrics,
        ports.bbs(n).grpc,
        ports.auctioneer(n).grpc,
        ports.auctioneer(n).metrics,
        ports.converger(n).metrics,
      ]),
      ...each.flatMap((n) => [ports.rep(n).grpc, ports.rep(n).metrics, ports.hostPorts(n).first, ports.hostPorts(n).last]),
      ports.registry,
    ];
  };

  it.each([
    [0, 2],
    [0, 100],
    [1_500, 3],
  ])("never meet each other with offset %i and %i cells, and stay below 65536", (offset, cells) => {
    const ports = all(offset, cells);
    expect(new Set(ports).size).toBe(ports.length);
    expect(Math.max(...ports)).toBeLessThan(65_536);
  });

  it("of two platforms 500 times their cells apart do not meet", () => {
    const [one, other] = [planPorts(0, 2), planPorts(1_000, 2)];
    expect(other.hostPorts(0).first).toBe(one.hostPorts(1).last + 1);
    const shared = new Set(all(0, 2));
    expect(all(1_000, 2).filter((port) => shared.has(port))).toEqual([]);
  });

  it("are refused when none are left for containers", () => {
    expect(() => planPorts(4_530, 2)).toThrow(UsageError);
  });
});

describe("services", () => {
  it("are one process for each role, and one for each cell over the zones in turn", () => {
    const plans = planServices(inputFor({ cells: "3", zones: "2" }));
    expect(plans.map((plan) => plan.name)).toEqual(["bbs-1", "auctioneer-1", "converger-1", "cell-1", "cell-2", "cell-3"]);
    expect(plans.slice(3).map((plan) => plan.config.zone)).toEqual(["z1", "z2", "z1"]);
  });

  it("know every BBS, and each cell has a certificate in its own name", () => {
    const plans = planServices(inputFor({ bbs: "2", store: "etcd", etcd: "http://127.0.0.1:1" }));
    for (const plan of plans.filter((each) => each.role !== "bbs")) {
      expect(plan.config.bbs_addresses).toEqual(["127.0.0.1:8891", "127.0.0.1:8901"]);
    }
    expect(plans.at(-1)?.config.tls).toMatchObject({ cert_file: "cell:cell-2.crt" });
  });

  it("tell the BBS who it is to etcd, and what etcd allows; never the password itself", () => {
    const flags = { etcd: "https://127.0.0.1:2379", etcdCa: "/ca", etcdUser: "muster", etcdPasswordFile: "/pw", etcdQuota: "4G" };
    expect(planServices(inputFor(flags))[0]?.config.store).toEqual({
      driver: "etcd",
      endpoints: ["https://127.0.0.1:2379"],
      ca_file: "/ca",
      username: "muster",
      password_file: "/pw",
      quota_mb: 4_096,
    });
  });

  it("divide the machine among the cells unless told what a cell has", () => {
    const [divided] = planServices(inputFor({ cells: "1" })).slice(-1);
    expect(divided?.config).toMatchObject({ memory_mb: 1_000, disk_mb: 2_000, containers: 249 });
    const [told] = planServices(inputFor({ cells: "1", cellMemory: "2G", cellDisk: "3G", cellContainers: "5" })).slice(-1);
    expect(told?.config).toMatchObject({ memory_mb: 2_048, disk_mb: 3_072, containers: 5 });
  });
});

it.each([
  [{ memoryMb: 8_192, freeDiskMb: 10_000 }, 2, { memoryMb: 3_584, diskMb: 4_500 }],
  [{ memoryMb: 102_400, freeDiskMb: 100 }, 4, { memoryMb: 23_040, diskMb: 64 }],
])("%o over %i cells is %o", (machine, cells, capacity) => {
  expect(divideCapacity(machine, cells)).toEqual(capacity);
});

describe("the delay before a restart", () => {
  it("doubles from 100 ms to 5 s", () => {
    const delays: number[] = [];
    let delay: number | undefined;
    for (let n = 0; n < 8; n += 1) {
      delay = nextDelayMs(delay, 50);
      delays.push(delay);
    }
    expect(delays).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
  });

  it("begins anew after 10 s of life", () => {
    expect(nextDelayMs(5_000, 10_000)).toBe(100);
    expect(nextDelayMs(5_000, 9_999)).toBe(5_000);
  });
});
