// A restarted rep: adoption, and what it reports of what it finds.
import { ContainerState } from "@muster/proto/muster/v1/report";
import { asInstanceGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { cellId, openWorld, type World, work } from "./testing/world.js";

const theRow = (world: World, processGuid: string) => [...world.bbs.rows.values()].find((one) => one.processGuid === processGuid);

describe("a restarted rep", () => {
  it("adopts its containers and says again where they answer, nothing else", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    await world.stop();
    expect((await world.garden.containers()).length).toBe(1);
    world.bbs.items.length = 0;
    world.restart();
    await world.clock.advance(1_000);
    expect(world.rep.registry.get(asInstanceGuid(guid))).toMatchObject({ state: "running", memoryMb: 64 });
    expect(world.bbs.inventories().at(-1)).toEqual([{ guid, state: ContainerState.CONTAINER_STATE_RUNNING }]);
    expect(world.bbs.cases).toEqual(["started"]);
    world.garden.crash(guid, { exitStatus: 4 });
    await world.clock.advance(100);
    expect(theRow(world, "p")?.crashReason).toBe("APP/PROC/WEB: Exited with status 4");
    await world.stop();
  });

  it("reports what ended while no rep was there, with its exit status", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    await world.stop();
    world.garden.crash(guid, { exitStatus: 5 });
    world.restart();
    await world.clock.advance(1_000);
    expect(theRow(world, "p")).toMatchObject({ crashCount: 1, crashReason: "APP/PROC/WEB: Exited with status 5" });
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
  });

  it("keeps the exit reason of a completed container that the BBS has not answered for", async () => {
    const world = await openWorld({ images: () => undefined });
    world.bbs.unanswered.add("crashed");
    await world.placed("p");
    await world.stop();
    world.bbs.unanswered.clear();
    world.restart();
    await world.clock.advance(1_000);
    expect(theRow(world, "p")?.crashReason).toMatch(/^failed to create container: there is no image/);
    expect(await world.store.load(0)).toEqual([]);
    await world.stop();
  });

  it("takes no work and reports no removal before adoption is over", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    await world.stop();
    world.garden.hang(true);
    world.bbs.items.length = 0;
    world.restart();
    await world.clock.advance(20_000);
    const refused = world.rep.perform({ cellId, lrps: [work("q")], tasks: [] }).refused;
    expect(refused.map((one) => one.reason)).toEqual(["the cell is starting and takes no work yet"]);
    expect(world.bbs.items).toEqual([]);
    expect(world.bbs.inventories().length).toBe(1);
    world.garden.hang(false);
    await world.clock.advance(1_000);
    expect(world.rep.registry.get(asInstanceGuid(guid))?.state).toBe("running");
    expect(world.bbs.rowOf(guid)?.state).toBe("RUNNING");
    await world.stop();
  });

  it("gives its presence up when the garden does not answer at all", async () => {
    const world = await openWorld();
    await world.stop();
    world.garden.hang(true);
    world.restart();
    await world.clock.advance(60_000);
    await expect(world.stop()).rejects.toThrow(/garden did not answer within 50000 ms/);
  });

  it("reports a container that was lost meanwhile as removed, and destroys one that nobody knows", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    await world.stop();
    world.garden.losePower();
    const stray = world.garden.create(
      {
        handle: "stray",
        rootFs: "docker:///library/app",
        credentials: undefined,
        memoryMb: 1,
        diskMb: 1,
        maxPids: 0,
        cpuWeight: 1,
        ports: [],
        env: [],
        properties: {},
        hostname: "stray",
      },
      new AbortController().signal,
    );
    await world.clock.advance(200);
    await stray;
    world.restart();
    await world.clock.advance(1_000);
    expect(world.bbs.rowOf(guid)).toBeUndefined();
    expect(theRow(world, "p")).toMatchObject({ state: "UNCLAIMED", crashCount: 0 });
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
  });
});
