// What is reported and stopped, for every combination of container, rows and answers.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { containerRecord, netInfo } from "../testing/records.js";
import { heldBy, row } from "../testing/world.js";
import { type ContainerRecord, containerStates } from "./container.js";
import {
  type Accepted,
  acceptedNothing,
  type HarmonizeMode,
  type InstanceFacts,
  planHarmonize,
  planInstance,
  planReply,
  type ReportKind,
} from "./harmonize.js";
import { instancesTouched, instanceThatLostItsRow, sameNetInfo } from "./rows.js";

const guid = containerRecord("g").instanceGuid;
const started: Accepted = { what: "started", netInfo: netInfo(), routable: true };
const claimed: Accepted = { what: "claimed" };
const claimedRow = row("p", 0, { state: "CLAIMED", instanceKey: heldBy("g") });
const runningRow = row("p", 0, { state: "RUNNING", instanceKey: heldBy("g"), netInfo: netInfo(), routable: true });

const facts = (over: Partial<InstanceFacts> = {}): InstanceFacts => ({
  instanceGuid: guid,
  container: undefined,
  rows: [],
  accepted: acceptedNothing,
  settling: false,
  evacuating: false,
  ...over,
});
const container = (over: Partial<ContainerRecord>): ContainerRecord => containerRecord("g", over);
const running = container({ state: "running", netInfo: netInfo(), routable: true });

const due = (over: Partial<InstanceFacts>, mode: HarmonizeMode = "changes", complete = true): string => {
  const step = planInstance(facts(over), complete, mode);
  if (step === undefined) return "nothing";
  return step.do === "report" ? `${step.report} (${step.reason})` : step.do;
};

describe("what is due for a container", () => {
  it.each([
    { what: "one just reserved", over: { container: container({}) }, due: "claimed (new)" },
    { what: "one whose claim was accepted", over: { container: container({}), accepted: claimed }, due: "nothing" },
    { what: "one being made, its row taken away", over: { container: container({ state: "created" }) }, due: "claimed (new)" },
    { what: "one that runs", over: { container: running, accepted: claimed, rows: [claimedRow] }, due: "started (new)" },
    { what: "one that runs and is known to", over: { container: running, accepted: started }, due: "nothing" },
    { what: "one adopted, whose row is right", over: { container: running, rows: [runningRow] }, due: "started (new)" },
    {
      what: "one that turned unroutable",
      over: { container: { ...running, routable: false }, accepted: started, rows: [runningRow] },
      due: "started (row-differs)",
    },
    { what: "one that crashed", over: { container: container({ state: "completed" }) }, due: "crashed (ended)" },
    {
      what: "one that was stopped",
      over: { container: container({ state: "completed", ending: "removed" }) },
      due: "removed (ended)",
    },
    {
      what: "one whose claim was refused",
      over: { container: container({ state: "completed", ending: "discarded" }) },
      due: "nothing",
    },
    { what: "one that is stopping", over: { container: { ...running, stopped: true } }, due: "nothing" },
    {
      what: "one whose row is marked",
      over: { container: running, accepted: started, rows: [{ ...runningRow, stopMarked: true }] },
      due: "stop",
    },
    {
      what: "one whose row is marked, stopping already",
      over: { container: { ...running, stopped: true }, rows: [{ ...runningRow, stopMarked: true }] },
      due: "nothing",
    },
    {
      what: "one that ended before its mark was seen",
      over: { container: container({ state: "completed" }), rows: [{ ...runningRow, stopMarked: true }] },
      due: "crashed (ended)",
    },
  ])("$what: $due", ({ over, due: expected }) => {
    expect(due(over)).toBe(expected);
  });

  it.each(containerStates)("in state %s: nothing while a report is under way", (state) => {
    expect(due({ container: container({ state }), settling: true })).toBe("nothing");
  });

  it("a mark is carried out also while a report is under way", () => {
    expect(due({ container: running, settling: true, rows: [{ ...runningRow, stopMarked: true }] })).toBe("stop");
  });

  it.each([
    {
      what: "a claimed row that is missing",
      over: { container: container({ state: "created" }), accepted: claimed },
      due: "claimed (missing-row)",
    },
    { what: "a running row that is missing", over: { container: running, accepted: started }, due: "started (missing-row)" },
    {
      what: "a row with another address",
      over: { container: running, accepted: started, rows: [{ ...runningRow, netInfo: netInfo(61_009) }] },
      due: "started (row-differs)",
    },
    { what: "a row that is right", over: { container: running, accepted: started, rows: [runningRow] }, due: "nothing" },
  ])("the comparison mends $what: $due", ({ over, due: expected }) => {
    expect(due(over, "everything")).toBe(expected);
  });
});

