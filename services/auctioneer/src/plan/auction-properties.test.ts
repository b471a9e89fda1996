// What every auction must hold, whatever the fleet and the load.
import fc from "fast-check";
import { expect, it, vi } from "vitest";
import { planAuction } from "./auction.js";
import { faultsOf } from "./faults.js";
import { scenes, shuffledScenes } from "./testing/arbitrary.js";
import { referenceAuction } from "./testing/reference.js";
import type { AuctionPlan } from "./types.js";

const runs = { numRuns: 200 };
// Some seconds of work alone; the suites of other rooms may run beside it.
vi.setConfig({ testTimeout: 60_000 });

const gist = ({ placements, failures }: AuctionPlan) => ({
  placements: placements.map(({ work, cellId }) => ({ key: work.key, cellId })),
  failures: failures.map(({ work, error }) => ({ key: work.key, error })),
});

it("decides as the plain reference does, to the last tie and text", () => {
  fc.assert(
    fc.property(scenes, ({ cells, waiting, options }) => {
      expect(gist(planAuction(cells, waiting, options))).toEqual(referenceAuction(cells, waiting, options));
    }),
    runs,
  );
});

it("gives the same plan whatever the order of cells and work, and with work given twice", () => {
  fc.assert(
    fc.property(shuffledScenes, ({ scene, shuffled }) => {
      const plan = planAuction(scene.cells, scene.waiting, scene.options);
      expect(planAuction(shuffled.cells, shuffled.waiting, shuffled.options)).toEqual(plan);
    }),
    runs,
  );
});

it("makes plans without a fault", () => {
  fc.assert(
    fc.property(scenes, ({ cells, waiting, options }) => {
      expect(faultsOf(planAuction(cells, waiting, options), cells, waiting)).toEqual([]);
    }),
    runs,
  );
});

it("explains every refusal that is about cells: one verdict a cell, within the bound, none for a cell that would do", () => {
  fc.assert(
    fc.property(scenes, ({ cells, waiting, options }) => {
      for (const { error, explanation } of planAuction(cells, waiting, options).failures) {
        if (error.startsWith("waiting to start")) continue;
        const { verdicts, omitted } = explanation;
        const named = new Set(verdicts.map(({ cellId }) => cellId)).size;
        const empty = verdicts.filter(({ asked, available }) => asked === "" || available === "").length;
        expect({ cells: verdicts.length + omitted, named, empty }).toEqual({
          cells: cells.length,
          named: verdicts.length,
          empty: 0,
        });
        expect(verdicts.length).toBeLessThanOrEqual(options.maxVerdicts);
      }
    }),
    { numRuns: 100 },
  );
});

it("changes nothing it was given", () => {
  fc.assert(
    fc.property(scenes, ({ cells, waiting, options }) => {
      const before = structuredClone({ cells, waiting });
      planAuction(cells, waiting, options);
      expect({ cells, waiting }).toEqual(before);
    }),
    { numRuns: 50 },
  );
});
