// The seccomp filter of containers: the profile Debian packages for podman and skopeo (golang-github-containers-common), made stricter by
// what Docker's own refuses without CAP_SYS_ADMIN. Pure; the profile is read by the caller.

interface ProfileRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly args?: readonly SeccompArgument[] | null;
  readonly includes?: { readonly caps?: readonly string[]; readonly arches?: readonly string[]; readonly minKernel?: string };
  readonly excludes?: { readonly caps?: readonly string[]; readonly arches?: readonly string[]; readonly minKernel?: string };
  readonly errnoRet?: number;
}

interface SeccompArgument {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}

export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly archMap: readonly { readonly architecture: string; readonly subArchitectures: readonly string[] | null }[];
  readonly syscalls: readonly ProfileRule[];
}

export interface SeccompSpec {
  readonly defaultAction: string;
  readonly defaultErrnoRet: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly {
    names: readonly string[];
    action: string;
    errnoRet?: number;
    args?: readonly SeccompArgument[];
  }[];
}

const eperm = 1;
const enosys = 38;

/**
 * Allowed by the packaged profile, refused here: they make mounts and namespaces, with which a container could reach kernel code that
 * only root may otherwise call, or reach keys and performance counters that are not namespaced. Docker refuses them too.
 */
const refused = new Set([
  "mount",
  "mount_setattr",
  "move_mount",
  "open_tree",
  "umount",
  "umount2",
  "pivot_root",
  "fsopen",
  "fsconfig",
  "fsmount",
  "fspick",
  "setns",
  "unshare",
  "keyctl",
  "add_key",
  "request_key",
  "bpf",
  "perf_event_open",
  "userfaultfd",
  "quotactl",
  "quotactl_fd",
  "swapon",
  "swapoff",
  "reboot",
  "kexec_load",
  "kexec_file_load",
  "init_module",
  "finit_module",
  "delete_module",
  "open_by_handle_at",
  "lookup_dcookie",
  "io_uring_setup",
  "io_uring_enter",
  "io_uring_register",
]); // prettier-ignore

/** CLONE_NEW* of mount, cgroup, uts, ipc, user, pid and net: a clone with none of them is an ordinary fork or thread. */
const newNamespaceFlags = 0x7e02_0000;

const goArch: Record<string, readonly string[]> = {
  x64: ["amd64", "x32", "x86"],
  arm64: ["arm64", "arm"],
};
const seccompArch: Record<string, string> = {
  x64: "SCMP_ARCH_X86_64",
  arm64: "SCMP_ARCH_AARCH64",
  ppc64: "SCMP_ARCH_PPC64LE",
  s390x: "SCMP_ARCH_S390X",
};

const overlap = (a: readonly string[] | undefined, b: ReadonlySet<string>): boolean => (a ?? []).some((item) => b.has(item));

/** The OCI filter for a container with these capabilities on this machine. */
export function seccompFor(profile: SeccompProfile, capabilities: readonly string[], arch: string = process.arch): SeccompSpec {
  const caps = new Set(capabilities);
  const arches = new Set(goArch[arch] ?? [arch]);
  const applies = (rule: ProfileRule): boolean => {
    const { includes, excludes } = rule;
    if (includes?.caps !== undefined && !includes.caps.every((cap) => caps.has(cap))) return false;
    if (includes?.arches !== undefined && !overlap(includes.arches, arches)) return false;
    return !overlap(excludes?.caps, caps) && !overlap(excludes?.arches, arches);
  };
  const allowed = profile.syscalls.filter(applies).flatMap((rule) => {
    const names =
      rule.action === "SCMP_ACT_ALLOW"
        ? rule.names.filter((name) => !refused.has(name) && name !== "clone" && name !== "clone3")
        : rule.names;
    if (names.length === 0) return [];
    const args = rule.args ?? [];
    return [
      {
        names,
        action: rule.action,
        ...(rule.errnoRet === undefined ? {} : { errnoRet: rule.errnoRet }),
        ...(args.length === 0 ? {} : { args }),
      },
    ];
  });
  const named = new Set(allowed.filter((rule) => rule.action !== "SCMP_ACT_ALLOW").flatMap((rule) => rule.names));
  const architecture = seccompArch[arch];
  const sub = profile.archMap.find((entry) => entry.architecture === architecture)?.subArchitectures ?? [];
  return {
    defaultAction: profile.defaultAction,
    defaultErrnoRet: profile.defaultErrnoRet ?? enosys,
    architectures: architecture === undefined ? [] : [architecture, ...sub],
    syscalls: [
      ...allowed,
      { names: [...refused].filter((name) => !named.has(name)), action: "SCMP_ACT_ERRNO", errnoRet: eperm },
      {
        names: ["clone"],
        action: "SCMP_ACT_ALLOW",
        args: [{ index: 0, value: newNamespaceFlags, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
      },
      // Its flags lie in memory, where a filter cannot look; with ENOSYS the C libraries fall back to clone.
      { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: enosys },
    ],
  };
}
