// A bound on how many containers start at a time: what is beyond waits for a start to end, and no longer.
import { put } from "@muster/shared/model";
import { expect, it } from "vitest";
import { defaultAuctionOptions } from "../plan/index.js";
import { desired, FakeWorld, row } from "./testing/world.js";

const limit = (most: number) => ({ auction: { ...defaultAuctionOptions, startingContainerCountMaximum: most } });

it.each([
  { how: "runs", startsAtOnce: false },
  { how: "runs before the cell's state ever said that it was starting", startsAtOnce: true },
])("lets the next instance start as soon as one $how, long before its retry is due", async ({ startsAtOnce }) => {
  const world = new FakeWorld(limit(2));
  const a = world.addCell("a");
  const b = world.addCell("b");
  for (const cell of [a, b]) cell.startsAtOnce = startsAtOnce;
  await world.start();
  // That the cells joined is old news by now.
  await world.clock.advance(1_000);
  world.write(put("desiredLRP", desired()), put("actualLRP", row(0)), put("actualLRP", row(1)), put("actualLRP", row(2)));
  await world.clock.advance(100);
  const placed = () => [...a.performedIds, ...b.performedIds].length;
  expect(placed()).toBe(2);
  expect(world.failures.map(({ error }) => error)).toEqual(["waiting to start instance: reached in-flight start limit"]);
  if (!startsAtOnce) {
    await world.clock.advance(5_000);
    expect(placed()).toBe(2);
    a.started();
  }
  await world.clock.advance(3_000);
  expect(placed()).toBe(3);
  await world.stop();
});
