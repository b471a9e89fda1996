// Lists over gRPC: small chunks, room for so many long ones, an end for readers that take nothing.
import { fakeClock } from "@muster/shared/clock";
import type { BbsError } from "@muster/shared/errors";
import { expect, it } from "vitest";
import { listBounds, maxLongLists, Slots } from "../feed/slots.js";
import { chunked, listStallMs } from "./chunks.js";

const numbers = (count: number): number[] => Array.from({ length: count }, (_, at) => at);
const never = new AbortController().signal;

function world() {
  const clock = fakeClock();
  const lists = new Slots(listBounds);
  const cuts: string[] = [];
  const reader = { signal: never, cut: (error: BbsError) => cuts.push(`${error.code}: ${error.message}`) };
  const list = <Item>(items: readonly Item[]) => chunked(Promise.resolve(items), (chunk) => chunk, { lists, clock }, reader);
  const fill = async (): Promise<void> => {
    while (lists.taken < maxLongLists) await lists.take(clock, never);
  };
  return { clock, lists, cuts, list, fill };
}

it("a list is all of its items in order, in small chunks, and its room is free afterwards", async () => {
  const { lists, list } = world();
  const chunks: number[][] = [];
  for await (const chunk of list(numbers(1_001))) {
    chunks.push(chunk);
    expect(lists.taken).toBe(1);
  }
  expect(chunks.flat()).toEqual(numbers(1_001));
  expect(chunks.map(({ length }) => length)).toEqual([200, 200, 200, 200, 200, 1]);
  expect(lists.taken).toBe(0);
});

it("a chunk holds few bytes however large the records are", async () => {
  const { list } = world();
  const sizes: number[] = [];
  for await (const chunk of list(Array.from({ length: 40 }, () => ({ annotation: "x".repeat(10_000) }))))
    sizes.push(chunk.length);
  expect(sizes).toEqual([6, 6, 6, 6, 6, 6, 4]);
});

it.each([0, 1, 200])("a list of %d needs no room", async (count) => {
  const { list, fill } = world();
  await fill();
  const chunks: number[][] = [];
  for await (const chunk of list(numbers(count))) chunks.push(chunk);
  expect(chunks).toEqual([numbers(count)]);
});

it("a long list for which no room comes free is refused before anything of it is sent, and may be asked for again", async () => {
  const { clock, list, fill, lists } = world();
  await fill();
  const first = list(numbers(1_000))[Symbol.asyncIterator]().next();
  const refused = expect(first).rejects.toMatchObject({
    code: "ResourceExhausted",
    message: "too many long lists are under way; try again",
  });
  await clock.advance(listBounds.waitMs);
  await refused;
  expect(lists.taken).toBe(maxLongLists);
  lists.give();
  expect((await list(numbers(1_000))[Symbol.asyncIterator]().next()).value).toHaveLength(200);
});

it("a long list waits its turn while others end", async () => {
  const { clock, list, fill, lists } = world();
  await fill();
  const first = list(numbers(1_000))[Symbol.asyncIterator]().next();
  await clock.advance(listBounds.waitMs / 2);
  lists.give();
  expect((await first).value).toHaveLength(200);
});

it("a reader that leaves gives its room back", async () => {
  const { list, lists } = world();
  for await (const chunk of list(numbers(1_000))) if (chunk.length > 0) break;
  expect(lists.taken).toBe(0);
});

it("a reader that takes nothing is cut; one that takes a chunk now and then is not", async () => {
  const { clock, cuts, list } = world();
  const reading = list(numbers(1_000))[Symbol.asyncIterator]();
  for (let taken = 0; taken < 3; taken += 1) {
    await reading.next();
    await clock.advance(listStallMs - 1);
  }
  expect(cuts).toEqual([]);
  await clock.advance(1);
  expect(cuts).toEqual(["ResourceExhausted: the list was not read for 10000 ms; ask again when you can"]);
  await reading.return?.();
});
