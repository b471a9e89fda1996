// The life of one instance's rows, call by call: state × call × key relation -> rows or refusal.
import { type BbsError, isBbsError } from "@muster/shared/errors";
import { asEpochMs, type Write } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import {
  claimActualLRP,
  crashActualLRP,
  failActualLRP,
  removeActualLRP,
  reportRemoved,
  retireActualLRP,
  startActualLRP,
} from "./actual-lrp.js";
import type { Command } from "./decision.js";
import {
  claimed,
  desired,
  fresh,
  instance,
  key,
  netInfo,
  processGuid,
  row,
  rows,
  rowsAsWords,
  run,
  running,
  stateWith,
  t0,
} from "./rows.test-support.js";

const a = instance("a", "cell-1");
const b = instance("b", "cell-2");
const start = (instanceKey = a, fields = {}) =>
  startActualLRP({
    key,
    instanceKey,
    netInfo,
    internalRoutes: [],
    metricTags: new Map(),
    routable: true,
    availabilityZone: "z1",
    ...fields,
  });
const claim = (instanceKey = a) => claimActualLRP({ processGuid, index: 0, instanceKey });
const crash = (instanceKey = a) => crashActualLRP({ key, instanceKey, reason: "exited" });

type Case = readonly [
  name: string,
  before: readonly Write[],
  command: Command<unknown>,
  after: readonly string[] | BbsError["code"],
];

const flagged = desired({ rootFs: "docker:///x" });

