// Lists as one protobuf message with its Content-Length, however long: encoded in slices that leave room for other work, never held in
// memory as a whole.
import type { ServerResponse } from "node:http";
import { BbsError } from "@muster/shared/errors";
import { turns } from "../../feed/turns.js";
import type { ListRoom } from "../chunks.js";

/** A list and how some of its items become a message: messages of one type one after the other are one message. */
export interface Listing {
  /** May be walked more than once, with the same outcome. */
  readonly items: Iterable<unknown>;
  readonly encode: (items: unknown[]) => Uint8Array;
}

export const listing = <Item>(items: Iterable<Item>, encode: (items: Item[]) => Uint8Array): Listing => ({
  items,
  encode: encode as (items: unknown[]) => Uint8Array,
});

/** One slice is so many items, or what is made in so long: half a tick of 20 ms, encoding takes the other half. */
const sliceItems = 100;
const sliceMs = 5;
/** A longer list is encoded twice: once for its length, and again as it leaves. */
const keptBytes = 1024 * 1024;

async function* slices({ items, encode }: Listing, elapsedMs: () => number): AsyncIterable<Uint8Array> {
  let slice: unknown[] = [];
  let startedMs = elapsedMs();
  for (const item of items) {
    slice.push(item);
    if (slice.length < sliceItems && elapsedMs() - startedMs < sliceMs) continue;
    yield encode(slice);
    await turns.next();
    slice = [];
    startedMs = elapsedMs();
  }
  if (slice.length > 0) yield encode(slice);
}

export interface MeasuredListing {
  readonly bytes: number;
  /** The encoded list, if it is short. */
  readonly kept: readonly Uint8Array[] | undefined;
  readonly listing: Listing;
}

/** Encodes the list once. Throws what encoding throws: nothing was sent yet, so it can still be told in-band. */
export async function measure(of: Listing, elapsedMs: () => number): Promise<MeasuredListing> {
  let bytes = 0;
  let kept: Uint8Array[] | undefined = [];
  for await (const slice of slices(of, elapsedMs)) {
    bytes += slice.byteLength;
    if (bytes <= keptBytes) kept?.push(slice);
    else kept = undefined;
  }
  return { bytes, kept, listing: of };
}

/**
 * Resolves with what gives back the room that a long list has taken; a short one needs none.
 * @throws BbsError ResourceExhausted when none came free in time.
 */
export async function roomFor(
  reply: Uint8Array | MeasuredListing,
  { lists, clock }: ListRoom,
  response: ServerResponse,
): Promise<() => void> {
  if (reply instanceof Uint8Array || reply.kept !== undefined) return () => undefined;
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  response.once("close", leave);
  try {
    if (response.destroyed) leave();
    await lists.take(clock, gone.signal);
  } finally {
    response.removeListener("close", leave);
  }
  return () => lists.give();
}

/** Writes the body. Resolves when all of it was handed over, or the client is gone. @throws BbsError when the list changed its length. */
export async function writeListing(
  response: ServerResponse,
  { bytes, kept, listing: of }: MeasuredListing,
  elapsedMs: () => number,
): Promise<void> {
  let written = 0;
  for await (const slice of kept ?? slices(of, elapsedMs)) {
    if (response.destroyed) return;
    written += slice.byteLength;
    if (written > bytes) throw new BbsError("UnknownError", "a list changed while it was written");
    if (!response.write(slice)) await drained(response);
  }
  if (written !== bytes) throw new BbsError("UnknownError", "a list changed while it was written");
  response.end();
}

/** Resolves when the client takes more, or is gone. */
export function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.removeListener("drain", done);
      response.removeListener("close", done);
      resolve();
    };
    response.on("drain", done);
    response.on("close", done);
    if (response.destroyed) done();
  });
}