describe("what is due on a cell that is being emptied", () => {
  const emptied = (over: Partial<InstanceFacts>, mode: HarmonizeMode = "changes"): string =>
    due({ evacuating: true, ...over }, mode);
  const kept: Accepted = { what: "evacuating" };

  it.each([
    { state: "reserved", is: "evacuate-claimed (evacuating)" },
    { state: "initializing", is: "evacuate-claimed (evacuating)" },
    { state: "created", is: "evacuate-claimed (evacuating)" },
    { state: "running", is: "evacuate-running (evacuating)" },
    { state: "completed", is: "evacuate-crashed (ended)" },
  ] as const)("for a container that is $state: $is", ({ state, is }) => {
    expect(emptied({ container: { ...running, state } })).toBe(is);
  });

  it("asks of a running one again with every comparison, changed or not, and not between", () => {
    expect(emptied({ container: running, accepted: kept, rows: [runningRow] })).toBe("nothing");
    expect(emptied({ container: running, accepted: kept, rows: [runningRow] }, "everything")).toBe(
      "evacuate-running (evacuating)",
    );
  });

  it("tells a stop as such, carries marks out, and lets what is settling settle", () => {
    expect(emptied({ container: container({ state: "completed", ending: "removed" }) })).toBe("evacuate-stopped (ended)");
    expect(emptied({ container: running, rows: [{ ...runningRow, stopMarked: true }] })).toBe("stop");
    expect(emptied({ container: running, settling: true }, "everything")).toBe("nothing");
    expect(emptied({ container: { ...running, stopped: true } }, "everything")).toBe("nothing");
  });

  it("leaves routes and tags alone: the instance is on its way out", () => {
    expect(emptied({ container: running, accepted: kept, rows: [{ ...runningRow, updateMarked: true }] })).toBe("nothing");
  });
});

describe("what is due once the cell is no longer being emptied", () => {
  const copy = { ...runningRow, presence: "EVACUATING" as const };

  it("is to take back what was asked for", () => {
    expect(due({ container: running, accepted: started, rows: [copy] })).toBe("cancel-evacuation (no-longer-evacuating)");
    expect(due({ container: container({ state: "completed" }), rows: [copy] })).toBe("evacuate-crashed (ended)");
  });
});

describe("changed routes or tags", () => {
  it("are read anew for a running instance alone, and never for one that stops", () => {
    const marked = { ...runningRow, updateMarked: true };
    expect(due({ container: running, accepted: started, rows: [marked] })).toBe("refresh");
    expect(due({ container: container({ state: "created" }), accepted: claimed, rows: [marked] })).toBe("nothing");
    expect(due({ container: running, accepted: started, rows: [{ ...marked, stopMarked: true }] })).toBe("stop");
    expect(due({ container: running, accepted: started, rows: [marked], settling: true })).toBe("nothing");
  });
});

describe("what is due for a row without a container", () => {
  it.each([
    { what: "a claimed row", rows: [claimedRow], due: "removed (no-container)" },
    { what: "a running row", rows: [runningRow], due: "removed (no-container)" },
    {
      what: "an evacuating row",
      rows: [row("p", 0, { ...runningRow, presence: "EVACUATING" })],
      due: "remove-evacuating (no-container)",
    },
    { what: "a suspect row", rows: [row("p", 0, { ...runningRow, presence: "SUSPECT" })], due: "nothing" },
    { what: "no row", rows: [], due: "nothing" },
  ])("$what: $due", ({ rows, due: expected }) => {
    expect(due({ rows })).toBe(expected);
  });

  it("nothing before all rows are known, or while an answer is on its way", () => {
    expect(due({ rows: [runningRow] }, "everything", false)).toBe("nothing");
    expect(due({ rows: [runningRow], settling: true })).toBe("nothing");
  });
});

