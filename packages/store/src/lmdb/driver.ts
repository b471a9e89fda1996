// The LMDB driver: it holds the folder's lock, so nobody else writes, and leadership is a matter of this process alone.
import { chmod, mkdir } from "node:fs/promises";
import type { Clock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import { type FolderLock, lockFolder } from "@muster/shared/lifecycle";
import { type Log, silentLog } from "@muster/shared/log";
import {
  type CommitResult,
  type Head,
  type Leadership,
  noCompactions,
  type StoreBatch,
  type StoreDriver,
  type StoredRecord,
  type StoreUsage,
} from "../driver.js";
import { judge } from "../fence.js";
import { decodeHead, encodeHead, sameHead } from "../head.js";
import { refuseOversize } from "../limits.js";
import { Term, termOf } from "../term.js";
import { type Environment, growthBytes, keys, liveBytes, openEnvironment, refusalReason, writeBatch } from "./environment.js";
import { checkDataFile, diskRoom } from "./file.js";
import { snapshotOf } from "./snapshot.js";

export interface LmdbStoreOptions {
  /** The data folder; made (for this user only) when it is not there. */
  readonly path: string;
  readonly clock: Clock;
  /** Bytes of live data at which commits are refused with `no-space`; 8 GiB by default, 1 MiB at least. */
  readonly mapSizeBytes?: number;
  readonly log?: Log;
}

const defaultMapSizeBytes = 8 * 1024 ** 3;
const minMapSizeBytes = 1024 ** 2;

class LmdbTerm extends Term {
  readonly #end: () => void;

  constructor(token: string, end: () => void) {
    super(token);
    this.#end = end;
  }

  override async resign(): Promise<void> {
    if (!this.open) return;
    this.lose("resigned");
    this.#end();
  }
}

/** No bound of LMDB: beyond this a larger commit gains nothing, and its readers want messages of a sane size. */
const lmdbBatchWrites = 512;

class LmdbDriver implements StoreDriver {
  readonly maxBatchWrites = lmdbBatchWrites;
  readonly #db: Environment;
  readonly #lock: FolderLock;
  readonly #path: string;
  readonly #allowedBytes: number;
  readonly #log: Log;
  /** The present term of each name; who waits for it waits for its `lost`. */
  readonly #terms = new Map<string, LmdbTerm>();
  #termCount = 0;
  #head: Head | undefined;
  #usedBytes: number;
  #lastCommit: Promise<unknown> = Promise.resolve();
  readonly #closing = new AbortController();

  constructor(db: Environment, lock: FolderLock, path: string, allowedBytes: number, log: Log) {
    this.#db = db;
    this.#lock = lock;
    this.#path = path;
    this.#allowedBytes = allowedBytes;
    this.#log = log;
    this.#head = this.#storedHead();
    this.#usedBytes = liveBytes(db);
  }

  /** The folder's lock is the leadership: within the process one term follows the other, and no TTL can run out. */
  async campaign(name: string, _value: string, _ttlMs: number, signal: AbortSignal): Promise<Leadership> {
    const stop = AbortSignal.any([signal, this.#closing.signal]);
    stop.throwIfAborted();
    for (let held = this.#terms.get(name); held !== undefined; held = this.#terms.get(name)) await aborted(held.lost, stop);
    this.#termCount += 1;
    const term = new LmdbTerm(`${name}/${this.#termCount}`, () => this.#terms.delete(name));
    this.#terms.set(name, term);
    return term;
  }

  async readHead(signal: AbortSignal): Promise<Head | undefined> {
    signal.throwIfAborted();
    return this.#head;
  }

  async load(signal: AbortSignal): Promise<{ head: Head | undefined; records: AsyncIterable<StoredRecord> }> {
    signal.throwIfAborted();
    const snapshot = snapshotOf(this.#db, AbortSignal.any([signal, this.#closing.signal]));
    const head = snapshot.get(keys.head);
    return { head: head === undefined ? undefined : decodeHead(head), records: snapshot.records };
  }

  async commit(batch: StoreBatch, leadership: Leadership): Promise<CommitResult> {
    const refusal = refuseOversize(batch, this.maxBatchWrites);
    if (refusal !== undefined) return refusal;
    const term = termOf(LmdbTerm, leadership);
    const result = this.#lastCommit.then(() => this.#commitNext(batch, term));
    this.#lastCommit = result.catch(() => undefined);
    return result;
  }

  async confirm(leadership: Leadership): Promise<boolean> {
    return termOf(LmdbTerm, leadership).open;
  }

  async usage(signal: AbortSignal): Promise<StoreUsage> {
    signal.throwIfAborted();
    const usedBytes = this.#usedBytes;
    const { fileBytes, freeBytes } = await diskRoom(this.#path);
    return {
      usedBytes,
      // The bound is on live pages, and freed ones are written again: the file says nothing of its own.
      fileBytes: usedBytes,
      allowedBytes: Math.min(this.#allowedBytes, Math.max(fileBytes, usedBytes) + freeBytes),
      closed: false,
      advice: `remove LRPs and tasks that are not needed, make room on the disk of ${this.#path}, or raise the store's bound`,
      compactions: noCompactions,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new Error("the store was closed"));
    await this.#lastCommit;
    for (const term of this.#terms.values()) await term.resign();
    await this.#db.close();
    await this.#lock[Symbol.asyncDispose]();
  }

  async #commitNext(batch: StoreBatch, term: LmdbTerm): Promise<CommitResult> {
    const verdict = judge(batch, this.#head, term.open);
    if (verdict === "arrived") return { ok: true };
    if (verdict === "fenced") return { ok: false, why: "fenced" };
    if (this.#isFullFor(batch)) {
      const cause = new Error(`${this.#usedBytes} bytes are used of ${this.#allowedBytes}`);
      return { ok: false, why: "refused", reason: "no-space", cause };
    }
    try {
      await writeBatch(this.#db, batch, encodeHead(batch.to));
      this.#head = batch.to;
      this.#usedBytes = liveBytes(this.#db);
      return { ok: true };
    } catch (cause) {
      return await this.#settle(batch, cause);
    }
  }

  /** A batch of deletions alone may pass: it makes room. A probe counts as a write. */
  #isFullFor(batch: StoreBatch): boolean {
    const makesRoom = batch.writes.length > 0 && batch.writes.every(({ value }) => value === undefined);
    return !makesRoom && this.#usedBytes + growthBytes(batch) > this.#allowedBytes;
  }

  /** A commit failed: the file itself says whether it was written. Nothing can arrive later, nobody else has it open. */
  async #settle(batch: StoreBatch, cause: unknown): Promise<CommitResult> {
    this.#log.warn({ err: cause, revision: String(batch.to.sequence) }, "lmdb commit failed");
    this.#head = this.#storedHead();
    if (this.#head !== undefined && sameHead(this.#head, batch.to)) return { ok: true };
    return { ok: false, why: "refused", reason: await refusalReason(this.#path, batch, cause), cause };
  }

  #storedHead(): Head | undefined {
    this.#db.resetReadTxn();
    const bytes = this.#db.get(keys.head);
    return bytes === undefined ? undefined : decodeHead(bytes);
  }
}

/** Resolves when `event` has aborted. @throws the reason of `signal` once that aborts. */
function aborted(event: AbortSignal, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      event.removeEventListener("abort", done);
      signal.removeEventListener("abort", done);
      if (signal.aborted) reject(signal.reason);
      else resolve();
    };
    event.addEventListener("abort", done);
    signal.addEventListener("abort", done);
    if (event.aborted || signal.aborted) done();
  });
}

/**
 * Opens the store in a folder, alone: leadership is held for as long as it is open.
 * @throws OperatorError when another process has the folder open, or when its file cannot be opened.
 */
export async function openLmdbStore(options: LmdbStoreOptions): Promise<StoreDriver> {
  const allowedBytes = options.mapSizeBytes ?? defaultMapSizeBytes;
  if (!Number.isSafeInteger(allowedBytes) || allowedBytes < minMapSizeBytes) {
    throw new OperatorError(`a store of ${allowedBytes} bytes is too small`, `allow at least ${minMapSizeBytes} bytes`);
  }
  await mkdir(options.path, { recursive: true, mode: 0o700 });
  const lock = await lockFolder(options.path, `a store opened at ${new Date(options.clock.nowMs()).toISOString()}`);
  try {
    await chmod(options.path, 0o700);
    await checkDataFile(options.path);
    const db = openEnvironment(options.path, allowedBytes);
    return new LmdbDriver(db, lock, options.path, allowedBytes, options.log ?? silentLog());
  } catch (cause) {
    await lock[Symbol.asyncDispose]();
    const hint = "check the folder's owner and disk; a damaged data.mdb must be put back from a backup";
    throw new OperatorError(`the store in ${options.path} cannot be opened`, hint, cause);
  }
}
