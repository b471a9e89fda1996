// Each convergence rule, judged over the truth: what it does where it holds, and that a stale repair does nothing.
import { asCellId, asEpochMs, asTaskGuid, type Cell, epochMsToNs, put, type Write } from "@muster/shared/model";
import { instanceRepair, namedRepair, planConvergence, type Repair } from "@muster/shared/rules";
import { task } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import { forgetCell, losePresence, registerPresence } from "./cells.js";
import { decideInventoryKey } from "./inventory.js";
import { applyRepair } from "./repairs.js";
import {
  claimed,
  contextAt,
  desired,
  fresh,
  processGuid,
  row,
  rows,
  rowsAsWords,
  run,
  running,
  stateWith,
  t0,
} from "./rows.test-support.js";

const cell = (cellId: string, fields: Partial<Cell> = {}): Cell => ({
  cellId: asCellId(cellId),
  repAddress: "",
  repUrl: "",
  zone: "z1",
  memoryMb: 1024,
  diskMb: 1024,
  containers: 10,
  rootfsProviders: [],
  placementTags: [],
  optionalPlacementTags: [],
  annotations: new Map(),
  owner: "owner",
  ttlMs: 5_000,
  evacuating: false,
  lostAtMs: undefined,
  ...fields,
});
const lost = (cellId: string, agoMs: number): Write => put("cell", cell(cellId, { lostAtMs: asEpochMs(t0 - agoMs) }));
const live = (cellId: string): Write => put("cell", cell(cellId));
const flagOn = put("featureFlag", { name: "diego_docker", enabled: true });

type Case = readonly [name: string, before: readonly Write[], repair: Repair, outcome: string, after: readonly string[]];

const missing = instanceRepair("missing", processGuid, 0);
const surplus = instanceRepair("surplus", processGuid, 0);
const restart = instanceRepair("restart", processGuid, 0);
const cellLost = instanceRepair("cell-lost", processGuid, 0);
const evacuatingLost = instanceRepair("evacuating-lost", processGuid, 0, "EVACUATING");
const marked = { stopMarked: true };
const markedCopy = running("a", "cell-1", { presence: "EVACUATING", ...marked });
const crashedFor = (agoMs: number, crashCount = 3) =>
  row({ state: "CRASHED", crashCount, sinceNs: ((BigInt(t0) - BigInt(agoMs)) * 1_000_000n) as never });

