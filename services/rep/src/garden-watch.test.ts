// When a garden counts as unhealthy, and as healthy again.
import { GardenError } from "@muster/garden";
import { openSimulatedGarden } from "@muster/garden/simulated";
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { describe, expect, it } from "vitest";
import { GardenWatch } from "./garden-watch.js";
import { cellId, desiredLRP, openWorld, row, work } from "./testing/world.js";

describe("a cell without space", () => {
  it("takes no work for a while, and says why", async () => {
    const world = await openWorld();
    world.garden.create = () => Promise.reject(new GardenError("no-space", "the disk is full"));
    world.bbs.desired.set("p", desiredLRP("p"));
    world.bbs.put(row("p"));
    world.rep.perform({ cellId, lrps: [work("p")], tasks: [] });
    await world.clock.advance(100);
    const { refused } = world.rep.perform({ cellId, lrps: [work("q")], tasks: [] });
    expect(refused[0]?.reason).toBe("the cell has no space left for containers: the disk is full");
    await world.clock.advance(31_000);
    expect(world.rep.perform({ cellId, lrps: [work("q")], tasks: [] }).refused).toEqual([]);
    await world.stop();
  });
});

describe("a garden that fails its ping", () => {
  it("makes the cell unhealthy until it answers", async () => {
    const clock = fakeClock();
    const garden = openSimulatedGarden({
      clock,
      entropy: seededEntropy("1"),
      capacity: { memoryMb: 1, diskMb: 1, containers: 1 },
      hostAddress: "127.0.0.1",
      portRange: { first: 61_001, last: 61_002 },
    });
    const seen: boolean[] = [];
    const watch = new GardenWatch({ clock, log: silentLog(), garden, onChange: (ok) => seen.push(ok) });
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    await clock.advance(1_000);
    expect(watch.unhealthyReason).toBeUndefined();
    const ping = garden.ping.bind(garden);
    garden.ping = () => Promise.reject(new Error("runc is gone"));
    await clock.advance(5_000);
    expect(watch.unhealthyReason).toBe("the garden fails: runc is gone");
    garden.ping = ping;
    await clock.advance(5_000);
    expect(seen).toEqual([false, true]);
    stop.abort();
    await clock.advance(0);
    await running;
    expect(clock.nextTimerMs()).toBeUndefined();
  });
});
