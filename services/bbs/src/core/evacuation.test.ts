// Evacuation, row by row: what each call finds -> the rows it leaves, and whether the cell keeps its container.
import { type BbsError, isBbsError } from "@muster/shared/errors";
import { type ActualLRP, put, type Write } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import type { Command } from "./decision.js";
import {
  cancelEvacuation,
  type EvacuationReply,
  evacuateClaimedActualLRP,
  evacuateCrashedActualLRP,
  evacuateRunningActualLRP,
  evacuateStoppedActualLRP,
  removeEvacuatingActualLRP,
} from "./evacuation.js";
import {
  claimed,
  contextAt,
  desired,
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

// The container in question is instance `a`, RUNNING on cell-1; `w` and `b` are instances on other cells.
const request = {
  key,
  instanceKey: instance("a", "cell-1"),
  netInfo,
  internalRoutes: ["a.internal"],
  metricTags: new Map([["tag", "value"]]),
  routable: true,
  availabilityZone: "z1",
};
const evacuate = evacuateRunningActualLRP(request);
const claimedCall = evacuateClaimedActualLRP(request);
const crashedCall = evacuateCrashedActualLRP({ ...request, reason: "exited" });
const stoppedCall = evacuateStoppedActualLRP(request);
const cancel = cancelEvacuation(request);

const unclaimed = row();
const crashedRow = row({ state: "CRASHED", crashCount: 3 });
const onA = (fields: Partial<ActualLRP> = {}) => running("a", "cell-1", fields);
const evacuatingA = onA({
  presence: "EVACUATING",
  internalRoutes: request.internalRoutes,
  metricTags: request.metricTags,
  availabilityZone: "z1",
});
const evacuatingB = running("b", "cell-2", { presence: "EVACUATING" });
const suspectA = onA({ presence: "SUSPECT" });
const claimedByW = claimed("w", "cell-3");
const runningOnW = running("w", "cell-3");

type Case = readonly [
  finding: string,
  before: readonly Write[],
  command: Command<EvacuationReply>,
  keeps: boolean,
  after: readonly string[],
  refusal?: BbsError["code"],
];

const rolling = desired();
const recreate = (instances = 1) => desired({ updateStrategy: "RECREATE", instances });
const other = (index: number, state: "RUNNING" | "UNCLAIMED") =>
  state === "RUNNING" ? running(`o${index}`, "cell-9", { index }) : row({ index });
const O = "ORDINARY";
const E = "EVACUATING";
const evacuating = `${E} RUNNING a@cell-1`;

const cases: readonly Case[] = [
  // EvacuateRunning, ROLLING (convergence.md 5.2, its expanded table).
  ["running: no rows", [rolling], evacuate, false, []],
  ["running: O RUNNING here", [rolling, ...rows(onA())], evacuate, true, [`${O} UNCLAIMED`, evacuating]],
  ["running: O CLAIMED here", [rolling, ...rows(claimed("a", "cell-1"))], evacuate, true, [`${O} UNCLAIMED`, evacuating]],
  [
    "running: O RUNNING here, E of another",
    [rolling, ...rows(onA(), evacuatingB)],
    evacuate,
    true,
    [`${O} UNCLAIMED`, evacuating],
  ],
  [
    "running: O CLAIMED here, E of another",
    [rolling, ...rows(claimed("a", "cell-1"), evacuatingB)],
    evacuate,
    true,
    [`${O} UNCLAIMED`, evacuating],
  ],
  ["running: O and E are both it", [rolling, ...rows(onA(), evacuatingA)], evacuate, true, [`${O} UNCLAIMED`, evacuating]],
  ["running: O UNCLAIMED", [rolling, ...rows(unclaimed)], evacuate, true, [`${O} UNCLAIMED`, evacuating]],
  ["running: O UNCLAIMED, E is it", [rolling, ...rows(unclaimed, evacuatingA)], evacuate, true, [`${O} UNCLAIMED`, evacuating]],
  [
    "running: O UNCLAIMED, E of another",
    [rolling, ...rows(unclaimed, evacuatingB)],
    evacuate,
    false,
    [`${O} UNCLAIMED`, `${E} RUNNING b@cell-2`],
  ],
  ["running: O CLAIMED by w", [rolling, ...rows(claimedByW)], evacuate, true, [`${O} CLAIMED w@cell-3`, evacuating]],
  [
    "running: O CLAIMED by w, E is it",
    [rolling, ...rows(claimedByW, evacuatingA)],
    evacuate,
    true,
    [`${O} CLAIMED w@cell-3`, evacuating],
  ],
  [
    "running: O CLAIMED by w, E of another",
    [rolling, ...rows(claimedByW, evacuatingB)],
    evacuate,
    false,
    [`${O} CLAIMED w@cell-3`, `${E} RUNNING b@cell-2`],
  ],
  ["running: O RUNNING on w", [rolling, ...rows(runningOnW)], evacuate, false, [`${O} RUNNING w@cell-3`]],
  ["running: O RUNNING on w, E is it", [rolling, ...rows(runningOnW, evacuatingA)], evacuate, false, [`${O} RUNNING w@cell-3`]],
  [
    "running: O RUNNING on w, E of another",
    [rolling, ...rows(runningOnW, evacuatingB)],
    evacuate,
    false,
    [`${O} RUNNING w@cell-3`, `${E} RUNNING b@cell-2`],
  ],
  ["running: O CRASHED", [rolling, ...rows(crashedRow)], evacuate, false, [`${O} CRASHED`]],
  ["running: O CRASHED, E is it", [rolling, ...rows(crashedRow, evacuatingA)], evacuate, false, [`${O} CRASHED`]],
  [
    "running: O CRASHED, E of another",
    [rolling, ...rows(crashedRow, evacuatingB)],
    evacuate,
    false,
    [`${O} CRASHED`, `${E} RUNNING b@cell-2`],
  ],
  ["running: only E, it, wanted again before its row is there", [rolling, ...rows(evacuatingA)], evacuate, true, [evacuating]],
  ["running: only E, it, and not wanted", [desired({ instances: 0 }), ...rows(evacuatingA)], evacuate, false, []],
  ["running: only E, it, to be recreated", [recreate(), ...rows(evacuatingA)], evacuate, false, []],
  ["running: only E, of another", [rolling, ...rows(evacuatingB)], evacuate, false, [`${E} RUNNING b@cell-2`]],
  [
    "running: it is Suspect beside an UNCLAIMED O",
    [rolling, ...rows(unclaimed, suspectA)],
    evacuate,
    true,
    [`${O} UNCLAIMED`, evacuating],
  ],
  [
    "running: it is Suspect beside O CLAIMED by w, E of another",
    [rolling, ...rows(claimedByW, suspectA, evacuatingB)],
    evacuate,
    true,
    [`${O} CLAIMED w@cell-3`, evacuating],
  ],
  [
    "running: it is Suspect beside O RUNNING on w: the row goes with the container",
    [rolling, ...rows(runningOnW, suspectA)],
    evacuate,
    false,
    [`${O} RUNNING w@cell-3`],
  ],

  // Not wanted counts as not desired (W1).
  ["running: nobody desires it", rows(onA()), evacuate, false, []],
  ["running: not wanted any more, O is it", [desired({ instances: 0 }), ...rows(onA())], evacuate, false, []],
  [
    "running: not wanted any more, E is it",
    [desired({ instances: 0 }), ...rows(unclaimed, evacuatingA)],
    evacuate,
    false,
    [`${O} UNCLAIMED`],
  ],
  ["running: stopped by the flag", [desired({ rootFs: "docker:///x" }), ...rows(onA())], evacuate, false, []],

  // Marked rows go (S2).
  ["running: O is it and marked", [rolling, ...rows(onA({ stopMarked: true }))], evacuate, false, []],
  [
    "running: E is it and marked",
    [rolling, ...rows(claimedByW, { ...evacuatingA, stopMarked: true })],
    evacuate,
    false,
    [`${O} CLAIMED w@cell-3`],
  ],
  [
    "running: S is it and marked",
    [rolling, ...rows(unclaimed, { ...suspectA, stopMarked: true })],
    evacuate,
    false,
    [`${O} UNCLAIMED`],
  ],
  ["claimed: marked", [rolling, ...rows(claimed("a", "cell-1", { stopMarked: true }))], claimedCall, false, []],
  ["crashed: marked", [rolling, ...rows(onA({ stopMarked: true }))], crashedCall, false, []],
  ["stopped: marked", [rolling, ...rows(onA({ stopMarked: true }))], stoppedCall, false, []],

  // EvacuateRunning, RECREATE (convergence.md 5.3).
  ["recreate: without a row of its own", [recreate(), ...rows(unclaimed)], evacuate, false, [`${O} UNCLAIMED`]],
  ["recreate: E is it", [recreate(), ...rows(claimedByW, evacuatingA)], evacuate, false, [`${O} CLAIMED w@cell-3`]],
  ["recreate: S is it", [recreate(), ...rows(claimedByW, suspectA)], evacuate, false, [`${O} CLAIMED w@cell-3`]],
  ["recreate: the only instance", [recreate(), ...rows(onA())], evacuate, false, [`${O} UNCLAIMED`]],
  ["recreate: all others run", [recreate(2), ...rows(onA(), other(1, "RUNNING"))], evacuate, false, [`${O} UNCLAIMED`]],
  [
    "recreate: all others run, its own start not yet heard of",
    [recreate(2), ...rows(claimed("a", "cell-1"), other(1, "RUNNING"))],
    evacuate,
    false,
    [`${O} UNCLAIMED`],
  ],
  [
    "recreate: another does not run, so it waits",
    [recreate(2), ...rows(onA(), other(1, "UNCLAIMED"))],
    evacuate,
    true,
    [`${O} RUNNING a@cell-1`],
  ],
  [
    "recreate: a surplus instance does not stand in for a wanted one",
    [recreate(2), ...rows(onA(), other(1, "UNCLAIMED"), other(2, "RUNNING"))],
    evacuate,
    true,
    [`${O} RUNNING a@cell-1`],
  ],
  ["recreate: another index is missing", [recreate(2), ...rows(onA())], evacuate, true, [`${O} RUNNING a@cell-1`]],

  // EvacuateClaimed, EvacuateCrashed, EvacuateStopped (convergence.md 5.4).
  ["claimed: O", [rolling, ...rows(claimed("a", "cell-1"))], claimedCall, false, [`${O} UNCLAIMED`]],
  ["claimed: O RUNNING", [rolling, ...rows(onA())], claimedCall, false, [`${O} UNCLAIMED`]],
  ["claimed: O, not wanted", [desired({ instances: 0 }), ...rows(claimed("a", "cell-1"))], claimedCall, false, []],
  ["claimed: E", [rolling, ...rows(unclaimed, evacuatingA)], claimedCall, false, [`${O} UNCLAIMED`]],
  [
    "claimed: S",
    [rolling, ...rows(unclaimed, claimed("a", "cell-1", { presence: "SUSPECT" }))],
    claimedCall,
    false,
    [`${O} UNCLAIMED`],
  ],
  ["claimed: no row", [rolling, ...rows(claimedByW)], claimedCall, false, [`${O} CLAIMED w@cell-3`], "ResourceNotFound"],
  ["crashed: O, first crash", [rolling, ...rows(onA())], crashedCall, false, [`${O} UNCLAIMED`]],
  ["crashed: O, third crash", [rolling, ...rows(onA({ crashCount: 2 }))], crashedCall, false, [`${O} CRASHED`]],
  ["crashed: E", [rolling, ...rows(claimedByW, evacuatingA)], crashedCall, false, [`${O} CLAIMED w@cell-3`]],
  ["crashed: S", [rolling, ...rows(claimedByW, suspectA)], crashedCall, false, [`${O} CLAIMED w@cell-3`]],
  ["crashed: no row", [rolling], crashedCall, false, [], "ResourceNotFound"],
  ["stopped: O, wanted (W4)", [rolling, ...rows(onA())], stoppedCall, false, [`${O} UNCLAIMED`]],
  ["stopped: O, not wanted", [desired({ instances: 0 }), ...rows(onA())], stoppedCall, false, []],
  ["stopped: E", [rolling, ...rows(runningOnW, evacuatingA)], stoppedCall, false, [`${O} RUNNING w@cell-3`]],
  ["stopped: S", [rolling, ...rows(unclaimed, suspectA)], stoppedCall, false, [`${O} UNCLAIMED`]],
  ["stopped: no row", [rolling], stoppedCall, false, [], "ResourceNotFound"],

  // Cancel (E3).
  ["cancel: O UNCLAIMED", [rolling, ...rows(unclaimed, evacuatingA)], cancel, true, [`${O} RUNNING a@cell-1`]],
  ["cancel: O CLAIMED by w", [rolling, ...rows(claimedByW, evacuatingA)], cancel, true, [`${O} RUNNING a@cell-1`]],
  ["cancel: O CRASHED", [rolling, ...rows(crashedRow, evacuatingA)], cancel, true, [`${O} RUNNING a@cell-1`]],
  ["cancel: no O yet", [rolling, ...rows(evacuatingA)], cancel, true, [`${O} RUNNING a@cell-1`]],
  ["cancel: O RUNNING on w", [rolling, ...rows(runningOnW, evacuatingA)], cancel, false, [`${O} RUNNING w@cell-3`]],
  [
    "cancel: not wanted any more",
    [desired({ instances: 0 }), ...rows(unclaimed, evacuatingA)],
    cancel,
    false,
    [`${O} UNCLAIMED`],
  ],
  ["cancel: marked", [rolling, ...rows(unclaimed, { ...evacuatingA, stopMarked: true })], cancel, false, [`${O} UNCLAIMED`]],
  [
    "cancel: another cell's Suspect gives way to the copy that runs",
    [rolling, ...rows(unclaimed, evacuatingA, running("b", "cell-2", { presence: "SUSPECT" }))],
    cancel,
    true,
    [`${O} RUNNING a@cell-1`],
  ],
  [
    "cancel: a marked Suspect stays until it is stopped",
    [rolling, ...rows(unclaimed, evacuatingA, running("b", "cell-2", { presence: "SUSPECT", stopMarked: true }))],
    cancel,
    true,
    [`${O} RUNNING a@cell-1`, "SUSPECT RUNNING b@cell-2 stop"],
  ],
  ["cancel: never evacuated", [rolling, ...rows(onA())], cancel, true, [`${O} RUNNING a@cell-1`]],
  ["cancel: no row of its own", [rolling, ...rows(claimedByW)], cancel, true, [`${O} CLAIMED w@cell-3`], "ResourceNotFound"],
];

describe("evacuation", () => {
  const found = cases.map(([finding, before, command, keeps, after, refusal]) => ({
    finding,
    before,
    command,
    keeps,
    after,
    refusal,
  }));
  it.each(found)("$finding", ({ before, command, keeps, after, refusal }) => {
    const state = stateWith(...before);
    const reply = run(state, command);
    expect(reply.keepContainer).toBe(keeps);
    expect(reply.refusal?.code).toBe(refusal);
    expect(rowsAsWords(state)).toEqual(after);
  });

  it("the Evacuating row is a new row that says what runs, since now, with no crashes; the Ordinary one keeps its tag and crashes", () => {
    const state = stateWith(rolling, ...rows(onA({ crashCount: 2, crashReason: "x", sinceNs: 1n as never })));
    run(state, evacuate);
    const found = state.tables.rows(processGuid, 0);
    expect(found.EVACUATING).toMatchObject({
      netInfo,
      internalRoutes: ["a.internal"],
      metricTags: request.metricTags,
      routable: true,
      availabilityZone: "z1",
      crashCount: 0,
      modificationTag: { epoch: "guid-1", index: 0 },
      sinceNs: BigInt(t0) * 1_000_000n,
    });
    expect(found.ORDINARY).toMatchObject({ crashCount: 2, crashReason: "x", modificationTag: { epoch: "row", index: 1 } });
  });

  it("a repeated call about an unchanged copy writes nothing; a changed one keeps its epoch", () => {
    const state = stateWith(rolling, ...rows(unclaimed, evacuatingA));
    expect(evacuate(state, contextAt()).writes).toEqual([]);
    run(state, evacuateRunningActualLRP({ ...request, routable: false }));
    expect(state.tables.rows(processGuid, 0).EVACUATING).toMatchObject({
      routable: false,
      modificationTag: { epoch: evacuatingA.modificationTag.epoch, index: evacuatingA.modificationTag.index + 1 },
    });
  });

  it("a caller whose form of the call has no routes and tags leaves those on record", () => {
    const oldest = evacuateRunningActualLRP({ ...request, internalRoutes: [], metricTags: new Map(), knowsRoutes: false });
    const again = stateWith(rolling, ...rows(unclaimed, evacuatingA));
    expect(oldest(again, contextAt()).writes).toEqual([]);
    const { internalRoutes, metricTags } = request;
    const first = stateWith(rolling, ...rows(onA({ internalRoutes, metricTags })));
    run(first, oldest);
    expect(first.tables.rows(processGuid, 0).EVACUATING).toMatchObject({ internalRoutes, metricTags });
  });

  it("an evacuated crash counts, is no crash event of its own, and its reason is cut as any other", () => {
    const state = stateWith(rolling, ...rows(onA()));
    const decision = evacuateCrashedActualLRP({ ...request, reason: "x".repeat(2_000) })(state, contextAt());
    expect(decision.crashed).toBeUndefined();
    state.tables.applyAll(decision.writes);
    expect(state.tables.rows(processGuid, 0).ORDINARY).toMatchObject({
      crashCount: 1,
      crashReason: expect.stringMatching(/^x{1013}\(truncated\)$/),
    });
  });

  it("a cancelled evacuation gives the instance its row back as it was", () => {
    const state = stateWith(rolling, ...rows(claimedByW, evacuatingA));
    run(state, cancel);
    expect(state.tables.rows(processGuid, 0).ORDINARY).toEqual({ ...evacuatingA, presence: "ORDINARY" });
  });
});

describe("the removal of an Evacuating row", () => {
  const remove = removeEvacuatingActualLRP(request);
  it("takes the row of that instance alone", () => {
    const state = stateWith(rolling, ...rows(unclaimed, evacuatingA));
    run(state, remove);
    expect(rowsAsWords(state)).toEqual([`${O} UNCLAIMED`]);
  });

  it.each([
    { of: "another instance", before: rows(unclaimed, evacuatingB) },
    { of: "an Ordinary row", before: rows(onA()) },
    { of: "a Suspect row", before: rows(unclaimed, suspectA) },
    { of: "nothing", before: [put("domain", { name: key.domain, expiresAtMs: undefined })] },
  ])("finds nothing to remove of $of", ({ before }) => {
    const state = stateWith(rolling, ...before);
    const words = rowsAsWords(state);
    let error: unknown;
    try {
      run(state, remove);
    } catch (caught) {
      error = caught;
    }
    expect(isBbsError(error, "ResourceNotFound")).toBe(true);
    expect(rowsAsWords(state)).toEqual(words);
  });
});