const cases: readonly Case[] = [
  ["missing: a wanted index gets a row", [desired()], missing, "done", ["ORDINARY UNCLAIMED"]],
  [
    "missing: an index that has one is stale",
    [desired(), ...rows(running("a", "cell-1"))],
    missing,
    "stale",
    ["ORDINARY RUNNING a@cell-1"],
  ],
  ["missing: a docker LRP wants nothing while the flag is off", [desired({ rootFs: "docker:///x" })], missing, "stale", []],
  [
    "surplus: an orphan in a fresh domain is marked",
    [fresh, ...rows(running("a", "cell-1"))],
    surplus,
    "done",
    ["ORDINARY RUNNING a@cell-1 stop"],
  ],
  [
    "surplus: an orphan in a stale domain is left (I14)",
    [...rows(running("a", "cell-1"))],
    surplus,
    "stale",
    ["ORDINARY RUNNING a@cell-1"],
  ],
  ["surplus: an orphan without an instance goes", [fresh, ...rows(row())], surplus, "done", []],
  [
    "surplus: the flag waits for no freshness (W3)",
    [desired({ rootFs: "docker:///x" }), ...rows(running("a", "cell-1"))],
    surplus,
    "done",
    ["ORDINARY RUNNING a@cell-1 stop"],
  ],
  [
    "surplus: with the flag on a docker row is wanted",
    [flagOn, desired({ rootFs: "docker:///x" }), fresh, ...rows(running("a", "cell-1"))],
    surplus,
    "stale",
    ["ORDINARY RUNNING a@cell-1"],
  ],
  [
    "surplus: a suspect beyond the wanted number is marked (W3)",
    [desired({ instances: 0 }), fresh, ...rows(running("a", "cell-1", { presence: "SUSPECT" }))],
    instanceRepair("surplus", processGuid, 0, "SUSPECT"),
    "done",
    ["SUSPECT RUNNING a@cell-1 stop"],
  ],
  ["restart: due", [desired(), ...rows(crashedFor(30_000))], restart, "done", ["ORDINARY UNCLAIMED"]],
  ["restart: not due yet (I12)", [desired(), ...rows(crashedFor(29_999))], restart, "not-due", ["ORDINARY CRASHED"]],
  [
    "restart: never after 200 crashes (I11)",
    [desired(), ...rows(crashedFor(9_999_999, 200))],
    restart,
    "stale",
    ["ORDINARY CRASHED"],
  ],
  [
    "cell lost: the row becomes suspect beside a new one",
    [desired(), lost("cell-1", 0), ...rows(running("a", "cell-1"))],
    cellLost,
    "done",
    ["ORDINARY UNCLAIMED", "SUSPECT RUNNING a@cell-1"],
  ],
  [
    "cell lost: a live cell's row is not touched (I27)",
    [desired(), live("cell-1"), ...rows(running("a", "cell-1"))],
    cellLost,
    "stale",
    ["ORDINARY RUNNING a@cell-1"],
  ],
  [
    "cell lost: the replacement's cell too",
    [desired(), lost("cell-2", 0), ...rows(claimed("b", "cell-2"), running("a", "cell-1", { presence: "SUSPECT" }))],
    cellLost,
    "done",
    ["ORDINARY UNCLAIMED", "SUSPECT RUNNING a@cell-1"],
  ],
  [
    "cell lost: a marked replacement takes the place of a Suspect that nobody told to stop",
    [desired(), lost("cell-2", 0), ...rows(claimed("b", "cell-2", marked), running("a", "cell-1", { presence: "SUSPECT" }))],
    cellLost,
    "done",
    ["ORDINARY UNCLAIMED", "SUSPECT CLAIMED b@cell-2 stop"],
  ],
  [
    "cell lost: of two that were told to stop the first keeps the place",
    [
      desired(),
      lost("cell-2", 0),
      ...rows(claimed("b", "cell-2", marked), running("a", "cell-1", { presence: "SUSPECT", ...marked })),
    ],
    cellLost,
    "done",
    ["SUSPECT RUNNING a@cell-1 stop"],
  ],
  [
    "cell lost: a marked row keeps its mark as suspect (S3)",
    [lost("cell-1", 0), ...rows(running("a", "cell-1", { stopMarked: true }))],
    cellLost,
    "done",
    ["SUSPECT RUNNING a@cell-1 stop"],
  ],
  [
    "cell lost: three of five at once are held back (C3)",
    [
      desired(),
      lost("cell-1", 100),
      lost("cell-2", 200),
      lost("cell-3", 300),
      live("cell-4"),
      live("cell-5"),
      ...rows(running("a", "cell-1")),
    ],
    cellLost,
    "not-due",
    ["ORDINARY RUNNING a@cell-1"],
  ],
  [
    "cell lost: three of seven are not held back",
    [
      desired(),
      lost("cell-1", 100),
      lost("cell-2", 200),
      lost("cell-3", 300),
      live("cell-4"),
      live("cell-5"),
      live("cell-6"),
      live("cell-7"),
      ...rows(running("a", "cell-1")),
    ],
    cellLost,
    "done",
    ["ORDINARY UNCLAIMED", "SUSPECT RUNNING a@cell-1"],
  ],
  [
    "cell lost: held back for 3 TTL at most",
    [
      desired(),
      lost("cell-1", 15_000),
      lost("cell-2", 200),
      lost("cell-3", 300),
      lost("cell-4", 300),
      ...rows(running("a", "cell-1")),
    ],
    cellLost,
    "done",
    ["ORDINARY UNCLAIMED", "SUSPECT RUNNING a@cell-1"],
  ],
  [
    "evacuating lost: the row goes, and only it",
    [desired(), lost("cell-1", 0), ...rows(row(), running("a", "cell-1", { presence: "EVACUATING" }))],
    evacuatingLost,
    "done",
    ["ORDINARY UNCLAIMED"],
  ],
  [
    "evacuating lost: a marked copy waits for its cell as Suspect (S3)",
    [desired(), lost("cell-1", 0), ...rows(row(), markedCopy)],
    evacuatingLost,
    "done",
    ["ORDINARY UNCLAIMED", "SUSPECT RUNNING a@cell-1 stop"],
  ],
  [
    "evacuating lost: of two that were told to stop the one that waits already keeps the place",
    [desired(), lost("cell-1", 0), ...rows(markedCopy, running("b", "cell-2", { presence: "SUSPECT", ...marked }))],
    evacuatingLost,
    "done",
    ["SUSPECT RUNNING b@cell-2 stop"],
  ],
  [
    "evacuating lost: a live cell's row is not touched",
    [desired(), live("cell-1"), ...rows(row(), running("a", "cell-1", { presence: "EVACUATING" }))],
    evacuatingLost,
    "stale",
    ["ORDINARY UNCLAIMED", "EVACUATING RUNNING a@cell-1"],
  ],
];

