// Small things every codec needs.
import { BbsError } from "../errors/index.js";

export const corrupt = (record: string): BbsError => new BbsError("Deserialize", undefined, { record });

export const mapToRecord = <Value>(map: ReadonlyMap<string, Value>): Record<string, Value> => Object.fromEntries(map);

export const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
