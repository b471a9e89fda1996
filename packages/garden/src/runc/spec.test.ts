// The OCI runtime spec of a container: namespaces, limits, capabilities, mounts.
import { readFileSync } from "node:fs";
import { OperatorError } from "@muster/shared/errors";
import { describe, expect, it } from "vitest";
import { readAnswer, runcReason } from "./conmon.js";
import { hostsFile, resolvConf } from "./etc.js";
import { cellLayout, containerLayout, idBaseOf, resolvedHome } from "./layout.js";
import { leavesTermToKernel } from "./process.js";
import { asContainerRecord } from "./records.js";
import { type SeccompProfile, seccompFor } from "./seccomp.js";
import { type ContainerFacts, capabilities, containerSpec, cpuShares, mergeEnv, type ProcessFacts, processSpec } from "./spec.js";
import { findTools } from "./tools.js";
import { resolveUser } from "./user.js";

const root = { uid: 0, gid: 0, additionalGids: [0], name: "root", home: "/root" };
const process: ProcessFacts = {
  args: ["/app", "x"],
  cwd: "",
  user: root,
  env: ["A=1", "A=2"],
  nofile: undefined,
  nofileCeiling: 1_048_576,
};
const facts: ContainerFacts = {
  hostname: "h",
  idBase: 131_072,
  netns: "/run/netns/n",
  userns: "/run/u",
  cgroupsPath: "/muster-1/h",
  etcDir: "/run/etc",
  memoryMb: 64,
  maxPids: 32,
  cpuWeight: 50,
  isUnified: false,
  swapLimit: true,
  hasIPv6: true,
  seccomp: { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 38, architectures: [], syscalls: [] },
};

describe("the OCI spec", () => {
  it("lends a lasting container its first process, which takes nothing of the limit of processes", () => {
    const spec = containerSpec({ ...facts, lentFiles: ["/bin/sh", "/lib/x/libc.so.6"] }, process);
    const lent = spec.mounts.filter((mount) => mount.destination.startsWith("/dev/.muster/"));
    expect(lent.map((mount) => [mount.source, mount.destination])).toEqual([
      ["/bin/sh", "/dev/.muster/sh"],
      ["/lib/x/libc.so.6", "/dev/.muster/libc.so.6"],
    ]);
    for (const { options } of lent) expect(options).toEqual(expect.arrayContaining(["ro", "nosuid", "nodev"]));
    expect(spec.linux.resources).toMatchObject({ pids: { limit: 34 } });
  });

  it("keeps a container in a user namespace, without new privileges, with limits", () => {
    const spec = containerSpec(facts, process);
    expect(spec.linux.uidMappings).toEqual([{ containerID: 0, hostID: 131_072, size: 65_536 }]);
    expect(spec.linux.namespaces.map((one) => one.type)).toEqual(["user", "network", "pid", "ipc", "uts", "mount", "cgroup"]);
    expect(spec.process.noNewPrivileges).toBe(true);
    expect(spec.linux.resources).toMatchObject({
      memory: { limit: 67_108_864, swap: 67_108_864 },
      cpu: { shares: 512 },
      pids: { limit: 32 },
      devices: [{ allow: false, access: "rwm" }],
    });
    expect(spec.linux.maskedPaths).toContain("/proc/kcore");
    expect(spec.linux.readonlyPaths).toContain("/proc/sys");
    for (const file of ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]) {
      expect(spec.mounts.find((mount) => mount.destination === file)?.options).toContain("ro");
    }
  });

  it("asks for no limit where none is wanted, and for none on swap where the kernel does not count it", () => {
    const none = containerSpec({ ...facts, memoryMb: 0, maxPids: 0 }, process).linux.resources;
    expect(none).not.toHaveProperty("memory");
    expect(none).not.toHaveProperty("pids");
    expect(containerSpec({ ...facts, swapLimit: false }, process).linux.resources.memory).toEqual({ limit: 67_108_864 });
  });

  it("gives no capability that reaches beyond the container", () => {
    const given = processSpec(process).capabilities;
    for (const name of ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_PTRACE", "CAP_SYS_MODULE"]) {
      for (const set of [given.bounding, given.effective, given.permitted]) expect(set).not.toContain(name);
    }
  });

  it.each([
    { weight: 0, shares: 10 },
    { weight: 1, shares: 10 },
    { weight: 50, shares: 512 },
    { weight: 100, shares: 1_024 },
  ])("a weight of $weight is $shares shares", ({ weight, shares }) => {
    expect(cpuShares(weight)).toBe(shares);
  });

  it.each([
    { cpuWeight: 0, weight: "1" },
    { cpuWeight: 1, weight: "1" },
    { cpuWeight: 3, weight: "3" },
    { cpuWeight: 1_000, weight: "100" },
  ])("a weight of $cpuWeight is $weight in cgroups of version 2, and no shares", ({ cpuWeight, weight }) => {
    const { resources } = containerSpec({ ...facts, isUnified: true, cpuWeight }, process).linux;
    expect(resources).toMatchObject({ unified: { "cpu.weight": weight } });
    expect(resources).not.toHaveProperty("cpu");
    // runc refuses them on version 1.
    expect(containerSpec({ ...facts, cpuWeight }, process).linux.resources).not.toHaveProperty("unified");
  });

  it("never raises the limit of open files above its own", () => {
    expect(processSpec({ ...process, nofile: 999_999, nofileCeiling: 4_096 }).rlimits).toEqual([
      { type: "RLIMIT_NOFILE", soft: 4_096, hard: 4_096 },
    ]);
    expect(processSpec(process).rlimits[0]?.hard).toBe(16_384);
  });

  it("merges the environment: later wins, what nobody gave is added", () => {
    expect(mergeEnv(["PATH=/bin", "A=1", "B", "=x", "A=2=3"], root)).toEqual(["PATH=/bin", "A=2=3", "HOME=/root", "USER=root"]);
    expect(mergeEnv([], { ...root, name: undefined, home: "/" })).toEqual([expect.stringMatching(/^PATH=.*\/bin$/), "HOME=/"]);
    expect(processSpec(process).cwd).toBe("/");
  });
});

