// Lists are encoded in slices, others have their turn in between, and a long one is not held in memory.
import { describe, expect, it } from "vitest";
import { listing, measure } from "./lists.js";

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
