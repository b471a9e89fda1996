// The LMDB environment as this driver uses it: settings said out loud, sizes, and what its failures mean.
import { statfs } from "node:fs/promises";
import { type Database, open, type RootDatabase } from "lmdb";
import type { CommitResult, StoreBatch } from "../driver.js";

export type Environment = RootDatabase<Buffer, Buffer>;

const headKey = Buffer.from("head");
const recordPrefix = "r/";
/** The first key after all records: `0` follows `/`. */
const recordsEnd = Buffer.from("r0");
const recordsStart = Buffer.from(recordPrefix);

export const keys = {
  head: headKey,
  record: (key: string): Buffer => Buffer.from(recordPrefix + key),
  recordOf: (stored: Buffer): string => stored.toString("utf8", recordPrefix.length),
  recordsStart,
  recordsEnd,
} as const;

/** Opens or creates the data file in `path`. Its address space is mapped at twice the bound, so that the map never moves. */
export function openEnvironment(path: string, allowedBytes: number): Environment {
  return open<Buffer, Buffer>({
    path,
    noSubdir: false,
    encoding: "binary",
    keyEncoding: "binary",
    compression: false,
    cache: false,
    maxDbs: 2,
    pageSize: 4_096,
    mapSize: allowedBytes * 2,
    // A commit resolves after its fdatasync, not before it.
    overlappingSync: false,
    noSync: false,
    noMetaSync: false,
    // One commit is one transaction; the journal has grouped already.
    eventTurnBatching: false,
    commitDelay: 0,
  });
}

interface Stats {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

const pages = (stats: Stats): number => stats.treeBranchPageCount + stats.treeLeafPageCount + stats.overflowPages;

/** Bytes in pages that hold something. The file is larger: it keeps freed pages for the next writes and never shrinks. */
export function liveBytes(db: Environment): number {
  const stats = db.getStats() as Stats & { readonly free: Stats };
  return (pages(stats) + pages(stats.free) + 2) * stats.pageSize;
}

/** At most how many bytes of pages the batch's puts may add; whatever they replace is not counted. */
export function growthBytes(batch: StoreBatch, pageSize = 4_096): number {
  let bytes = 0;
  for (const { key, value } of batch.writes) {
    if (value === undefined) continue;
    const entry = Buffer.byteLength(key) + value.byteLength + 32;
    // Values over about half a page get pages of their own.
    bytes += entry > pageSize / 2 ? Math.ceil(entry / pageSize) * pageSize + pageSize / 2 : entry;
  }
  return bytes;
}

/** All of the batch and its head in one transaction; resolves once it is on disk. @throws the cause when LMDB refuses it. */
export async function writeBatch(db: Database<Buffer, Buffer>, batch: StoreBatch, head: Uint8Array): Promise<void> {
  try {
    await db.batch(() => {
      for (const { key, value } of batch.writes) {
        if (value === undefined) void db.remove(keys.record(key));
        else void db.put(keys.record(key), asBuffer(value));
      }
      void db.put(keys.head, asBuffer(head));
    });
  } catch (error) {
    // The library rejects with a general error whose cause is the rejection of a promise beside it.
    const cause: unknown = await (error as { commitError?: Promise<never> }).commitError?.catch((inner: unknown) => inner);
    throw cause ?? error;
  }
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** MDB_MAP_FULL, ENOSPC, EDQUOT, EFBIG: no room, whatever is tried. */
const noSpaceCodes = new Set([-30792, 28, 122, 27]);
const eio = 5;

type RefusalReason = Extract<CommitResult, { why: "refused" }>["reason"];

/**
 * What a failed commit that was seen not to be written means. LMDB calls a write that the disk took only in part an input/output
 * error, which is what most full disks look like: the file system is asked.
 */
export async function refusalReason(path: string, batch: StoreBatch, error: unknown): Promise<RefusalReason> {
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code === "number" && noSpaceCodes.has(code)) return "no-space";
  if (code !== eio) return "other";
  const disk = await statfs(path).catch(() => undefined);
  return disk !== undefined && disk.bavail * disk.bsize < growthBytes(batch) + (1 << 20) ? "no-space" : "other";
}
