// The indexes of the tables against a count over everything, through random lives.
import fc from "fast-check";
import { expect, it } from "vitest";
import { seededEntropy } from "../clock/index.js";
import { cluster, guids } from "../rules/testing/clusters.js";

import { drop, Tables } from "./tables.js";

it("rows by process, and how many of them run, are what the rows say", () => {
  const commit = fc.record({ writes: cluster, seed: fc.nat() });
  fc.assert(
    fc.property(fc.array(commit, { maxLength: 6 }), (commits) => {
      const tables = new Tables();
      for (const { writes, seed } of commits) {
        const entropy = seededEntropy(String(seed));
        for (const row of [...tables.actualLRPs.values()]) if (entropy.below(2) === 0) tables.apply(drop("actualLRP", row));
        tables.applyAll(writes);
        const rows = [...tables.actualLRPs.values()];
        for (const processGuid of guids) {
          const own = rows.filter((row) => row.processGuid === processGuid);
          const running = own.filter(({ presence, state }) => presence === "ORDINARY" && state === "RUNNING");
          expect(tables.runningOfProcess(processGuid)).toBe(running.length);
          expect(new Set(tables.rowsOfProcess(processGuid))).toEqual(new Set(own));
          expect([...tables.instancesOfProcess(processGuid).keys()].sort()).toEqual(
            [...new Set(own.map(({ index }) => index))].sort(),
          );
        }
        expect(new Set(tables.processesWithRows())).toEqual(new Set(rows.map(({ processGuid }) => processGuid)));
      }
    }),
    { numRuns: 100 },
  );
}, 30_000);