describe("repairs of tasks", () => {
  const runs = task({ state: "RUNNING", cellId: asCellId("cell-1") });
  const ended = { state: "COMPLETED" as const, firstCompletedAtNs: epochMsToNs(asEpochMs(t0 - 60_000)) };
  const aged = (fields: Parameters<typeof task>[0], agoMs: number) =>
    task({ createdAtNs: epochMsToNs(asEpochMs(t0 - agoMs)), updatedAtNs: epochMsToNs(asEpochMs(t0 - agoMs)), ...fields });
  const nowNs = epochMsToNs(t0);
  const failed = { state: "COMPLETED", failed: true, result: "", firstCompletedAtNs: nowNs, updatedAtNs: nowNs, changedAt: 7n };

  it.each([
    {
      rule: "task-expired" as const,
      before: aged({}, 1_800_000),
      after: { ...failed, failureReason: "not started within time limit" },
    },
    {
      rule: "task-disabled" as const,
      before: task({ rootFs: "docker:///x" }),
      after: { ...failed, failureReason: "Feature Disabled: diego_docker" },
    },
    {
      rule: "task-cell-lost" as const,
      before: runs,
      after: { ...failed, failureReason: "cell disappeared before completion", cellId: "cell-1" },
    },
    {
      rule: "task-unresolved" as const,
      before: aged({ ...ended, state: "RESOLVING", failed: true, failureReason: "x" }, 30_000),
      // Its age stays, so that the callback is due at once.
      after: { ...ended, failed: true, failureReason: "x", updatedAtNs: epochMsToNs(asEpochMs(t0 - 30_000)), changedAt: 7n },
    },
    {
      rule: "task-callback" as const,
      before: aged({ ...ended, completionCallbackUrl: "http://127.0.0.1:1/" }, 30_000),
      after: { ...ended, changedAt: 1n },
    },
    {
      rule: "task-over" as const,
      before: { ...aged(ended, 0), firstCompletedAtNs: epochMsToNs(asEpochMs(t0 - 120_000)) },
      after: undefined,
    },
  ])("$rule is carried out once, and stale for a task that has moved on", ({ rule, before, after }) => {
    const definition = put("taskDefinition", { taskGuid: before.taskGuid, sealed: new Uint8Array([1]) });
    const state = stateWith(put("task", before), definition);
    expect(run(state, applyRepair(namedRepair(rule, "t"))).outcome).toBe("done");
    if (after === undefined) expect(state.tables.tasks.size + state.tables.taskDefinitions.size).toBe(0);
    else expect(state.tables.task(before.taskGuid)).toMatchObject(after);
    const again = run(state, applyRepair(namedRepair(rule, "t"))).outcome;
    expect(again).toBe(rule === "task-callback" ? "done" : "stale");
  });

  it("a callback to be made again is named in the reply: no record tells it", () => {
    const state = stateWith(put("task", aged({ ...ended, completionCallbackUrl: "http://127.0.0.1:1/" }, 30_000)));
    const decision = applyRepair(namedRepair("task-callback", "t"))(state, contextAt());
    expect(decision).toEqual({ writes: [], reply: { outcome: "done", callback: "t" } });
  });

  it("an age is counted from the leader's start (T1)", () => {
    const state = { ...stateWith(put("task", aged({}, 9_000_000))), leaderSinceMs: asEpochMs(t0 - 1_000) };
    expect(run(state, applyRepair(namedRepair("task-expired", "t")))).toEqual({ outcome: "not-due", dueInMs: 1_799_000 });
  });

  it("a forgotten cell's RUNNING tasks fail, more than fit one commit", () => {
    const tasks = Array.from({ length: 150 }, (_, at) => put("task", { ...runs, taskGuid: asTaskGuid(`t${at}`) }));
    const pending = put("task", task({ taskGuid: asTaskGuid("pending"), cellId: asCellId("cell-1") }));
    const state = stateWith(lost("cell-1", 0), ...tasks, pending);
    expect(run(state, forgetCell(asCellId("cell-1")))).toEqual({ done: false });
    expect(run(state, forgetCell(asCellId("cell-1")))).toEqual({ done: true });
    expect(state.tables.cells.size).toBe(0);
    expect([...state.tables.tasks.values()].map((one) => one.state).sort()).toEqual([
      ...Array.from({ length: 150 }, () => "COMPLETED"),
      "PENDING",
    ]);
  });
});

