// Lists leave as streams of small chunks, one made in a turn of the event loop, and only so many long ones at once.
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { CallInfo } from "@muster/shared/rpc";
import type { Slots } from "../feed/slots.js";
import { turns } from "../feed/turns.js";

/** Small, so that no tick is long and a slow line shows progress: a reader may have some sixteen of them on the way. */
const chunkBytes = 64 * 1024;
/** A record's size is not known before it is encoded; this many are looked at together. */
const itemsPerChunk = 200;
/** A long list whose reader takes nothing for so long is cut: it holds a slot. */
export const listStallMs = 10_000;

const stalled = (): BbsError =>
  new BbsError("ResourceExhausted", `the list was not read for ${listStallMs} ms; ask again when you can`);

/** Rough size of a decoded message: enough to keep chunks well below the message limit. */
function roughSize(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 8;
  if (value instanceof Uint8Array) return value.byteLength;
  let bytes = 0;
  for (const field of Object.values(value)) bytes += roughSize(field);
  return bytes;
}

/** An empty list is one empty chunk, so that the reader knows it was answered. */
function* chunksOf<Item>(items: Iterable<Item>): Generator<Item[], void, undefined> {
  let chunk: Item[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = roughSize(item);
    if (chunk.length >= itemsPerChunk || (chunk.length > 0 && bytes + size > chunkBytes)) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(item);
    bytes += size;
  }
  yield chunk;
}

/** Where long lists find room. */
export interface ListRoom {
  readonly lists: Slots;
  readonly clock: Clock;
}

/**
 * Cuts `items` into messages. A list of more than one chunk needs a slot, which it has until its reader has taken the last or stalls.
 * @throws BbsError ResourceExhausted before anything was sent when no slot came free in time.
 */
export async function* chunked<Item, Message>(
  items: Promise<Iterable<Item>>,
  message: (items: Item[]) => Message,
  { lists, clock }: ListRoom,
  { signal, cut }: Pick<CallInfo, "signal" | "cut">,
): AsyncIterable<Message> {
  const chunks = chunksOf(await items);
  let chunk = chunks.next().value ?? [];
  let following = chunks.next().value;
  if (following === undefined) {
    yield message(chunk);
    return;
  }
  await lists.take(clock, signal);
  let stopTimer: () => void = () => undefined;
  try {
    for (;;) {
      stopTimer = clock.after(listStallMs, () => cut(stalled()));
      yield message(chunk);
      stopTimer();
      if (following === undefined) return;
      chunk = following;
      await turns.next();
      following = chunks.next().value;
    }
  } finally {
    stopTimer();
    lists.give();
  }
}
