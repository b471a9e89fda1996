// The converger's loop against a BBS that judges as the real one does, on a clock that moves only when told.
import { fakeClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { Registry } from "@muster/shared/metrics";
import { asCellId, asProcessGuid, drop, epochMsToNs, put } from "@muster/shared/model";
import { OpenKeys } from "@muster/shared/rules";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Converger } from "./converger.js";
import { convergerMetrics } from "./metrics.js";
import { FakeBbs } from "./testing/fake-bbs.js";
import { actualLRP, cell, claimed, desiredLRP, domain, domainName, task } from "./testing/records.js";

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function setUp() {
  const clock = fakeClock();
  const bbs = new FakeBbs(clock);
  const registry = new Registry();
  const metrics = convergerMetrics(registry);
  const config = { convergeIntervalMs: 30_000 };
  const log = silentLog();
  const converger = new Converger({ clock, log, metrics, io: bbs, config });
  const stop = new AbortController();
  const start = async (): Promise<void> => {
    const ended = converger.run(stop.signal);
    stops.push(async () => {
      stop.abort();
      await clock.advance(0);
      await ended;
    });
    await clock.advance(0);
  };
  const value = async (name: string, labels = ""): Promise<number | undefined> => {
    const line = (await registry.metrics()).split("\n").find((text) => text.startsWith(`${name}${labels} `));
    return line === undefined ? undefined : Number(line.split(" ").at(-1));
  };
  return { clock, bbs, start, stop, converger, value, log };
}

const asked = (bbs: FakeBbs): readonly string[] => bbs.calls.flatMap((call) => call.repairs);

const crashed = (name: string, crashCount: number, atMs: number) =>
  actualLRP({ processGuid: asProcessGuid(name), state: "CRASHED", crashCount, sinceNs: epochMsToNs(atMs as never) });

describe("once the records are mirrored", () => {
  it("plans over everything at once", async () => {
    const { bbs, start, converger, value } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a", { instances: 2 })), put("domain", domain()));
    bbs.commit(put("actualLRP", claimed("orphan", 0, "c1")), put("cell", cell("c1")));
    await start();
    expect(converger.synced).toBe(true);
    expect(asked(bbs)).toEqual(["missing a/0", "missing a/1", "surplus orphan/0"]);
    expect([await value("converger_lrps_missing"), await value("converger_lrps_extra")]).toEqual([2, 1]);
    expect(bbs.tables.rows(asProcessGuid("a"), 1).ORDINARY?.state).toBe("UNCLAIMED");
    expect(await value("converger_convergence_actions_total", '{rule="missing",result="done"}')).toBe(2);
  });

  it("asks for nothing when all is well", async () => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a")), put("actualLRP", claimed("a", 0, "c1")), put("cell", cell("c1")));
    await start();
    await clock.advance(120_000);
    expect(bbs.calls).toEqual([]);
  });

  it("plans over everything again after the watch had to start anew", async () => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a")), put("actualLRP", claimed("a", 0, "c1")), put("cell", cell("c1")));
    await start();
    bbs.withheld = [];
    bbs.commit(drop("actualLRP", claimed("a", 0, "c1")));
    bbs.restart();
    await clock.advance(250);
    expect(asked(bbs)).toEqual(["missing a/0"]);
  });
});

