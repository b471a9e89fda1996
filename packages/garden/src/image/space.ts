// Bounds on the room an image may take while it is fetched and unpacked: a small layer may unpack to anything, and a full disk is every
// container's.
import { statfs } from "node:fs/promises";
import type { Clock } from "@muster/shared/clock";
import { GardenError } from "../garden.js";
import type { Exec } from "../tools/exec.js";

export interface SpaceOptions {
  readonly clock: Clock;
  readonly exec: Exec;
  /** What one image may take: its layers together as they come, and its root unpacked. */
  readonly maxImageBytes: number;
}

/** Looked at this often; a fast disk writes half a gigabyte meanwhile. */
const lookMs = 500;
/** Of the disk, never less for others while an image is unpacked: a twentieth, at most a gigabyte. */
const keptShare = 1 / 20;
const mostKeptBytes = 1_000_000_000;
const duTimeoutMs = 60_000;

const mb = (bytes: number): number => Math.ceil(bytes / 1_048_576);

/** @throws GardenError image-unsupported when the layers are larger than an image may be. */
export function checkLayerSizes(layers: readonly { readonly size: number }[], maxImageBytes: number, image: string): void {
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  if (bytes > maxImageBytes) throw tooLarge(image, `its layers are ${mb(bytes)} MB`, maxImageBytes);
}

const tooLarge = (image: string, what: string, maxImageBytes: number): GardenError =>
  new GardenError("image-unsupported", `${image} is too large: ${what}, and ${mb(maxImageBytes)} MB is what an image may be`);

/**
 * Does work that fills `folder`, and stops it when the folder outgrows the bound or the disk has hardly any room left.
 * @throws GardenError image-unsupported, no-space; or what the work throws.
 */
export async function withinSpace<Result>(
  options: SpaceOptions,
  folder: string,
  image: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const over = new AbortController();
  const done = new AbortController();
  const watching = watch(options, folder, image, done.signal).then(
    (fault) => {
      if (fault !== undefined) over.abort(fault);
    },
    () => undefined,
  );
  try {
    return await work(AbortSignal.any([signal, over.signal]));
  } catch (error) {
    if (over.signal.aborted && !signal.aborted) throw over.signal.reason;
    throw error;
  } finally {
    done.abort();
    await watching;
  }
}

async function watch(
  { clock, exec, maxImageBytes }: SpaceOptions,
  folder: string,
  image: string,
  done: AbortSignal,
): Promise<GardenError | undefined> {
  const before = await statfs(folder);
  const kept = Math.min(mostKeptBytes, before.blocks * before.bsize * keptShare);
  for (;;) {
    await clock.sleep(lookMs, done);
    const now = await statfs(folder);
    if (now.bavail * now.bsize < kept) return new GardenError("no-space", `the cell has no disk space left for ${image}`);
    // Others write to this disk too: only when it could be us are the folder's files counted.
    if ((before.bfree - now.bfree) * now.bsize <= maxImageBytes) continue;
    const { stdout } = await exec("du", ["-s", "-B1", folder], { timeoutMs: duTimeoutMs, signal: done });
    if (Number.parseInt(stdout.toString("utf8"), 10) > maxImageBytes) return tooLarge(image, "it unpacks to more", maxImageBytes);
  }
}
