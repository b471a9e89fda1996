// What people are told of the past: each kind of change in its word, bounded, and honest about how far it reaches.
import { asEpochMs, type Change, put, type Write } from "@muster/shared/model";
import { task } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import { crashActualLRP, failActualLRP, startActualLRP, stopped } from "../core/actual-lrp.js";
import type { Command, CoreState } from "../core/decision.js";
import { cancelEvacuation, evacuateRunningActualLRP } from "../core/evacuation.js";
import { applyRepair } from "../core/repairs.js";
import {
  claimed,
  contextAt,
  desired,
  fresh,
  instance,
  key,
  netInfo,
  row,
  rows,
  running,
  stateWith,
  t0,
} from "../core/rows.test-support.js";
import { History, type HistoryBounds } from "./history.js";

const roomy: HistoryBounds = { events: 100, characters: 100_000 };

class World {
  readonly history: History;
  readonly state: CoreState;
  #sequence = 0n;

  constructor(bounds: HistoryBounds = roomy, ...writes: Write[]) {
    this.history = new History(asEpochMs(t0), bounds);
    this.state = stateWith(...writes);
  }

  run(command: Command<unknown>, atMs: number = t0): void {
    const decision = command(this.state, contextAt(asEpochMs(atMs)));
    this.commit(decision.writes, atMs, decision.crashed === true);
  }

