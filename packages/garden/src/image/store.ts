// The cache of images: blobs shared by all, one unpacked root per digest, and what each image says of itself. Shared by the cells of one
// home, so everything is done under a lock between processes and appears in its place whole (renamed), or not at all.
//
//   blobs/        OCI blobs, shared between images      roots/<hex>/     the unpacked root, owned by shifted ids
//   images/<hex>.json   what is known of a cached digest; touched when it is asked for
//   aliases/<hash>.json index digest -> digest of this platform        tmp/  locks/
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, symlink, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { ImageCredentials, ImageMetadata, RootFSUrl } from "../garden.js";
import { GardenError } from "../garden.js";
import { type Exec, lastWords, ToolError } from "../tools/exec.js";
import { readJson, writeWhole } from "../tools/files.js";
import { SingleFlight, Turnstile } from "../tools/flight.js";
import { lockFile } from "../tools/lock.js";
import { type CacheEntry, planEviction } from "./eviction.js";
import { parseManifest } from "./manifest.js";
import { displayImage, type ImageReference, ImageReferenceError, parseRootFS } from "./reference.js";
import type { RegistryClient, ResolvedImage } from "./registry.js";

export interface CachedImage {
  readonly metadata: ImageMetadata;
  /** Absolute; never written to: containers mount it as their lower layer. */
  readonly rootDir: string;
  /** What it takes on the disk, unpacked. */
  readonly rootBytes: number;
}

export interface ImageStoreOptions {
  readonly clock: Clock;
  readonly exec: Exec;
  readonly registry: RegistryClient;
  readonly dir: string;
  /** What the cache may hold; the longest unused images go first. */
  readonly limitBytes: number;
  readonly log: Log;
  /** The host id that is root inside containers; 65,536 ids from here on are theirs. */
  readonly idBase: number;
}

/** Two pulls use the line and both cores; more only make each other slow. */
const parallelPulls = 2;
/** Each is three short skopeos; a crowd of them would make all of them late. */
const parallelQuestions = 4;
/** As long as a pull and its unpacking may take in another process. */
const lockTimeoutMs = 20 * 60_000;
/** Tidying waits for no pull: the next one tidies again. */
const tidyTimeoutMs = 2_000;
const unpackTimeoutMs = 10 * 60_000;

const hexOf = (digest: string): string => digest.slice("sha256:".length);

interface ImageRecord {
  readonly metadata: ImageMetadata;
  readonly bytes: number;
  readonly rootBytes: number;
  /** Digests of its blobs. */
  readonly blobs: readonly string[];
}

