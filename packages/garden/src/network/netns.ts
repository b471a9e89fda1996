// A container's network namespace, owned by a user namespace of its own. Made before the container, so that address and ports are known
// when its process starts; owned by the container's user namespace, since otherwise neither `runc exec` may join it, nor sysfs be mounted,
// nor a container's root listen below port 1024.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
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

/**
 * Makes both namespaces and keeps them by binding them to files; nothing runs in them yet. The loopback is up.
 * `idBase` is the host's id for the container's root. On failure `removeNamespaces` takes away what was made.
 */
export async function makeNamespaces(
  clock: Clock,
  exec: Exec,
  files: NamespaceFiles,
  idBase: number,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all([files.netns, files.userns].map((file) => mkdir(dirname(file), { recursive: true, mode: 0o755 })));
  await Promise.all([files.netns, files.userns].map((file) => writeFile(file, "", { mode: 0o444 })));
  // cat lives in the new namespaces for as long as this process holds its stdin.
  const child = spawn("unshare", ["--user", "--net", "--", "cat"], {
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
    env: toolEnv(),
  });
  try {
    await echoed(clock, child, signal);
    const map = `0 ${idBase} 65536\n`;
    await Promise.all(["uid_map", "gid_map"].map((name) => writeFile(`/proc/${child.pid}/${name}`, map)));
    await Promise.all([
      exec("mount", ["--bind", `/proc/${child.pid}/ns/net`, files.netns], { signal }),
      exec("mount", ["--bind", `/proc/${child.pid}/ns/user`, files.userns], { signal }),
      exec("nsenter", [`--net=/proc/${child.pid}/ns/net`, "ip", "link", "set", "lo", "up"], { signal }),
    ]);
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

/** Lets both namespaces go: the kernel removes them, and the veth pair, with their last user. Idempotent. */
export async function removeNamespaceFile(unmount: (target: string) => Promise<void>, file: string): Promise<void> {
  await unmount(file);
  await rm(file, { force: true });
}