describe("a running row that differs from what is desired", () => {
  const outdated = instanceRepair("outdated", processGuid, 0);
  const tagged = desired({ metricTags: new Map([["tag", { static: "new" }]]) });
  const withTag = (value: string, fields = {}) => running("a", "cell-1", { metricTags: new Map([["tag", value]]), ...fields });

  it("gets an update mark once; tag and since stay", () => {
    const state = stateWith(tagged, ...rows(withTag("old")));
    const before = state.tables.rows(processGuid, 0).ORDINARY;
    expect(run(state, applyRepair(outdated)).outcome).toBe("done");
    expect(state.tables.rows(processGuid, 0).ORDINARY).toEqual({ ...before, updateMarked: true });
    expect(run(state, applyRepair(outdated)).outcome).toBe("stale");
  });

  it.each([
    { what: "that does not differ", before: [tagged, ...rows(withTag("new"))] },
    { what: "that is to be stopped", before: [tagged, ...rows(withTag("old", { stopMarked: true }))] },
    {
      what: "that is CLAIMED only",
      before: [tagged, ...rows(claimed("a", "cell-1", { metricTags: new Map([["tag", "old"]]) }))],
    },
    { what: "that is Evacuating", before: [tagged, ...rows(row(), withTag("old", { presence: "EVACUATING" }))] },
    { what: "that nobody desires", before: rows(withTag("old")) },
  ])("one $what gets none", ({ before }) => {
    expect(run(stateWith(...before), applyRepair(outdated)).outcome).toBe("stale");
  });
});

