// Small things every codec needs.
import type { ActualLRP } from "@muster/proto/models/actual_lrp";
import { BbsError } from "../errors/index.js";

export const corrupt = (record: string): BbsError => new BbsError("Deserialize", undefined, { record });

export const mapToRecord = <Value>(map: ReadonlyMap<string, Value>): Record<string, Value> => Object.fromEntries(map);

export const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

type Writer = ReturnType<typeof ActualLRP.encode>;

/** The writer that the last record was encoded with: its buffer has grown to the size of a record, a new one's would grow anew. */
let idleWriter: Writer | undefined;

/** The bytes of a message. One that fails half-way leaves no trace: its writer is not used again. */
export function bytesOf<Message>(
  codec: { readonly encode: (message: Message, writer?: Writer) => Writer },
  message: Message,
): Uint8Array {
  const writer = idleWriter;
  idleWriter = undefined;
  const written = codec.encode(message, writer);
  const bytes = written.finish();
  idleWriter = written;
  return bytes;
}