describe("at once, between cycles", () => {
  it("acts on a lost cell", async () => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a", { instances: 2 })), put("cell", cell("c1")), put("cell", cell("c2")));
    bbs.commit(put("actualLRP", claimed("a", 0, "c1")), put("actualLRP", claimed("a", 1, "c2")));
    await start();
    await clock.advance(12_345);
    bbs.commit(put("cell", cell("c1", clock.nowMs())));
    await clock.advance(0);
    expect(bbs.calls).toEqual([{ atMs: 12_345, repairs: ["cell-lost a/0"] }]);
    const rows = bbs.tables.rows(asProcessGuid("a"), 0);
    expect([rows.SUSPECT?.state, rows.ORDINARY?.state]).toEqual(["CLAIMED", "UNCLAIMED"]);
  });

  it("gives the last copy on an evacuating cell up once the cell is lost", async () => {
    const { bbs, start, clock } = setUp();
    const copy = { ...claimed("a", 0, "c1"), state: "RUNNING" as const, presence: "EVACUATING" as const };
    bbs.commit(put("desiredLRP", desiredLRP("a")), put("actualLRP", actualLRP({ processGuid: asProcessGuid("a") })));
    bbs.commit(put("actualLRP", copy), put("cell", cell("c1")));
    await start();
    bbs.commit(put("cell", cell("c1", clock.nowMs())));
    await clock.advance(0);
    expect(asked(bbs)).toEqual(["evacuating-lost a/0"]);
  });

  it("has instances told of routes that were changed", async () => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("actualLRP", { ...claimed("a", 0, "c1"), state: "RUNNING" }), put("cell", cell("c1")));
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    await start();
    expect(bbs.calls).toEqual([]);
    const routes = new Map([["internal-router", Buffer.from('[{"hostname":"a.internal"}]')]]);
    bbs.commit(put("desiredLRP", desiredLRP("a", { routes })));
    await clock.advance(0);
    expect(asked(bbs)).toEqual(["outdated a/0"]);
  });

  it("fills a wanted index that a row left empty", async () => {
    const { bbs, start, clock } = setUp();
    const row = claimed("a", 0, "c1");
    bbs.commit(put("desiredLRP", desiredLRP("a")), put("actualLRP", row), put("cell", cell("c1")));
    await start();
    bbs.commit(drop("actualLRP", row));
    await clock.advance(0);
    expect(asked(bbs)).toEqual(["missing a/0"]);
  });

  it("stops and brings back Docker LRPs with their flag", async () => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("featureFlag", { name: "diego_docker", enabled: true }), put("cell", cell("c1")));
    bbs.commit(put("desiredLRP", desiredLRP("a", { rootFs: "docker:///x" })), put("actualLRP", claimed("a", 0, "c1")));
    await start();
    bbs.commit(put("featureFlag", { name: "diego_docker", enabled: false }));
    await clock.advance(0);
    expect(bbs.tables.rows(asProcessGuid("a"), 0).ORDINARY?.stopMarked).toBe(true);
    bbs.commit(drop("actualLRP", claimed("a", 0, "c1")));
    bbs.commit(put("featureFlag", { name: "diego_docker", enabled: true }));
    await clock.advance(0);
    expect(bbs.tables.rows(asProcessGuid("a"), 0).ORDINARY?.state).toBe("UNCLAIMED");
    expect(asked(bbs)).toEqual(["surplus a/0", "missing a/0"]);
  });

  it("stops orphans once their domain is vouched for, also when it had only just gone stale", async () => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("actualLRP", claimed("orphan", 0, "c1")), put("cell", cell("c1")));
    bbs.commit(put("domain", domain(clock.nowMs() - 1)));
    bbs.script.push("stale");
    await start();
    expect(asked(bbs)).toEqual(["domain-expired apps"]);
    bbs.commit(put("domain", domain(clock.nowMs() + 60_000)));
    await clock.advance(0);
    expect(asked(bbs).slice(1)).toEqual(["surplus orphan/0"]);
  });
});

describe("when their time has come", () => {
  it.each([
    { crashCount: 3, waitMs: 30_000 },
    { crashCount: 4, waitMs: 60_000 },
  ])("crashed instances are restarted: count $crashCount after $waitMs ms", async ({ crashCount, waitMs }) => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    bbs.commit(put("actualLRP", actualLRP({ processGuid: asProcessGuid("a") })));
    await start();
    await clock.advance(7_000);
    bbs.commit(put("actualLRP", crashed("a", crashCount, clock.nowMs())));
    await clock.advance(waitMs - 1);
    expect(bbs.calls).toEqual([]);
    await clock.advance(50);
    expect(asked(bbs)).toEqual(["restart a/0"]);
    const lateMs = (bbs.calls[0]?.atMs ?? 0) - 7_000 - waitMs;
    expect(lateMs).toBeGreaterThanOrEqual(0);
    expect(lateMs).toBeLessThan(50);
  });

  it("a restart whose row has moved on meanwhile is not asked for", async () => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a")), put("actualLRP", crashed("a", 3, clock.nowMs())), put("cell", cell("c1")));
    await start();
    bbs.commit(put("actualLRP", claimed("a", 0, "c1")));
    await clock.advance(120_000);
    expect(bbs.calls).toEqual([]);
  });

  it("domains go when nobody vouches for them any more, and not before", async () => {
    const { bbs, start, clock } = setUp();
    bbs.commit(put("domain", domain(clock.nowMs() + 10_000)));
    await start();
    await clock.advance(9_000);
    bbs.commit(put("domain", domain(clock.nowMs() + 10_000)));
    await clock.advance(9_999);
    expect(bbs.calls).toEqual([]);
    bbs.commit(put("domain", domain(clock.nowMs() + 500)));
    await clock.advance(500);
    expect(asked(bbs)).toEqual(["domain-expired apps"]);
    expect(bbs.tables.domain(domainName)).toBeUndefined();
  });

  it("a missing cell goes ten minutes after it was lost, once no row names it", async () => {
    const { bbs, start, clock } = setUp();
    const orphan = actualLRP({ ...claimed("a", 0, "c1"), presence: "SUSPECT" });
    bbs.commit(put("cell", cell("c1", clock.nowMs())), put("actualLRP", orphan));
    await start();
    await clock.advance(700_000);
    expect(bbs.calls).toEqual([]);
    bbs.commit(drop("actualLRP", orphan));
    await clock.advance(0);
    expect(asked(bbs)).toEqual(["cell-gone c1"]);
  });

  it("what the BBS calls not yet due is asked for again when it said", async () => {
    const { bbs, start, clock, value } = setUp();
    // After an election: a row names a cell whose presence may still come.
    bbs.graceUntilMs = clock.nowMs() + 7_000;
    bbs.commit(put("desiredLRP", desiredLRP("a")), put("actualLRP", claimed("a", 0, "c1")));
    await start();
    await clock.advance(20_000);
    expect(bbs.calls).toEqual([
      { atMs: 0, repairs: ["cell-lost a/0"] },
      { atMs: 7_000, repairs: ["cell-lost a/0"] },
    ]);
    expect(await value("converger_convergence_actions_total", '{rule="cell-lost",result="not_due"}')).toBe(1);
  });
});