describe("repairs", () => {
  it.each(cases)("%s", (_name, before, repair, outcome, after) => {
    const state = stateWith(...before);
    expect(run(state, applyRepair(repair)).outcome).toBe(outcome);
    expect(rowsAsWords(state)).toEqual(after);
  });

  it("a repair done twice is stale, and a carried-out plan needs no second", () => {
    const state = stateWith(
      desired({ instances: 2 }),
      lost("cell-1", 0),
      ...rows(running("a", "cell-1"), running("b", "cell-1", { index: 1 })),
    );
    const time = { nowMs: t0, graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(0) };
    const plan = planConvergence(state.tables, time).repairs;
    expect(plan.map((repair) => `${repair.rule} ${repair.index}`)).toEqual(["cell-lost 0", "cell-lost 1"]);
    for (const repair of plan) run(state, applyRepair(repair));
    expect(planConvergence(state.tables, time).repairs).toEqual([]);
    expect(run(state, applyRepair(plan[0] as Repair)).outcome).toBe("stale");
  });

  it("a cell without any record is lost only after the grace of a new leader (C1)", () => {
    const state = { ...stateWith(desired(), ...rows(running("a", "cell-1"))), graceUntilMs: asEpochMs(t0 + 15_000) };
    expect(run(state, applyRepair(cellLost))).toEqual({ outcome: "not-due", dueInMs: 15_000 });
    expect(run(state, applyRepair(cellLost), asEpochMs(t0 + 15_000)).outcome).toBe("done");
  });

  it("a domain goes when its time is over, and a missing cell after ten minutes when nothing names it (C2)", () => {
    const state = stateWith(put("domain", { name: "d" as never, expiresAtMs: asEpochMs(t0) }), lost("cell-1", 600_000));
    expect(run(state, applyRepair(namedRepair("domain-expired", "d"))).outcome).toBe("done");
    expect(run(state, applyRepair(namedRepair("cell-gone", "cell-1"))).outcome).toBe("done");
    expect(state.tables.domains.size + state.tables.cells.size).toBe(0);
  });
});

describe("a cell that returns", () => {
  const decide = (before: readonly Write[], containers: Parameters<typeof decideInventoryKey>[0]["containers"]): string[] => {
    const state = stateWith(...before);
    run(state, decideInventoryKey({ cellId: asCellId("cell-1"), processGuid, index: 0, containers }));
    return rowsAsWords(state);
  };
  const container = (instanceGuid: string, state: "CLAIMED" | "RUNNING" | "COMPLETED" = "RUNNING") => ({
    instanceGuid,
    state,
    started: undefined,
  });
  const suspect = running("a", "cell-1", { presence: "SUSPECT" });

  it.each([
    [
      "before its replacement is placed: promoted",
      [desired(), ...rows(row(), suspect)],
      [container("a")],
      ["ORDINARY RUNNING a@cell-1"],
    ],
    [
      "while its replacement starts: promoted",
      [desired(), ...rows(claimed("b", "cell-2"), suspect)],
      [container("a")],
      ["ORDINARY RUNNING a@cell-1"],
    ],
    [
      "after its replacement runs: gone",
      [desired(), ...rows(running("b", "cell-2"), suspect)],
      [container("a")],
      ["ORDINARY RUNNING b@cell-2"],
    ],
    ["without the container: the replacement stays", [desired(), ...rows(row(), suspect)], [], ["ORDINARY UNCLAIMED"]],
    [
      "marked: never promoted, kept until its container is gone (S3)",
      [desired(), ...rows(row(), { ...suspect, stopMarked: true })],
      [container("a")],
      ["ORDINARY UNCLAIMED", "SUSPECT RUNNING a@cell-1 stop"],
    ],
    [
      "marked, its replacement running: kept until its container is gone",
      [desired(), ...rows(running("b", "cell-2"), { ...suspect, stopMarked: true })],
      [container("a")],
      ["ORDINARY RUNNING b@cell-2", "SUSPECT RUNNING a@cell-1 stop"],
    ],
    [
      "marked, container gone: the row goes",
      [desired(), ...rows(row(), { ...suspect, stopMarked: true })],
      [],
      ["ORDINARY UNCLAIMED"],
    ],
    [
      "an ordinary row without a container is waiting again",
      [desired(), ...rows(running("a", "cell-1"))],
      [],
      ["ORDINARY UNCLAIMED"],
    ],
    [
      "an ordinary row with its container stays",
      [desired(), ...rows(running("a", "cell-1"))],
      [container("a")],
      ["ORDINARY RUNNING a@cell-1"],
    ],
    [
      "an ordinary row whose container ended waits for the report",
      [desired(), ...rows(running("a", "cell-1"))],
      [container("a", "COMPLETED")],
      ["ORDINARY RUNNING a@cell-1"],
    ],
    ["another cell's row is not touched", [desired(), ...rows(running("b", "cell-2"))], [], ["ORDINARY RUNNING b@cell-2"]],
  ])("%s", (_name, before, containers, after) => {
    expect(decide(before, containers)).toEqual(after);
  });

  it("promotion keeps the instance's tag, since and crash count (I25)", () => {
    const state = stateWith(
      desired(),
      ...rows(row(), { ...suspect, crashCount: 2, modificationTag: { epoch: "old", index: 7 } }),
    );
    run(state, decideInventoryKey({ cellId: asCellId("cell-1"), processGuid, index: 0, containers: [container("a")] }));
    expect(state.tables.rows(processGuid, 0).ORDINARY).toMatchObject({
      crashCount: 2,
      modificationTag: { epoch: "old", index: 7 },
    });
  });
});

