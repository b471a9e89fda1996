// What the machine must have before a container can run on it, and what to do when it lacks it.
import { accessSync, constants, existsSync } from "node:fs";
import { join } from "node:path";
import { OperatorError } from "@muster/shared/errors";
import { toolPath } from "../tools/exec.js";

const packages: Readonly<Record<string, string>> = {
  runc: "runc",
  skopeo: "skopeo",
  umoci: "umoci",
  conmon: "conmon",
  "mkfs.ext4": "e2fsprogs",
  iptables: "iptables",
  "iptables-save": "iptables",
  "iptables-restore": "iptables",
  ip: "iproute2",
  mount: "mount",
  umount: "mount",
  unshare: "util-linux",
  nsenter: "util-linux",
  flock: "util-linux",
};
const usualPluginDirs = ["/usr/lib/cni", "/opt/cni/bin"];
const plugins = ["bridge", "host-local"];
export const seccompFile = "/usr/share/containers/seccomp.json";

export interface Tools {
  readonly runc: string;
  readonly pluginDir: string;
}

function find(tool: string, searchPath: string): string | undefined {
  return searchPath
    .split(":")
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, tool))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Finds the tools. @throws OperatorError naming every Debian package that is missing and the command that installs them, or missing root. */
export function findTools(searchPath: string = toolPath(), pluginDirs: readonly string[] = usualPluginDirs): Tools {
  const missing = new Set(
    Object.entries(packages).flatMap(([tool, name]) => (find(tool, searchPath) === undefined ? [name] : [])),
  );
  const pluginDir = pluginDirs.find((folder) => plugins.every((plugin) => existsSync(join(folder, plugin))));
  if (pluginDir === undefined) missing.add("containernetworking-plugins");
  if (!existsSync(seccompFile)) missing.add("golang-github-containers-common");
  if (missing.size > 0) {
    const names = [...missing].sort().join(" ");
    throw new OperatorError(
      `running containers needs packages that are not installed: ${names}`,
      `apt-get install -y --no-install-recommends ${names}`,
    );
  }
  if (process.getuid?.() !== 0)
    throw new OperatorError("running containers needs root", "run this as root, or with --runtime simulated");
  if (!existsSync("/proc/self/ns/user"))
    throw new OperatorError("this kernel has no user namespaces", "run on a kernel with CONFIG_USER_NS");
  return { runc: find("runc", searchPath) ?? "runc", pluginDir: pluginDir ?? "" };
}
