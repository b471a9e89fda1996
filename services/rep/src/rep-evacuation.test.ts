// Emptying a cell, taking that back, and what a restart makes of it.
import { BbsError } from "@muster/shared/errors";
import { asInstanceGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { cellId, heldBy, openWorld, row, task, taskDefinition, taskWork, type World, work } from "./testing/world.js";

const evacuate = (world: World) => world.rep.evacuate({ cancel: false, progressOnly: false });
const progress = (world: World) => world.rep.evacuate({ cancel: false, progressOnly: true });
const cancel = (world: World) => world.rep.evacuate({ cancel: true, progressOnly: false });
const rowsOf = (world: World, processGuid: string) =>
  [...world.bbs.rows.values()].filter((one) => one.processGuid === processGuid);
const ordinary = (world: World, processGuid: string) => rowsOf(world, processGuid).find((one) => one.presence === "ORDINARY");
const count = (world: World, what: string): number => world.bbs.cases.filter((one) => one === what).length;
const logged = (world: World): string[] =>
  world.rep.logs.recent({ processGuid: "p", instanceGuid: "" }).map((line) => Buffer.from(line.line).toString());

/** Another cell runs the replacement, which ends the old copy's row. */
const replace = (world: World, processGuid: string): void => {
  const waiting = ordinary(world, processGuid);
  if (waiting === undefined) throw new Error("nothing waits for a place");
  const elsewhere = { ...heldBy("replacement"), cellId: "cell-2" as never };
  const old = rowsOf(world, processGuid).find((one) => one.presence === "EVACUATING");
  world.bbs.put({ ...waiting, state: "RUNNING", instanceKey: elsewhere });
  if (old !== undefined) world.bbs.drop(old);
};

describe("a cell that is being emptied", () => {
  it("takes no work, says so to everybody, and asks for replacements before it lets anything go", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    expect(evacuate(world)).toMatchObject({ evacuating: true, timedOut: false });
    await world.clock.advance(10);
    expect(world.rep.perform({ cellId, lrps: [work("q")], tasks: [] }).refused[0]?.reason).toBe("the cell is evacuating");
    expect(world.rep.condition).toMatchObject({ evacuating: true, unhealthyReason: undefined });
    expect(world.bbs.received.findLast(({ message }) => message?.$case === "heartbeat")?.message?.value).toMatchObject({
      evacuating: true,
    });
    expect(rowsOf(world, "p").map((one) => [one.presence, one.state])).toEqual([
      ["ORDINARY", "UNCLAIMED"],
      ["EVACUATING", "RUNNING"],
    ]);
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
    expect(logged(world)).toContain(`Cell ${cellId} requesting replacement for instance ${guid}`);
    expect(progress(world).remaining).toEqual([
      { instanceGuid: guid, processGuid: "p", index: 0, taskGuid: "", state: "RUNNING", waitingFor: "its replacement to run" },
    ]);
    await world.clock.advance(35_000);
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
    expect(count(world, "evacuateRunning")).toBeGreaterThanOrEqual(4);
    await world.stop();
  });

  it("lets a copy go as soon as its replacement runs, and stays present and empty", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    evacuate(world);
    await world.clock.advance(2_000);
    replace(world, "p");
    await world.clock.advance(1_000);
    expect(world.garden.lookup(guid)).toBeUndefined();
    expect(progress(world)).toMatchObject({ evacuating: true, remaining: [] });
    await world.clock.advance(700_000);
    expect(world.rep.connected).toBe(true);
    expect(progress(world)).toMatchObject({ evacuating: true, remaining: [] });
    await world.stop();
  });

  it("lets a copy go at once, too, when the answer that it may stay comes after the news that its replacement runs", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    evacuate(world);
    world.bbs.late.add("evacuateRunning");
    // The comparison that comes every 10 s asks again, and the answers travel on another stream than the rows.
    await world.clock.advance(10_500);
    replace(world, "p");
    await world.clock.advance(100);
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
    world.bbs.late.clear();
    world.bbs.answerLate();
    await world.clock.advance(2_000);
    expect(world.garden.lookup(guid)).toBeUndefined();
    await world.stop();
  });

  it("gives up at once what has not started, and tells a crash and a stop as such", async () => {
    const world = await openWorld({ createMs: { min: 5_000, max: 5_000 } });
    const crashing = await world.placed("c");
    await world.clock.advance(6_000);
    const stopping = await world.placed("s");
    await world.clock.advance(6_000);
    await world.placed("p");
    evacuate(world);
    await world.clock.advance(10);
    expect(ordinary(world, "p")?.state).toBe("UNCLAIMED");
    world.garden.crash(crashing);
    world.rep.stopInstance("s", stopping);
    await world.clock.advance(5_000);
    expect(world.bbs.cases.slice(-5).toSorted()).toEqual([
      "evacuateClaimed",
      "evacuateCrashed",
      "evacuateRunning",
      "evacuateRunning",
      "evacuateStopped",
    ]);
    expect(progress(world).remaining).toEqual([]);
    await world.stop();
  });

  it("waits for a task to end", async () => {
    const world = await openWorld({
      behaviour: () => ({ afterMs: 100_000, exit: { exitStatus: 0, signal: undefined, outOfMemory: false } }),
    });
    world.bbs.definitions.set("t", taskDefinition());
    world.bbs.putTask(task("t"));
    world.rep.perform({ cellId, lrps: [], tasks: [taskWork("t")] });
    await world.clock.advance(1_000);
    evacuate(world);
    await world.clock.advance(60_000);
    expect(progress(world).remaining).toMatchObject([
      { taskGuid: "t", processGuid: "", state: "RUNNING", waitingFor: "the task to end: tasks are not interrupted" },
    ]);
    await world.clock.advance(60_000);
    expect(world.bbs.tasks.get("t")).toMatchObject({ state: "COMPLETED", failed: false });
    expect(progress(world).remaining).toEqual([]);
    await world.stop();
  });

  it("stops what is left when the time is over, counts it, and says so", async () => {
    const stranded: number[] = [];
    const world = await openWorld({}, { evacuationTimeoutMs: 60_000 }, () => undefined, { stranded: (n) => stranded.push(n) });
    const guid = await world.placed("p");
    evacuate(world);
    await world.clock.advance(59_000);
    expect(progress(world)).toMatchObject({ timedOut: false, remaining: [{ processGuid: "p" }] });
    await world.clock.advance(3_000);
    expect(progress(world)).toMatchObject({ evacuating: true, timedOut: true, remaining: [] });
    expect(world.garden.lookup(guid)).toBeUndefined();
    expect(rowsOf(world, "p").map((one) => one.presence)).toEqual(["ORDINARY"]);
    expect(stranded).toEqual([0, 1]);
    expect(logged(world)).toContain(`Cell ${cellId} reached evacuation timeout for instance ${guid}`);
    await world.stop();
  });

  it("lets nothing go on a BBS that does not answer", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    world.bbs.refusals.set("evacuateRunning", "Unavailable");
    evacuate(world);
    await world.clock.advance(30_000);
    world.bbs.refusals.set("evacuateRunning", "PermissionDenied");
    await world.clock.advance(60_000);
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
    expect(progress(world).remaining[0]?.waitingFor).toBe("the BBS's answer");
    await world.stop();
  });

  it("goes on after a restart, and is empty and present after another", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    evacuate(world);
    await world.clock.advance(1_000);
    await world.stop();
    world.restart();
    await world.clock.advance(1_000);
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
    expect(world.rep.perform({ cellId, lrps: [work("q")], tasks: [] }).refused).toHaveLength(1);
    replace(world, "p");
    await world.clock.advance(2_000);
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
    world.restart();
    await world.clock.advance(1_000);
    expect(progress(world)).toMatchObject({ evacuating: true, remaining: [] });
    expect(world.bbs.received.findLast(({ message }) => message?.$case === "hello")?.message?.value).toMatchObject({
      evacuating: true,
    });
    await world.stop();
  });
});

