// What follows a cell's state: told of a change at once, and of many in a row in few messages.
import type { StateResponse } from "@muster/proto/muster/v1/rep";
import { describe, expect, it } from "vitest";
import { cellId, desiredLRP, openWorld, row, type World, work } from "./testing/world.js";

/** Everything told from now on. */
function followed(world: World) {
  const told: StateResponse[] = [];
  const stop = new AbortController();
  const following = (async () => {
    for await (const message of world.rep.state(stop.signal)) told.push(message);
  })();
  const end = async (): Promise<void> => {
    stop.abort();
    await world.clock.advance(1_000);
    await following;
    await world.stop();
  };
  return { told, end };
}

describe("a cell's state", () => {
  it("tells of a change at once, and of containers that start in a row in few messages", async () => {
    const world = await openWorld();
    const { told, end } = followed(world);
    await world.clock.advance(200);
    const known = told.length;
    const names = ["a", "b", "c", "d", "e", "f"];
    for (const name of names) {
      world.bbs.desired.set(name, desiredLRP(name, { checkDefinition: undefined }));
      world.bbs.put(row(name));
    }
    world.rep.perform({ cellId, lrps: names.map((name) => work(name)), tasks: [] });
    await world.clock.advance(0);
    expect(told.slice(known).map(({ lrps }) => lrps.length)).toEqual([6]);
    await world.clock.advance(300);
    expect(told.length - known).toBeLessThanOrEqual(4);
    const states = new Map(told.flatMap(({ lrps }) => lrps.map((lrp) => [lrp.processGuid, lrp.state])));
    expect([...states.values()]).toEqual(names.map(() => "RUNNING"));
    await end();
  });

  it("tells of what is no container's change as soon, also right after another change", async () => {
    const world = await openWorld();
    const { told, end } = followed(world);
    await world.clock.advance(200);
    world.rep.evacuate({ cancel: false, progressOnly: false });
    await world.clock.advance(0);
    expect(told.at(-1)?.evacuating).toBe(true);
    world.rep.evacuate({ cancel: true, progressOnly: false });
    await world.clock.advance(100);
    expect(told.at(-1)?.evacuating).toBe(false);
    await end();
  });
});
