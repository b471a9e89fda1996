// Locks between processes. The kernel frees them when their holder dies, however it dies: flock(1) holds the file for as long as a
// pipe from this process stays open.
import { spawn } from "node:child_process";
import type { Clock } from "@muster/shared/clock";
import { killGroup, ToolError, toolEnv } from "./exec.js";

/** cat and flock end as soon as their input does. */
const releaseGraceMs = 2_000;

/**
 * Waits for the lock of `file` (made if it is not there) and holds it until disposed of or until this process ends.
 * @throws ToolError when it is not given within `timeoutMs`, or when aborted.
 */
export async function lockFile(
  clock: Clock,
  file: string,
  timeoutMs: number,
  signal?: AbortSignal,
  kind: "exclusive" | "shared" = "exclusive",
): Promise<AsyncDisposable> {
  signal?.throwIfAborted();
  const child = spawn("flock", [`--${kind}`, file, "cat"], {
    detached: true,
    stdio: ["pipe", "pipe", "ignore"],
    env: toolEnv(),
  });
  const ended = new Promise<void>((resolve) => {
    child.on("close", () => resolve());
    child.on("error", () => resolve());
  });
  child.stdin.on("error", () => {});
  let cancelTimer = (): void => {};
  let onAbort = (): void => {};
  try {
    await new Promise<void>((resolve, reject) => {
      child.stdout.once("data", () => resolve());
      void ended.then(() => reject(new ToolError("flock", "exit", `could not lock ${file}`)));
      cancelTimer = clock.after(timeoutMs, () =>
        reject(new ToolError("flock", "timeout", `did not get ${file} within ${timeoutMs} ms`)),
      );
      onAbort = () => reject(new ToolError("flock", "aborted", "was aborted", { cause: signal?.reason }));
      signal?.addEventListener("abort", onAbort, { once: true });
      // cat runs only once the lock is held; what it gives back proves it.
      child.stdin.write("x");
    });
  } catch (error) {
    killGroup(child);
    await ended;
    throw error;
  } finally {
    cancelTimer();
    signal?.removeEventListener("abort", onAbort);
  }
  return {
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      // The kernel frees the lock with its holder, however that ends.
      const cancel = clock.after(releaseGraceMs, () => killGroup(child));
      await ended;
      cancel();
    },
  };
}
