// Health checks through a cell's whole life of an instance: what its row says, and what its owner reads.
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { describe, expect, it } from "vitest";
import { openWorld, type World } from "./testing/world.js";

/** A world in which ports fail as the test says; whatever else is asked answers. */
async function probed() {
  const world = await openWorld();
  const failing = new Set<number>();
  const create = world.garden.create.bind(world.garden);
  world.garden.create = async (spec, signal) => {
    const container = await create(spec, signal);
    container.probeTcp = async (port) => (failing.has(port) ? `port ${port} is closed` : undefined);
    return container;
  };
  return { world, failing };
}

const tcp = (port: number, intervalMs = 0n) => ({
  tcpCheck: { port, connectTimeoutMs: 0n, intervalMs },
  httpCheck: undefined,
});
const definition = (over: Partial<NonNullable<DesiredLRP["checkDefinition"]>>): Partial<DesiredLRP> => ({
  checkDefinition: { checks: [], readinessChecks: [], logSource: "", ...over },
});
const theRow = (world: World) => [...world.bbs.rows.values()].find((one) => one.processGuid === "p");
const said = (world: World): string[] =>
  world.rep.logs
    .recent({ processGuid: "p", instanceGuid: "" })
    .map(({ source, stream, line }) => `${source} ${stream}: ${Buffer.from(line).toString()}`)
    .filter((line) => /health|check|pass|fail|ready/i.test(line));

describe("start-up and liveness", () => {
  it("say when watching begins and that the instance is well; the first failure of any check ends it", async () => {
    const { world, failing } = await probed();
    await world.placed("p", definition({ checks: [tcp(8080), tcp(9090, 5_000n)] }));
    expect(theRow(world)).toMatchObject({ state: "RUNNING", routable: true });
    failing.add(9090);
    await world.clock.advance(5_000);
    const text = "Liveness check unsuccessful: port 9090 is closed";
    expect(theRow(world)).toMatchObject({ crashCount: 1, crashReason: `Instance became unhealthy: ${text}` });
    expect(said(world)).toEqual([
      "CELL stdout: Starting health monitoring of container",
      "CELL stdout: Container became healthy",
      `HEALTH stderr: ${text}`,
      "CELL stderr: Container became unhealthy",
    ]);
    await world.stop();
  });

  it("give up at the start time-out, with the checks' last words, under the definition's log source", async () => {
    const { world, failing } = await probed();
    failing.add(8080);
    await world.placed("p", { ...definition({ checks: [tcp(8080), tcp(9090)], logSource: "CHECK" }), startTimeoutMs: 3_000n });
    await world.clock.advance(3_000);
    const text = "Timed out after 3s (8 attempts) waiting for startup check to succeed: port 8080 is closed";
    expect(theRow(world)).toMatchObject({ crashCount: 1, crashReason: `Instance never healthy after 3s: ${text}` });
    expect(said(world).slice(0, 3)).toEqual([
      "CELL stdout: Starting health monitoring of container",
      `CHECK stderr: ${text}`,
      "CELL stderr: Failed after 3s: startup health check never passed.",
    ]);
    await world.stop();
  });

  it("are not there without checks: the instance runs and is routable as soon as its process is there", async () => {
    const { world, failing } = await probed();
    failing.add(8080);
    await world.placed("p", definition({}));
    await world.clock.advance(120_000);
    expect(theRow(world)).toMatchObject({ state: "RUNNING", routable: true, crashCount: 0 });
    expect(said(world)).toEqual([]);
    await world.stop();
  });
});

describe("readiness", () => {
  it("says whether a running instance is routable, and never ends it", async () => {
    const { world, failing } = await probed();
    failing.add(8080);
    const guid = await world.placed("p", definition({ readinessChecks: [tcp(8080, 5_000n)] }));
    expect(theRow(world)).toMatchObject({ state: "RUNNING", routable: false });
    failing.clear();
    await world.clock.advance(2_000);
    expect(theRow(world)).toMatchObject({ state: "RUNNING", routable: true });
    failing.add(8080);
    await world.clock.advance(120_000);
    expect(theRow(world)).toMatchObject({ state: "RUNNING", routable: false, crashCount: 0 });
    expect(theRow(world)?.instanceKey?.instanceGuid).toBe(guid);
    failing.clear();
    await world.clock.advance(5_000);
    expect(theRow(world)?.routable).toBe(true);
    const passed = "Container passed the readiness health check. Container marked ready and added to route pool.";
    expect(said(world)).toEqual([
      "HEALTH stdout: Starting readiness health monitoring of container",
      `HEALTH stdout: ${passed}`,
      "HEALTH stderr: Readiness check unsuccessful: port 8080 is closed",
      "HEALTH stdout: Container failed the readiness health check. Container marked not ready and removed from route pool.",
      `HEALTH stdout: ${passed}`,
    ]);
    await world.stop();
  });

  it("is looked at anew by the next rep, which says so only when it has changed", async () => {
    const { world, failing } = await probed();
    const guid = await world.placed("p", definition({ readinessChecks: [tcp(8080, 5_000n)] }));
    expect(theRow(world)).toMatchObject({ state: "RUNNING", routable: true });
    await world.stop();
    world.restart();
    await world.clock.advance(4_000);
    expect(said(world)).toEqual(["HEALTH stdout: Starting readiness health monitoring of container"]);
    await world.stop();
    failing.add(8080);
    world.restart();
    await world.clock.advance(1_000);
    expect(theRow(world)).toMatchObject({ state: "RUNNING", routable: false, crashCount: 0 });
    expect(theRow(world)?.instanceKey?.instanceGuid).toBe(guid);
    await world.stop();
  });

  it("begins once the instance runs, beside its liveness, which still ends it", async () => {
    const { world, failing } = await probed();
    failing.add(8080);
    await world.placed("p", definition({ checks: [tcp(8080)], readinessChecks: [tcp(9090)] }));
    expect(theRow(world)).toMatchObject({ state: "CLAIMED", routable: false });
    failing.clear();
    await world.clock.advance(3_000);
    expect(theRow(world)).toMatchObject({ state: "RUNNING", routable: true });
    failing.add(8080);
    await world.clock.advance(31_000);
    expect(theRow(world)).toMatchObject({ crashCount: 1 });
    await world.stop();
  });
});
