// The OCI runtime configuration of a container and of each process in it. Pure.

import { basename } from "node:path";
import type { SeccompSpec } from "./seccomp.js";
import type { ContainerUser } from "./user.js";
import type { BindMount } from "./volumes.js";

/** Docker's default set without NET_RAW (forged packets on the shared bridge), MKNOD, AUDIT_WRITE and SETFCAP (no use under no_new_privileges). */
export const capabilities: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_NET_BIND_SERVICE",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

/** Docker's, for what the kernel does not keep apart by namespace. */
const maskedPaths = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
  "/sys/fs/selinux",
  "/sys/kernel/debug",
]; // prettier-ignore
const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Cloud Foundry's usual limit of open files. */
const defaultNofile = 16_384;
const mib = 1_048_576;

export interface ProcessFacts {
  /** Path and arguments. */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly user: ContainerUser;
  /** In order; a later one wins. */
  readonly env: readonly string[];
  readonly nofile: number | undefined;
  /** This process's own hard limit: without CAP_SYS_RESOURCE nothing may go above it. */
  readonly nofileCeiling: number;
}

/** Later values win, each name stands once; HOME, USER and PATH are added when nobody gave them, as Garden does. */
export function mergeEnv(layers: readonly string[], user: ContainerUser): string[] {
  const merged = new Map<string, string>();
  for (const item of layers) {
    const equals = item.indexOf("=");
    if (equals > 0) merged.set(item.slice(0, equals), item.slice(equals + 1));
  }
  if (!merged.has("PATH")) merged.set("PATH", defaultPath);
  if (!merged.has("HOME")) merged.set("HOME", user.home);
  if (!merged.has("USER") && user.name !== undefined) merged.set("USER", user.name);
  return [...merged].map(([name, value]) => `${name}=${value}`);
}

/** The `process` part, which `runc exec` takes alone. */
export function processSpec(facts: ProcessFacts) {
  const soft = Math.min(facts.nofile ?? defaultNofile, facts.nofileCeiling);
  return {
    terminal: false,
    user: { uid: facts.user.uid, gid: facts.user.gid, additionalGids: [...facts.user.additionalGids], umask: 0o022 },
    args: [...facts.args],
    env: mergeEnv(facts.env, facts.user),
    cwd: facts.cwd === "" ? "/" : facts.cwd,
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    rlimits: [{ type: "RLIMIT_NOFILE", soft, hard: soft }],
    noNewPrivileges: true,
  };
}

export interface ContainerFacts {
  readonly hostname: string;
  readonly idBase: number;
  readonly netns: string;
  readonly userns: string;
  readonly cgroupsPath: string;
  /** Holds hosts, hostname and resolv.conf. */
  readonly etcDir: string;
  /** 0 means none, for each. */
  readonly memoryMb: number;
  readonly maxPids: number;
  readonly cpuWeight: number;
  /** Whether cgroups are of version 2 alone. */
  readonly isUnified: boolean;
  /** Whether the kernel counts swap; where it does not, asking for a limit is an error. */
  readonly swapLimit: boolean;
  /** Whether the kernel has IPv6, which can then be switched off. */
  readonly hasIPv6: boolean;
  readonly seccomp: SeccompSpec;
  /** Programs and libraries of this machine that the container's own first process needs; none unless it is a lasting one. */
  readonly lentFiles?: readonly string[];
  /** The outer before the inner. */
  readonly folders?: readonly BindMount[];
}

/** A folder of the machine's or of the cell's: no devices, no setuid; programs in it may run. */
const bindFolder = ({ source, destination, readOnly }: BindMount) => ({
  destination,
  type: "bind",
  source,
  options: ["bind", readOnly ? "ro" : "rw", "nosuid", "nodev"],
});

/** A lasting container's own shell and what it waits for: no part of what the container may start. */
const holderPids = 2;
/** Where lent files are seen: on the container's own /dev, where no image's files are. */
export const lentFolder = "/dev/.muster";

