// Plans find exactly what the rules say, in one order, however they look for it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  asCellId,
  asDomainName,
  asEpochMs,
  asInstanceGuid,
  asProcessGuid,
  type Change,
  presences,
  put,
  Tables,
} from "../model/index.js";
import { actualLRP } from "../testing/index.js";
import { massLossEndMs } from "./cells.js";
import { type Findings, instanceRepair, namedRepair, noteChange, nothingTouched, planConvergence, planTouched } from "./plan.js";
import { type Repair, ruleHolds } from "./rules.js";
import { ruleNames } from "./table.js";
import {
  cell,
  cellIds,
  cluster,
  desired,
  domains,
  guids,
  keyOf,
  nowMs,
  rowArbitrary,
  shown,
  tablesOf,
  taskGuids,
  time,
} from "./testing/clusters.js";

const taskRules = ["task-expired", "task-disabled", "task-cell-lost", "task-unresolved", "task-callback", "task-over"] as const;

/** Judges every rule for every key there could be, with nothing spared. */
function everyRepair(): Repair[] {
  const repairs: Repair[] = [];
  for (const rule of ["missing", "surplus", "restart", "cell-lost", "evacuating-lost", "outdated"] as const) {
    for (const guid of guids) {
      for (let index = 0; index < 4; index += 1) {
        if (rule === "surplus") for (const presence of presences) repairs.push(instanceRepair(rule, guid, index, presence));
        else repairs.push(instanceRepair(rule, guid, index, rule === "evacuating-lost" ? "EVACUATING" : "ORDINARY"));
      }
    }
  }
  for (const rule of taskRules) for (const name of taskGuids) repairs.push(namedRepair(rule, name));
  for (const name of domains) repairs.push(namedRepair("domain-expired", name));
  for (const name of cellIds) repairs.push(namedRepair("cell-gone", name));
  return repairs;
}

function bruteForce(tables: Tables): Pick<Findings, "repairs" | "due"> {
  const found: Pick<Findings, "repairs" | "due"> = { repairs: [], due: [] };
  for (const repair of everyRepair()) {
    const verdict = ruleHolds(tables, repair, time);
    if (verdict.holds) found.repairs.push(repair);
    else if (verdict.dueAtMs !== undefined) found.due.push({ repair, dueAtMs: verdict.dueAtMs });
  }
  return found;
}

describe("a plan over everything", () => {
  it("judges every rule that there is", () => {
    expect([...new Set(everyRepair().map(({ rule }) => rule))].sort()).toEqual(Object.keys(ruleNames).sort());
  });

  it("finds what judging every rule for every key finds", () => {
    fc.assert(
      fc.property(cluster, (writes) => {
        const tables = tablesOf(writes);
        const plan = planConvergence(tables, time);
        expect(shown(plan)).toEqual(shown(bruteForce(tables)));
        const first = plan.due.length === 0 ? undefined : Math.min(...plan.due.map(({ dueAtMs }) => dueAtMs));
        expect(plan.nextDueMs).toBe(first);
      }),
      { numRuns: 500 },
    );
  });

  it("finds an outdated row also where all is well otherwise", () => {
    const [processGuid, cellId] = [asProcessGuid("p0"), asCellId("c0")];
    const instanceKey = { instanceGuid: asInstanceGuid("i"), cellId };
    const row = actualLRP({ processGuid, state: "RUNNING", instanceKey, metricTags: new Map([["tag", "before"]]) });
    const writes = [put("desiredLRP", desired(0, 1, 0, false)), put("actualLRP", row), put("cell", cell(cellId, undefined))];
    expect(planConvergence(tablesOf(writes), time).repairs).toEqual([instanceRepair("outdated", processGuid, 0)]);
  });

  it("is the same whatever order the records came in", () => {
    fc.assert(
      fc.property(cluster, fc.infiniteStream(fc.nat(1_000)), (writes, shuffle) => {
        // One write for each key, or the order would change the records themselves.
        const unique = [...new Map(writes.map((write) => [`${write.kind}/${write.key}`, write])).values()];
        const shuffled = unique
          .map((write) => ({ write, at: shuffle.next().value }))
          .sort((a, b) => a.at - b.at)
          .map(({ write }) => write);
        expect(planConvergence(tablesOf(shuffled), time).repairs).toEqual(planConvergence(tablesOf(unique), time).repairs);
      }),
    );
  });
});

