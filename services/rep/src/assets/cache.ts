// The cell's download cache (cell.md section 6): one download for each cache key at a time, least recently used entries go first, what a container
// uses stays. Files are archives as they came; folders are what dependencies unpack to, mounted into containers.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import { Turns, Turnstile } from "@muster/shared/flight";
import type { Log } from "@muster/shared/log";
import { z } from "zod";
import type { Checksum } from "../plan/index.js";
import { type Downloaded, download, type Validators } from "./download.js";

export interface CacheOptions {
  readonly folder: string;
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Unpacks an archive into an empty folder. */
  readonly unpack: (archive: string, folder: string, signal: AbortSignal) => Promise<void>;
}

export interface Wanted {
  readonly from: string;
  /** Empty: nothing is kept. */
  readonly cacheKey: string;
  readonly checksum: Checksum;
}

/** A file that stays until it is given back. */
export interface HeldFile extends AsyncDisposable {
  readonly file: string;
  readonly bytes: number;
  /** It was here already. */
  readonly cached: boolean;
}

/** Source: cell.md section 6. */
export const defaultCacheBytes = 10_000_000_000;
const parallelDownloads = 5;

const entrySchema = z.object({
  key: z.string(),
  etag: z.string(),
  lastModified: z.string(),
  bytes: z.number(),
  /** Of the unpacked folder; 0 while there is none. */
  folderBytes: z.number(),
  usedAt: z.number(),
});
type CacheEntry = z.infer<typeof entrySchema>;
const indexSchema = z.object({ version: z.literal(1), entries: z.array(entrySchema) });

const nameOf = (key: string): string => createHash("sha256").update(key).digest("hex");

export class DownloadCache {
  readonly #options: CacheOptions;
  readonly #slots = new Turnstile(parallelDownloads);
  readonly #turns = new Turns();
  readonly #entries = new Map<string, CacheEntry>();
  /** How many use an entry now. */
  readonly #held = new Map<string, number>();
  /** Keys each container uses. */
  readonly #byHolder = new Map<string, Set<string>>();
  #uses = 0;
  #temporary = 0;

  constructor(options: CacheOptions) {
    this.#options = options;
    mkdirSync(join(options.folder, "files"), { recursive: true, mode: 0o700 });
    mkdirSync(join(options.folder, "folders"), { recursive: true, mode: 0o711 });
    rmSync(join(options.folder, "tmp"), { recursive: true, force: true });
    mkdirSync(join(options.folder, "tmp"), { mode: 0o700 });
    this.#load();
  }

  /** Bytes on disk. */
  get bytes(): number {
    let sum = 0;
    for (const entry of this.#entries.values()) sum += entry.bytes + entry.folderBytes;
    return sum;
  }

  /** A path for something that lives for a moment. */
  temporary(): string {
    this.#temporary += 1;
    return join(this.#options.folder, "tmp", String(this.#temporary));
  }

  /** Downloads a file, or takes it from here. @throws as `download` does. */
  async file(wanted: Wanted, signal: AbortSignal): Promise<HeldFile> {
    if (wanted.cacheKey === "") return this.#uncached(wanted, signal);
    return this.#turns.run(wanted.cacheKey, async () => {
      signal.throwIfAborted();
      return this.#cachedFile(wanted, signal);
    });
  }

