// One cell against a scripted BBS: claims, starts, stops, crashes.
import { asInstanceGuid } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { cellId, desiredLRP, heldBy, openWorld, row, type World, work } from "./testing/world.js";

const appLines = (world: World, processGuid: string): string[] =>
  world.rep.logs.recent({ processGuid, instanceGuid: "" }).map((line) => Buffer.from(line.line).toString());

const theRow = (world: World, processGuid: string) => [...world.bbs.rows.values()].find((one) => one.processGuid === processGuid);

describe("an instance's start", () => {
  it("is claimed, created, probed and then reported started, with where it answers", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    expect(world.bbs.cases).toEqual(["claimed", "started"]);
    expect(world.bbs.rowOf(guid)).toMatchObject({
      state: "RUNNING",
      routable: true,
      netInfo: { address: "127.0.0.1", ports: [{ containerPort: 8080, hostPort: 61_001 }], preferredAddress: "HOST" },
    });
    expect(world.rep.registry.get(asInstanceGuid(guid))?.state).toBe("running");
    expect(appLines(world, "p")).toEqual([
      `Cell ${cellId} creating container for instance ${guid}`,
      `Cell ${cellId} successfully created container for instance ${guid}`,
      "simulated process app started",
      "Starting health monitoring of container",
      "Container became healthy",
    ]);
    await world.stop();
  });

  it.each([
    { brings: true, fetches: 0 },
    { brings: false, fetches: 1 },
  ])("needs no call when the claim's answer brings what to run ($brings: $fetches calls)", async ({ brings, fetches }) => {
    const world = await openWorld();
    world.bbs.answersWithDesired = brings;
    const guid = await world.placed("p", { environmentVariables: [{ name: "MADE", value: "here" }] });
    expect(world.bbs.rowOf(guid)).toMatchObject({ state: "RUNNING", netInfo: { ports: [{ containerPort: 8080 }] } });
    expect(world.bbs.fetches).toBe(fetches);
    await world.stop();
  });

  it("beside others is reported together with them, and at once by itself", async () => {
    const world = await openWorld();
    for (const name of ["a", "b", "c", "d", "e", "f", "g", "h"]) {
      world.bbs.desired.set(name, desiredLRP(name, { checkDefinition: undefined }));
      world.bbs.put(row(name));
    }
    const messages = (): number => world.bbs.received.filter(({ message }) => message?.$case === "batch").length;
    world.rep.perform({ cellId, lrps: [..."abcdefg"].map((name) => work(name)), tasks: [] });
    await world.clock.advance(0);
    expect(messages()).toBe(1);
    await world.clock.advance(250);
    expect(world.bbs.cases.filter((kind) => kind === "started")).toHaveLength(7);
    // Their creation takes 20 to 120 ms, each another time.
    expect(messages()).toBeLessThanOrEqual(4);
    const before = messages();
    world.rep.perform({ cellId, lrps: [work("h")], tasks: [] });
    await world.clock.advance(0);
    expect(messages()).toBe(before + 1);
    await world.stop();
  });

  it("does not begin before the claim is accepted, and the container goes when it is refused", async () => {
    const world = await openWorld();
    world.bbs.unanswered.add("claimed");
    world.bbs.put(row("p"));
    world.rep.perform({ cellId, lrps: [work("p")], tasks: [] });
    await world.clock.advance(5_000);
    expect([...world.rep.registry.all()].map((record) => record.state)).toEqual(["reserved"]);
    expect(world.bbs.fetches).toBe(0);
    world.bbs.unanswered.clear();
    world.bbs.refusals.set("claimed", "ActualLRPCannotBeClaimed");
    world.bbs.cut();
    await world.clock.advance(2_000);
    expect(world.rep.registry.size).toBe(0);
    expect(world.bbs.cases.filter((kind) => kind !== "claimed")).toEqual([]);
    await world.stop();
  });

  it.each(["Unavailable", "Timeout", "OutcomeUnknown"] as const)(
    "asks again after %s, and keeps the container meanwhile",
    async (code) => {
      const world = await openWorld();
      world.bbs.refusals.set("claimed", code);
      world.bbs.desired.set("p", desiredLRP("p"));
      world.bbs.put(row("p"));
      world.rep.perform({ cellId, lrps: [work("p")], tasks: [] });
      await world.clock.advance(1_200);
      expect(world.bbs.cases).toEqual(["claimed", "claimed", "claimed"]);
      expect(world.rep.registry.size).toBe(1);
      world.bbs.refusals.clear();
      await world.clock.advance(2_000);
      expect(theRow(world, "p")?.state).toBe("RUNNING");
      await world.stop();
    },
  );

  it("that the BBS refuses is stopped gracefully, and its container goes", async () => {
    const world = await openWorld();
    world.bbs.refusals.set("started", "ActualLRPCannotBeStarted");
    await world.placed("p");
    await world.clock.advance(1_000);
    expect(world.bbs.cases).toEqual(["claimed", "started", "removed"]);
    expect(world.rep.registry.size).toBe(0);
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
  });

  it("fails with the reason of the image, as a crash", async () => {
    const world = await openWorld({ images: () => undefined });
    await world.placed("p");
    expect(theRow(world, "p")).toMatchObject({
      state: "UNCLAIMED",
      crashReason: "failed to create container: there is no image docker:///library/app",
    });
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });

  it("crashes an instance that never becomes healthy, with Diego's text", async () => {
    const world = await openWorld({ readyMs: { min: 600_000, max: 600_000 } });
    await world.placed("p", { startTimeoutMs: 3_000n });
    await world.clock.advance(3_000);
    expect(theRow(world, "p")?.crashReason).toMatch(
      /^Instance never healthy after 3s: Timed out after 3s \(\d+ attempts\) waiting for startup check to succeed: failed to make TCP connection to [\d.]+:8080: connection refused$/,
    );
    await world.stop();
  });

  it("of an action this cell cannot carry out crashes with its name", async () => {
    const world = await openWorld();
    const { action } = desiredLRP("p");
    const inspect = { imageUrl: "docker:///library/app", logSource: "" };
    await world.placed("p", { action: { ...action, runAction: undefined, inspectImageAction: inspect } as never });
    expect(theRow(world, "p")?.crashReason).toBe("this cell cannot carry out a inspectImage action");
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
  });

  it("that nobody lets be claimed expires after a minute", async () => {
    const world = await openWorld();
    world.bbs.refusals.set("claimed", "Unavailable");
    world.bbs.put(row("p"));
    world.rep.perform({ cellId, lrps: [work("p")], tasks: [] });
    await world.clock.advance(95_000);
    expect(world.bbs.items.at(-1)?.report).toEqual({ $case: "crashed", value: { errorMessage: "expired container" } });
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });

  it("is not run when the DesiredLRP has gone meanwhile", async () => {
    const world = await openWorld();
    world.bbs.put(row("p"));
    world.rep.perform({ cellId, lrps: [work("p")], tasks: [] });
    await world.clock.advance(1_000);
    expect(world.bbs.cases).toEqual(["claimed", "removed"]);
    expect(theRow(world, "p")?.state).toBe("UNCLAIMED");
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });
});

