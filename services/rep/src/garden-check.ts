// Can this cell still run anything? Asked with a real container, as Diego does (cell.md section 12): made, a command run in it, taken away.
import { type Container, type Garden, GardenError, lentShell } from "@muster/garden";
import type { Clock, Entropy } from "@muster/shared/clock";

/** Containers of this name are nobody's instance. */
export const checkHandlePrefix = "check-";

/** Source: cell.md section 12. */
export const checkEveryMs = 600_000;
const checkTimeoutMs = 600_000;
const tries = 3;
const pauseMs = 1_000;

export interface GardenCheckOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly garden: Garden;
  /** A root that is known to have worked here: its image is in the cell's cache, so that no registry has a part in the check. */
  readonly rootFs: () => string | undefined;
}

/** Runs the check once. Resolves to why the cell runs nothing, or to `undefined` when it does, or nothing can be said yet. */
export async function checkGarden(options: GardenCheckOptions, signal: AbortSignal): Promise<string | undefined> {
  const rootFs = options.rootFs();
  if (rootFs === undefined) return undefined;
  const late = new AbortController();
  const cancel = options.clock.after(checkTimeoutMs, () =>
    late.abort(new Error(`it took longer than ${checkTimeoutMs / 60_000} minutes`)),
  );
  const either = AbortSignal.any([signal, late.signal]);
  const over = new Promise<never>((_, reject) => {
    either.addEventListener("abort", () => reject(either.reason), { once: true });
  });
  over.catch(() => undefined);
  try {
    await Promise.race([check(options, rootFs, either), over]);
    return undefined;
  } catch (error) {
    // A registry that is away, or an image that needs a login, says nothing about the cell.
    if (error instanceof GardenError && error.code.startsWith("image-")) return undefined;
    return `the cell cannot run a container: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    cancel();
  }
}

async function check({ clock, entropy, garden }: GardenCheckOptions, rootFs: string, signal: AbortSignal): Promise<void> {
  const patiently = <Value>(call: () => Promise<Value>): Promise<Value> => withTries(clock, signal, call);
  const old = (await patiently(() => garden.containers())).filter(({ handle }) => handle.startsWith(checkHandlePrefix));
  for (const { handle } of old) await patiently(() => garden.destroy(handle));
  const handle = checkHandlePrefix + entropy.guid();
  try {
    const container = await patiently(() =>
      garden.create(
        {
          handle,
          rootFs,
          credentials: undefined,
          memoryMb: 0,
          diskMb: 0,
          maxPids: 0,
          cpuWeight: 1,
          ports: [],
          egress: [],
          env: [],
          properties: { owner: "muster-rep-check" },
          hostname: "check",
          // With it comes a shell, whatever the image holds.
          lasting: true,
        },
        signal,
      ),
    );
    await patiently(() => write(container, entropy.guid()));
  } finally {
    // Also when the cell is unwell: what is left is taken away before the next check.
    await patiently(() => garden.destroy(handle));
  }
}

/** Starts a process that writes to the container's disk. */
async function write(container: Container, id: string): Promise<void> {
  const spec = { id, path: lentShell, args: ["-c", ": > /muster-check"], dir: "/", user: "0:0", env: [], nofile: undefined };
  const process = await container.run(spec, () => undefined);
  const { exitStatus } = await process.exited;
  if (exitStatus !== 0) throw new Error(`a command in a container ended with status ${exitStatus}`);
}

async function withTries<Value>(clock: Clock, signal: AbortSignal, call: () => Promise<Value>): Promise<Value> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      signal.throwIfAborted();
      if (attempt >= tries) throw error;
      await clock.sleep(pauseMs, signal);
    }
  }
}