const cases: readonly Case[] = [
  ["claim of an unclaimed row", [desired(), ...rows(row())], claim(), ["ORDINARY CLAIMED a@cell-1"]],
  ["claim repeated", [desired(), ...rows(claimed("a", "cell-1"))], claim(), ["ORDINARY CLAIMED a@cell-1"]],
  ["claim by another", [desired(), ...rows(claimed("a", "cell-1"))], claim(b), "ActualLRPCannotBeClaimed"],
  ["claim of what another runs", [desired(), ...rows(running("a", "cell-1"))], claim(b), "ActualLRPCannotBeClaimed"],
  ["claim without a row", [desired()], claim(), "ResourceNotFound"],
  ["claim of a crashed row", [desired(), ...rows(row({ state: "CRASHED", crashCount: 3 }))], claim(), "ActualLRPCannotBeClaimed"],
  ["claim of an index that is not wanted (W1)", [desired({ instances: 0 }), ...rows(row())], claim(), "ActualLRPCannotBeClaimed"],
  ["claim of a docker row while the flag is off (W1)", [flagged, ...rows(row())], claim(), "ActualLRPCannotBeClaimed"],
  [
    "claim by the suspect changes nothing",
    [desired(), ...rows(row(), running("a", "cell-1", { presence: "SUSPECT" }))],
    claim(),
    ["ORDINARY UNCLAIMED", "SUSPECT RUNNING a@cell-1"],
  ],
  [
    "claim by the evacuating changes nothing",
    [desired(), ...rows(row(), running("a", "cell-1", { presence: "EVACUATING" }))],
    claim(),
    ["ORDINARY UNCLAIMED", "EVACUATING RUNNING a@cell-1"],
  ],
  ["start of an unclaimed row", [desired(), ...rows(row())], start(), ["ORDINARY RUNNING a@cell-1"]],
  ["running wins over claimed (I9)", [desired(), ...rows(claimed("a", "cell-1"))], start(b), ["ORDINARY RUNNING b@cell-2"]],
  [
    "a mark dies with its instance (S1)",
    [desired(), ...rows(claimed("a", "cell-1", { stopMarked: true }))],
    start(b),
    ["ORDINARY RUNNING b@cell-2"],
  ],
  [
    "a mark is never taken back (S2)",
    [desired(), ...rows(claimed("a", "cell-1", { stopMarked: true }))],
    start(),
    ["ORDINARY RUNNING a@cell-1 stop"],
  ],
  ["start against a running other", [desired(), ...rows(running("a", "cell-1"))], start(b), "ActualLRPCannotBeStarted"],
  [
    "start in another domain",
    [desired(), ...rows(row())],
    start(a, { key: { ...key, domain: "other" } }),
    "ActualLRPCannotBeStarted",
  ],
  ["start of what is not wanted", [desired({ instances: 0 }), ...rows(row())], start(), "ActualLRPCannotBeStarted"],
  [
    "start of the instance it already runs, not wanted",
    [desired({ instances: 0 }), ...rows(running("a", "cell-1"))],
    start(),
    ["ORDINARY RUNNING a@cell-1"],
  ],
  ["start without a row, wanted (W2)", [desired(), fresh], start(), ["ORDINARY RUNNING a@cell-1"]],
  ["start without a row, not wanted, stale domain (W2)", [], start(), ["ORDINARY RUNNING a@cell-1"]],
  ["start without a row, not wanted, fresh domain (W2)", [fresh], start(), "ActualLRPCannotBeStarted"],
  [
    "the replacement's start ends suspect and evacuating (I31)",
    [
      desired(),
      ...rows(
        claimed("b", "cell-2"),
        running("a", "cell-1", { presence: "SUSPECT" }),
        running("c", "cell-3", { presence: "EVACUATING" }),
      ),
    ],
    start(b),
    ["ORDINARY RUNNING b@cell-2"],
  ],
  [
    "a marked suspect outlives its replacement's start: its container is still to be stopped",
    [desired(), ...rows(claimed("b", "cell-2"), running("a", "cell-1", { presence: "SUSPECT", stopMarked: true }))],
    start(b),
    ["ORDINARY RUNNING b@cell-2", "SUSPECT RUNNING a@cell-1 stop"],
  ],
  [
    "start by the suspect changes nothing (I26)",
    [desired(), ...rows(row(), running("a", "cell-1", { presence: "SUSPECT" }))],
    start(),
    ["ORDINARY UNCLAIMED", "SUSPECT RUNNING a@cell-1"],
  ],
  [
    "start by the evacuating changes nothing (E1)",
    [desired(), ...rows(row(), running("a", "cell-1", { presence: "EVACUATING" }))],
    start(),
    ["ORDINARY UNCLAIMED", "EVACUATING RUNNING a@cell-1"],
  ],
  ["a first crash waits for a place at once", [desired(), ...rows(running("a", "cell-1"))], crash(), ["ORDINARY UNCLAIMED"]],
  ["a third crash stays crashed", [desired(), ...rows(running("a", "cell-1", { crashCount: 2 }))], crash(), ["ORDINARY CRASHED"]],
  ["crash of a marked row deletes it (S2)", [desired(), ...rows(running("a", "cell-1", { stopMarked: true }))], crash(), []],
  [
    "crash of the suspect ends it alone",
    [desired(), ...rows(row(), running("a", "cell-1", { presence: "SUSPECT" }))],
    crash(),
    ["ORDINARY UNCLAIMED"],
  ],
  ["crash by another", [desired(), ...rows(running("a", "cell-1"))], crash(b), "ActualLRPCannotBeCrashed"],
  ["crash without a row", [desired()], crash(), "ResourceNotFound"],
  [
    "removal of a wanted index leaves it unclaimed (W4)",
    [desired(), ...rows(running("a", "cell-1"))],
    removeActualLRP({ processGuid, index: 0, instanceKey: a }),
    ["ORDINARY UNCLAIMED"],
  ],
  [
    "removal of a marked row deletes it (S2)",
    [desired(), ...rows(running("a", "cell-1", { stopMarked: true }))],
    removeActualLRP({ processGuid, index: 0, instanceKey: a }),
    [],
  ],
  [
    "removal of what nobody desires",
    [...rows(running("a", "cell-1"))],
    removeActualLRP({ processGuid, index: 0, instanceKey: a }),
    [],
  ],
  [
    "removal by another key",
    [desired(), ...rows(running("a", "cell-1"))],
    removeActualLRP({ processGuid, index: 0, instanceKey: b }),
    "ResourceNotFound",
  ],
  [
    "a report that a suspect's container is gone",
    [desired(), ...rows(row(), running("a", "cell-1", { presence: "SUSPECT" }))],
    reportRemoved({ processGuid, index: 0, instanceKey: a }),
    ["ORDINARY UNCLAIMED"],
  ],
  [
    "retire of a running row marks it",
    [desired(), ...rows(running("a", "cell-1"))],
    retireActualLRP({ processGuid, index: 0 }),
    ["ORDINARY RUNNING a@cell-1 stop"],
  ],
  [
    "retire of a crashed row makes a fresh one",
    [desired(), ...rows(row({ state: "CRASHED", crashCount: 3 }))],
    retireActualLRP({ processGuid, index: 0 }),
    ["ORDINARY UNCLAIMED"],
  ],
  ["retire without a row", [desired()], retireActualLRP({ processGuid, index: 0 }), "ResourceNotFound"],
  [
    "placement failure of a claimed row",
    [desired(), ...rows(claimed("a", "cell-1"))],
    failActualLRP({ key, message: "no room", auctionId: undefined }),
    "ActualLRPCannotBeFailed",
  ],
  [
    "placement failure without a row is no error",
    [desired()],
    failActualLRP({ key, message: "no room", auctionId: undefined }),
    [],
  ],
];

