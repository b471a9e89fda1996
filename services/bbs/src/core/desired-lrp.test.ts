// Desire, scale, remove: rows made and stopped at once, and what exceeds one command worked off (rule S4).
import { DesiredLRPUpdate, DesiredLRP as WireDesiredLRP } from "@muster/proto/models/desired_lrp";
import { isBbsError } from "@muster/shared/errors";
import { asDomainName, asProcessGuid, put } from "@muster/shared/model";
import { describe, expect, it, vi } from "vitest";
import { type CoreState, maxCommandRecords } from "./decision.js";
import { desireLRP, removeDesiredLRP, updateDesiredLRP, workOff } from "./desired-lrp.js";
import { claimed, contextAt, processGuid, run, running, stateWith } from "./rows.test-support.js";

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

const routesTo = (...hostnames: string[]): DesiredLRPUpdate =>
  DesiredLRPUpdate.fromPartial({
    routes: { routes: { "internal-router": Buffer.from(JSON.stringify(hostnames.map((hostname) => ({ hostname })))) } },
  });

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

  it("a scale-up while the rows of an earlier one are still being made leaves no index out (S4)", () => {
    const state = stateWith();
    run(state, desireLRP(message({ instances: 300 })));
    run(state, updateDesiredLRP(processGuid, scaleTo(600)));
    settle(state);
    expect(indices(state)).toEqual(Array.from({ length: 600 }, (_, index) => index));
  });

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

  describe("of a process with very many instances", () => {
    /** With a hole of 5,000, recorded from the last to the first; each hundredth has an evacuating copy too. */
    const rowsUpTo = (last: number): CoreState => {
      const state = stateWith();
      for (let index = last; index > 0; index -= 1) {
        if (index > 20_000 && index <= 25_000) continue;
        state.tables.apply(put("actualLRP", running(`i${index}`, "cell-1", { index })));
        if (index % 100 !== 0) continue;
        state.tables.apply(put("actualLRP", running(`e${index}`, "cell-2", { index, presence: "EVACUATING" })));
      }
      return state;
    };
    const stop = (state: CoreState, fromIndex: number): void =>
      void state.tables.apply(put("continuation", { processGuid, domain: asDomainName("d"), work: "STOP", fromIndex }));

    it("the stop takes them by index and goes on where it stood, to the last one", () => {
      const state = rowsUpTo(65_000);
      stop(state, 19_000);
      const marked: number[] = [];
      let steps = 0;
      for (
        let [record] = state.tables.continuations.values();
        record !== undefined;
        [record] = state.tables.continuations.values()
      ) {
        const { writes } = workOff(record)(state, contextAt());
        expect(writes.length).toBeLessThanOrEqual(maxCommandRecords);
        for (const write of writes) if (write.kind === "actualLRP" && write.record !== undefined) marked.push(write.record.index);
        state.tables.applyAll(writes);
        steps += 1;
      }
      expect(marked).toEqual([...marked].sort((a, b) => a - b));
      const rows = [...state.tables.rowsOfProcess(processGuid)];
      expect(rows.every((row) => row.stopMarked === row.index >= 19_000)).toBe(true);
      expect(marked).toHaveLength(rows.filter((row) => row.index >= 19_000).length);
      expect(steps).toBe(Math.ceil(marked.length / 95));
    });

    it("a step looks at no more rows than it stops", () => {
      const state = rowsUpTo(5_000);
      stop(state, 1_000);
      const [record] = state.tables.continuations.values();
      const looks = [vi.spyOn(state.tables, "rows"), vi.spyOn(state.tables, "rowsOfProcess")] as const;
      if (record !== undefined) workOff(record)(state, contextAt());
      expect(looks[0].mock.calls.length).toBeLessThanOrEqual(maxCommandRecords);
      expect(looks[1]).not.toHaveBeenCalled();
    });
  });

  describe("new internal routes or metric tags", () => {
    const updateMarks = (state: CoreState): string[] =>
      [...state.tables.rowsOfProcess(processGuid)]
        .filter((row) => row.updateMarked)
        .map((row) => `${row.presence} ${row.state} ${row.index}`)
        .sort();
    const withInstances = (): CoreState => {
      const state = stateWith();
      run(state, desireLRP(message({ instances: 4 })));
      for (const row of [
        running("a", "cell-1", { index: 0 }),
        running("e", "cell-2", { index: 0, presence: "EVACUATING" }),
        running("s", "cell-3", { index: 1, presence: "SUSPECT" }),
        claimed("c", "cell-1", { index: 2 }),
        running("d", "cell-1", { index: 3, stopMarked: true }),
      ])
        state.tables.apply(put("actualLRP", row));
      return state;
    };

    it("mark what is claimed or runs, but not an evacuating copy nor what is to be stopped; tag and since stay", () => {
      const state = withInstances();
      const before = state.tables.rows(processGuid, 0).ORDINARY;
      run(state, updateDesiredLRP(processGuid, routesTo("a.internal")));
      expect(updateMarks(state)).toEqual(["ORDINARY CLAIMED 2", "ORDINARY RUNNING 0", "SUSPECT RUNNING 1"]);
      expect(state.tables.rows(processGuid, 0).ORDINARY).toEqual({ ...before, updateMarked: true });
    });

    it.each<{ what: string; update: DesiredLRPUpdate; marks: number }>([
      { what: "a new tag", update: DesiredLRPUpdate.fromPartial({ metricTags: { source_id: { static: "x" } } }), marks: 3 },
      { what: "routes of another router alone", update: routesTo(), marks: 0 },
      {
        what: "other annotation and instances",
        update: DesiredLRPUpdate.fromPartial({ optionalAnnotation: { $case: "annotation", value: "x" } }),
        marks: 0,
      },
    ])("$what marks $marks", ({ update, marks }) => {
      const state = withInstances();
      run(state, updateDesiredLRP(processGuid, update));
      expect(updateMarks(state)).toHaveLength(marks);
    });

    it("are not marked on what the same update scales away", () => {
      const state = withInstances();
      run(state, updateDesiredLRP(processGuid, { ...scaleTo(2), routes: routesTo("a.internal").routes }));
      expect(updateMarks(state)).toEqual(["ORDINARY RUNNING 0", "SUSPECT RUNNING 1"]);
      expect(state.tables.rows(processGuid, 2).ORDINARY?.stopMarked).toBe(true);
    });

    it("reach 300 instances through continuations, beside a scale-up in the same update", () => {
      const state = stateWith();
      run(state, desireLRP(message({ instances: 300 })));
      settle(state);
      for (let index = 0; index < 300; index += 1)
        state.tables.apply(put("actualLRP", running(`i${index}`, "cell-1", { index })));
      const update = { ...scaleTo(450), routes: routesTo("a.internal").routes };
      const decision = updateDesiredLRP(processGuid, update)(state, contextAt());
      expect(decision.writes.length).toBeLessThanOrEqual(maxCommandRecords);
      state.tables.applyAll(decision.writes);
      settle(state);
      expect(updateMarks(state)).toHaveLength(300);
      expect(indices(state)).toHaveLength(450);
      expect(state.tables.continuations.size).toBe(0);
    });

    it("a removal ends the marking that was under way", () => {
      const state = stateWith();
      run(state, desireLRP(message({ instances: 300 })));
      settle(state);
      for (let index = 0; index < 300; index += 1)
        state.tables.apply(put("actualLRP", running(`i${index}`, "cell-1", { index })));
      run(state, updateDesiredLRP(processGuid, routesTo("a.internal")));
      const removal = removeDesiredLRP(processGuid)(state, contextAt());
      expect(removal.writes.length).toBeLessThanOrEqual(maxCommandRecords);
      state.tables.applyAll(removal.writes);
      expect([...state.tables.continuations.keys()]).toEqual(["p/STOP"]);
    });
  });

  it("credentials that no key opens any more fail the update that needs them, and nothing is lost", () => {
    const state = stateWith();
    run(state, desireLRP(message({ environmentVariables: [{ name: "N", value: "v" }] })));
    const sealed = state.tables.runInfos.get("p")?.sealed;
    const update = DesiredLRPUpdate.fromPartial({
      optionalImageUsername: { $case: "imageUsername", value: "u" },
      optionalImagePassword: { $case: "imagePassword", value: "p" },
    });
    const open = (): never => {
      throw new Error("no such key");
    };
    expect(() => updateDesiredLRP(processGuid, update)(state, { ...contextAt(), open })).toThrow(
      expect.objectContaining({ code: "Deserialize" }),
    );
    expect(state.tables.runInfos.get("p")?.sealed).toBe(sealed);
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
