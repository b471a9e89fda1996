// Room for long answers, here snapshots: four at once, the next in turn, and an end to waiting.
import { fakeClock } from "@muster/shared/clock";
import { expect, it } from "vitest";
import { maxSnapshots, Slots, snapshotBounds } from "./slots.js";

const never = new AbortController().signal;

async function full() {
  const clock = fakeClock();
  const slots = new Slots(snapshotBounds);
  for (let taken = 0; taken < maxSnapshots; taken += 1) await slots.take(clock, never);
  return { clock, slots };
}

it("gives a slot that comes back to whoever waits longest", async () => {
  const { clock, slots } = await full();
  const got: string[] = [];
  const first = slots.take(clock, never).then(() => got.push("first"));
  const second = slots.take(clock, never).then(() => got.push("second"));
  slots.give();
  await first;
  expect(got).toEqual(["first"]);
  slots.give();
  await second;
  expect(slots.taken).toBe(maxSnapshots);
});

it("refuses after a second what may be asked again", async () => {
  const { clock, slots } = await full();
  const refused = expect(slots.take(clock, never)).rejects.toMatchObject({ code: "ResourceExhausted" });
  await clock.advance(1_000);
  await refused;
  for (let taken = 0; taken < maxSnapshots; taken += 1) slots.give();
  expect(slots.taken).toBe(0);
});

it("gives nothing to one who went away", async () => {
  const { clock, slots } = await full();
  const gone = new AbortController();
  const left = expect(slots.take(clock, gone.signal)).rejects.toMatchObject({ code: "Timeout" });
  gone.abort();
  await left;
  slots.give();
  expect(slots.taken).toBe(maxSnapshots - 1);
});