describe("tasks", () => {
  const atMs = (ms: number) => epochMsToNs(ms as never);

  it("fail at once when their cell is lost, or the flag keeps a Docker one from starting", async () => {
    const { bbs, start, clock } = setUp();
    const flag = (enabled: boolean) => put("featureFlag", { name: "diego_docker", enabled });
    bbs.commit(flag(true), put("cell", cell("c1")));
    bbs.commit(put("task", task("runs", clock.nowMs(), { state: "RUNNING", cellId: asCellId("c1") })));
    bbs.commit(put("task", task("waits", clock.nowMs(), { rootFs: "docker:///x" })));
    await start();
    bbs.commit(put("cell", cell("c1", clock.nowMs())));
    await clock.advance(0);
    bbs.commit(flag(false));
    await clock.advance(0);
    expect(asked(bbs)).toEqual(["task-cell-lost runs", "task-disabled waits"]);
    expect([...bbs.tables.tasks.values()].map(({ state }) => state)).toEqual(["COMPLETED", "COMPLETED"]);
  });

  it("expire, are demoted, called back and forgotten when they are due", async () => {
    const { bbs, start, clock } = setUp();
    const startMs = clock.nowMs();
    const completed = { state: "COMPLETED" as const, firstCompletedAtNs: atMs(startMs) };
    bbs.commit(
      put("task", task("pending", startMs)),
      put("task", task("resolving", startMs, { ...completed, state: "RESOLVING" })),
      put("task", task("completed", startMs, { ...completed, completionCallbackUrl: "http://127.0.0.1:1/" })),
    );
    await start();
    await clock.advance(29_900);
    expect(bbs.calls).toEqual([]);
    await clock.advance(200);
    expect(asked(bbs)).toEqual(["task-callback completed", "task-unresolved resolving"]);
    await clock.advance(90_000);
    expect(asked(bbs).slice(-2)).toEqual(["task-over completed", "task-over resolving"]);
    await clock.advance(1_679_500);
    expect([...bbs.tables.tasks.keys()]).toEqual(["pending"]);
    await clock.advance(500);
    expect(asked(bbs).at(-1)).toBe("task-expired pending");
  });

  it("have their callback asked for again with each cycle while they are COMPLETED", async () => {
    const { bbs, start, clock } = setUp();
    const startMs = clock.nowMs();
    const owed = { completionCallbackUrl: "http://127.0.0.1:1/", firstCompletedAtNs: atMs(startMs) };
    bbs.commit(put("task", task("t", startMs, { state: "COMPLETED", ...owed })));
    await start();
    await clock.advance(119_000);
    expect(new Set(asked(bbs))).toEqual(new Set(["task-callback t"]));
    expect(bbs.calls.length).toBeGreaterThanOrEqual(3);
    expect(bbs.calls.length).toBeLessThanOrEqual(4);
  });
});

