// One container's way through the executor, from run request to its end.
import { asInstanceGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { containerRecord } from "../testing/records.js";
import { cellId, desiredLRP, openWorld, row, type World, work } from "../testing/world.js";

const theRow = (world: World) => [...world.bbs.rows.values()][0];
const begin = (world: World): void => {
  world.bbs.desired.set("p", desiredLRP("p"));
  world.bbs.put(row("p"));
  world.rep.perform({ cellId, lrps: [work("p")], tasks: [] });
};
const only = (world: World) => [...world.rep.registry.all()][0];

describe("a container that is being made", () => {
  it("is taken back when its instance is stopped, and removed, not crashed", async () => {
    const world = await openWorld({ createMs: { min: 5_000, max: 5_000 } });
    begin(world);
    await world.clock.advance(1_000);
    expect(only(world)?.state).toBe("initializing");
    const held = theRow(world);
    if (held !== undefined) world.bbs.put({ ...held, stopMarked: true });
    await world.clock.advance(10);
    expect(world.bbs.cases).toEqual(["claimed", "removed"]);
    await world.clock.advance(10_000);
    expect(await world.garden.containers()).toEqual([]);
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });

  it("goes without a report when its row is taken away", async () => {
    const world = await openWorld({ createMs: { min: 5_000, max: 5_000 } });
    begin(world);
    await world.clock.advance(1_000);
    const held = theRow(world);
    if (held !== undefined) world.bbs.drop(held);
    await world.clock.advance(10_000);
    expect(world.bbs.cases).toEqual(["claimed", "claimed"]);
    expect(world.rep.registry.size).toBe(0);
    expect(await world.store.load(0)).toEqual([]);
    await world.stop();
  });

  it("is written down before it exists, so that the next rep knows it", async () => {
    const world = await openWorld({ createMs: { min: 5_000, max: 5_000 } });
    begin(world);
    await world.clock.advance(1_000);
    expect((await world.store.load(0)).map((record) => record.state)).toEqual(["initializing"]);
    await world.stop();
    world.restart();
    await world.clock.advance(1_000);
    expect(theRow(world)).toMatchObject({ state: "UNCLAIMED", crashCount: 0 });
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });
});

describe("a container whose making cannot be interrupted", () => {
  it("is destroyed once it is there", async () => {
    const world = await openWorld({ createMs: { min: 5_000, max: 5_000 } });
    const create = world.garden.create.bind(world.garden);
    world.garden.create = (spec) => create(spec, new AbortController().signal);
    begin(world);
    await world.clock.advance(1_000);
    const held = theRow(world);
    if (held !== undefined) world.bbs.drop(held);
    await world.clock.advance(1_000);
    expect(world.rep.registry.size).toBe(1);
    await world.clock.advance(10_000);
    expect(world.rep.registry.size).toBe(0);
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
  });
});

describe("an app that says too much", () => {
  it("is cut off at its limit, and told so", async () => {
    const world = await openWorld();
    await world.placed("p", { logRateLimit: { bytesPerSecond: 10n } });
    const lines = world.rep.logs.recent({ processGuid: "p", instanceGuid: "" }).map((line) => Buffer.from(line.line).toString());
    expect(lines).toContain("app instance exceeded log rate limit (10 bytes/sec)");
    expect(lines).not.toContain("simulated process app started");
    expect(lines).toContain("Container became healthy");
    await world.stop();
  });
});

describe("adoption", () => {
  it("goes on with a start that was under way", async () => {
    const world = await openWorld({ readyMs: { min: 3_000, max: 3_000 } });
    begin(world);
    await world.clock.advance(1_000);
    expect(only(world)?.state).toBe("created");
    await world.stop();
    world.restart();
    await world.clock.advance(100);
    expect(only(world)?.state).toBe("created");
    await world.clock.advance(6_000);
    expect(theRow(world)?.state).toBe("RUNNING");
    await world.stop();
  });

  it("goes on with a stop that was under way, as a removal", async () => {
    const world = await openWorld({}, { gracefulShutdownMs: 20_000 });
    const guid = await world.placed("p");
    const process = await world.garden.lookup(guid)?.attach("app", () => undefined);
    if (process === undefined) throw new Error("no process");
    const signal = process.signal.bind(process);
    process.signal = async () => undefined;
    world.rep.stopInstance("p", guid);
    await world.clock.advance(1_000);
    await world.stop();
    process.signal = signal;
    world.restart();
    await world.clock.advance(1_000);
    expect(theRow(world)).toMatchObject({ state: "UNCLAIMED", crashCount: 0 });
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
  });

  it("gives up on a container whose process is not found in time, and reports it as gone", async () => {
    const world = await openWorld({}, { adoptionTimeoutMs: 10_000 });
    const guid = await world.placed("p");
    const container = world.garden.lookup(guid);
    if (container === undefined) throw new Error("no container");
    await world.stop();
    container.attach = () => new Promise(() => undefined);
    world.restart();
    await world.clock.advance(9_000);
    expect(theRow(world)?.state).toBe("RUNNING");
    await world.clock.advance(2_000);
    expect(theRow(world)).toMatchObject({ state: "UNCLAIMED", crashCount: 0 });
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
  });

  it("destroys what was to go without a report", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    await world.stop();
    const [record] = await world.store.load(0);
    if (record === undefined) throw new Error("no record");
    await world.store.put({ ...record, stopped: true, ending: "discarded" });
    await world.store.put(containerRecord("late", { state: "completed", ending: "discarded" }));
    world.bbs.items.length = 0;
    world.restart();
    await world.clock.advance(1_000);
    expect(world.rep.registry.get(asInstanceGuid(guid))).toBeUndefined();
    expect(world.rep.registry.size).toBe(0);
    expect(await world.garden.containers()).toEqual([]);
    expect(await world.store.load(0)).toEqual([]);
    await world.stop();
  });

  it("leaves a container as it is when the rep ends, whatever it was doing", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    world.bbs.items.length = 0;
    await world.stop();
    await world.clock.advance(60_000);
    expect(world.bbs.items).toEqual([]);
    expect((await world.store.load(0)).map((record) => record.state)).toEqual(["running"]);
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
  });
});

describe("destruction", () => {
  it("is tried until it succeeds, and holds the capacity until then", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    const destroy = world.garden.destroy.bind(world.garden);
    let tries = 0;
    world.garden.destroy = async (handle) => {
      tries += 1;
      if (tries < 3) throw new Error("busy");
      await destroy(handle);
    };
    world.garden.crash(guid);
    await world.clock.advance(1_000);
    expect(world.rep.registry.remaining().containers).toBe(9);
    expect(world.rep.registry.holds("p", 0)).toBe(false);
    await world.clock.advance(2_000);
    expect(tries).toBe(3);
    expect(world.rep.registry.remaining().containers).toBe(10);
    await world.stop();
  });

  it("of a crashed container lets a start on the same cell go first", async () => {
    const world = await openWorld({ createMs: { min: 300, max: 300 } });
    const guid = await world.placed("p");
    world.garden.crash(guid);
    await world.clock.advance(10);
    expect(theRow(world)?.state).toBe("UNCLAIMED");
    world.rep.perform({ cellId, lrps: [work("p", 0, { auctionId: "second" })], tasks: [] });
    await world.clock.advance(290);
    expect(world.garden.lookup(guid)).toBeDefined();
    await world.clock.advance(1_000);
    expect(world.garden.lookup(guid)).toBeUndefined();
    expect(theRow(world)?.state).toBe("RUNNING");
    await world.stop();
  });
});
