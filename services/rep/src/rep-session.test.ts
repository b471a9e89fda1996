// The rep through lost sessions and silent BBSs.
import { ContainerState } from "@muster/proto/muster/v1/report";
import { BbsError } from "@muster/shared/errors";
import { describe, expect, it } from "vitest";
import { cellId, openWorld, type World, work } from "./testing/world.js";

const theRow = (world: World, processGuid: string) => [...world.bbs.rows.values()].find((one) => one.processGuid === processGuid);

describe("the session", () => {
  it("sends hello, the inventory, and a heartbeat every fifth of the TTL", async () => {
    const world = await openWorld();
    expect(world.bbs.received.map((request) => request.message?.$case)).toEqual(["hello", "inventory"]);
    expect(world.bbs.received[0]?.message?.value).toMatchObject({
      owner: "owner-1",
      ttlMs: 5_000,
      presence: { cellId, zone: "z1", repAddress: "127.0.0.1:1801", capacity: { memoryMb: 1_024, containers: 10 } },
    });
    await world.clock.advance(5_000);
    expect(world.bbs.heartbeats).toBe(5);
    await world.stop();
  });

  it("sends its inventory after a reconnect, and no more than what is missing", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    world.bbs.items.length = 0;
    world.bbs.cut();
    await world.clock.advance(1_000);
    expect(world.bbs.sessionsOpened).toBe(2);
    expect(world.bbs.inventories().at(-1)).toEqual([{ guid, state: ContainerState.CONTAINER_STATE_RUNNING }]);
    expect(world.bbs.items).toEqual([]);
    await world.stop();
  });

  it("that gets no heartbeat answered within the TTL is cut and opened anew", async () => {
    const world = await openWorld();
    world.bbs.answersHeartbeats = false;
    await world.clock.advance(5_900);
    expect(world.bbs.sessionsOpened).toBe(1);
    world.bbs.answersHeartbeats = true;
    await world.clock.advance(1_000);
    expect(world.bbs.sessionsOpened).toBe(2);
    expect(world.rep.connected).toBe(true);
    await world.stop();
  });

  it("refused for a collision tries again every fifth of the TTL", async () => {
    const world = await openWorld({}, {}, (bbs) => {
      bbs.refuseHello = new BbsError("LockCollision");
    });
    await world.clock.advance(5_000);
    expect(world.bbs.sessionsOpened).toBe(6);
    expect(world.rep.trouble).toMatch(/lock is held/);
    world.bbs.refuseHello = undefined;
    await world.clock.advance(1_000);
    expect(world.rep.connected).toBe(true);
    await world.stop();
  });

  it("refuses a leader older than one it has seen", async () => {
    const world = await openWorld();
    world.bbs.leaderEpoch = 0n;
    world.bbs.cut();
    await world.clock.advance(3_000);
    expect(world.rep.connected).toBe(false);
    world.bbs.leaderEpoch = 2n;
    await world.clock.advance(3_000);
    expect(world.rep.connected).toBe(true);
    await world.stop();
  });

  it("reports nothing before the inventory was decided", async () => {
    const world = await openWorld({}, {}, (bbs) => {
      bbs.decidesInventories = false;
    });
    await world.placed("p");
    expect(world.bbs.items).toEqual([]);
    world.bbs.decidesInventories = true;
    world.bbs.cut();
    await world.clock.advance(2_000);
    expect(theRow(world, "p")?.state).toBe("RUNNING");
    await world.stop();
  });

  it("keeps containers running while the BBS is away, and reports later what happened", async () => {
    const world = await openWorld();
    const first = await world.placed("p");
    const second = await world.placed("q");
    world.bbs.refuseHello = new BbsError("Unavailable");
    world.bbs.cut();
    await world.clock.advance(60_000);
    world.garden.crash(second, { exitStatus: 9 });
    await world.clock.advance(60_000);
    expect((await world.garden.containers()).map((one) => one.handle)).toEqual([first, second]);
    world.bbs.refuseHello = undefined;
    await world.clock.advance(3_000);
    expect(world.bbs.rowOf(first)?.state).toBe("RUNNING");
    expect(theRow(world, "q")).toMatchObject({ crashCount: 1, crashReason: "APP/PROC/WEB: Exited with status 9" });
    await world.stop();
  });
});

describe("the state stream", () => {
  it("gives everything first, then changes, and is never silent for half a second", async () => {
    const world = await openWorld();
    world.bbs.unanswered.add("claimed");
    const stop = new AbortController();
    const seen: { atMs: number; full: boolean; lrps: string[]; free: number | undefined }[] = [];
    const reading = (async () => {
      for await (const state of world.rep.state(stop.signal)) {
        seen.push({
          atMs: world.clock.elapsedMs(),
          full: state.full,
          lrps: state.lrps.map((lrp) => lrp.state),
          free: state.available?.memoryMb,
        });
      }
    })();
    await world.clock.advance(450);
    world.rep.perform({ cellId, lrps: [work("p")], tasks: [] });
    await world.clock.advance(10);
    expect(seen.map(({ full, lrps, free }) => ({ full, lrps, free }))).toEqual([
      { full: true, lrps: [], free: 1_024 },
      { full: false, lrps: [], free: 1_024 },
      { full: false, lrps: ["CLAIMED"], free: 960 },
    ]);
    await world.clock.advance(3_000);
    const gaps = seen.slice(1).map((one, at) => one.atMs - (seen[at]?.atMs ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(500);
    stop.abort();
    await world.clock.advance(0);
    await reading;
    await world.stop();
  });

  it("says that the cell takes no work while its garden hangs", async () => {
    const world = await openWorld();
    world.garden.hang(true);
    await world.clock.advance(11_000);
    expect(world.rep.condition.unhealthyReason).toMatch(/garden does not answer/);
    expect(world.rep.perform({ cellId, lrps: [work("p")], tasks: [] }).refused).toHaveLength(1);
    world.garden.hang(false);
    await world.clock.advance(6_000);
    expect(world.rep.condition.unhealthyReason).toBeUndefined();
    await world.stop();
  });
});
