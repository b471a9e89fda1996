// A cycle's repairs as they are printed.
import { RepairOutcome } from "@muster/proto/muster/v1/repair";
import { asEpochMs, asProcessGuid } from "@muster/shared/model";
import { instanceRepair, namedRepair, ruleNames } from "@muster/shared/rules";
import { expect, it } from "vitest";
import { outcomeOf, repairShape, waitingShape } from "./converge.js";

it("a repair has its rule, its key and why", () => {
  expect(repairShape(instanceRepair("missing", asProcessGuid("p"), 2), "planned")).toEqual({
    rule: "missing",
    key: "p/2/ORDINARY",
    why: ruleNames.missing,
    outcome: "planned",
  });
  expect(repairShape(namedRepair("cell-gone", "cell-1"), "done").key).toBe("cell-1");
});

it("what is due later says when", () => {
  expect(waitingShape({ repair: namedRepair("task-over", "t"), dueAtMs: asEpochMs(60_000) })).toMatchObject({
    key: "t",
    due_at: "1970-01-01T00:01:00.000Z",
  });
});

it.each([
  [RepairOutcome.REPAIR_OUTCOME_DONE, "done"],
  [RepairOutcome.REPAIR_OUTCOME_STALE, "stale"],
  [RepairOutcome.REPAIR_OUTCOME_NOT_DUE, "not-due"],
])("the BBS's answer %s is %s", (outcome, word) => {
  expect(outcomeOf({ outcome, dueInMs: 0n })).toBe(word);
});
