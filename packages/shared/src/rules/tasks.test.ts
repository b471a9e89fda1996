// Each convergence rule about tasks: when it holds, when it is due, and for which tasks it never is.
import { describe, expect, it } from "vitest";
import { asCellId, asEpochMs, epochMsToNs, put, Tables, type Task, type Write } from "../model/index.js";
import { cell, t0, task } from "../testing/index.js";
import type { CellTime } from "./cells.js";
import { namedRepair } from "./plan.js";
import { ruleHolds } from "./rules.js";
import type { RuleName } from "./table.js";

const ago = (ms: number) => epochMsToNs(asEpochMs(t0 - ms));
const pending = (agoMs: number, fields: Partial<Task> = {}) => task({ createdAtNs: ago(agoMs), updatedAtNs: ago(0), ...fields });
const completed = (updatedAgoMs: number, firstAgoMs = updatedAgoMs, fields: Partial<Task> = {}) =>
  task({ state: "COMPLETED", updatedAtNs: ago(updatedAgoMs), firstCompletedAtNs: ago(firstAgoMs), ...fields });
const resolving = (agoMs: number) => task({ state: "RESOLVING", updatedAtNs: ago(agoMs), firstCompletedAtNs: ago(agoMs) });
const runningOn = (cellId: string) => task({ state: "RUNNING", cellId: asCellId(cellId), createdAtNs: ago(9_000_000) });
const url = { completionCallbackUrl: "http://127.0.0.1:1/" };
const docker = { rootFs: "docker:///x" };
const lost = (cellId: string, agoMs: number): Write =>
  put("cell", cell({ cellId: asCellId(cellId), lostAtMs: asEpochMs(t0 - agoMs) }));
const live = (cellId: string): Write => put("cell", cell({ cellId: asCellId(cellId) }));
const flag = (enabled: boolean): Write => put("featureFlag", { name: "diego_docker", enabled });

/** "holds", "never", or in how many ms it is due. */
function judged(rule: RuleName, one: Task, others: readonly Write[], time: Partial<CellTime> = {}): string | number {
  const tables = new Tables();
  tables.applyAll([put("task", one), ...others]);
  const verdict = ruleHolds(tables, namedRepair(rule, one.taskGuid), {
    nowMs: t0,
    graceUntilMs: asEpochMs(0),
    leaderSinceMs: asEpochMs(0),
    ...time,
  });
  if (verdict.holds) return "holds";
  return verdict.dueAtMs === undefined ? "never" : verdict.dueAtMs - t0;
}

type Case = readonly [what: string, rule: RuleName, task: Task, says: string | number, others?: readonly Write[]];

const cases: readonly Case[] = [
  ["a PENDING task of 30 minutes", "task-expired", pending(1_800_000), "holds"],
  ["a PENDING task of less", "task-expired", pending(1_799_999), 1],
  ["a RUNNING task, however old", "task-expired", runningOn("cell-1"), "never"],
  ["a PENDING Docker task, the flag off", "task-disabled", pending(0, docker), "holds", [flag(false)]],
  ["a PENDING Docker task, the flag never set", "task-disabled", pending(0, docker), "holds"],
  ["a PENDING Docker task, the flag on", "task-disabled", pending(0, docker), "never", [flag(true)]],
  ["another PENDING task, the flag off", "task-disabled", pending(0), "never", [flag(false)]],
  ["a RUNNING Docker task, the flag off", "task-disabled", { ...runningOn("cell-1"), ...docker }, "never", [flag(false)]],
  ["a RUNNING task on a live cell", "task-cell-lost", runningOn("cell-1"), "never", [live("cell-1")]],
  ["a RUNNING task on a lost cell", "task-cell-lost", runningOn("cell-1"), "holds", [lost("cell-1", 1)]],
  ["a RUNNING task on a cell without record", "task-cell-lost", runningOn("cell-1"), "holds"],
  [
    "a RUNNING task on one of half the cells (C3)",
    "task-cell-lost",
    runningOn("cell-1"),
    9_000,
    [lost("cell-1", 1_000), lost("cell-2", 1_000), lost("cell-3", 1_000), live("cell-4")],
  ],
  [
    "a PENDING task that names its former, lost cell",
    "task-cell-lost",
    pending(0, { cellId: asCellId("cell-1") }),
    "never",
    [lost("cell-1", 1)],
  ],
  ["a RESOLVING task of 30 s", "task-unresolved", resolving(30_000), "holds"],
  ["a RESOLVING task of less", "task-unresolved", resolving(29_999), 1],
  ["a COMPLETED task", "task-unresolved", completed(90_000), "never"],
  ["a COMPLETED task of 30 s with a callback", "task-callback", completed(30_000, 30_000, url), "holds"],
  ["a COMPLETED task of less with a callback", "task-callback", completed(10_000, 10_000, url), 20_000],
  ["a COMPLETED task without a callback", "task-callback", completed(90_000), "never"],
  ["a COMPLETED task of 2 minutes", "task-over", completed(0, 120_000), "holds"],
  ["a COMPLETED task of less", "task-over", completed(0, 100_000), 20_000],
  ["a RESOLVING task, however old", "task-over", resolving(900_000), "never"],
];

describe("rules about tasks", () => {
  const found = cases.map(([what, rule, one, says, others = []]) => ({ what, rule, one, says, others }));
  it.each(found)("$what, $rule: $says", ({ rule, one, says, others }) => {
    expect(judged(rule, one, others)).toBe(says);
  });

  it("a task that is not there has nothing to be repaired", () => {
    const time = { nowMs: t0, graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(0) };
    expect(ruleHolds(new Tables(), namedRepair("task-over", "gone"), time)).toEqual({ holds: false, dueAtMs: undefined });
  });

  it.each([
    { rule: "task-expired" as const, one: pending(9_000_000), dueInMs: 1_795_000 },
    { rule: "task-unresolved" as const, one: resolving(9_000_000), dueInMs: 25_000 },
    { rule: "task-callback" as const, one: completed(9_000_000, 9_000_000, url), dueInMs: 25_000 },
    { rule: "task-over" as const, one: completed(9_000_000), dueInMs: 115_000 },
  ])("under a leader of 5 s $rule waits as if the task were that young (T1)", ({ rule, one, dueInMs }) => {
    expect(judged(rule, one, [], { leaderSinceMs: asEpochMs(t0 - 5_000) })).toBe(dueInMs);
  });

  it("a new leader takes a cell without record for lost after its grace only (C1)", () => {
    const time = { graceUntilMs: asEpochMs(t0 + 15_000), leaderSinceMs: t0 };
    expect(judged("task-cell-lost", runningOn("cell-1"), [], time)).toBe(15_000);
  });
});