describe("an evacuation that is taken back", () => {
  it("keeps a copy that has no running replacement, as the ordinary instance", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    evacuate(world);
    await world.clock.advance(1_000);
    expect(cancel(world)).toMatchObject({ evacuating: false, remaining: [] });
    await world.clock.advance(2_000);
    expect(rowsOf(world, "p")).toMatchObject([{ presence: "ORDINARY", state: "RUNNING", instanceKey: heldBy(guid) }]);
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
    expect(world.rep.registry.get(asInstanceGuid(guid))).toMatchObject({ state: "running", stopped: false });
    expect(world.rep.perform({ cellId, lrps: [work("q")], tasks: [] }).refused).toEqual([]);
    expect(count(world, "cancelEvacuation")).toBe(1);
    await world.stop();
  });

  it("ends a copy whose replacement runs already", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    evacuate(world);
    await world.clock.advance(1_000);
    // The replacement runs, and the old row is still there: the cell has not been told yet.
    const waiting = ordinary(world, "p");
    if (waiting !== undefined)
      world.bbs.put({ ...waiting, state: "RUNNING", instanceKey: { ...heldBy("other"), cellId: "cell-2" as never } });
    cancel(world);
    await world.clock.advance(2_000);
    expect(world.garden.lookup(guid)).toBeUndefined();
    expect(rowsOf(world, "p")).toHaveLength(1);
    await world.stop();
  });

  it("is carried out by the next rep when this one ends first", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    evacuate(world);
    await world.clock.advance(1_000);
    world.bbs.unanswered.add("cancelEvacuation");
    cancel(world);
    await world.clock.advance(10);
    await world.stop();
    world.bbs.unanswered.clear();
    world.restart();
    await world.clock.advance(2_000);
    expect(rowsOf(world, "p")).toMatchObject([{ presence: "ORDINARY", instanceKey: heldBy(guid) }]);
    expect(world.rep.condition.evacuating).toBe(false);
    await world.stop();
  });
});

