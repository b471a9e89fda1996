// The cache of images: blobs shared by all, one unpacked root per digest, and what each image says of itself. Shared by the cells of one
// home, so everything is done under a lock between processes and appears in its place whole (renamed), or not at all.
//
//   blobs/        OCI blobs, shared between images      roots/<hex>/     the unpacked root, owned by shifted ids
//   images/<hex>.json   metadata of a cached digest     aliases/<hash>.json   index digest -> digest of this platform
//   tmp/  locks/
import { createHash } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import type { ImageCredentials, ImageMetadata, RootFSUrl } from "../garden.js";
import { GardenError } from "../garden.js";
import { type Exec, lastWords, ToolError } from "../tools/exec.js";
import { readJson, writeWhole } from "../tools/files.js";
import { SingleFlight, Turnstile } from "../tools/flight.js";
import { lockFile } from "../tools/lock.js";
import { displayImage, type ImageReference, ImageReferenceError, parseRootFS } from "./reference.js";
import type { RegistryClient, ResolvedImage } from "./registry.js";

export interface CachedImage {
  readonly metadata: ImageMetadata;
  /** Absolute; never written to: containers mount it as their lower layer. */
  readonly rootDir: string;
}

export interface ImageStoreOptions {
  readonly clock: Clock;
  readonly exec: Exec;
  readonly registry: RegistryClient;
  readonly dir: string;
  /** The host id that is root inside containers; 65,536 ids from here on are theirs. */
  readonly idBase: number;
}

/** Two pulls use the line and both cores; more only make each other slow. */
const parallelPulls = 2;
/** As long as a pull and its unpacking may take in another process. */
const lockTimeoutMs = 20 * 60_000;
const unpackTimeoutMs = 10 * 60_000;

const hexOf = (digest: string): string => digest.slice("sha256:".length);

/** A rootfs URL, or the GardenError that says what is wrong with it. */
export function readRootFS(rootFs: RootFSUrl): ImageReference {
  try {
    return parseRootFS(rootFs);
  } catch (error) {
    if (error instanceof ImageReferenceError) throw new GardenError("image-invalid", error.message, error);
    throw error;
  }
}

export class ImageStore {
  readonly #options: ImageStoreOptions;
  readonly #pulls = new SingleFlight<CachedImage>();
  readonly #turnstile = new Turnstile(parallelPulls);

  constructor(options: ImageStoreOptions) {
    this.#options = options;
  }

  /** Makes the folders, and removes what pulls that were cut off have left. */
  async open(): Promise<void> {
    const { dir, clock } = this.#options;
    await mkdir(dir, { recursive: true, mode: 0o700 });
    for (const folder of ["blobs", "roots", "images", "aliases", "tmp", "locks"])
      await mkdir(join(dir, folder), { recursive: true, mode: 0o700 });
    // A pull's folder in tmp begins with the id of its process: only those of processes that are gone are removed.
    await using _lock = await lockFile(clock, join(dir, "locks", "tidy"), 60_000);
    for (const name of await readdir(join(dir, "tmp"))) {
      if (!(await isHeld(name))) await rm(join(dir, "tmp", name), { recursive: true, force: true });
    }
  }

  /** What an image says of itself; asks the registry unless a cached digest is named. @throws GardenError image-… */
  async inspect(rootFs: RootFSUrl, credentials: ImageCredentials | undefined, signal: AbortSignal): Promise<ImageMetadata> {
    const reference = readRootFS(rootFs);
    const cached = await this.#cached(reference);
    if (cached !== undefined) return cached.metadata;
    return (await this.#options.registry.resolve(reference, credentials, signal)).metadata;
  }

  /**
   * The image, unpacked and ready to be mounted. One that is named by its digest and was here before needs no registry.
   * @throws GardenError image-…, no-space, tool-failed
   */
  async ensure(rootFs: RootFSUrl, credentials: ImageCredentials | undefined, signal: AbortSignal): Promise<CachedImage> {
    const reference = readRootFS(rootFs);
    const cached = await this.#cached(reference);
    if (cached !== undefined) return cached;
    const resolved = await this.#options.registry.resolve(reference, credentials, signal);
    const { digest } = resolved.metadata;
    if (reference.digest !== undefined && reference.digest !== digest) await this.#rememberAlias(reference.digest, digest);
    const pinned: ImageReference = { ...reference, tag: undefined, digest };
    const here = await this.#cached(pinned);
    if (here !== undefined) return here;
    return this.#pulls.join(digest, signal, (shared) =>
      this.#turnstile.run(shared, () => this.#pull(pinned, resolved, credentials, shared)),
    );
  }

