// A container's network namespace, owned by a user namespace of its own. Made before the container, so that address and ports are known
// when its process starts; owned by the container's user namespace, since otherwise neither `runc exec` may join it, nor sysfs be mounted,
// nor a container's root listen below port 1024.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Clock } from "@muster/shared/clock";
import { type Exec, killGroup, ToolError, toolEnv } from "../tools/exec.js";

/** Where iproute2 looks for named network namespaces. */
export const netnsDir = "/run/netns";

export interface NamespaceFiles {
  readonly netns: string;
  readonly userns: string;
}

const unshareTimeoutMs = 10_000;
/** One tool instead of three: each that is started holds this process up, and the bridge takes longer than all of them. */
const keepScript = 'nsenter --net="$1" ip link set lo up && mount --bind "$1" "$3" && mount --bind "$2" "$4"';

/**
 * Makes both namespaces and keeps them by binding them to files; the loopback is up. `idBase` is the host's id for the container's root.
 * `connect` is given the network namespace's path under /proc and runs beside the binding. On failure the files are taken away by name.
 */
export async function makeNamespaces<Connected>(
  clock: Clock,
  exec: Exec,
  files: NamespaceFiles,
  idBase: number,
  connect: (netns: string) => Promise<Connected>,
  signal: AbortSignal,
): Promise<Connected> {
  // cat lives in the new namespaces for as long as this process holds its stdin.
  const child = spawn("unshare", ["--user", "--net", "--", "cat"], {
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
    env: toolEnv(),
  });
  try {
    const folders = [files.netns, files.userns].map((file) => mkdir(dirname(file), { recursive: true, mode: 0o755 }));
    await Promise.all([echoed(clock, child, signal), ...folders]);
    const map = `0 ${idBase} 65536\n`;
    await Promise.all([
      ...["uid_map", "gid_map"].map((name) => writeFile(`/proc/${child.pid}/${name}`, map)),
      ...[files.netns, files.userns].map((file) => writeFile(file, "", { mode: 0o444 })),
    ]);
    const [net, user] = ["net", "user"].map((kind) => `/proc/${child.pid}/ns/${kind}`) as [string, string];
    // Both end before this does: nothing may still be at work when a failed create is taken back.
    const parts = await Promise.allSettled([
      connect(net),
      exec("sh", ["-c", keepScript, "sh", net, user, files.netns, files.userns], { signal }),
    ]);
    for (const part of parts) if (part.status === "rejected") throw part.reason;
    return (parts[0] as PromiseFulfilledResult<Connected>).value;
  } finally {
    killGroup(child);
  }
}

/** Resolves once cat has given back what was written to it: only then has unshare done its work. */
async function echoed(clock: Clock, child: ChildProcess, signal: AbortSignal): Promise<void> {
  let stop = (): void => {};
  try {
    await new Promise<void>((resolve, reject) => {
      const cancel = clock.after(unshareTimeoutMs, () => reject(new ToolError("unshare", "timeout", "did not answer")));
      const onAbort = (): void => reject(new ToolError("unshare", "aborted", "was aborted", { cause: signal.reason }));
      stop = () => {
        cancel();
        signal.removeEventListener("abort", onAbort);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      child.on("error", (cause) => reject(new ToolError("unshare", "missing", "could not be started", { cause })));
      child.on("exit", (code) =>
        reject(new ToolError("unshare", "exit", `ended with status ${code}: are user namespaces allowed here?`)),
      );
      child.stdout?.once("data", () => resolve());
      child.stdin?.on("error", () => {});
      child.stdin?.write("x");
      signal.throwIfAborted();
    });
  } finally {
    stop();
  }
}
