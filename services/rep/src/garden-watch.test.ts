// When a garden counts as unhealthy, and as healthy again.
import { GardenError } from "@muster/garden";
import { openSimulatedGarden } from "@muster/garden/simulated";
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { describe, expect, it } from "vitest";
import { GardenWatch } from "./garden-watch.js";
import { cellId, desiredLRP, openWorld, row, type World, work } from "./testing/world.js";

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
    const watch = new GardenWatch({
      clock,
      entropy: seededEntropy("1"),
      log: silentLog(),
      garden,
      checkRootFs: () => undefined,
      checkMs: 0,
      onChange: (ok) => seen.push(ok),
    });
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

describe("the check with a container", () => {
  const refusals = (world: World): string[] =>
    world.rep.perform({ cellId, lrps: [work("q")], tasks: [] }).refused.map((one) => one.reason);

  it("is made every ten minutes, leaves nothing, and touches nobody's container", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    const made: string[] = [];
    const create = world.garden.create.bind(world.garden);
    world.garden.create = (spec, signal) => {
      made.push(spec.handle);
      return create(spec, signal);
    };
    await world.clock.advance(1_250_000);
    expect(made).toHaveLength(2);
    expect(made.every((handle) => handle.startsWith("check-"))).toBe(true);
    expect((await world.garden.containers()).map((one) => one.handle)).toEqual([guid]);
    expect(world.rep.condition.unhealthyReason).toBeUndefined();
    await world.stop();
  });

  it("makes the cell unhealthy until the next one succeeds; what runs stays", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    const create = world.garden.create.bind(world.garden);
    let tried = 0;
    world.garden.create = () => {
      tried += 1;
      return Promise.reject(new GardenError("tool-failed", "runc is broken"));
    };
    await world.clock.advance(610_000);
    expect(tried).toBe(3);
    expect(refusals(world)).toEqual(["the cell cannot run a container: runc is broken"]);
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
    world.garden.create = create;
    await world.clock.advance(500_000);
    expect(refusals(world)).toHaveLength(1);
    await world.clock.advance(100_000);
    expect(refusals(world)).toEqual([]);
    await world.stop();
  });

  it("says nothing of the cell when a command's image is what is missing", async () => {
    const world = await openWorld();
    await world.placed("p");
    world.garden.create = () => Promise.reject(new GardenError("image-unreachable", "the registry is away"));
    await world.clock.advance(610_000);
    expect(refusals(world)).toEqual([]);
    await world.stop();
  });

  it("takes away what an earlier one left, and does not wait for ever", async () => {
    const world = await openWorld();
    await world.placed("p");
    const create = world.garden.create.bind(world.garden);
    world.garden.create = () => new Promise(() => undefined);
    await world.clock.advance(1_205_000);
    expect(refusals(world)).toEqual(["the cell cannot run a container: it took longer than 10 minutes"]);
    world.garden.create = create;
    await world.clock.advance(610_000);
    expect(refusals(world)).toEqual([]);
    expect((await world.garden.containers()).filter((one) => one.handle.startsWith("check-"))).toEqual([]);
    await world.stop();
  });
});
