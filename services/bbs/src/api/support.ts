// What the calls of every noun need: who asks, lists that are made as they are read, sealed records that may not open.
import { BbsError } from "@muster/shared/errors";
import type { Peer } from "@muster/shared/tls";

/** Who calls, and what came with the call. */
export interface CallContext {
  readonly peer: Peer;
  readonly traceId: string;
  /** Rule P4: the auction whose failure is told; from the metadata key `muster-auction-id`. */
  readonly auctionId?: string | undefined;
}

/**
 * Records picked in one tick, each made a message only when it is taken: records never change, and a list of 250,000 rows must not
 * hold up the event loop.
 */
export const listed = <Record, Message>(records: readonly Record[], toWire: (record: Record) => Message): Iterable<Message> => ({
  *[Symbol.iterator]() {
    for (const record of records) yield toWire(record);
  },
});

/**
 * Reads a sealed record. What cannot be read fails its call and stays where it is (Diego deletes it on sight); the message names it,
 * so that a person can mend the keys or remove it. @throws BbsError Deserialize
 */
export function readable<Message>(
  what: string,
  guid: string,
  sealed: Uint8Array | undefined,
  read: (sealed: Uint8Array) => Message,
): Message {
  const unreadable = (cause?: unknown) =>
    new BbsError("Deserialize", `could not deserialize record: the ${what} ${guid}`, {}, cause);
  if (sealed === undefined) throw unreadable();
  try {
    return read(sealed);
  } catch (cause) {
    throw unreadable(cause);
  }
}