const bind = (source: string, destination: string) => ({
  destination,
  type: "bind",
  source,
  options: ["bind", "ro", "nosuid", "nodev", "noexec"],
});

function mounts(facts: ContainerFacts) {
  const quiet = ["nosuid", "noexec", "nodev"];
  // Its pages count against the container's memory anyway; a quarter of it keeps one careless writer from using all.
  const shmMb = facts.memoryMb === 0 ? 64 : Math.max(1, Math.min(64, Math.floor(facts.memoryMb / 4)));
  return [
    { destination: "/proc", type: "proc", source: "proc", options: quiet },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "noexec", "strictatime", "mode=755", "size=1m"] },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/dev/shm", type: "tmpfs", source: "shm", options: [...quiet, "mode=1777", `size=${shmMb}m`] },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: quiet },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: [...quiet, "ro"] },
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: [...quiet, "relatime", "ro"] },
    bind(`${facts.etcDir}/hosts`, "/etc/hosts"),
    bind(`${facts.etcDir}/hostname`, "/etc/hostname"),
    bind(`${facts.etcDir}/resolv.conf`, "/etc/resolv.conf"),
    ...(facts.folders ?? []).map(bindFolder),
    ...(facts.lentFiles ?? []).map((file) => ({
      ...bind(file, `${lentFolder}/${basename(file)}`),
      options: ["bind", "ro", "nosuid", "nodev"],
    })),
  ];
}

const boundedWeight = (weight: number): number => Math.min(100, Math.max(1, weight));
/** Diego's weight of 1 … 100 in cgroup shares; the kernel's least is 2. Source: cell.md section 10. */
export const cpuShares = (weight: number): number => Math.max(2, Math.floor((1_024 * boundedWeight(weight)) / 100));

/**
 * Version 2 has weights of 1 … 10,000, which are Diego's as they stand: a container competes with its cell's others alone. runc would make
 * 1 … 39 of Diego's shares, and the lowest three the same.
 */
const cpuLimits = ({ isUnified, cpuWeight }: ContainerFacts) =>
  isUnified
    ? { unified: { "cpu.weight": String(Math.floor(boundedWeight(cpuWeight))) } }
    : { cpu: { shares: cpuShares(cpuWeight) } };

/** The whole config.json. */
export function containerSpec(facts: ContainerFacts, process: ProcessFacts) {
  const lasting = (facts.lentFiles ?? []).length > 0;
  const limit = facts.memoryMb * mib;
  const ids = [{ containerID: 0, hostID: facts.idBase, size: 65_536 }];
  return {
    ociVersion: "1.0.2",
    hostname: facts.hostname,
    root: { path: "rootfs", readonly: false },
    process: processSpec(process),
    mounts: mounts(facts),
    linux: {
      cgroupsPath: facts.cgroupsPath,
      uidMappings: ids,
      gidMappings: ids,
      namespaces: [
        { type: "user", path: facts.userns },
        { type: "network", path: facts.netns },
        { type: "pid" },
        { type: "ipc" },
        { type: "uts" },
        { type: "mount" },
        { type: "cgroup" },
      ],
      sysctl: {
        // The network namespace is the container's own, so these are its alone: any port, and ping without a capability.
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 65535",
        // It has IPv4 alone: over its link's own IPv6 address it would reach neighbours past all rules. Its loopback keeps ::1.
        ...(facts.hasIPv6 ? { "net.ipv6.conf.eth0.disable_ipv6": "1" } : {}),
      },
      resources: {
        devices: [{ allow: false, access: "rwm" }],
        ...cpuLimits(facts),
        ...(limit === 0 ? {} : { memory: { limit, ...(facts.swapLimit ? { swap: limit } : {}) } }),
        ...(facts.maxPids === 0 ? {} : { pids: { limit: facts.maxPids + (lasting ? holderPids : 0) } }),
      },
      seccomp: facts.seccomp,
      maskedPaths,
      readonlyPaths,
    },
  };
}