describe("a plan over what was touched", () => {
  it("finds everything when every record is new", () => {
    fc.assert(
      fc.property(cluster, (writes) => {
        const tables = new Tables();
        const touched = nothingTouched();
        for (const write of writes) {
          const change = tables.apply(write);
          // Domains and flags alone would make it a plan over everything.
          if (change.kind !== "domain" && change.kind !== "featureFlag") noteChange(touched, change);
        }
        const all = planConvergence(tables, time);
        const ofDomain = ({ rule }: Repair): boolean => rule === "domain-expired";
        expect(shown(planTouched(tables, touched, time))).toEqual(
          shown({
            repairs: all.repairs.filter((repair) => !ofDomain(repair)),
            due: all.due.filter(({ repair }) => !ofDomain(repair)),
          }),
        );
      }),
      { numRuns: 300 },
    );
  });

  it("misses nothing that one more change of a row, cell or process makes due", () => {
    fc.assert(
      fc.property(cluster, cluster, (before, after) => {
        const tables = tablesOf(before);
        const earlier = new Set(planConvergence(tables, time).repairs.map(keyOf));
        const touched = nothingTouched();
        for (const write of after) {
          // Hold-back ties cells together, and domains and flags touch everything anyway: see the converger's notes.
          if (write.kind === "actualLRP" || write.kind === "desiredLRP" || write.kind === "task")
            noteChange(touched, tables.apply(write));
        }
        const found = new Set(planTouched(tables, touched, time).repairs.map(keyOf));
        const now = planConvergence(tables, time).repairs.map(keyOf);
        expect(now.filter((key) => !earlier.has(key) && !found.has(key))).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  it("looks only at the cell itself when its last row goes, not at all that is on it", () => {
    const c0 = cellIds[0] ?? asCellId("");
    const row = fc.sample(rowArbitrary, { numRuns: 1, seed: 1 })[0];
    const gone: Change = {
      kind: "actualLRP",
      key: "k",
      before: row && { ...row, instanceKey: { instanceGuid: asInstanceGuid("i"), cellId: c0 } },
      after: undefined,
    };
    const touched = nothingTouched();
    noteChange(touched, gone);
    expect([touched.cells.size, [...touched.emptied]]).toEqual([0, [c0]]);
    expect(planTouched(tablesOf([put("cell", cell(c0, 700_000))]), touched, time).repairs).toEqual([
      namedRepair("cell-gone", c0),
    ]);
  });

  it("notes when a domain's end has moved", () => {
    const name = asDomainName("fresh");
    const touched = nothingTouched();
    noteChange(touched, {
      kind: "domain",
      key: name,
      before: { name, expiresAtMs: undefined },
      after: { name, expiresAtMs: asEpochMs(nowMs + 5) },
    });
    expect([[...touched.renewed], touched.domains.size]).toEqual([[name], 0]);
    const tables = tablesOf([put("domain", { name, expiresAtMs: asEpochMs(nowMs + 5) })]);
    expect(planTouched(tables, touched, time).due).toEqual([{ repair: namedRepair("domain-expired", name), dueAtMs: nowMs + 5 }]);
  });
});

describe("a mass loss (rule C3)", () => {
  const lost = (count: number, live: number, agoMs = 1_000): Tables =>
    tablesOf(
      Array.from({ length: count + live }, (_, at) => put("cell", cell(asCellId(`c${at}`), at < count ? agoMs : undefined))),
    );

  it.each([
    { lostCells: 2, liveCells: 0, agoMs: 1_000, endsInMs: undefined },
    { lostCells: 3, liveCells: 3, agoMs: 1_000, endsInMs: 9_000 },
    { lostCells: 3, liveCells: 4, agoMs: 1_000, endsInMs: undefined },
    { lostCells: 3, liveCells: 0, agoMs: 9_999, endsInMs: 1 },
    { lostCells: 3, liveCells: 0, agoMs: 10_000, endsInMs: undefined },
  ])(
    "$lostCells lost $agoMs ms ago beside $liveCells live ones holds back for $endsInMs ms",
    ({ lostCells, liveCells, agoMs, endsInMs }) => {
      const endMs = massLossEndMs(lost(lostCells, liveCells, agoMs), nowMs);
      expect(endMs === undefined ? undefined : endMs - nowMs).toBe(endsInMs);
    },
  );
});
