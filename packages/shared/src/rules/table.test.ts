// What the table says of each rule against the rule itself: it finds what it names, and waits for what the table says, nothing else.
import { describe, expect, it } from "vitest";
import {
  asCellId,
  asDomainName,
  asEpochMs,
  asInstanceGuid,
  asTaskGuid,
  epochMsToNs,
  put,
  Tables,
  type Write,
} from "../model/index.js";
import { actualLRP, cell, desiredLRP, t0, task } from "../testing/index.js";
import type { CellTime } from "./cells.js";
import { instanceRepair, namedRepair, planConvergence } from "./plan.js";
import { type Repair, ruleHolds } from "./rules.js";
import { isRuleName, type RuleEntry, type RuleName, ruleNames, ruleTable } from "./table.js";

const domain = asDomainName("d");
const { processGuid } = desiredLRP();
const time: CellTime = { nowMs: t0, graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(0) };
const ago = (ms: number) => epochMsToNs(asEpochMs(t0 - ms));
const cellId = asCellId("cell-1");
const instanceKey = { instanceGuid: asInstanceGuid("a"), cellId };
const running = (fields: Parameters<typeof actualLRP>[0] = {}) =>
  put("actualLRP", actualLRP({ state: "RUNNING", instanceKey, ...fields }));
/** Longer ago than any hold-back lasts. */
const lostLongAgo = put("cell", cell({ lostAtMs: asEpochMs(t0 - 60_000) }));
const vouchedFor = put("domain", { name: domain, expiresAtMs: undefined });
const about = (rule: RuleName, presence: Repair["presence"] = "ORDINARY") => instanceRepair(rule, processGuid, 0, presence);
const aTask = (fields: Parameters<typeof task>[0]) => put("task", task({ createdAtNs: ago(0), updatedAtNs: ago(0), ...fields }));
const ofTask = (rule: RuleName) => namedRepair(rule, asTaskGuid("t"));
const completed = (agoMs: number) => ({ updatedAtNs: ago(agoMs), firstCompletedAtNs: ago(agoMs) });

/** A cluster in which the rule holds for its key. */
const found: Readonly<Record<RuleName, { readonly world: readonly Write[]; readonly repair: Repair }>> = {
  missing: { world: [put("desiredLRP", desiredLRP())], repair: about("missing") },
  surplus: { world: [running(), put("cell", cell())], repair: about("surplus") },
  restart: {
    world: [
      put("desiredLRP", desiredLRP()),
      put("actualLRP", actualLRP({ state: "CRASHED", crashCount: 3, sinceNs: ago(30_000) })),
    ],
    repair: about("restart"),
  },
  "cell-lost": { world: [put("desiredLRP", desiredLRP()), running(), lostLongAgo], repair: about("cell-lost") },
  "evacuating-lost": {
    world: [put("desiredLRP", desiredLRP()), put("actualLRP", actualLRP()), running({ presence: "EVACUATING" }), lostLongAgo],
    repair: about("evacuating-lost", "EVACUATING"),
  },
  outdated: {
    world: [put("desiredLRP", desiredLRP()), running({ internalRoutes: ["a.internal"] }), put("cell", cell())],
    repair: about("outdated"),
  },
  "task-expired": { world: [aTask({ createdAtNs: ago(1_800_000) })], repair: ofTask("task-expired") },
  "task-disabled": { world: [aTask({ rootFs: "docker:///x" })], repair: ofTask("task-disabled") },
  "task-cell-lost": { world: [aTask({ state: "RUNNING", cellId }), lostLongAgo], repair: ofTask("task-cell-lost") },
  "task-unresolved": { world: [aTask({ state: "RESOLVING", ...completed(30_000) })], repair: ofTask("task-unresolved") },
  "task-callback": {
    world: [aTask({ state: "COMPLETED", ...completed(30_000), completionCallbackUrl: "http://127.0.0.1/" })],
    repair: ofTask("task-callback"),
  },
  "task-over": { world: [aTask({ state: "COMPLETED", ...completed(120_000) })], repair: ofTask("task-over") },
  "domain-expired": {
    world: [put("domain", { name: asDomainName("old"), expiresAtMs: t0 })],
    repair: namedRepair("domain-expired", "old"),
  },
  "cell-gone": {
    world: [put("cell", cell({ cellId: asCellId("old"), lostAtMs: asEpochMs(t0 - 600_000) }))],
    repair: namedRepair("cell-gone", "old"),
  },
};

function tablesOf(...writes: readonly Write[]): Tables {
  const tables = new Tables();
  tables.applyAll(writes);
  return tables;
}
const holds = (tables: Tables, repair: Repair): boolean => ruleHolds(tables, repair, time).holds;

const rules = Object.entries(ruleTable).map(([name, entry]): { readonly rule: RuleName } & RuleEntry => ({
  rule: name as RuleName,
  ...entry,
}));

/** Three cells, this one among them, lost a second ago. */
const massLoss = ["cell-1", "cell-2", "cell-3"].map((name) =>
  put("cell", cell({ cellId: asCellId(name), lostAtMs: asEpochMs(t0 - 1_000) })),
);

describe("each rule", () => {
  it.each(rules)("$rule finds $finds, and a plan over everything does", ({ rule }) => {
    const { world, repair } = found[rule];
    const tables = tablesOf(vouchedFor, ...world);
    expect(holds(tables, repair)).toBe(true);
    expect(planConvergence(tables, time).repairs).toEqual([repair]);
  });

  it.each(rules)("$rule needs a fresh domain: $freshDomain", ({ rule, freshDomain }) => {
    const { world, repair } = found[rule];
    expect(holds(tablesOf(...world), repair)).toBe(freshDomain === "no");
    if (freshDomain === "no") return;
    const docker = put("desiredLRP", desiredLRP({ rootFs: "docker:///x" }));
    expect(holds(tablesOf(...world, docker), repair)).toBe(true);
  });

  it.each(rules)("$rule waits for the end of hold-back: $holdBack", ({ rule, holdBack }) => {
    const { world, repair } = found[rule];
    expect(holds(tablesOf(vouchedFor, ...world, ...massLoss), repair)).toBe(holdBack === "no");
    if (holdBack !== "yes, unless stop-marked") return;
    const marked = running({ presence: repair.presence, stopMarked: true });
    expect(holds(tablesOf(vouchedFor, ...world, ...massLoss, marked), repair)).toBe(true);
  });

  it("has a name that tells it from anything else", () => {
    expect(Object.keys(ruleNames)).toEqual(Object.keys(found));
    expect(["missing", "task-over", "constructor", ""].map(isRuleName)).toEqual([true, true, false, false]);
  });
});
