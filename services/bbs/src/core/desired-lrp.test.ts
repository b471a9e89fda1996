// Desire, scale, remove: rows made and stopped at once, and what exceeds one command worked off (rule S4).
import { DesiredLRPUpdate, DesiredLRP as WireDesiredLRP } from "@muster/proto/models/desired_lrp";
import { isBbsError } from "@muster/shared/errors";
import { asProcessGuid, put } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { type CoreState, maxCommandRecords } from "./decision.js";
import { desireLRP, removeDesiredLRP, updateDesiredLRP, workOff } from "./desired-lrp.js";
import { contextAt, processGuid, run, running, stateWith } from "./rows.test-support.js";

const message = (fields: Partial<WireDesiredLRP> = {}): WireDesiredLRP =>
  WireDesiredLRP.fromPartial({
    processGuid: "p",
    domain: "d",
    rootFs: "preloaded:busybox",
    instances: 2,
    memoryMb: 64,
    ...fields,
  });
const scaleTo = (instances: number): DesiredLRPUpdate =>
  DesiredLRPUpdate.fromPartial({ optionalInstances: { $case: "instances", value: instances } });

const indices = (state: CoreState): number[] =>
  [...state.tables.rowsOfProcess(processGuid)].map((row) => row.index).sort((a, b) => a - b);

/** Works every continuation off, as the active BBS does, checking the bound of each step. */
function settle(state: CoreState): number {
  let steps = 0;
  for (const record of [...state.tables.continuations.values()]) {
    while (state.tables.get("continuation", `${record.processGuid}/${record.work}`) !== undefined) {
      const decision = workOff(record)(state, contextAt());
      expect(decision.writes.length).toBeLessThanOrEqual(maxCommandRecords);
      state.tables.applyAll(decision.writes);
      steps += 1;
    }
  }
  return steps;
}

describe("desired LRPs", () => {
  it("a desire makes one UNCLAIMED row for each index", () => {
    const state = stateWith();
    run(state, desireLRP(message()));
    expect(indices(state)).toEqual([0, 1]);
    expect(state.tables.rows(processGuid, 1).ORDINARY).toMatchObject({ state: "UNCLAIMED", crashCount: 0, routable: false });
  });

  it("a second desire of the same guid is refused, whatever its domain", () => {
    const state = stateWith();
    run(state, desireLRP(message()));
    expect(() => run(state, desireLRP(message({ domain: "other" })))).toThrow(
      expect.objectContaining({ code: "ResourceExists" }),
    );
  });

  it("a docker desire is refused while the flag is off, and names the flag", () => {
    const state = stateWith();
    const refused = (): unknown => run(state, desireLRP(message({ rootFs: "docker:///library/redis" })));
    expect(refused).toThrow("diego_docker");
    expect(indices(state)).toEqual([]);
    state.tables.apply(put("featureFlag", { name: "diego_docker", enabled: true }));
    refused();
    expect(indices(state)).toEqual([0, 1]);
  });

  it("an environment never stands in the record that schedulers see", () => {
    const state = stateWith();
    run(state, desireLRP(message({ environmentVariables: [{ name: "PASSWORD", value: "hunter2" }] })));
    const visible = JSON.stringify([...state.tables.desiredLRPs.values()], (_key, value) =>
      typeof value === "bigint" ? String(value) : value,
    );
    expect(visible).not.toContain("hunter2");
    expect(Buffer.from(state.tables.runInfos.get("p")?.sealed ?? "").toString()).toContain("hunter2");
  });

  it.each([1, 96, 97, 250, 1000])(
    "a desire of %i instances makes them all, never more than 100 records a commit",
    (instances) => {
      const state = stateWith();
      const first = desireLRP(message({ instances }))(state, contextAt());
      expect(first.writes.length).toBeLessThanOrEqual(maxCommandRecords);
      state.tables.applyAll(first.writes);
      settle(state);
      expect(indices(state)).toEqual(Array.from({ length: instances }, (_, index) => index));
    },
  );

  it("a scale-down deletes what has no instance and marks what has one (S1)", () => {
    const state = stateWith();
    run(state, desireLRP(message({ instances: 3 })));
    state.tables.apply(put("actualLRP", running("a", "cell-1", { index: 1 })));
    run(state, updateDesiredLRP(processGuid, scaleTo(1)));
    expect(indices(state)).toEqual([0, 1]);
    expect(state.tables.rows(processGuid, 1).ORDINARY?.stopMarked).toBe(true);
  });

  it("the removal of 300 running instances marks every one, through continuations", () => {
    const state = stateWith();
    run(state, desireLRP(message({ instances: 300 })));
    settle(state);
    for (let index = 0; index < 300; index += 1) state.tables.apply(put("actualLRP", running(`i${index}`, "cell-1", { index })));
    run(state, removeDesiredLRP(processGuid));
    expect(settle(state)).toBeGreaterThanOrEqual(2);
    expect([...state.tables.rowsOfProcess(processGuid)].every((row) => row.stopMarked)).toBe(true);
    expect(state.tables.runInfos.size + state.tables.desiredLRPs.size + state.tables.continuations.size).toBe(0);
  });

  it("a stop under way spares what was scaled up again (S4)", () => {
    const state = stateWith();
    run(state, desireLRP(message({ instances: 300 })));
    settle(state);
    for (let index = 0; index < 300; index += 1) state.tables.apply(put("actualLRP", running(`i${index}`, "cell-1", { index })));
    run(state, updateDesiredLRP(processGuid, scaleTo(0)));
    run(state, updateDesiredLRP(processGuid, scaleTo(300)));
    settle(state);
    const marked = [...state.tables.rowsOfProcess(processGuid)].filter((row) => row.stopMarked).length;
    expect(marked).toBeGreaterThan(0);
    expect(marked).toBeLessThanOrEqual(maxCommandRecords);
  });

  it("an update moves the tag on even when it says nothing, and refuses an unknown guid", () => {
    const state = stateWith();
    run(state, desireLRP(message()));
    const epoch = state.tables.desiredLRP(processGuid)?.modificationTag.epoch;
    run(state, updateDesiredLRP(processGuid, DesiredLRPUpdate.fromPartial({})));
    expect(state.tables.desiredLRP(processGuid)?.modificationTag).toEqual({ epoch, index: 1 });
    let refused: unknown;
    try {
      run(state, updateDesiredLRP(asProcessGuid("nobody"), scaleTo(1)));
    } catch (error) {
      refused = error;
    }
    expect(isBbsError(refused, "ResourceNotFound")).toBe(true);
  });
});