describe("presences", () => {
  const content = { ...cell("cell-1") };
  const ask = (owner: string) => registerPresence({ content, owner, ttlMs: 5_000, evacuating: false });

  it("another owner collides while the presence lives, and takes over once it is lost (R6)", () => {
    const state = stateWith();
    run(state, ask("one"));
    expect(() => run(state, ask("two"))).toThrow(expect.objectContaining({ code: "LockCollision" }));
    run(state, losePresence(asCellId("cell-1"), "one"), asEpochMs(t0 + 9));
    expect(state.tables.cell(asCellId("cell-1"))?.lostAtMs).toBe(t0 + 9);
    run(state, ask("two"));
    expect(state.tables.cell(asCellId("cell-1"))).toMatchObject({ owner: "two", lostAtMs: undefined });
  });

  it("one too large to be listed with thousands of others is refused, with its size", () => {
    const annotations = new Map([["a", "x".repeat(4_096)]]);
    const large = registerPresence({ content: { ...content, annotations }, owner: "one", ttlMs: 5_000, evacuating: false });
    const state = stateWith();
    expect(() => run(state, large)).toThrow(expect.objectContaining({ code: "InvalidRequest" }));
    expect(state.tables.cells.size).toBe(0);
  });

  it("forgetting a cell whose loss is held back asks for other places, and leaves no marked row behind", () => {
    const of = (guid: string, index: number, fields = {}) => ({ ...running(guid, "cell-1", fields), index });
    const state = stateWith(lost("cell-1", 1), desired({ instances: 2 }), ...rows(of("a", 0), of("b", 1, { stopMarked: true })));
    expect(run(state, forgetCell(asCellId("cell-1")))).toEqual({ done: true });
    expect(rowsAsWords(state)).toEqual(["ORDINARY UNCLAIMED"]);
  });

  it("forgetting is refused while the cell lives, and takes its suspect rows with it", () => {
    const state = stateWith(live("cell-1"), desired(), ...rows(row(), running("a", "cell-1", { presence: "SUSPECT" })));
    expect(() => run(state, forgetCell(asCellId("cell-1")))).toThrow(expect.objectContaining({ code: "ResourceConflict" }));
    state.tables.apply(lost("cell-1", 1));
    expect(run(state, forgetCell(asCellId("cell-1")))).toEqual({ done: true });
    expect(rowsAsWords(state)).toEqual(["ORDINARY UNCLAIMED"]);
    expect(state.tables.cells.size).toBe(0);
  });
});