describe("hold-back (rule C3)", () => {
  const lose = async () => {
    const world = setUp();
    const { bbs, start, clock } = world;
    const names = ["c1", "c2", "c3", "c4"];
    bbs.commit(put("desiredLRP", desiredLRP("a", { instances: 4 })), ...names.map((name) => put("cell", cell(name))));
    bbs.commit(...names.map((name, index) => put("actualLRP", claimed("a", index, name))));
    await start();
    await clock.advance(1_000);
    const lostAtMs = clock.nowMs();
    bbs.commit(...names.slice(0, 3).map((name) => put("cell", cell(name, lostAtMs))));
    await clock.advance(0);
    return world;
  };

  it("waits two TTLs, then acts on all", async () => {
    const { bbs, clock } = await lose();
    await clock.advance(9_999);
    expect(bbs.calls).toEqual([]);
    await clock.advance(1);
    expect(bbs.calls).toEqual([{ atMs: 11_000, repairs: ["cell-lost a/0", "cell-lost a/1", "cell-lost a/2"] }]);
  });

  it("ends with the return of a cell, for the others too", async () => {
    const { bbs, clock } = await lose();
    await clock.advance(3_000);
    bbs.commit(put("cell", cell("c1")));
    await clock.advance(0);
    expect(bbs.calls).toEqual([{ atMs: 4_000, repairs: ["cell-lost a/1", "cell-lost a/2"] }]);
  });
});

describe("the cycle", () => {
  it("is the backstop: what was wrongly refused is asked for again 30 s after the end of the last cycle", async () => {
    const { bbs, start, clock, value } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    bbs.script.push("stale");
    bbs.callMs = 5_000;
    await start();
    await clock.advance(34_999);
    expect(bbs.calls).toEqual([{ atMs: 0, repairs: ["missing a/0"] }]);
    await clock.advance(1);
    expect(bbs.calls[1]).toEqual({ atMs: 35_000, repairs: ["missing a/0"] });
    await clock.advance(5_000);
    expect(await value("converger_lrp_convergence_runs_total")).toBe(2);
  });

  it("a stale repair is refused by the truth, and not repeated", async () => {
    const { bbs, start, clock, value } = setUp();
    const row = claimed("a", 0, "c1");
    bbs.commit(put("desiredLRP", desiredLRP("a")), put("actualLRP", row), put("cell", cell("c1")));
    await start();
    bbs.commit(drop("actualLRP", row));
    bbs.withheld = [];
    bbs.commit(put("actualLRP", row));
    await clock.advance(10_000);
    expect(asked(bbs)).toEqual(["missing a/0"]);
    expect(await value("converger_convergence_actions_total", '{rule="missing",result="stale"}')).toBe(1);
    expect(bbs.tables.rows(asProcessGuid("a"), 0).ORDINARY?.state).toBe("CLAIMED");
  });
});

describe("what the cycle goes by", () => {
  it("is the open keys nine times of ten, and every record once", async () => {
    const { bbs, start, clock, value } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a")), put("actualLRP", claimed("a", 0, "c1")), put("cell", cell("c1")));
    await start();
    await clock.advance(300_000);
    const plans = (scope: string) => value("converger_plan_duration_seconds_count", `{scope="${scope}"}`);
    expect([await plans("open"), await plans("all")]).toEqual([11, 2]);
    expect(await value("converger_plan_differences_total")).toBe(0);
  });

  it("is every record where the open keys are wrong, which is told", async () => {
    const { bbs, start, clock, value, log } = setUp();
    const told = vi.spyOn(log, "error");
    await start();
    const forgetful = vi.spyOn(OpenKeys.prototype, "refresh").mockReturnValue();
    bbs.script.push("stale");
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    await clock.advance(299_999);
    forgetful.mockRestore();
    expect(asked(bbs)).toEqual(["missing a/0"]);
    await clock.advance(1);
    expect(asked(bbs)).toEqual(["missing a/0", "missing a/0"]);
    expect(await value("converger_plan_differences_total")).toBe(1);
    expect(told).toHaveBeenCalledExactlyOnceWith(
      { overlooked: [{ reason: "missing", process_guid: "a", index: 0, presence: "ORDINARY" }], imagined: [] },
      "open keys are not those of the records",
    );
  });

  it("holds what was refused wrongly open, cycle after cycle", async () => {
    const { bbs, start, clock } = setUp();
    bbs.script.push("stale", "stale", "stale");
    await start();
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    await clock.advance(120_000);
    expect(bbs.calls.map(({ atMs, repairs }) => [atMs, ...repairs])).toEqual(
      [0, 30_000, 60_000, 90_000].map((atMs) => [atMs, "missing a/0"]),
    );
  });
});

