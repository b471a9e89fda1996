// What is kept as changes come against a look at everything, over random lives of small clusters.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Entropy, seededEntropy } from "../clock/index.js";
import { asEpochMs, asInstanceGuid, drop, put, Tables, type Write } from "../model/index.js";
import { actualLRP, task } from "../testing/index.js";
import { OpenKeys } from "./open-keys.js";
import { noteChange, nothingTouched, planConvergence } from "./plan.js";
import { cell, cellIds, cluster, desired, rowArbitrary, shown, time } from "./testing/clusters.js";

/** What one commit does: some records come or change, some of those that stand go. */
const commit = fc.record({
  writes: cluster,
  /** Draws what is written and what goes. */
  seed: fc.nat(),
  /** Commits between two plans are refreshed together. */
  plans: fc.boolean(),
  waitMs: fc.constantFrom(0, 1, 5_000, 30_000, 700_000),
});

function* deletions(tables: Tables, entropy: Entropy): Generator<Write> {
  for (const kind of ["desiredLRP", "actualLRP", "task", "domain", "cell", "featureFlag"] as const) {
    for (const record of tables.all(kind).values()) if (entropy.below(4) === 0) yield drop(kind, record as never);
  }
}

describe("keys kept open as changes come", () => {
  it("give the plan that a look at everything gives, whatever happened", () => {
    let compared = 0;
    fc.assert(
      fc.property(fc.array(commit, { minLength: 1, maxLength: 8 }), (commits) => {
        const tables = new Tables();
        const keys = new OpenKeys(tables);
        let touched = nothingTouched();
        let nowMs = time.nowMs;
        for (const { writes, seed, plans, waitMs } of commits) {
          const entropy = seededEntropy(String(seed));
          const some = writes.filter(() => entropy.below(2) === 0);
          for (const write of [...deletions(tables, entropy), ...some]) noteChange(touched, tables.apply(write));
          nowMs = asEpochMs(nowMs + waitMs);
          if (!plans) continue;
          keys.refresh(touched);
          touched = nothingTouched();
          const [kept, full] = [keys.plan({ ...time, nowMs }), planConvergence(tables, { ...time, nowMs })];
          expect(shown(kept)).toEqual(shown(full));
          expect(JSON.stringify(kept.repairs)).toBe(JSON.stringify(full.repairs));
          expect(kept.nextDueMs).toBe(full.nextDueMs);
          compared += full.repairs.length + full.due.length;
        }
      }),
      { numRuns: 150 },
    );
    expect(compared).toBeGreaterThan(500);
  }, 30_000);

  it("plan over what was touched as soon as it was, over everything once a flag or domain moved", () => {
    const tables = new Tables();
    const keys = new OpenKeys(tables);
    const apply = (...writes: Write[]) => {
      const touched = nothingTouched();
      for (const write of writes) noteChange(touched, tables.apply(write));
      return keys.planTouched(touched, time).repairs.map(({ rule, index }) => `${rule} ${index}`);
    };
    expect(apply(put("desiredLRP", desired(0, 2, 0, true)))).toEqual([]);
    expect(apply(put("featureFlag", { name: "diego_docker", enabled: true }))).toEqual(["missing 0", "missing 1"]);
    expect(apply(put("desiredLRP", desired(0, 1, 0, true)))).toEqual(["missing 0"]);
    expect(keys.size).toBe(1);
  });

  it("are those of a cell's instances and tasks from its loss until its return", () => {
    const tables = new Tables();
    const keys = new OpenKeys(tables);
    const [cellId] = cellIds;
    if (cellId === undefined) throw new Error("no cell");
    const refresh = (...writes: Write[]): number => {
      const touched = nothingTouched();
      for (const write of writes) noteChange(touched, tables.apply(write));
      keys.refresh(touched);
      keys.plan(time);
      return keys.size;
    };
    const wanted = desired(0, 1, 0, false);
    const instanceKey = { instanceGuid: asInstanceGuid("i"), cellId };
    const row = actualLRP({ processGuid: wanted.processGuid, state: "CLAIMED", instanceKey });
    refresh(put("desiredLRP", wanted), put("actualLRP", row), put("task", task({ state: "RUNNING", cellId })));
    expect(refresh(put("cell", cell(cellId, undefined)))).toBe(0);
    expect(refresh(put("cell", cell(cellId, 20_000)))).toBe(2);
    expect(keys.plan(time).repairs.map(({ rule }) => rule)).toEqual(["cell-lost", "task-cell-lost"]);
    expect(refresh(put("cell", cell(cellId, undefined)))).toBe(0);
    expect(refresh(drop("cell", cell(cellId, undefined)))).toBe(2);
  });

  it("are few where all is well", () => {
    const tables = new Tables();
    const keys = new OpenKeys(tables);
    const row = fc.sample(rowArbitrary, { numRuns: 1, seed: 7 })[0];
    const [cellId] = cellIds;
    if (row === undefined || cellId === undefined) throw new Error("no row");
    const instanceKey = { instanceGuid: "i" as never, cellId };
    const wanted = { ...desired(0, 3, 0, false), metricTags: new Map() };
    const well = [0, 1, 2].map((index) => {
      const instance = { ...row, processGuid: wanted.processGuid, index, presence: "ORDINARY" as const, instanceKey };
      return put("actualLRP", { ...instance, state: "RUNNING", metricTags: new Map(), internalRoutes: [] });
    });
    tables.applyAll([put("desiredLRP", wanted), put("cell", cell(cellId, undefined)), ...well]);
    keys.rebuild();
    expect(keys.size).toBe(0);
  });
});