describe("a plan", () => {
  const anyFacts = fc.array(
    fc.record({
      guid: fc.integer({ min: 0, max: 50 }).map((n) => `g${n}`),
      state: fc.constantFrom(...containerStates, undefined),
      rows: fc.constantFrom([], [claimedRow], [runningRow]),
      settling: fc.boolean(),
      accepted: fc.constantFrom(acceptedNothing, claimed, started),
    }),
    { maxLength: 20 },
  );
  const asFacts = (one: { guid: string; state: (typeof containerStates)[number] | undefined; rows: InstanceFacts["rows"] }) => {
    const record = containerRecord(one.guid, { netInfo: netInfo(), routable: true });
    return {
      ...facts(one as never),
      instanceGuid: record.instanceGuid,
      container: one.state === undefined ? undefined : { ...record, state: one.state },
    };
  };

  it("is the same whatever order the facts came in, and names each instance at most once", () => {
    fc.assert(
      fc.property(fc.uniqueArray(anyFacts, { maxLength: 1 }), (lists) => {
        const all = [...new Map((lists[0] ?? []).map((one) => [one.guid, asFacts(one)])).values()];
        const plan = planHarmonize(all, true, "everything");
        expect(planHarmonize(all.toReversed(), true, "everything")).toEqual(plan);
        expect(new Set(plan.map((step) => step.instanceGuid)).size).toBe(plan.length);
      }),
    );
  });
});

describe("an answer", () => {
  const kinds: ReportKind[] = ["claimed", "started", "crashed", "removed", "remove-evacuating"];
  it.each([
    { error: "", steps: ["run", "confirm", "delete", "delete", "delete"] },
    { error: "ActualLRPCannotBeClaimed", steps: ["discard", "stop", "delete", "delete", "delete"] },
    { error: "ActualLRPCannotBeStarted", steps: ["discard", "stop", "delete", "delete", "delete"] },
    { error: "ResourceNotFound", steps: ["discard", "stop", "delete", "delete", "delete"] },
    { error: "InvalidRequest", steps: ["later", "later", "delete", "delete", "delete"] },
    { error: "PermissionDenied", steps: ["later", "later", "delete", "delete", "delete"] },
    ...["Unavailable", "Timeout", "OutcomeUnknown", "ResourceExhausted", "UnknownError", "Unimplemented"].map((error) => ({
      error,
      steps: ["again", "again", "again", "again", "again"],
    })),
  ])("of '$error' means $steps", ({ error, steps }) => {
    expect(kinds.map((kind) => planReply(kind, error))).toEqual(steps);
  });
});

describe("an answer to an evacuation", () => {
  const asking: ReportKind[] = ["evacuate-claimed", "evacuate-running", "cancel-evacuation"];
  it.each([
    { error: "", keep: true, step: "keep" },
    { error: "", keep: false, step: "discard" },
    { error: "ResourceNotFound", keep: false, step: "discard" },
    { error: "ResourceNotFound", keep: true, step: "keep" },
    { error: "ActualLRPCannotBeUnclaimed", keep: true, step: "keep" },
    { error: "PermissionDenied", keep: false, step: "later" },
    { error: "InvalidRequest", keep: false, step: "later" },
    { error: "Unavailable", keep: false, step: "again" },
    { error: "Unimplemented", keep: false, step: "again" },
  ])("'$error', keep $keep: $step", ({ error, keep, step }) => {
    for (const kind of asking) expect(planReply(kind, error, keep)).toBe(step);
  });

  it("about a container that has ended lets it go, unless nobody answered", () => {
    for (const kind of ["evacuate-stopped", "evacuate-crashed"] as const) {
      expect([planReply(kind, ""), planReply(kind, "ResourceNotFound"), planReply(kind, "Timeout")]).toEqual([
        "delete",
        "delete",
        "again",
      ]);
    }
  });
});

describe("rows", () => {
  it("are compared by where the instance answers", () => {
    expect(sameNetInfo(netInfo(), netInfo())).toBe(true);
    expect(sameNetInfo(netInfo(), netInfo(61_002))).toBe(false);
    expect(sameNetInfo(netInfo(), { ...netInfo(), ports: [] })).toBe(false);
    expect(sameNetInfo(undefined, undefined)).toBe(true);
    expect(sameNetInfo(undefined, netInfo())).toBe(false);
  });

  it("tell whose row is gone", () => {
    expect(instanceThatLostItsRow(runningRow, undefined)).toBe("g");
    expect(instanceThatLostItsRow(runningRow, row("p"))).toBe("g");
    expect(instanceThatLostItsRow(claimedRow, runningRow)).toBeUndefined();
    expect(instanceThatLostItsRow(undefined, runningRow)).toBeUndefined();
    const change = { kind: "actualLRP", key: "k", before: claimedRow, after: row("p", 0, { instanceKey: heldBy("h") }) } as const;
    expect(instancesTouched(change)).toEqual(["g", "h"]);
  });
});
