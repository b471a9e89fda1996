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
import { SingleFlight, Turnstile } from "@muster/shared/flight";
import type { Log } from "@muster/shared/log";
import type { ImageCredentials, ImageMetadata, RootFSUrl } from "../garden.js";
import { GardenError } from "../garden.js";
import { type Exec, lastWords, ToolError } from "../tools/exec.js";
import { readJson, writeWhole } from "../tools/files.js";
import { lockFile } from "../tools/lock.js";
import { type CacheEntry, planEviction } from "./eviction.js";
import { parseManifest } from "./manifest.js";
import { type PreloadedRoot, PreloadedRoots, stackOf } from "./preloaded.js";
import { displayImage, type ImageReference, ImageReferenceError, parseRootFS } from "./reference.js";
import type { RegistryClient, ResolvedImage } from "./registry.js";
import { checkLayerSizes, type SpaceOptions, withinSpace } from "./space.js";

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
  /** What one image may take; default 8,000,000,000 bytes. */
  readonly maxImageBytes?: number;
  /** Holds archives of preloaded roots. */
  readonly preloadedDir?: string | undefined;
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
/** As large as the cache allows, with room for another. */
const defaultMaxImageBytes = 8_000_000_000;
const preloadedPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

  readonly preloaded: PreloadedRoots;
  readonly #space: SpaceOptions;

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    this.preloaded = new PreloadedRoots(options.preloadedDir);
    const { clock, exec, maxImageBytes = defaultMaxImageBytes } = options;
    this.#space = { clock, exec, maxImageBytes };
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
  async tidy(limitBytes: number = this.#options.limitBytes): Promise<void> {
    const { clock, dir, log } = this.#options;
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
    const stack = stackOf(rootFs);
    if (stack !== undefined) return preloadedMetadata(await this.preloaded.find(stack, signal));
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
    const stack = stackOf(rootFs);
    if (stack !== undefined) return this.#ensurePreloaded(await this.preloaded.find(stack, signal), signal);
    const reference = readRootFS(rootFs);
    const cached = await this.#cached(reference);
    if (cached !== undefined) return this.#used(cached);
    const resolved = await this.#resolve(reference, credentials, signal);
    const { digest } = resolved.metadata;
    if (reference.digest !== undefined && reference.digest !== digest) await this.#rememberAlias(reference.digest, digest);
    const pinned: ImageReference = { ...reference, tag: undefined, digest };
    const here = await this.#cached(pinned);
    if (here !== undefined) return this.#used(here);
    checkLayerSizes(resolved.manifest.layers, this.#space.maxImageBytes, displayImage(reference));
    return this.#make(resolved.metadata, displayImage(pinned), signal, async (layout, shared) => {
      await this.#options.registry.copy(pinned, resolved.manifest, layout, credentials, shared);
      return blobsOf(layout);
    });
  }

  async #ensurePreloaded(root: PreloadedRoot, signal: AbortSignal): Promise<CachedImage> {
    const metadata = preloadedMetadata(root);
    const cached = await this.#cachedDigest(metadata.digest);
    if (cached !== undefined) return this.#used(cached);
    const { exec } = this.#options;
    return this.#make(metadata, `the preloaded root ${root.stack}`, signal, async (layout, shared) => {
      const image = `${layout}-local:image`;
      const archive = root.isCompressed ? `${layout}.tar` : root.file;
      const bounds = { timeoutMs: unpackTimeoutMs, signal: shared };
      if (root.isCompressed) await exec("sh", ["-c", 'gzip -dc "$1" > "$2"', "sh", root.file, archive], bounds);
      await exec("umoci", ["init", "--layout", `${layout}-local`], bounds);
      await exec("umoci", ["new", "--image", image], bounds);
      await exec("umoci", ["raw", "add-layer", "--image", image, archive], bounds);
      await rm(layout, { recursive: true });
      await rename(`${layout}-local`, layout);
      return [];
    });
  }

  /** Fetches and unpacks an image once for all who want it, and once more with an emptied cache when the disk was full. */
  async #make(metadata: ImageMetadata, name: string, signal: AbortSignal, fetch: Fetch): Promise<CachedImage> {
    const made = await this.#pulls.join(metadata.digest, signal, (shared) =>
      this.#turnstile.run(shared, async () => {
        try {
          return await this.#pull(metadata, name, shared, fetch);
        } catch (error) {
          if (!(error instanceof GardenError) || error.code !== "no-space") throw error;
          // Images nobody uses must not keep one out that somebody waits for.
          await this.tidy(0);
          return this.#pull(metadata, name, shared, fetch);
        }
      }),
    );
    this.tidy().catch((error: unknown) => this.#options.log.warn({ err: error }, "the image cache could not be tidied"));
    return made;
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
    return this.#cachedDigest((await this.#alias(reference.digest)) ?? reference.digest);
  }

  async #cachedDigest(digest: string): Promise<CachedImage | undefined> {
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

  async #pull(metadata: ImageMetadata, name: string, signal: AbortSignal, fetch: Fetch): Promise<CachedImage> {
    const { clock, dir } = this.#options;
    const { digest } = metadata;
    await using _notTidied = await lockFile(clock, join(dir, "locks", "tidy"), lockTimeoutMs, signal, "shared");
    await using _alone = await lockFile(clock, join(dir, "locks", hexOf(digest)), lockTimeoutMs, signal);
    const rootDir = this.#rootDir(digest);
    // Another cell may have pulled it while this one waited for the lock.
    const cached = await this.#cachedDigest(digest);
    if (cached !== undefined) return cached;
    const work = join(dir, "tmp", `${process.pid}-${hexOf(digest)}`);
    try {
      await rm(work, { recursive: true, force: true });
      await rm(rootDir, { recursive: true, force: true });
      const layout = join(work, "layout");
      await mkdir(layout, { recursive: true, mode: 0o700 });
      await symlink(join(dir, "blobs"), join(layout, "blobs"));
      const blobs = await withinSpace(this.#space, work, name, signal, async (either) => {
        const fetched = await fetch(layout, either);
        await this.#unpack(layout, join(work, "root"), name, either).catch(async (error: unknown) => {
          // Perhaps they were torn on this disk: the next pull fetches them again.
          for (const blob of fetched) await rm(this.#blobFile(blob), { force: true });
          throw error;
        });
        return fetched;
      });
      const rootBytes = await this.#rootSize(work, signal);
      const bytes = rootBytes + (await this.#blobSize(blobs));
      await rename(join(work, "root"), rootDir);
      // What a power cut could tear must be whole before the record vouches for it.
      await this.#options.exec("sync", ["--file-system", rootDir], { timeoutMs: unpackTimeoutMs, signal });
      const record: ImageRecord = { metadata, bytes, rootBytes, blobs };
      await writeWhole(this.#recordFile(hexOf(digest)), JSON.stringify(record));
      return { metadata, rootDir, rootBytes };
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  async #unpack(layout: string, root: string, name: string, signal: AbortSignal): Promise<void> {
    const map = `0:${this.#options.idBase}:65536`;
    try {
      const args = ["raw", "unpack", "--image", `${layout}:image`, "--uid-map", map, "--gid-map", map, root];
      await this.#options.exec("umoci", args, { timeoutMs: unpackTimeoutMs, signal });
    } catch (error) {
      signal.throwIfAborted();
      const words = lastWords(error);
      const full = error instanceof ToolError && /no space left/i.test(`${error.stderr}${error.stdout}`);
      if (full) throw new GardenError("no-space", `the cell has no disk space left for ${name}`, error);
      throw new GardenError("image-invalid", `the layers of ${name} cannot be unpacked (${words})`, error);
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

/** Puts an image into an OCI layout folder under the tag `image`. @returns the digests of those blobs of it that stay in the cache. */
type Fetch = (layout: string, signal: AbortSignal) => Promise<readonly string[]>;

const preloadedMetadata = ({ digest }: PreloadedRoot): ImageMetadata => ({
  digest,
  entrypoint: [],
  cmd: [],
  workingDir: "",
  user: "",
  env: [preloadedPath],
  exposedTcpPorts: [],
});

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