describe("users", () => {
  const passwd = "root:x:0:0:root:/root:/bin/sh\n# no\nweb:x:1000:1001::/home/web:\nbroken\nfar:x:70000:70000::/:\n";
  const group = "root:x:0:\nweb:x:1001:\nextra:x:2000:root,web\n";
  it.each([
    { asked: "", uid: 0, gid: 0, gids: [0, 2_000], home: "/root" },
    { asked: "web", uid: 1_000, gid: 1_001, gids: [1_001, 2_000], home: "/home/web" },
    { asked: "1000", uid: 1_000, gid: 1_001, gids: [1_001, 2_000], home: "/home/web" },
    { asked: "1234", uid: 1_234, gid: 0, gids: [0], home: "/" },
    { asked: "web:extra", uid: 1_000, gid: 2_000, gids: [2_000], home: "/home/web" },
    { asked: "web:root", uid: 1_000, gid: 0, gids: [0], home: "/home/web" },
    { asked: "1234:5678", uid: 1_234, gid: 5_678, gids: [5_678], home: "/" },
    { asked: ":extra", uid: 0, gid: 2_000, gids: [2_000], home: "/root" },
  ])("'$asked' is $uid:$gid", ({ asked, uid, gid, gids, home }) => {
    expect(resolveUser(asked, passwd, group)).toMatchObject({ uid, gid, additionalGids: gids, home });
  });
  it("of an image without any files can be root or a number", () => {
    expect(resolveUser("root", undefined, undefined)).toMatchObject({ uid: 0, gid: 0 });
    expect(resolveUser("12", undefined, undefined)).toMatchObject({ uid: 12, gid: 0 });
    expect(() => resolveUser("web", undefined, undefined)).toThrow(/the image has no \/etc\/passwd/);
  });
  it.each(["ghost", "web:ghosts", "far", "99999", "1:70000"])("'%s' is refused as a failed process", (asked) => {
    expect(() => resolveUser(asked, passwd, group)).toThrow(expect.objectContaining({ code: "process-failed" }));
  });
});

describe("the seccomp filter", () => {
  const profile = JSON.parse(readFileSync("/usr/share/containers/seccomp.json", "utf8")) as SeccompProfile;
  const filter = seccompFor(profile, capabilities, "x64");
  const allowed = new Set(
    filter.syscalls.filter((rule) => rule.action === "SCMP_ACT_ALLOW" && rule.args === undefined).flatMap((rule) => rule.names),
  );
  it("lets programs run", () => {
    for (const name of [
      "read",
      "write",
      "openat",
      "execve",
      "futex",
      "epoll_wait",
      "socket",
      "accept4",
      "chown",
      "setuid",
      "arch_prctl",
      "getrandom",
      "chroot",
    ]) {
      expect(
        filter.syscalls.some((rule) => rule.action === "SCMP_ACT_ALLOW" && rule.names.includes(name)),
        name,
      ).toBe(true);
    }
  });
  it("refuses mounts, namespaces, keys, modules and tracing counters", () => {
    for (const name of [
      "mount",
      "unshare",
      "setns",
      "keyctl",
      "bpf",
      "init_module",
      "perf_event_open",
      "pivot_root",
      "open_by_handle_at",
      "reboot",
    ]) {
      expect(allowed.has(name), name).toBe(false);
    }
    const clone = filter.syscalls.find((rule) => rule.names.includes("clone") && rule.action === "SCMP_ACT_ALLOW");
    expect(clone?.args?.[0]).toMatchObject({ value: 0x7e02_0000, op: "SCMP_CMP_MASKED_EQ" });
    expect(filter.syscalls.find((rule) => rule.names.includes("clone3"))).toMatchObject({
      action: "SCMP_ACT_ERRNO",
      errnoRet: 38,
    });
    expect(filter.architectures[0]).toBe("SCMP_ARCH_X86_64");
  });
  it("never names a call both allowed outright and refused", () => {
    const refused = filter.syscalls
      .filter((rule) => rule.action === "SCMP_ACT_ERRNO" && rule.args === undefined)
      .flatMap((rule) => rule.names);
    expect(refused.filter((name) => allowed.has(name))).toEqual([]);
  });
});

