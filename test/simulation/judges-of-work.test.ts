// The judges of tasks, of emptied cells and of repairs find the faults they are there for; a shorter run of a failing seed fails too.
import { RepairOutcome } from "@muster/proto/muster/v1/repair";
import { type ActualLRP, asCellId, asInstanceGuid, type Change, put, Tables, type Task } from "@muster/shared/model";
import { actualLRP, cell, desiredLRP, t0, task } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import { EvacuationJudge } from "./evacuation-judge.js";
import { heldBack, isMassLoss, judgeRepairs, staleSurplus } from "./repair-judge.js";
import { simulate } from "./scenario.js";
import { shrink } from "./shrink.js";
import { TaskLives, taskFaults } from "./task-judge.js";
import type { SimWorld } from "./world.js";

const cellId = asCellId("one");
const t0Ns = BigInt(t0) * 1_000_000n;
const pending = task({ state: "PENDING", cellId: undefined, rootFs: "docker:///library/job" });
const running: Task = { ...pending, state: "RUNNING", cellId };
const completed: Task = { ...pending, state: "COMPLETED", firstCompletedAtNs: t0Ns as never };
const change = (before: Task | undefined, after: Task | undefined) => ({ kind: "task", key: "t", before, after }) as const;

describe("a task", () => {
  const tables = new Tables();
  it.each([
    { fault: "I34", before: undefined, after: running },
    { fault: "I34", before: completed, after: running },
    { fault: "I34", before: running, after: { ...running, cellId: asCellId("two") } },
    { fault: "I34", before: running, after: pending },
    { fault: "I34", before: pending, after: undefined },
    { fault: "I36", before: running, after: { ...completed, firstCompletedAtNs: 0n as never } },
    { fault: "I36", before: completed, after: { ...completed, state: "RESOLVING", firstCompletedAtNs: 1n as never } },
    { fault: "I36", before: completed, after: undefined },
    { fault: "I38", before: pending, after: { ...pending, rejectionCount: 4 } },
    { fault: "outcome changed", before: completed, after: { ...completed, state: "RESOLVING", failed: true } },
    { fault: "flag is off", before: pending, after: running },
  ] satisfies { fault: string; before: Task | undefined; after: Task | undefined }[])("$fault is found", (one) => {
    expect(taskFaults(change(one.before, one.after), tables, t0Ns).join()).toContain(one.fault);
  });

  it("is right as the BBS has it", () => {
    const rejected: Task = { ...pending, rejectionCount: 1 };
    const failed: Task = { ...completed, failed: true };
    const way = [undefined, pending, rejected, failed, { ...failed, state: "RESOLVING" as const }, undefined];
    for (const [at, after] of way.entries()) if (at > 0) expect(taskFaults(change(way[at - 1], after), tables, t0Ns)).toEqual([]);
  });

  it("that ends twice, comes back or is carried out twice is found", () => {
    const lives = new TaskLives();
    for (const [before, after] of [
      [undefined, pending],
      [pending, completed],
      [completed, undefined],
    ])
      expect(lives.see(change(before, after))).toEqual([]);
    expect(lives.see(change(undefined, pending)).join()).toContain("was gone");
    expect(lives.see(change(pending, completed)).join()).toContain("ended 2 times");
    for (const what of ["begun", "ended"] as const) {
      expect(lives.runs("t", what)).toEqual([]);
      expect(lives.runs("t", what).join()).toContain("I35");
    }
  });
});