describe("an instance's end", () => {
  it("is reported as a crash with its exit status at once, and only then is its container destroyed", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    world.bbs.unanswered.add("crashed");
    world.garden.crash(guid, { exitStatus: 3 });
    await world.clock.advance(0);
    expect(world.bbs.items.at(-1)?.report).toEqual({
      $case: "crashed",
      value: { errorMessage: "APP/PROC/WEB: Exited with status 3" },
    });
    await world.clock.advance(20_000);
    expect((await world.garden.containers()).length).toBe(1);
    expect(world.rep.registry.get(asInstanceGuid(guid))?.state).toBe("completed");
    world.bbs.unanswered.clear();
    world.bbs.cut();
    await world.clock.advance(2_000);
    expect(theRow(world, "p")).toMatchObject({ state: "UNCLAIMED", crashCount: 1 });
    expect(await world.garden.containers()).toEqual([]);
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });

  it.each([
    { exit: { exitStatus: 0 }, reason: "APP/PROC/WEB: Exited with status 0" },
    { exit: { exitStatus: 137, outOfMemory: true }, reason: "APP/PROC/WEB: Exited with status 137 (out of memory)" },
  ])("says $reason", async ({ exit, reason }) => {
    const world = await openWorld();
    const guid = await world.placed("p");
    world.garden.crash(guid, exit);
    await world.clock.advance(100);
    expect(theRow(world, "p")?.crashReason).toBe(reason);
    await world.stop();
  });

  it("takes any typed answer for an answer, but not Unavailable", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    world.bbs.refusals.set("crashed", "Unavailable");
    world.garden.crash(guid);
    await world.clock.advance(2_000);
    expect(world.rep.registry.size).toBe(1);
    world.bbs.refusals.set("crashed", "ResourceNotFound");
    await world.clock.advance(1_000);
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });

  it("comes from a liveness check that fails", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    const container = world.garden.lookup(guid);
    if (container !== undefined)
      container.probeTcp = async () => "failed to make TCP connection to 10.0.0.1:8080: connection refused";
    await world.clock.advance(31_000);
    expect(theRow(world, "p")?.crashReason).toBe(
      "Instance became unhealthy: Liveness check unsuccessful: failed to make TCP connection to 10.0.0.1:8080: connection refused",
    );
    expect(appLines(world, "p")).toContain("Container became unhealthy");
    await world.stop();
  });

  it("asked for by a stop mark is a removal, and the marked row goes", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    const marked = world.bbs.rowOf(guid);
    if (marked === undefined) throw new Error("no row");
    world.bbs.put({ ...marked, stopMarked: true });
    await world.clock.advance(1_000);
    expect(world.bbs.cases).toEqual(["claimed", "started", "removed"]);
    expect(world.bbs.rows.size).toBe(0);
    expect(await world.garden.containers()).toEqual([]);
    expect(appLines(world, "p")).toContain(`Cell ${cellId} stopping instance ${guid}`);
    await world.stop();
  });

  it("kills what does not end within the graceful interval", async () => {
    const world = await openWorld({}, { gracefulShutdownMs: 2_000 });
    const guid = await world.placed("p");
    const process = await world.garden.lookup(guid)?.attach("app", () => undefined);
    const signals: string[] = [];
    if (process !== undefined) {
      const signal = process.signal.bind(process);
      process.signal = async (name) => {
        signals.push(`${name} ${world.clock.elapsedMs()}`);
        if (name === "SIGKILL") await signal(name);
      };
    }
    const startedMs = world.clock.elapsedMs();
    world.rep.stopInstance("p", guid);
    await world.clock.advance(5_000);
    expect(signals).toEqual([`SIGTERM ${startedMs}`, `SIGKILL ${startedMs + 2_000}`]);
    expect(appLines(world, "p")).toContain("Exit status 137 (exceeded 2s graceful shutdown interval)");
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });

  it("follows when its row is taken away behind its back", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    const held = world.bbs.rowOf(guid);
    if (held === undefined) throw new Error("no row");
    world.bbs.drop(held);
    await world.clock.advance(1_000);
    expect(world.bbs.cases).toEqual(["claimed", "started", "started", "removed"]);
    expect(world.rep.registry.size).toBe(0);
    await world.stop();
  });

  it("of a container that the garden lost is a crash", async () => {
    const world = await openWorld();
    const guid = await world.placed("p", { checkDefinition: undefined });
    const lost = world.garden.containers.bind(world.garden);
    world.garden.containers = async () => (await lost()).filter((container) => container.handle !== guid);
    await world.clock.advance(61_000);
    expect(theRow(world, "p")?.crashReason).toBe("missing garden container");
    await world.stop();
  });
});