describe("counts", () => {
  it("tasks it kicked and pruned", async () => {
    const { bbs, start, clock, value } = setUp();
    const startMs = clock.nowMs();
    const done = { state: "COMPLETED" as const, firstCompletedAtNs: epochMsToNs(startMs) };
    bbs.commit(put("task", task("docker", startMs, { rootFs: "docker:///x" })), put("task", task("done", startMs, done)));
    await start();
    expect(await value("converger_convergence_tasks_kicked_total")).toBe(1);
    await clock.advance(120_000);
    expect(await value("converger_convergence_tasks_pruned_total")).toBe(2);
    expect(await value("converger_convergence_tasks_kicked_total")).toBe(1);
  });

  it("for how long the oldest instance has waited, cycle by cycle", async () => {
    const { bbs, start, clock, value } = setUp();
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    await start();
    expect(await value("converger_oldest_unplaced_seconds")).toBe(0);
    await clock.advance(60_000);
    expect(await value("converger_oldest_unplaced_seconds")).toBe(60);
    bbs.commit(put("actualLRP", claimed("a", 0, "c1")), put("cell", cell("c1")));
    await clock.advance(30_000);
    expect(await value("converger_oldest_unplaced_seconds")).toBe(0);
  });
});

describe("calls", () => {
  it("are one at a time, of at most 1,000 repairs, until nothing is left", async () => {
    const { bbs, start, clock } = setUp();
    bbs.callMs = 10;
    bbs.commit(put("desiredLRP", desiredLRP("a", { instances: 2_500 })));
    await start();
    await clock.advance(100);
    expect(bbs.calls.map(({ repairs }) => repairs.length)).toEqual([1_000, 1_000, 500]);
    expect(bbs.most).toBe(1);
    expect(bbs.tables.actualLRPs.size).toBe(2_500);
  });

  it("gather what changes while one is under way", async () => {
    const { bbs, start, clock } = setUp();
    bbs.callMs = 100;
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    await start();
    for (const name of ["b", "c", "d"]) {
      await clock.advance(10);
      bbs.commit(put("desiredLRP", desiredLRP(name)));
    }
    await clock.advance(500);
    expect(bbs.calls.map(({ repairs }) => repairs)).toEqual([["missing a/0"], ["missing b/0", "missing c/0", "missing d/0"]]);
  });

  it("leave out what changes have overtaken", async () => {
    const { bbs, start, clock } = setUp();
    bbs.callMs = 100;
    bbs.commit(put("desiredLRP", desiredLRP("a", { instances: 1_500 })));
    await start();
    for (let index = 1_000; index < 1_300; index += 1) {
      bbs.commit(put("actualLRP", actualLRP({ processGuid: asProcessGuid("a"), index })));
    }
    await clock.advance(1_000);
    expect(bbs.calls.map(({ repairs }) => repairs.length)).toEqual([1_000, 200]);
  });

  it("without an answer are repeated after 200 ms, or at the next change", async () => {
    const { bbs, start, clock, value } = setUp();
    bbs.script.push("unavailable", "unavailable", "unavailable");
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    await start();
    await clock.advance(200);
    await clock.advance(50);
    bbs.commit(put("desiredLRP", desiredLRP("b")));
    await clock.advance(1_000);
    expect(bbs.calls).toEqual([
      { atMs: 0, repairs: ["missing a/0"] },
      { atMs: 200, repairs: ["missing a/0"] },
      { atMs: 250, repairs: ["missing a/0", "missing b/0"] },
      { atMs: 450, repairs: ["missing a/0", "missing b/0"] },
    ]);
    expect(await value("converger_repair_calls_failed_total")).toBe(3);
  });

  it("whose effect shows although the answer was lost are not repeated", async () => {
    const { bbs, start, clock } = setUp();
    bbs.script.push("unavailable");
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    await start();
    bbs.commit(put("actualLRP", actualLRP({ processGuid: asProcessGuid("a") })));
    await clock.advance(5_000);
    expect(asked(bbs)).toEqual(["missing a/0"]);
  });

  it("end with the converger, and so does its watch", async () => {
    const { bbs, start, stop, clock } = setUp();
    bbs.callMs = 60_000;
    bbs.commit(put("desiredLRP", desiredLRP("a")));
    await start();
    stop.abort();
    await clock.advance(0);
    await stops.pop()?.();
    expect(clock.nextTimerMs()).toBeUndefined();
    bbs.commit(put("desiredLRP", desiredLRP("b")));
    await clock.advance(60_000);
    expect(bbs.calls).toHaveLength(1);
  });
});