describe("etc", () => {
  it("takes servers that can be reached from inside", () => {
    expect(resolvConf("nameserver 127.0.0.53\nsearch x\n", "nameserver 10.0.0.1\n")).toBe("nameserver 10.0.0.1\n");
    expect(resolvConf("# c\nnameserver 9.9.9.9\nnameserver ::1\noptions ndots:1\n", undefined)).toBe(
      "nameserver 9.9.9.9\noptions ndots:1\n",
    );
    expect(resolvConf("", undefined)).toBe("");
    expect(hostsFile("box", "10.0.0.2")).toContain("10.0.0.2\tbox\n");
  });
});

describe("names and records", () => {
  it("are short enough for the kernel, below /run, and differ between homes and cells", () => {
    const one = cellLayout("/srv/a", "cell-1");
    expect(one.runDir).toMatch(/^\/run\/muster\/[0-9a-f]{8}\/[0-9a-f]{8}$/);
    expect(new Set([one.runDir, cellLayout("/srv/a", "cell-2").runDir, cellLayout("/srv/b", "cell-1").runDir]).size).toBe(3);
    expect(containerLayout(one, "x").dataDir).toBe("/srv/a/cells/cell-1/garden/x/disk");
    expect(idBaseOf("/srv/a")).toBeGreaterThanOrEqual(100_000);
    expect(idBaseOf("/srv/a") + 65_535).toBeLessThan(2 ** 31);
  });
  it("are the same by whatever path the home is reached, also before it exists", () => {
    expect(resolvedHome("/tmp/../tmp/none-such/home")).toBe("/tmp/none-such/home");
    expect(resolvedHome("/proc/self/cwd/none-such")).toBe(`${globalThis.process.cwd()}/none-such`);
  });
  it("are of this boot and this version, or none", () => {
    const record = {
      version: 1,
      bootId: "b",
      spec: { handle: "x" },
      image: {},
      containerIp: "10.0.0.2",
      ports: [],
      createdAtMs: 1,
      processes: [],
    };
    expect(asContainerRecord(record, "b")).toEqual(record);
    for (const other of [
      undefined,
      {},
      { ...record, version: 2 },
      { ...record, bootId: "c" },
      { ...record, ports: undefined },
      [],
    ]) {
      expect(asContainerRecord(other, "b")).toBeUndefined();
    }
  });
});

describe("a machine without the tools", () => {
  it("is told every package at once, and the command that installs them", () => {
    const missing = (() => {
      try {
        return findTools("/none-such");
      } catch (error) {
        return error as OperatorError;
      }
    })();
    expect(missing).toBeInstanceOf(OperatorError);
    for (const name of ["conmon", "e2fsprogs", "iproute2", "iptables", "runc", "skopeo", "umoci", "util-linux"]) {
      expect((missing as OperatorError).message).toContain(name);
    }
    expect((missing as OperatorError).hint).toMatch(/^apt-get install -y --no-install-recommends .*runc.*skopeo/);
  });
});

describe("what tools say", () => {
  it("is conmon's pid, or runc's reason", () => {
    expect(readAnswer('{"data": 4711}')).toBe(4_711);
    const log =
      'time="x" level=error msg="runc create failed: unable to start container process: exec: \\"nope\\": executable file not found in $PATH"\n';
    expect(() => readAnswer(JSON.stringify({ data: -1, message: log }))).toThrow(
      'exec: "nope": executable file not found in $PATH',
    );
    expect(() => readAnswer("nonsense")).toThrow(/could not be read/);
    expect(runcReason("plain words")).toBe("plain words");
    expect(runcReason("")).toBe("the process could not be started");
  });
  it.each([
    { status: "SigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n", spared: true },
    { status: "SigIgn:\t0000000000000000\nSigCgt:\t0000000000004000\n", spared: false },
    { status: "SigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n", spared: false },
    { status: "", spared: true },
  ])("$status leaves SIGTERM to the kernel: $spared", ({ status, spared }) => {
    expect(leavesTermToKernel(status)).toBe(spared);
  });
});