  commit(writes: readonly Write[], atMs: number = t0, crashed = false): void {
    const changes: Change[] = writes.map((write) => this.state.tables.apply(write));
    if (crashed) this.history.noteCrash(changes);
    this.#sequence += 1n;
    this.history.committed(
      changes.map((change) => ({ change })),
      { clusterTimeMs: atMs, sequence: this.#sequence },
    );
  }

  words(): string[] {
    return this.history
      .query("", 1_000)
      .entries.map(({ happening: { kind, cellId, reason } }) => [kind, cellId, reason].filter((word) => word !== "").join(" "));
  }
}

const started = (guid: string, cell: string) => ({
  key,
  instanceKey: instance(guid, cell),
  netInfo,
  internalRoutes: [],
  metricTags: new Map<string, string>(),
  routable: true,
  availabilityZone: "z1",
});

describe("an instance", () => {
  it("waits, has no place, is claimed, starts and crashes, with the words of whoever knows", () => {
    const world = new World(roomy, desired(), fresh);
    world.commit(rows(row({})));
    world.run(failActualLRP({ key, message: "insufficient resources: memory", auctionId: undefined }));
    world.commit(rows(claimed("a", "cell-1")));
    world.run(startActualLRP(started("a", "cell-1")));
    world.run(crashActualLRP({ key, instanceKey: instance("a", "cell-1"), reason: "Exited with status 1" }));
    expect(world.words()).toEqual([
      "crashed cell-1 Exited with status 1",
      "started cell-1",
      "claimed cell-1",
      "not-placed insufficient resources: memory",
      "waiting",
    ]);
  });

  it("crashes also when its count begins anew", () => {
    const world = new World(roomy, desired(), fresh, ...rows(running("a", "cell-1", { crashCount: 1 })));
    world.run(crashActualLRP({ key, instanceKey: instance("a", "cell-1"), reason: "x" }), t0 + 600_000);
    expect(world.history.query("p", 1).entries).toMatchObject([
      { happening: { kind: "crashed", crashCount: 1, instanceGuid: "a" } },
    ]);
  });

  it("is evacuated: its copy stays while a replacement is waited for", () => {
    const world = new World(roomy, desired(), fresh, ...rows(running("a", "cell-1", { crashCount: 1, crashReason: "old" })));
    world.run(evacuateRunningActualLRP(started("a", "cell-1")));
    expect(world.words()).toEqual(["waiting", "evacuating cell-1"]);
  });

  it("returns to its place when its evacuation is taken back, and nothing was removed", () => {
    const world = new World(roomy, desired(), fresh, ...rows(running("a", "cell-1")));
    world.run(evacuateRunningActualLRP(started("a", "cell-1")));
    world.run(cancelEvacuation({ key, instanceKey: instance("a", "cell-1") }));
    expect(world.words().slice(0, 1)).toEqual(["returned cell-1"]);
    expect(world.words()).not.toContain("removed cell-1");
  });

  it("is suspect when its cell is lost, and has a replacement", () => {
    const world = new World(roomy, desired(), fresh, ...rows(running("a", "cell-1")));
    world.run(applyRepair({ rule: "cell-lost", processGuid: key.processGuid, index: 0, presence: "ORDINARY", name: "" }));
    expect(world.words().sort()).toEqual(["suspect cell-1", "waiting"]);
  });

  it("is told to stop, and goes", () => {
    const world = new World(roomy, ...rows(running("a", "cell-1")));
    const write = stopped(running("a", "cell-1"));
    world.commit(write === undefined ? [] : [write]);
    world.commit([{ kind: "actualLRP", key: "p/0/ORDINARY", record: undefined }]);
    expect(world.words()).toEqual(["removed cell-1", "stopping cell-1"]);
  });

  it("that only changes its tags tells nothing", () => {
    const world = new World(roomy, ...rows(running("a", "cell-1")));
    world.commit(rows(running("a", "cell-1", { metricTags: new Map([["a", "b"]]), updateMarked: true })));
    expect(world.words()).toEqual([]);
  });
});

describe("a task", () => {
  it("is created, rejected, started and ends, and then goes", () => {
    const world = new World();
    const cellId = instance("t", "cell-1").cellId;
    const of = (fields: Parameters<typeof task>[0]): Write => put("task", task(fields));
    world.commit([of({ state: "PENDING", cellId: undefined })]);
    world.commit([of({ state: "PENDING", cellId: undefined, rejectionCount: 1, rejectionReason: "no room" })]);
    world.commit([of({ state: "RUNNING", cellId, rejectionCount: 1 })]);
    world.commit([
      of({ state: "COMPLETED", cellId: undefined, failed: true, failureReason: "Exited with status 2", rejectionCount: 1 }),
    ]);
    world.commit([{ kind: "task", key: task({}).taskGuid, record: undefined }]);
    expect(world.words()).toEqual([
      "task-removed",
      "task-failed cell-1 Exited with status 2",
      "task-started cell-1",
      "task-rejected no room",
      "task-created",
    ]);
  });
});

describe("the ring", () => {
  const index = (n: number): Write => put("actualLRP", row({ index: n }));

  it("forgets the oldest beyond its bound and says since when it is complete", () => {
    const world = new World({ events: 2, characters: 100_000 });
    expect(world.history.query("", 9).completeSinceMs).toBe(t0);
    for (const n of [0, 1, 2]) world.commit([index(n)], t0 + n);
    const answer = world.history.query("", 9);
    expect(answer.entries.map((entry) => entry.happening.index)).toEqual([2, 1]);
    expect(answer.completeSinceMs).toBe(t0 + 1);
  });

  it("is bounded in what it holds, too", () => {
    const world = new World({ events: 1_000, characters: 50 });
    for (let n = 0; n < 100; n += 1)
      world.commit([put("actualLRP", row({ index: n, instanceKey: instance("guid", "cell-1"), state: "CLAIMED" }))], t0 + n);
    expect(world.history.size).toBeLessThanOrEqual(4);
    expect(world.history.query("", 1).entries[0]?.happening.index).toBe(99);
  });

  it("answers for one app, newest first, and says that there is more", () => {
    const world = new World();
    for (const n of [0, 1, 2]) world.commit([index(n)]);
    expect(world.history.query("p", 2)).toMatchObject({
      entries: [{ happening: { index: 2 } }, { happening: { index: 1 } }],
      more: true,
    });
    expect(world.history.query("q", 2)).toMatchObject({ entries: [], more: false });
  });
});
