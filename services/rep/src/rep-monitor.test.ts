// The legacy monitor action: Diego's schedule, what it makes of a start and of a life, and a rep that is restarted meanwhile.
import type { SimulatedGardenOptions } from "@muster/garden/simulated";
import { asInstanceGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { action, openWorld, type World } from "./testing/world.js";

const monitored = { checkDefinition: undefined, monitor: action({ path: "/monitor", logSource: "MON" }) };
const theRow = (world: World) => [...world.bbs.rows.values()].find((one) => one.processGuid === "p");
const logged = (world: World): string[] =>
  world.rep.logs.recent({ processGuid: "p", instanceGuid: "" }).map((line) => Buffer.from(line.line).toString());

/** Monitors end at once with what `status` says; the app ends when told. */
const behaviour = (status: () => number): Partial<SimulatedGardenOptions> => ({
  createMs: { min: 0, max: 0 },
  behaviour: (_spec, process) =>
    process.path === "/monitor"
      ? { afterMs: 1, exit: { exitStatus: status(), signal: undefined, outOfMemory: false } }
      : undefined,
});

describe("a monitor action", () => {
  it("runs after 2 s, then every 2 s until it succeeds, then every 30 s", async () => {
    const at: number[] = [];
    const clockOf: { world?: World } = {};
    const world = await openWorld(
      behaviour(() => {
        at.push(clockOf.world?.clock.elapsedMs() ?? 0);
        return at.length < 3 ? 1 : 0;
      }),
    );
    clockOf.world = world;
    await world.placed("p", monitored);
    await world.clock.advance(100_000);
    const gaps = at.slice(1).map((ms, n) => Math.round((ms - (at[n] ?? 0)) / 1_000));
    expect(gaps).toEqual([2, 2, 30, 30, 30]);
    expect(theRow(world)?.state).toBe("RUNNING");
    expect(logged(world)).toContain("Container became healthy");
    expect(logged(world)).not.toContain("Exit status 1");
    await world.stop();
  });

  it("that never succeeds crashes the instance with what it said last", async () => {
    const world = await openWorld(behaviour(() => 7));
    await world.placed("p", { ...monitored, startTimeoutMs: 5_000n });
    await world.clock.advance(6_000);
    expect(theRow(world)?.crashReason).toMatch(/^Instance never healthy after 6\.\d+s: simulated process monitor-.* started$/);
    expect(logged(world).some((line) => /^Timed out after 6\.\d+s: health check never passed\.$/.test(line))).toBe(true);
    await world.stop();
  });

  it("that fails later crashes the instance", async () => {
    let status = 0;
    const world = await openWorld(behaviour(() => status));
    await world.placed("p", monitored);
    await world.clock.advance(5_000);
    expect(theRow(world)?.state).toBe("RUNNING");
    status = 1;
    await world.clock.advance(31_000);
    expect(theRow(world)?.crashReason).toMatch(/^Instance became unhealthy: simulated process/);
    await world.stop();
  });

  it("goes on after the app's process ended well, which is no crash until the monitor says so", async () => {
    let status = 0;
    const world = await openWorld(behaviour(() => status));
    await world.placed("p", monitored);
    await world.clock.advance(5_000);
    const guid = theRow(world)?.instanceKey?.instanceGuid ?? "";
    // The first process of the simulated container is the app.
    world.garden.crash(guid, { exitStatus: 0 });
    await world.clock.advance(10_000);
    expect(theRow(world)).toMatchObject({ state: "RUNNING", crashCount: 0 });
    world.rep.stopInstance("p", guid);
    await world.clock.advance(1_000);
    expect(world.rep.registry.get(asInstanceGuid(guid))).toBeUndefined();
    expect(theRow(world)).toMatchObject({ state: "UNCLAIMED", crashCount: 0 });
    status = 1;
    await world.stop();
  });

  it("is fetched again by the next rep", async () => {
    let status = 0;
    const world = await openWorld(behaviour(() => status));
    await world.placed("p", monitored);
    await world.clock.advance(5_000);
    await world.stop();
    world.restart();
    await world.clock.advance(1_000);
    expect(theRow(world)?.state).toBe("RUNNING");
    status = 1;
    await world.clock.advance(32_000);
    expect(theRow(world)?.crashReason).toMatch(/^Instance became unhealthy/);
    await world.stop();
  });
});
