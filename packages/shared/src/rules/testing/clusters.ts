// Random small clusters, as writes, and plans as texts, for the tests of plans.
import fc from "fast-check";
import {
  type ActualLRP,
  asCellId,
  asDomainName,
  asEpochMs,
  asEpochNs,
  asInstanceGuid,
  asProcessGuid,
  asTaskGuid,
  type Cell,
  type DesiredLRP,
  lrpStates,
  presences,
  put,
  Tables,
  type Task,
  type Write,
} from "../../model/index.js";
import { actualLRP, cell as cellRecord, desiredLRP, task as taskRecord } from "../../testing/index.js";
import type { CellTime } from "../cells.js";
import type { Findings } from "../plan.js";
import type { Repair } from "../rules.js";

export const nowMs = asEpochMs(1_700_000_000_000);
export const time: CellTime = { nowMs, graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(nowMs - 60_000) };
export const guids = ["p0", "p1", "p2"].map(asProcessGuid);
export const cellIds = ["c0", "c1", "c2", "c3"].map(asCellId);
export const taskGuids = ["t0", "t1", "t2"].map(asTaskGuid);
export const domains = ["fresh", "stale", "expired"].map(asDomainName);

export const desired = (at: number, instances: number, domain: number, docker: boolean): DesiredLRP =>
  desiredLRP({
    processGuid: guids[at] ?? asProcessGuid(""),
    domain: domains[domain] ?? asDomainName(""),
    instances,
    rootFs: docker ? "docker:///x" : "preloaded:x",
    metricTags: new Map([["tag", { static: "now" }]]),
  });

export const cell = (cellId: Cell["cellId"], lostAgoMs: number | undefined): Cell =>
  cellRecord({ cellId, lostAtMs: lostAgoMs === undefined ? undefined : asEpochMs(nowMs - lostAgoMs) });

export const rowArbitrary: fc.Arbitrary<ActualLRP> = fc
  .record({
    at: fc.nat(2),
    index: fc.nat(3),
    domain: fc.nat(2),
    presence: fc.constantFrom(...presences),
    state: fc.constantFrom(...lrpStates),
    // One more than there are cells with records: rows may name a cell nobody knows.
    cell: fc.nat(4),
    crashCount: fc.constantFrom(1, 3, 8, 200),
    agoMs: fc.constantFrom(0, 29_999, 30_000, 2_000_000),
    stopMarked: fc.boolean(),
    updateMarked: fc.boolean(),
    tag: fc.constantFrom("now", "before"),
  })
  .map(({ at, index, domain, presence, state, cell, crashCount, agoMs, stopMarked, updateMarked, tag }) => {
    const placed = presence !== "ORDINARY" || state === "CLAIMED" || state === "RUNNING";
    return actualLRP({
      processGuid: guids[at] ?? asProcessGuid(""),
      index,
      domain: domains[domain] ?? asDomainName(""),
      presence,
      state: presence === "ORDINARY" ? state : "RUNNING",
      instanceKey: placed ? { instanceGuid: asInstanceGuid("i"), cellId: cellIds[cell] ?? asCellId("unknown") } : undefined,
      crashCount,
      sinceNs: asEpochNs(BigInt(nowMs - agoMs) * 1_000_000n),
      stopMarked: placed && stopMarked,
      updateMarked: placed && updateMarked,
      metricTags: new Map(placed ? [["tag", tag]] : []),
    });
  });

const taskArbitrary: fc.Arbitrary<Task> = fc
  .record({
    at: fc.nat(2),
    state: fc.constantFrom("PENDING" as const, "RUNNING" as const, "COMPLETED" as const, "RESOLVING" as const),
    cell: fc.nat(4),
    agoMs: fc.constantFrom(0, 29_999, 30_000, 119_999, 120_000, 1_800_000),
    completedAgoMs: fc.constantFrom(0, 60_000, 120_000),
    docker: fc.boolean(),
    callback: fc.boolean(),
  })
  .map(({ at, state, cell, agoMs, completedAgoMs, docker, callback }) => {
    const sinceNs = asEpochNs(BigInt(nowMs - agoMs) * 1_000_000n);
    return taskRecord({
      taskGuid: taskGuids[at] ?? asTaskGuid(""),
      state,
      cellId: state === "RUNNING" ? (cellIds[cell] ?? asCellId("unknown")) : undefined,
      createdAtNs: sinceNs,
      updatedAtNs: sinceNs,
      firstCompletedAtNs: asEpochNs(BigInt(nowMs - completedAgoMs) * 1_000_000n),
      rootFs: docker ? "docker:///x" : "preloaded:x",
      completionCallbackUrl: callback ? "http://127.0.0.1/" : "",
    });
  });

/** Every record of a small cluster, as writes. */
export const cluster: fc.Arbitrary<Write[]> = fc
  .record({
    desired: fc.array(fc.tuple(fc.nat(2), fc.nat(3), fc.nat(2), fc.boolean()), { maxLength: 3 }),
    rows: fc.array(rowArbitrary, { maxLength: 12 }),
    tasks: fc.array(taskArbitrary, { maxLength: 4 }),
    cells: fc.array(
      fc.tuple(fc.nat(3), fc.option(fc.constantFrom(0, 9_999, 10_000, 15_000, 700_000), { nil: undefined, freq: 2 })),
      {
        maxLength: 4,
      },
    ),
    docker: fc.boolean(),
  })
  .map(({ desired: lrps, rows, tasks, cells, docker }) => [
    ...lrps.map((lrp) => put("desiredLRP", desired(...lrp))),
    ...rows.map((row) => put("actualLRP", row)),
    ...tasks.map((task) => put("task", task)),
    ...cells.map(([at, lostAgoMs]) => put("cell", cell(cellIds[at] ?? asCellId(""), lostAgoMs))),
    put("domain", { name: asDomainName("fresh"), expiresAtMs: asEpochMs(nowMs + 1) }),
    put("domain", { name: asDomainName("expired"), expiresAtMs: nowMs }),
    put("featureFlag", { name: "diego_docker", enabled: docker }),
  ]);

export function tablesOf(writes: readonly Write[]): Tables {
  const tables = new Tables();
  tables.applyAll(writes);
  return tables;
}

export const keyOf = ({ rule, processGuid, index, presence, name }: Repair): string =>
  [rule, processGuid, index, presence, name].join("/");

/** Findings as sorted texts, so that they can be compared. */
export const shown = (findings: Pick<Findings, "repairs" | "due">): unknown => ({
  repairs: findings.repairs.map(keyOf).sort(),
  due: findings.due.map(({ repair, dueAtMs }) => `${keyOf(repair)} in ${dueAtMs - nowMs}`).sort(),
});