const isImageRecord = (value: unknown): value is ImageRecord => {
  const record = value as Partial<ImageRecord> | undefined;
  return (
    typeof record?.metadata?.digest === "string" &&
    typeof record.bytes === "number" &&
    typeof record.rootBytes === "number" &&
    Array.isArray(record.blobs)
  );
};

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
  readonly #questions = new SingleFlight<ResolvedImage>();
  readonly #asking = new Turnstile(parallelQuestions);
  readonly #turnstile = new Turnstile(parallelPulls);

  constructor(options: ImageStoreOptions) {
    this.#options = options;
  }

  /** Makes the folders, and removes what pulls that were cut off have left. */
  async open(): Promise<void> {
    const { dir } = this.#options;
    await mkdir(dir, { recursive: true, mode: 0o700 });
    for (const folder of ["blobs", "roots", "images", "aliases", "tmp", "locks"])
      await mkdir(join(dir, folder), { recursive: true, mode: 0o700 });
    await this.tidy();
  }

  /** Removes what pulls that were cut off have left, and images beyond the cache's limit. Does nothing while another process pulls. */
  async tidy(): Promise<void> {
    const { clock, dir, limitBytes, log } = this.#options;
    const lock = await lockFile(clock, join(dir, "locks", "tidy"), tidyTimeoutMs).catch(() => undefined);
    if (lock === undefined) return;
    await using _held = lock;
    // A pull's folder in tmp begins with the id of its process: only those of processes that are gone are removed.
    for (const name of await readdir(join(dir, "tmp"))) {
      if (!(await isHeld(name))) await rm(join(dir, "tmp", name), { recursive: true, force: true });
    }
    const evicted = planEviction(await this.#entries(), limitBytes, clock.nowMs());
    for (const hex of evicted) await this.#forget(hex);
    if (evicted.length > 0) log.info({ reason: "cache full", images: evicted.length }, "images removed from the cache");
    await this.#removeUnused();
  }

  /** What an image says of itself; asks the registry unless a cached digest is named. @throws GardenError image-… */
  async inspect(rootFs: RootFSUrl, credentials: ImageCredentials | undefined, signal: AbortSignal): Promise<ImageMetadata> {
    const reference = readRootFS(rootFs);
    const cached = await this.#cached(reference);
    if (cached !== undefined) return cached.metadata;
    return (await this.#resolve(reference, credentials, signal)).metadata;
  }

  /**
   * The image, unpacked and ready to be mounted. One that is named by its digest and was here before needs no registry.
   * @throws GardenError image-…, no-space, tool-failed
   */
  async ensure(rootFs: RootFSUrl, credentials: ImageCredentials | undefined, signal: AbortSignal): Promise<CachedImage> {
    const reference = readRootFS(rootFs);
    const cached = await this.#cached(reference);
    if (cached !== undefined) return this.#used(cached);
    const resolved = await this.#resolve(reference, credentials, signal);
    const { digest } = resolved.metadata;
    if (reference.digest !== undefined && reference.digest !== digest) await this.#rememberAlias(reference.digest, digest);
    const pinned: ImageReference = { ...reference, tag: undefined, digest };
    const here = await this.#cached(pinned);
    if (here !== undefined) return this.#used(here);
    const pulled = await this.#pulls.join(digest, signal, (shared) =>
      this.#turnstile.run(shared, () => this.#pull(pinned, resolved, credentials, shared)),
    );
    this.tidy().catch((error: unknown) => this.#options.log.warn({ err: error }, "the image cache could not be tidied"));
    return pulled;
  }

  /** Those who ask the same at the same time, with the same credentials, share one answer. */
  #resolve(reference: ImageReference, credentials: ImageCredentials | undefined, signal: AbortSignal): Promise<ResolvedImage> {
    const key = JSON.stringify([reference, credentials]);
    return this.#questions.join(createHash("sha256").update(key).digest("hex"), signal, (shared) =>
      this.#asking.run(shared, () => this.#options.registry.resolve(reference, credentials, shared)),
    );
  }

  async #used(image: CachedImage): Promise<CachedImage> {
    const now = this.#options.clock.nowMs() / 1_000;
    await utimes(this.#recordFile(hexOf(image.metadata.digest)), now, now).catch(() => {});
    return image;
  }

  #recordFile(hex: string): string {
    return join(this.#options.dir, "images", `${hex}.json`);
  }

  async #cached(reference: ImageReference): Promise<CachedImage | undefined> {
    if (reference.digest === undefined) return undefined;
    const digest = (await this.#alias(reference.digest)) ?? reference.digest;
    const rootDir = this.#rootDir(digest);
    const [record, root] = await Promise.all([readJson(this.#recordFile(hexOf(digest))), stat(rootDir).catch(() => undefined)]);
    // The record is written after the root is in its place and on the disk: present means whole.
    if (!isImageRecord(record) || root === undefined) return undefined;
    return { metadata: record.metadata, rootDir, rootBytes: record.rootBytes };
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
    await using _notTidied = await lockFile(clock, join(dir, "locks", "tidy"), lockTimeoutMs, signal, "shared");
    await using _alone = await lockFile(clock, join(dir, "locks", hexOf(digest)), lockTimeoutMs, signal);
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
      const blobs = await blobsOf(layout);
      await this.#unpack(layout, join(work, "root"), reference, signal).catch(async (error: unknown) => {
        // Perhaps they were torn on this disk: the next pull fetches them again.
        for (const blob of blobs) await rm(this.#blobFile(blob), { force: true });
        throw error;
      });
      const rootBytes = await this.#rootSize(work, signal);
      const bytes = rootBytes + (await this.#blobSize(blobs));
      await rename(join(work, "root"), rootDir);
      // What a power cut could tear must be whole before the record vouches for it.
      await this.#options.exec("sync", ["--file-system", rootDir], { timeoutMs: unpackTimeoutMs, signal });
      const record: ImageRecord = { metadata: image.metadata, bytes, rootBytes, blobs };
      await writeWhole(this.#recordFile(hexOf(digest)), JSON.stringify(record));
      return { metadata: image.metadata, rootDir, rootBytes };
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

  #blobFile(digest: string): string {
    return join(this.#options.dir, "blobs", "sha256", hexOf(digest));
  }

  async #rootSize(work: string, signal: AbortSignal): Promise<number> {
    const { stdout } = await this.#options.exec("du", ["-s", "-B1", join(work, "root")], { timeoutMs: unpackTimeoutMs, signal });
    return Number.parseInt(stdout.toString("utf8"), 10);
  }

  async #blobSize(blobs: readonly string[]): Promise<number> {
    const sizes = await Promise.all(blobs.map((blob) => stat(this.#blobFile(blob)).then(({ size }) => size)));
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  async #entries(): Promise<CacheEntry[]> {
    const { dir } = this.#options;
    const mounts = await readFile("/proc/self/mountinfo", "utf8");
    const names = (await readdir(join(dir, "images"))).filter((name) => /^[0-9a-f]{64}\.json$/.test(name));
    return Promise.all(
      names.map(async (name) => {
        const hex = name.slice(0, -".json".length);
        const [record, seen] = await Promise.all([readJson(join(dir, "images", name)), stat(join(dir, "images", name))]);
        return {
          hex,
          bytes: isImageRecord(record) ? record.bytes : 0,
          lastUsedMs: seen.mtimeMs,
          mounted: mounts.includes(`/${hex}-`),
        };
      }),
    );
  }

  async #forget(hex: string): Promise<void> {
    const { dir } = this.#options;
    await rm(this.#recordFile(hex), { force: true });
    for (const name of await readdir(join(dir, "roots"))) {
      if (name.startsWith(`${hex}-`)) await rm(join(dir, "roots", name), { recursive: true, force: true });
    }
  }

  /** Blobs and roots that no record knows: a pull was cut off, or their image was removed. */
  async #removeUnused(): Promise<void> {
    const { dir } = this.#options;
    const names = await readdir(join(dir, "images"));
    const records = await Promise.all(names.map((name) => readJson(join(dir, "images", name))));
    const known = new Set(names.map((name) => name.slice(0, -".json".length)));
    for (const name of await readdir(join(dir, "roots"))) {
      if (!known.has(name.split("-")[0] ?? "")) await rm(join(dir, "roots", name), { recursive: true, force: true });
    }
    const kept = new Set(records.filter(isImageRecord).flatMap((record) => record.blobs.map(hexOf)));
    for (const name of await readdir(join(dir, "blobs", "sha256")).catch((): string[] => [])) {
      if (!kept.has(name)) await rm(join(dir, "blobs", "sha256", name), { force: true });
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

/** The digests of all blobs of a layout's one image: its manifest, config and layers as skopeo wrote them. */
async function blobsOf(layout: string): Promise<string[]> {
  const index = (await readJson(join(layout, "index.json"))) as { manifests?: { digest: string }[] } | undefined;
  const digest = index?.manifests?.[0]?.digest ?? "";
  const manifest = parseManifest(await readFile(join(layout, "blobs", "sha256", hexOf(digest))), "the pulled image");
  if (manifest.kind !== "manifest") throw new GardenError("image-invalid", "skopeo wrote an index instead of an image");
  return [...new Set([digest, manifest.manifest.configDigest, ...manifest.manifest.layers.map((layer) => layer.digest)])];
}

/** Whether the process a folder of tmp is named after still lives. */
async function isHeld(name: string): Promise<boolean> {
  const pid = Number(name.split("-")[0]);
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  return (await stat(`/proc/${pid}`).catch(() => undefined)) !== undefined;
}