  /**
   * The folder a dependency unpacks to; it stays as long as `holder` does. `bytes` are the archive's.
   * @throws Error for a server that gives neither ETag nor Last-Modified: what it gives cannot be shared; and as `download` does.
   */
  async dependency(
    wanted: Wanted,
    holder: string,
    signal: AbortSignal,
  ): Promise<{ folder: string; bytes: number; cached: boolean }> {
    return this.#turns.run(wanted.cacheKey, async () => {
      signal.throwIfAborted();
      await using held = await this.#cachedFile(wanted, signal);
      const entry = this.#entries.get(wanted.cacheKey);
      if (entry === undefined) throw new Error("what the server gave cannot be cached");
      if (entry.folderBytes === 0) await this.#unpack(entry, held.file, signal);
      this.hold(holder, [wanted.cacheKey]);
      return { folder: this.#folder(entry.key), bytes: held.bytes, cached: held.cached };
    });
  }

  /** Keeps entries for a container; also for one that an earlier rep made. */
  hold(holder: string, keys: readonly string[]): void {
    const held = this.#byHolder.get(holder) ?? new Set();
    for (const key of keys) {
      if (held.has(key)) continue;
      held.add(key);
      this.#take(key);
    }
    if (held.size > 0) this.#byHolder.set(holder, held);
  }

  /** The container is gone. */
  release(holder: string): void {
    for (const key of this.#byHolder.get(holder) ?? []) this.#give(key);
    this.#byHolder.delete(holder);
  }

  async #uncached(wanted: Wanted, signal: AbortSignal): Promise<HeldFile> {
    const file = this.temporary();
    const got = await this.#fetch(wanted, file, undefined, signal);
    return { file, bytes: got.unchanged ? 0 : got.bytes, cached: false, [Symbol.asyncDispose]: () => rm(file, { force: true }) };
  }

  async #cachedFile(wanted: Wanted, signal: AbortSignal): Promise<HeldFile> {
    const { cacheKey } = wanted;
    const known = await this.#known(cacheKey);
    const file = this.temporary();
    const got = await this.#fetch(wanted, file, known, signal);
    if (got.unchanged && known !== undefined) return this.#heldEntry({ ...known, usedAt: ++this.#uses }, true);
    if (got.unchanged) throw new Error("the server says that nothing has changed");
    const { etag, lastModified } = got.validators;
    // Nothing would ever tell that it has changed: it is used and forgotten.
    if (etag === "" && lastModified === "") {
      return { file, bytes: got.bytes, cached: false, [Symbol.asyncDispose]: () => rm(file, { force: true }) };
    }
    // Whoever uses the old content keeps it: its folder is replaced only when nobody does.
    if ((this.#held.get(cacheKey) ?? 0) > 0 && known !== undefined && known.folderBytes > 0) {
      return { file, bytes: got.bytes, cached: false, [Symbol.asyncDispose]: () => rm(file, { force: true }) };
    }
    await this.#makeRoom(got.bytes, cacheKey);
    await rm(this.#folder(cacheKey), { recursive: true, force: true });
    await rename(file, this.#file(cacheKey));
    return this.#heldEntry({ key: cacheKey, etag, lastModified, bytes: got.bytes, folderBytes: 0, usedAt: ++this.#uses }, false);
  }

  async #heldEntry(entry: CacheEntry, cached: boolean): Promise<HeldFile> {
    this.#entries.set(entry.key, entry);
    await this.#save();
    this.#take(entry.key);
    return {
      file: this.#file(entry.key),
      bytes: entry.bytes,
      cached,
      [Symbol.asyncDispose]: () => {
        this.#give(entry.key);
        return Promise.resolve();
      },
    };
  }

  #fetch(wanted: Wanted, file: string, validators: Validators | undefined, signal: AbortSignal): Promise<Downloaded> {
    const { clock, maxBytes } = this.#options;
    const { from, checksum } = wanted;
    return this.#slots.run(signal, () => download(clock, { from, file, checksum, validators, maxBytes }, signal));
  }

  async #unpack(entry: CacheEntry, archive: string, signal: AbortSignal): Promise<void> {
    const making = this.temporary();
    try {
      await mkdir(making, { mode: 0o755 });
      await this.#options.unpack(archive, making, signal);
      const folderBytes = Math.max(1, await sizeOf(making));
      await this.#makeRoom(folderBytes, entry.key);
      await rename(making, this.#folder(entry.key));
      this.#entries.set(entry.key, { ...entry, folderBytes });
      await this.#save();
    } finally {
      await rm(making, { recursive: true, force: true });
    }
  }

  /** The entry, if its file is really there. */
  async #known(key: string): Promise<CacheEntry | undefined> {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (await stat(this.#file(key)).catch(() => undefined)) return entry;
    if ((this.#held.get(key) ?? 0) === 0) await this.#drop(entry);
    return undefined;
  }

  /** Drops unused entries, the one unused for longest first, until `bytes` more fit. */
  async #makeRoom(bytes: number, keep: string): Promise<void> {
    const unused = [...this.#entries.values()]
      .filter(({ key }) => key !== keep && (this.#held.get(key) ?? 0) === 0)
      .sort((a, b) => a.usedAt - b.usedAt);
    for (const entry of unused) {
      if (this.bytes + bytes <= this.#options.maxBytes) return;
      await this.#drop(entry);
    }
  }

  async #drop(entry: CacheEntry): Promise<void> {
    this.#entries.delete(entry.key);
    await this.#save();
    await rm(this.#file(entry.key), { force: true });
    await rm(this.#folder(entry.key), { recursive: true, force: true });
  }

  #take(key: string): void {
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
  }

  #give(key: string): void {
    const left = (this.#held.get(key) ?? 1) - 1;
    if (left > 0) this.#held.set(key, left);
    else this.#held.delete(key);
  }

  #file(key: string): string {
    return join(this.#options.folder, "files", nameOf(key));
  }

  #folder(key: string): string {
    return join(this.#options.folder, "folders", nameOf(key));
  }

  get #index(): string {
    return join(this.#options.folder, "index.json");
  }

  #load(): void {
    try {
      const { entries } = indexSchema.parse(JSON.parse(readFileSync(this.#index, "utf8")));
      for (const entry of entries.toSorted((a, b) => a.usedAt - b.usedAt)) {
        this.#entries.set(entry.key, { ...entry, usedAt: ++this.#uses });
      }
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== "ENOENT") {
        this.#options.log.warn({ err }, "the download cache's index cannot be read; it begins anew");
      }
      for (const part of ["files", "folders"]) {
        rmSync(join(this.#options.folder, part), { recursive: true, force: true });
        mkdirSync(join(this.#options.folder, part), { mode: part === "files" ? 0o700 : 0o711 });
      }
    }
  }

  /** Written with every change, one write after another: a rep may be killed. */
  #save(): Promise<void> {
    return this.#turns.run("\0index", async () => {
      const file = `${this.#index}.new`;
      await writeFile(file, JSON.stringify({ version: 1, entries: [...this.#entries.values()] }), { mode: 0o600 });
      await rename(file, this.#index);
    });
  }
}

async function sizeOf(folder: string): Promise<number> {
  const all = await readdir(folder, { recursive: true, withFileTypes: true });
  let sum = 0;
  for (const one of all) if (one.isFile()) sum += (await stat(join(one.parentPath, one.name))).size;
  return sum;
}