  async #cached(reference: ImageReference): Promise<CachedImage | undefined> {
    if (reference.digest === undefined) return undefined;
    const digest = (await this.#alias(reference.digest)) ?? reference.digest;
    const rootDir = this.#rootDir(digest);
    const [metadata, root] = await Promise.all([
      readJson(join(this.#options.dir, "images", `${hexOf(digest)}.json`)),
      stat(rootDir).catch(() => undefined),
    ]);
    // The record is written after the root is in its place, by this code alone: present means whole.
    return metadata === undefined || root === undefined ? undefined : { metadata: metadata as ImageMetadata, rootDir };
  }

  /** The ids are part of the name: a home whose ids moved unpacks anew instead of giving one container another's files. */
  #rootDir(digest: string): string {
    return join(this.#options.dir, "roots", `${hexOf(digest)}-${this.#options.idBase}`);
  }

  async #pull(
    reference: ImageReference,
    image: ResolvedImage,
    credentials: ImageCredentials | undefined,
    signal: AbortSignal,
  ): Promise<CachedImage> {
    const { clock, dir, registry } = this.#options;
    const { digest } = image.metadata;
    await using _lock = await lockFile(clock, join(dir, "locks", hexOf(digest)), lockTimeoutMs, signal);
    const rootDir = this.#rootDir(digest);
    // Another cell may have pulled it while this one waited for the lock.
    const cached = await this.#cached(reference);
    if (cached !== undefined) return cached;
    const work = join(dir, "tmp", `${process.pid}-${hexOf(digest)}`);
    try {
      await rm(work, { recursive: true, force: true });
      await rm(rootDir, { recursive: true, force: true });
      const layout = join(work, "layout");
      await mkdir(layout, { recursive: true, mode: 0o700 });
      await symlink(join(dir, "blobs"), join(layout, "blobs"));
      await registry.copy(reference, image.manifest, layout, credentials, signal);
      await this.#unpack(layout, join(work, "root"), reference, signal);
      await rename(join(work, "root"), rootDir);
      await writeWhole(join(dir, "images", `${hexOf(digest)}.json`), JSON.stringify(image.metadata));
      return { metadata: image.metadata, rootDir };
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  async #unpack(layout: string, root: string, reference: ImageReference, signal: AbortSignal): Promise<void> {
    const map = `0:${this.#options.idBase}:65536`;
    try {
      const args = ["raw", "unpack", "--image", `${layout}:image`, "--uid-map", map, "--gid-map", map, root];
      await this.#options.exec("umoci", args, { timeoutMs: unpackTimeoutMs, signal });
    } catch (error) {
      signal.throwIfAborted();
      const words = lastWords(error);
      const full = error instanceof ToolError && /no space left/i.test(`${error.stderr}${error.stdout}`);
      if (full) throw new GardenError("no-space", `the cell has no disk space left for ${displayImage(reference)}`, error);
      throw new GardenError("image-invalid", `the layers of ${displayImage(reference)} cannot be unpacked (${words})`, error);
    }
  }

  #aliasFile(digest: string): string {
    return join(this.#options.dir, "aliases", `${createHash("sha256").update(digest).digest("hex").slice(0, 32)}.json`);
  }

  async #alias(digest: string): Promise<string | undefined> {
    const found = (await readJson(this.#aliasFile(digest))) as { from?: string; to?: string } | undefined;
    return found?.from === digest && typeof found.to === "string" ? found.to : undefined;
  }

  async #rememberAlias(from: string, to: string): Promise<void> {
    await writeWhole(this.#aliasFile(from), JSON.stringify({ from, to }));
  }
}

/** Whether the process a folder of tmp is named after still lives. */
async function isHeld(name: string): Promise<boolean> {
  const pid = Number(name.split("-")[0]);
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  return (await stat(`/proc/${pid}`).catch(() => undefined)) !== undefined;
}
