// What actions fetch for a container and send from it (cell.md section 6): downloads through the cell's cache, uploads of one file.
import { createHash } from "node:crypto";
import { createWriteStream, openAsBlob } from "node:fs";
import { rm } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Container } from "@muster/garden";
import type { DownloadAction, UploadAction } from "@muster/proto/models/actions";
import type { Clock } from "@muster/shared/clock";
import { Turnstile } from "@muster/shared/flight";
import { extract } from "tar-stream";
import type { Dependency } from "../plan/index.js";
import { asTar } from "./archive.js";
import type { DownloadCache } from "./cache.js";
import { targetOf } from "./download.js";

/** What failed, in Diego's words; the cause may hold an address and is for the cell's own log alone. */
export class TransferError extends Error {
  override readonly name = "TransferError";
}

/** What a step asks for. All reject with the signal's reason once it is aborted, else with a TransferError. */
export interface Transfers {
  /** Resolves with the archive's size, or `undefined` when it was in the cache already. */
  download(container: Container, action: DownloadAction, signal: AbortSignal): Promise<number | undefined>;
  /** Resolves with the file's size. */
  upload(container: Container, action: UploadAction, signal: AbortSignal): Promise<number>;
  /** Makes a dependency ready to be mounted, and keeps it as long as `holder` does. */
  prepare(dependency: Dependency, holder: string, signal: AbortSignal): Promise<{ folder: string; bytes: number | undefined }>;
  hold(holder: string, cacheKeys: readonly string[]): void;
  release(holder: string): void;
}

const nowhere = (): Promise<never> => Promise.reject(new TransferError("this cell neither downloads nor uploads"));

/** For a cell without a disk: the simulator's. */
export const noTransfers: Transfers = {
  download: nowhere,
  upload: nowhere,
  prepare: nowhere,
  hold: () => undefined,
  release: () => undefined,
};

const parallelUploads = 5;
const uploadAttempts = 3;
const uploadMs = 600_000;
/** A container's disk limit bounds what a file takes, not how long it says to be: of a sparse one no more is read than this. */
const maxUploadBytes = 10_000_000_000;

const named = (artifact: string): string => (artifact === "" ? "" : ` ${artifact}`);

/** Rejects as soon as the signal is aborted, whatever the work does then. */
async function orAborted<Value>(work: Promise<Value>, signal: AbortSignal): Promise<Value> {
  signal.throwIfAborted();
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
    work.catch(() => undefined);
  }
}

async function saying<Value>(text: (cause: unknown) => string, signal: AbortSignal, work: Promise<Value>): Promise<Value> {
  try {
    return await orAborted(work, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw new TransferError(text(error), { cause: error });
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class CellTransfers implements Transfers {
  readonly #clock: Clock;
  readonly #cache: DownloadCache;
  readonly #maxUploadBytes: number;
  readonly #uploads = new Turnstile(parallelUploads);

  constructor(clock: Clock, cache: DownloadCache, maxBytes = maxUploadBytes) {
    this.#clock = clock;
    this.#cache = cache;
    this.#maxUploadBytes = maxBytes;
  }

  async download(container: Container, action: DownloadAction, signal: AbortSignal): Promise<number | undefined> {
    const { artifact, from, to, cacheKey, user } = action;
    const checksum = { algorithm: action.checksumAlgorithm, value: action.checksumValue };
    const fetching = this.#cache.file({ from, cacheKey, checksum }, signal);
    await using held = await saying(() => `Downloading${named(artifact)} failed`, signal, fetching);
    const copied = container.streamIn({ path: to, user }, asTar(held.file), signal);
    await saying((error) => `Copying${named(artifact)} into the container failed: ${messageOf(error)}`, signal, copied);
    return held.cached ? undefined : held.bytes;
  }

  upload(container: Container, action: UploadAction, signal: AbortSignal): Promise<number> {
    return this.#uploads.run(signal, async () => {
      const file = this.#cache.temporary();
      try {
        const spooling = spool(container.streamOut({ path: action.from, user: action.user }, signal), file, this.#maxUploadBytes);
        const spooled = await saying(() => "Failed to establish stream from container", signal, spooling);
        if (spooled === undefined) throw new TransferError("Failed to find first item in tar stream");
        const sending = this.#send(action.to, file, spooled, signal);
        await saying(() => `Failed to upload payload${action.artifact === "" ? "" : ` for ${action.artifact}`}`, signal, sending);
        return spooled.bytes;
      } finally {
        await rm(file, { force: true });
      }
    });
  }

  async prepare(
    dependency: Dependency,
    holder: string,
    signal: AbortSignal,
  ): Promise<{ folder: string; bytes: number | undefined }> {
    const { name, from, cacheKey, checksum } = dependency;
    const made = this.#cache.dependency({ from, cacheKey, checksum }, holder, signal);
    const { folder, bytes, cached } = await saying(() => `Downloading${named(name)} failed`, signal, made);
    return { folder, bytes: cached ? undefined : bytes };
  }

  hold(holder: string, cacheKeys: readonly string[]): void {
    this.#cache.hold(holder, cacheKeys);
  }

  release(holder: string): void {
    this.#cache.release(holder);
  }

  async #send(to: string, file: string, { md5, sha256 }: Spooled, signal: AbortSignal): Promise<void> {
    const late = new AbortController();
    const cancel = this.#clock.after(uploadMs, () => late.abort(new Error("the upload took too long")));
    const either = AbortSignal.any([signal, late.signal]);
    try {
      const target = targetOf(to);
      for (let attempt = 1; ; attempt += 1) {
        try {
          // Its size is known, so that the server is told it.
          const body = await openAsBlob(file);
          const headers = {
            ...target.headers,
            "content-type": "application/octet-stream",
            "content-md5": md5,
            "content-digest": `sha-256=:${sha256}:`,
          };
          const response = await fetch(target.url, { method: "POST", headers, body, signal: either });
          await response.body?.cancel();
          if (response.status < 400) return;
          throw new Error(`the server answered with status ${response.status}`);
        } catch (error) {
          either.throwIfAborted();
          if (attempt >= uploadAttempts) throw error;
        }
      }
    } finally {
      cancel();
    }
  }
}

interface Spooled {
  readonly bytes: number;
  /** Both base64. */
  readonly md5: string;
  readonly sha256: string;
}

/** The first regular file of the stream, on disk; `undefined` when it has none. @throws Error for one of more than `maxBytes`. */
async function spool(tar: AsyncIterable<Uint8Array>, file: string, maxBytes: number): Promise<Spooled | undefined> {
  const entries = extract();
  const feeding = pipeline(Readable.from(tar), entries);
  feeding.catch(() => undefined);
  for await (const entry of entries) {
    if (entry.header.type !== "file") {
      entry.resume();
      continue;
    }
    const [md5, sha256] = [createHash("md5"), createHash("sha256")];
    let bytes = 0;
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of entry as AsyncIterable<Uint8Array>) {
        bytes += chunk.length;
        if (bytes > maxBytes) throw new Error(`the file is larger than the ${maxBytes} bytes that a cell sends`);
        md5.update(chunk);
        sha256.update(chunk);
        yield chunk;
      }
    };
    await pipeline(counted, createWriteStream(file, { mode: 0o600 }));
    return { bytes, md5: md5.digest("base64"), sha256: sha256.digest("base64") };
  }
  await feeding;
  return undefined;
}