describe("an update of routes or tags", () => {
  it("reaches a running instance without a restart", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    const desired = world.bbs.desired.get("p");
    const held = world.bbs.rowOf(guid);
    if (desired === undefined || held === undefined) throw new Error("not placed");
    world.bbs.desired.set("p", {
      ...desired,
      routes: { routes: { "internal-router": Buffer.from('[{"hostname":"new.internal"}]') } },
      metricTags: { app: { static: "a", dynamic: 0 }, at: { static: "", dynamic: 1 } },
    });
    world.bbs.put({ ...held, updateMarked: true });
    await world.clock.advance(1_000);
    expect(world.bbs.rowOf(guid)).toMatchObject({
      updateMarked: false,
      internalRoutes: ["new.internal"],
      metricTags: new Map([
        ["app", "a"],
        ["at", "0"],
      ]),
    });
    expect(world.garden.lookup(guid)?.info().state).toBe("active");
    const starts = count(world, "started");
    await world.clock.advance(20_000);
    expect(count(world, "started")).toBe(starts);
    world.bbs.cut();
    await world.clock.advance(1_000);
    const inventory = world.bbs.received.findLast(({ message }) => message?.$case === "inventory");
    expect(inventory?.message?.value).toMatchObject({
      containers: [{ actualLrpInternalRoutes: [{ hostname: "new.internal" }], metricTags: { app: "a", at: "0" } }],
    });
    await world.stop();
  });

  it("is tried again while the BBS cannot say what it is", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    world.bbs.fetchError = new BbsError("Unavailable");
    const held = world.bbs.rowOf(guid);
    if (held !== undefined) world.bbs.put({ ...held, updateMarked: true });
    await world.clock.advance(3_000);
    expect(world.bbs.rowOf(guid)?.updateMarked).toBe(true);
    world.bbs.fetchError = undefined;
    await world.clock.advance(1_000);
    expect(world.bbs.rowOf(guid)?.updateMarked).toBe(false);
    await world.stop();
  });
});

it("an evacuating row of a cell that does not evacuate is never left behind by a crash", async () => {
  const world = await openWorld();
  const guid = await world.placed("p");
  const held = world.bbs.rowOf(guid);
  if (held === undefined) throw new Error("not placed");
  world.bbs.unanswered.add("cancelEvacuation");
  world.bbs.put({ ...held, presence: "EVACUATING" });
  world.bbs.put(row("p"));
  await world.clock.advance(10);
  world.garden.crash(guid);
  world.bbs.cut();
  await world.clock.advance(2_000);
  expect(rowsOf(world, "p").map((one) => one.presence)).toEqual(["ORDINARY"]);
  await world.stop();
});
