// The backup's form: what its digest is over, and how its messages lie in a file.
import { createHash } from "node:crypto";
import type { BackupRecord } from "@muster/proto/muster/v1/backup";

/** A file begins with this line; the number moves when older programs could not read it. */
export const magic = Buffer.from("muster backup 1\n");
/** Then `BackupResponse` messages, each after its length in 4 bytes, big endian. */
export const lengthBytes = 4;
/** Larger than any message the BBS sends: a length beyond it is damage. */
export const maxFrameBytes = 8 * 1024 * 1024;

/** Counts records and adds them up as `BackupEnd.sha256` does. */
export class BackupDigest {
  readonly #hash = createHash("sha256");
  #records = 0n;

  get records(): bigint {
    return this.#records;
  }

  add({ key, value }: BackupRecord): void {
    const keyBytes = Buffer.from(key);
    this.#hash.update(lengthOf(keyBytes)).update(keyBytes).update(lengthOf(value)).update(value);
    this.#records += 1n;
  }

  /** Ends it: call once. */
  digest(): Buffer {
    return this.#hash.digest();
  }
}

export function lengthOf(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32BE(bytes.byteLength);
  return length;
}

/** The order of records: that of the bytes of their keys, which UTF-16 alone does not give. */
export function byKey(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at += 1) {
    const [left, right] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (left !== right) return asBytesSort(left) - asBytesSort(right);
  }
  return a.length - b.length;
}

/** Surrogates stand for what sorts behind everything else. */
const asBytesSort = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit);