describe("one instance's rows", () => {
  it.each(cases)("%s", (_name, before, command, after) => {
    const state = stateWith(...before);
    let refused: unknown;
    try {
      run(state, command);
    } catch (error) {
      refused = error;
    }
    if (typeof after === "string") expect(isBbsError(refused) ? refused.code : refused).toBe(after);
    else {
      expect(refused).toBeUndefined();
      expect(rowsAsWords(state)).toEqual(after);
    }
  });

  it("a refused command writes nothing", () => {
    const state = stateWith(desired(), ...rows(running("a", "cell-1")));
    expect(() => run(state, start(b))).toThrow();
    expect(rowsAsWords(state)).toEqual(["ORDINARY RUNNING a@cell-1"]);
  });

  it("a repeated start is a heartbeat: the tag stays", () => {
    const state = stateWith(desired(), ...rows(row()));
    run(state, start());
    const first = state.tables.rows(processGuid, 0).ORDINARY;
    run(state, start(), asEpochMs(t0 + 60_000));
    expect(state.tables.rows(processGuid, 0).ORDINARY).toBe(first);
  });

  it.each([
    { ranMs: 299_000, crashCount: 5, becomes: 6 },
    { ranMs: 300_000, crashCount: 5, becomes: 6 },
    { ranMs: 300_001, crashCount: 5, becomes: 1 },
  ])("after $ranMs ms of running a count of $crashCount becomes $becomes", ({ ranMs, crashCount, becomes }) => {
    const state = stateWith(desired(), ...rows(running("a", "cell-1", { crashCount })));
    run(state, crash(), asEpochMs(t0 + ranMs));
    expect(state.tables.rows(processGuid, 0).ORDINARY).toMatchObject({
      crashCount: becomes,
      crashReason: "exited",
      instanceKey: undefined,
    });
  });

  describe("an update mark", () => {
    const tagged = desired({ metricTags: new Map([["tag", { static: "new" }]]) });
    const tags = (value: string) => new Map([["tag", value]]);
    const marked = (fields = {}) =>
      running("a", "cell-1", { updateMarked: true, availabilityZone: "z1", metricTags: tags("old"), ...fields });
    const ordinary = (state: ReturnType<typeof stateWith>) => state.tables.rows(processGuid, 0).ORDINARY;

    it.each([
      { what: "the desired tags", told: "new", stays: false },
      { what: "the old tags again", told: "old", stays: true },
      { what: "other tags than desired", told: "between", stays: true },
    ])("after a start with $what it stays: $stays", ({ told, stays }) => {
      const state = stateWith(tagged, ...rows(marked()));
      run(state, start(a, { metricTags: tags(told) }));
      expect(ordinary(state)).toMatchObject({ updateMarked: stays, metricTags: tags(told) });
    });

    it("goes without a new tag or time when the instance had been right all along", () => {
      const state = stateWith(tagged, ...rows(marked({ metricTags: tags("new") })));
      const before = ordinary(state);
      run(state, start(a, { metricTags: tags("new") }), asEpochMs(t0 + 1_000));
      expect(ordinary(state)).toEqual({ ...before, updateMarked: false });
    });

    it("of a claimed instance stays through a start that came too early", () => {
      const state = stateWith(tagged, ...rows(claimed("a", "cell-1", { updateMarked: true })));
      run(state, start(a, { metricTags: tags("old") }));
      expect(ordinary(state)?.updateMarked).toBe(true);
    });

    it("does not pass to another instance", () => {
      const state = stateWith(tagged, ...rows(claimed("a", "cell-1", { updateMarked: true })));
      run(state, start(b, { metricTags: tags("old") }));
      expect(ordinary(state)).toMatchObject({ instanceKey: b, updateMarked: false });
    });

    it.each([
      { what: "crash", command: crash() },
      { what: "removal", command: removeActualLRP({ processGuid, index: 0, instanceKey: a }) },
    ])("goes with its instance at a $what", ({ command }) => {
      const state = stateWith(tagged, ...rows(marked()));
      run(state, command);
      expect(ordinary(state)).toMatchObject({ state: "UNCLAIMED", updateMarked: false });
    });
  });

  it("a failure judged on an older row changes nothing (P4)", () => {
    const state = stateWith(desired(), ...rows(row({ modificationTag: { epoch: "row", index: 4 } })));
    run(state, failActualLRP({ key, message: "no room", auctionId: "row.3" }));
    expect(state.tables.rows(processGuid, 0).ORDINARY?.placementError).toBe("");
    run(state, failActualLRP({ key, message: "no room", auctionId: "row.4" }));
    expect(state.tables.rows(processGuid, 0).ORDINARY).toMatchObject({
      placementError: "no room",
      modificationTag: { epoch: "row", index: 5 },
    });
  });
});
