// Reading tar streams.
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract } from "tar-stream";

/** What a tar stream begins with, when that is a regular file; else `undefined`. @throws whatever the stream throws, or a broken tar. */
export async function onlyFileOf(tar: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Buffer | "too-large" | undefined> {
  const entries = extract();
  const feeding = pipeline(Readable.from(tar), entries);
  // Told by the iteration below; here it must not end the process.
  feeding.catch(() => undefined);
  for await (const entry of entries) {
    if (entry.header.type !== "file") return undefined;
    if ((entry.header.size ?? 0) > maxBytes) return "too-large";
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }
  await feeding;
  return undefined;
}
