// The tools of the field that Muster drives but does not ship: which are missing, and how they come onto the machine.
import { accessSync, constants, existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { withLock } from "./lock.mjs";
import { Refusal, run, say } from "./run.mjs";

const inFolders = (folders, name) => folders.some((folder) => existsSync(path.join(folder, name)));
const sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** Completes PATH with the sbin folders, which `su` leaves out: iptables and mkfs live there. */
export function completePath() {
  const have = (process.env.PATH ?? "").split(":").filter((part) => part !== "");
  process.env.PATH = [...have, ...sbin.filter((folder) => !have.includes(folder))].join(":");
}

function program(name) {
  for (const folder of (process.env.PATH ?? "").split(":")) {
    try {
      accessSync(path.join(folder, name), constants.X_OK);
      return true;
    } catch {
      // Not in this folder.
    }
  }
  return false;
}

const cniFolders = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
const trustStores = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
const libraryFolders = () => ["/usr/lib64", ...readdirSync("/usr/lib").map((name) => `/usr/lib/${name}`)];
// A busybox that needs libraries would not run in the demo's otherwise empty image, so on Debian only the static package counts.
const staticBusybox = () =>
  existsSync("/var/lib/dpkg") ? existsSync("/var/lib/dpkg/info/busybox-static.list") : program("busybox");

/** By the name of the Debian package; what counts is what it brings, since containerd.io, say, brings a runc of its own. */
const packages = {
  runc: { brings: "runc", found: () => program("runc") },
  skopeo: { brings: "skopeo", found: () => program("skopeo") },
  umoci: { brings: "umoci", found: () => program("umoci") },
  conmon: { brings: "conmon", found: () => program("conmon") },
  "containernetworking-plugins": { brings: "the CNI plugins (bridge, portmap)", found: () => inFolders(cniFolders, "bridge") },
  e2fsprogs: { brings: "mkfs.ext4", found: () => program("mkfs.ext4") },
  iptables: { brings: "iptables", found: () => program("iptables") },
  iproute2: { brings: "ip", found: () => program("ip") },
  "ca-certificates": {
    brings: "the certificates of public registries",
    found: () => trustStores.some((file) => existsSync(file)),
  },
  "docker-registry": { brings: "docker-registry", found: () => program("docker-registry") },
  "busybox-static": { brings: "a statically linked busybox", found: staticBusybox },
  "etcd-server": { brings: "etcd", found: () => program("etcd") },
  debootstrap: { brings: "debootstrap", found: () => program("debootstrap") },
  libfaketime: { brings: "libfaketime.so.1", found: () => inFolders(libraryFolders(), "faketime/libfaketime.so.1") },
  prometheus: { brings: "prometheus", found: () => program("prometheus") },
  procps: { brings: "ps and pgrep", found: () => program("pgrep") },
};
const containers = [
  "runc",
  "conmon",
  "containernetworking-plugins",
  "e2fsprogs",
  "iptables",
  "iproute2",
  "skopeo",
  "umoci",
  "ca-certificates",
];
const demo = ["skopeo", "umoci", "docker-registry", "busybox-static"];
const tests = ["etcd-server", "debootstrap", "libfaketime", "prometheus", "procps"];

/** What `up` with these flags needs: nothing to print its help, no container tools for the simulated runtime. */
export function neededFor(flags) {
  if (flags.some((flag) => ["--help", "-h", "--version"].includes(flag))) return [];
  const runtime = flags.findLast((flag, i) => flag.startsWith("--runtime=") || flags[i - 1] === "--runtime");
  const simulated = runtime === "simulated" || runtime === "--runtime=simulated";
  const withDemo = flags.findLast((flag) => flag === "--demo" || flag === "--no-demo") !== "--no-demo";
  return [...new Set([...(simulated ? [] : containers), ...(withDemo ? demo : [])])];
}

export const neededForTests = [...new Set([...containers, ...demo, ...tests])];

/** Installs what is missing of `needed` on Debian and Ubuntu as root; elsewhere refuses once, naming all of it. */
export async function ensureSystemPackages(needed) {
  completePath();
  if (policyIsHeld() && process.getuid?.() === 0) await withLock("system packages", restorePolicy);
  const missing = () => needed.filter((name) => !packages[name].found());
  if (missing().length === 0) return;
  const refusal = whyNotByOurselves(missing());
  if (refusal !== undefined) throw new Refusal(refusal);
  await withLock("system packages", async () => {
    if (missing().length > 0) await install(missing());
  });
  if (missing().length > 0) throw new Refusal(`apt-get succeeded, but these are still not found: ${describe(missing())}`);
}

const describe = (names) => names.map((name) => `${name} (${packages[name].brings})`).join(", ");

const isDebian = () =>
  program("apt-get") && existsSync("/etc/os-release") && /\b(debian|ubuntu)\b/.test(readFileSync("/etc/os-release", "utf8"));

function whyNotByOurselves(names) {
  const command = `apt-get install --no-install-recommends ${names.join(" ")}`;
  if (process.platform !== "linux") {
    return `containers need Linux. Use a Debian or Ubuntu machine, or run without containers: npm start -- --runtime simulated --no-demo`;
  }
  if (!isDebian()) {
    const manager = ["dnf", "zypper", "pacman", "apk"].find(program);
    return (
      `missing on this machine: ${describe(names)}. Muster installs them by itself on Debian and Ubuntu only (${command}); here, ` +
      `install the packages that bring them${manager === undefined ? "" : ` with ${manager}`}, then try again`
    );
  }
  if (process.getuid?.() !== 0) return `missing on this machine: ${describe(names)}. Install them with: sudo ${command}`;
  return undefined;
}

/** Runs `apt-get install` (or, with `-s`, what it would do) and refuses, showing its output, when it fails. */
async function apt(names, ...more) {
  const options = [
    "-y",
    "-q",
    "--no-install-recommends",
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "Dpkg::Options::=--force-confold",
  ];
  const done = await run("apt-get", ["install", ...options, ...more, ...names], { env: aptEnv, limitMs: 900_000 });
  if (done.code === 0) return done.text;
  const command = `apt-get install --no-install-recommends ${names.join(" ")}`;
  throw new Refusal(`apt-get failed with exit ${done.code} (see above). Once that is mended: ${command}`);
}

const aptEnv = { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };

async function install(names) {
  say(`installing with apt-get, which can take a few minutes: ${names.join(" ")}`);
  const updated = await run("apt-get", ["update", "-q"], { env: aptEnv, limitMs: 300_000 });
  if (updated.code !== 0) say("apt-get update failed (see above); trying with the package lists that are there");
  refuseRemovals(names, await apt(names, "-s"));
  await withServicesHeldBack(() => apt(names));
  await switchOff(names);
}

/** What a user has installed stays: only the dynamic busybox, which its static sister replaces, may go. */
function refuseRemovals(names, plan) {
  const removed = [...plan.matchAll(/^Remv (\S+)/gm)].map((found) => found[1]).filter((name) => name !== "busybox");
  if (removed.length === 0) return;
  const command = `apt-get install --no-install-recommends ${names.join(" ")}`;
  throw new Refusal(`installing ${names.join(" ")} would remove ${removed.join(" ")}. Decide that yourself: ${command}`);
}

const policyFile = "/usr/sbin/policy-rc.d";
const savedFile = `${policyFile}.muster-saved`;
const marker = "# Put here by Muster's bootstrap for the time of one apt-get run.";
const exists = (file) => lstatSync(file, { throwIfNoEntry: false }) !== undefined;
/** True during an installation, and after one that was killed. */
const policyIsHeld = () => exists(savedFile) || (existsSync(policyFile) && readFileSync(policyFile, "utf8").includes(marker));

/**
 * Debian starts etcd, prometheus and docker-registry as they are installed, on ports a user may need; policy-rc.d is
 * its way to say no. Whatever stood there is put back, also after a run that was killed in the middle.
 */
async function withServicesHeldBack(work) {
  await restorePolicy();
  if (exists(policyFile)) await rename(policyFile, savedFile);
  await writeFile(policyFile, `#!/bin/sh\n${marker}\nexit 101\n`, { mode: 0o755 });
  try {
    return await work();
  } finally {
    await restorePolicy();
  }
}

async function restorePolicy() {
  if (!policyIsHeld()) return;
  await rm(policyFile, { force: true });
  if (exists(savedFile)) await rename(savedFile, policyFile);
}

const services = { "etcd-server": "etcd", "docker-registry": "docker-registry", prometheus: "prometheus" };

/** Held back once, they would still start at the next boot; we run our own and need none of them. */
async function switchOff(names) {
  const units = names.flatMap((name) => services[name] ?? []);
  for (const unit of units) {
    if (program("systemctl")) await run("systemctl", ["disable", `${unit}.service`], { limitMs: 30_000, output: "ignore" });
    if (program("update-rc.d")) await run("update-rc.d", [unit, "disable"], { limitMs: 30_000, output: "ignore" });
  }
  if (units.length > 0) say(`the system services that came along stay switched off: ${units.join(" ")}`);
}
