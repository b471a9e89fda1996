// Lists leave as streams of chunks of at most 1 MiB, yielding to the event loop in between.
const chunkBytes = 1024 * 1024;
/** A record's size is not known before it is encoded; this many are looked at together. */
const itemsPerChunk = 500;

/** Rough size of a decoded message: enough to keep chunks well below the message limit. */
const roughSize = (item: unknown): number => {
  let bytes = 0;
  const seen: unknown[] = [item];
  while (seen.length > 0) {
    const value = seen.pop();
    if (typeof value === "string") bytes += value.length;
    else if (value instanceof Uint8Array) bytes += value.byteLength;
    else if (value !== null && typeof value === "object") seen.push(...Object.values(value));
    else bytes += 8;
  }
  return bytes;
};

/** Cuts `items` into messages. An empty list is one empty message, so that the reader knows it was answered. */
export async function* chunked<Item, Message>(
  items: Promise<Iterable<Item>>,
  message: (items: Item[]) => Message,
): AsyncIterable<Message> {
  let chunk: Item[] = [];
  let bytes = 0;
  for (const item of await items) {
    const size = roughSize(item);
    if (chunk.length >= itemsPerChunk || (chunk.length > 0 && bytes + size > chunkBytes)) {
      yield message(chunk);
      await new Promise((resolve) => setImmediate(resolve));
      chunk = [];
      bytes = 0;
    }
    chunk.push(item);
    bytes += size;
  }
  yield message(chunk);
}