describe("rows and containers", () => {
  it("a row of this cell without a container is removed", async () => {
    const world = await openWorld({}, {}, (bbs) => {
      bbs.put(row("ghost", 0, { state: "RUNNING", instanceKey: heldBy("gone"), netInfo: undefined }));
      bbs.put(row("suspect", 0, { state: "CLAIMED", presence: "SUSPECT", instanceKey: heldBy("elsewhere") }));
    });
    await world.clock.advance(100);
    expect(world.bbs.items.map((item) => [item.report?.$case, item.actualLrpInstanceKey?.instanceGuid])).toEqual([
      ["removed", "gone"],
    ]);
    expect(theRow(world, "ghost")?.state).toBe("UNCLAIMED");
    await world.stop();
  });

  it("a row that differs is put right by the comparison, and in order nothing is sent", async () => {
    const world = await openWorld();
    const guid = await world.placed("p");
    await world.clock.advance(90_000);
    expect(world.bbs.cases).toEqual(["claimed", "started"]);
    const held = world.bbs.rowOf(guid);
    if (held !== undefined) world.bbs.put({ ...held, routable: false });
    await world.clock.advance(31_000);
    expect(world.bbs.rowOf(guid)?.routable).toBe(true);
    await world.stop();
  });

  it("admits work by what is free, once for each attempt", async () => {
    const world = await openWorld();
    world.bbs.unanswered.add("claimed");
    const ask = [work("a", 0, { memoryMb: 600 }), work("b", 0, { memoryMb: 300 }), work("c", 0, { memoryMb: 700 })];
    const { refused } = world.rep.perform({ cellId, lrps: ask, tasks: [] });
    expect(refused).toEqual([
      { auctionId: "a/0/e/0", reason: "insufficient resources available: memory (asked 600 MB, free 324 MB)" },
    ]);
    expect(world.rep.perform({ cellId, lrps: ask.slice(1), tasks: [] })).toEqual({ refused: [] });
    expect(world.rep.registry.size).toBe(2);
    const again = world.rep.perform({ cellId, lrps: [work("b", 0, { auctionId: "another" })], tasks: [] });
    expect(again.refused.map((one) => one.reason)).toEqual(["this index is held by another container of the cell"]);
    expect(() => world.rep.perform({ cellId: "cell-2", lrps: [], tasks: [] })).toThrow(/does not match/);
    await world.stop();
  });
});