describe("a cell that is emptied", () => {
  const instanceKey = { instanceGuid: asInstanceGuid("a"), cellId };
  const netInfo = { address: "a", ports: [], instanceAddress: "", instanceIpv6Address: "", preferredAddress: "HOST" } as const;
  const there: ActualLRP = actualLRP({ state: "RUNNING", instanceKey, netInfo });
  const waiting: ActualLRP = { ...there, state: "UNCLAIMED", instanceKey: undefined, netInfo: undefined };
  const copy: ActualLRP = { ...there, presence: "EVACUATING" };
  const { processGuid } = there;

  /** What the judge says to one change, after which these rows are there. */
  function judged(updateStrategy: "ROLLING" | "RECREATE", before: ActualLRP, after: ActualLRP | undefined, ...rows: ActualLRP[]) {
    const tables = new Tables();
    tables.apply(put("desiredLRP", desiredLRP({ processGuid, instances: 2, rootFs: "preloaded:x", updateStrategy })));
    tables.apply(put("cell", cell({ cellId })));
    for (const row of rows) tables.apply(put("actualLRP", row));
    const judge = new EvacuationJudge({ runs: () => true, evacuates: () => true });
    return [...judge.see({ kind: "actualLRP", key: "k", before, after } as Change, tables), ...judge.end()].join();
  }

  it("keeps an instance until the fate of its replacement is decided", () => {
    expect(judged("ROLLING", copy, undefined, waiting)).toContain("I29");
    expect(judged("ROLLING", copy, undefined, there)).toBe("");
    expect(judged("ROLLING", { ...there, presence: "SUSPECT" }, undefined, waiting)).toContain("I24");
    expect(judged("ROLLING", { ...there, presence: "SUSPECT" }, undefined, there)).toBe("");
    // There is one Suspect a key: one that was told to stop takes the place of one that was not.
    const told: ActualLRP = {
      ...there,
      presence: "SUSPECT",
      stopMarked: true,
      instanceKey: { ...instanceKey, instanceGuid: asInstanceGuid("b") },
    };
    expect(judged("ROLLING", { ...there, presence: "SUSPECT" }, told, waiting, told)).toBe("");
    expect(
      judged("ROLLING", { ...there, presence: "SUSPECT" }, { ...told, stopMarked: false }, waiting, {
        ...told,
        stopMarked: false,
      }),
    ).toContain("I24");
    expect(judged("ROLLING", there, waiting, waiting)).toContain("E1");
    expect(judged("ROLLING", there, waiting, waiting, copy)).toBe("");
  });

  it("never has two copies of what is to be recreated, and stops one at a time", () => {
    expect(judged("RECREATE", waiting, copy, copy)).toContain("I30");
    expect(judged("RECREATE", there, waiting, waiting)).toContain("I30");
    expect(judged("RECREATE", there, waiting, waiting, { ...there, index: 1 })).toBe("");
  });
});

describe("a repair", () => {
  const lost = (name: string) => cell({ cellId: asCellId(name), lostAtMs: t0 });
  const row = actualLRP({ state: "CLAIMED", instanceKey: { instanceGuid: asInstanceGuid("a"), cellId } });
  const item = (rule: string) => ({ rule, processGuid: row.processGuid, index: 0, presence: 0, name: "" });
  const tables = new Tables();
  for (const one of [lost("one"), lost("two"), lost("three"), cell({ cellId: asCellId("four") })]) tables.apply(put("cell", one));
  tables.apply(put("actualLRP", row));

  it("of a cell lost with most others waits, for three times its life at most", () => {
    expect(isMassLoss(tables, t0)).toBe(true);
    expect(heldBack(tables, item("cell-lost"), t0 + 1)).toContain("C3");
    expect(heldBack(tables, item("cell-lost"), t0 + 60_000)).toBeUndefined();
    tables.apply(put("actualLRP", { ...row, stopMarked: true }));
    expect(heldBack(tables, item("cell-lost"), t0 + 1)).toBeUndefined();
    tables.apply(put("actualLRP", row));
  });

  it("of surplus waits for a fresh domain, save where the flag stops it", () => {
    expect(staleSurplus(tables, item("surplus"), t0)).toMatchObject({ byFlag: false });
    tables.apply(put("desiredLRP", desiredLRP({ processGuid: row.processGuid, instances: 1, rootFs: "docker:///a" })));
    expect(staleSurplus(tables, item("surplus"), t0)).toMatchObject({ byFlag: true });
    tables.apply(put("domain", { name: row.domain, expiresAtMs: undefined }));
    expect(staleSurplus(tables, item("surplus"), t0)).toBeUndefined();
  });

  it("that was carried out all the same is told of", async () => {
    const wrong: string[] = [];
    const own = { repair: async (_items: readonly unknown[]) => [{ outcome: RepairOutcome.REPAIR_OUTCOME_DONE, dueInMs: 0n }] };
    const events = { takenByFlag: () => undefined, wrong: (what: string) => wrong.push(what) };
    judgeRepairs(own as never, { state: { tables }, journal: { nowMs: () => t0 } } as never, events);
    await own.repair([item("cell-lost")]);
    expect(wrong.join()).toContain("C3");
  });
});

/** Less than a test may take; on a busy machine the minute that a search has by itself is not enough for every kind of fault. */
const longestSearchMs = 200_000;

it("a failing seed is found a shorter run, with fewer faults, that fails too", async () => {
  const breaks = (world: SimWorld): void => void (world.ticks > 60 && world.wrongs.push("broken on purpose"));
  const options = { seed: 3, hurtTicks: 200, afterEachTick: breaks };
  const failed = await simulate(options);
  expect(failed.failure).toContain("broken on purpose");
  const { hurtTicks, faults, report } = await shrink(failed, options, longestSearchMs);
  expect(report.failure).toContain("broken on purpose");
  expect(hurtTicks).toBeLessThan(100);
  expect(faults).toEqual([]);
});
