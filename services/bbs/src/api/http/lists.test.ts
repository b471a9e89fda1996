// Lists are encoded in slices, others have their turn in between, and a long one is not held in memory.
import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { fakeClock } from "@muster/shared/clock";
import { describe, expect, it } from "vitest";
import { listBounds, maxLongLists, Slots } from "../../feed/slots.js";
import { listing, measure, roomFor } from "./lists.js";

const encode = (items: number[]): Uint8Array => new Uint8Array(items.length * 1_000);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

/** How often the event loop came round while `run` was at it. */
async function turnsDuring(run: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let next = setImmediate(function count() {
    turns += 1;
    next = setImmediate(count);
  });
  await run();
  clearImmediate(next);
  return turns;
}

describe("measuring a list", () => {
  it("gives others a turn after every hundred items", async () => {
    const turns = await turnsDuring(() => measure(listing(numbers(1_000), encode), () => 0));
    expect(turns).toBeGreaterThanOrEqual(9);
  });

  it("gives others a turn sooner where items take long", async () => {
    let nowMs = 0;
    const slow = {
      *[Symbol.iterator]() {
        for (const item of numbers(50)) {
          nowMs += 2;
          yield item;
        }
      },
    };
    const turns = await turnsDuring(() => measure(listing(slow, encode), () => nowMs));
    expect(turns).toBeGreaterThanOrEqual(15);
  });

  it("keeps a short list and drops a long one, knowing its length", async () => {
    const short = await measure(listing(numbers(200), encode), () => 0);
    expect([short.bytes, short.kept?.length]).toEqual([200_000, 2]);
    const long = await measure(listing(numbers(2_000), encode), () => 0);
    expect([long.bytes, long.kept]).toEqual([2_000_000, undefined]);
  });

  it("of nothing is nothing", async () => {
    expect(await measure(listing([], encode), () => 0)).toMatchObject({ bytes: 0, kept: [] });
  });
});

describe("room for a list", () => {
  const responseOf = () => Object.assign(new EventEmitter(), { destroyed: false }) as unknown as ServerResponse;
  const long = () => measure(listing(numbers(2_000), encode), () => 0);
  const full = async () => {
    const room = { clock: fakeClock(), lists: new Slots(listBounds) };
    while (room.lists.taken < maxLongLists) await room.lists.take(room.clock, new AbortController().signal);
    return room;
  };

  it("is taken by a long one until it is given back, and not by a short one", async () => {
    const room = { clock: fakeClock(), lists: new Slots(listBounds) };
    const give = await roomFor(await long(), room, responseOf());
    await roomFor(await measure(listing(numbers(200), encode), () => 0), room, responseOf());
    await roomFor(new Uint8Array(10), room, responseOf());
    expect(room.lists.taken).toBe(1);
    give();
    expect(room.lists.taken).toBe(0);
  });

  it("is refused when none comes free, and not kept for a client that goes away", async () => {
    const room = await full();
    const refused = expect(roomFor(await long(), room, responseOf())).rejects.toMatchObject({ code: "ResourceExhausted" });
    const response = responseOf();
    const left = expect(roomFor(await long(), room, response)).rejects.toMatchObject({ code: "Timeout" });
    response.emit("close");
    await left;
    await room.clock.advance(listBounds.waitMs);
    await refused;
    room.lists.give();
    expect(room.lists.taken).toBe(maxLongLists - 1);
  });
});
