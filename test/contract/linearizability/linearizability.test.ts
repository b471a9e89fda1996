// Two real BBSs on a real etcd are killed, frozen and thawed under twelve clients: every answer fits one order of all calls.
import { expect, it } from "vitest";
import { faultNames } from "./cluster.js";
import { runLinearizability } from "./run.js";

/** Long enough for every kind of fault once; a longer run: `node test/dist/contract/linearizability/main.js --seconds 300`. */
const seconds = 10;

it("under faults of every kind calls are linearizable, and nothing acknowledged is lost", async () => {
  const report = await runLinearizability({ seed: Number(process.env.LINEARIZABILITY_SEED ?? 1), seconds });
  console.info(JSON.stringify({ ...report, violations: report.violations.length }));
  expect(report.violations).toEqual([]);
  expect(report).toMatchObject({ undecided_keys: 0, acknowledged_writes_lost: 0, stale_reads: 0, invented_reads: 0 });
  // It was a test: every fault happened, a deposed BBS ended as such, and clients got something done.
  expect(Object.keys(report.faults).sort()).toEqual([...faultNames].sort());
  expect(report.bbs_exits["75"]).toBeGreaterThan(0);
  expect(report.calls.acknowledged_writes).toBeGreaterThan(400);
  expect(report.calls.unknown).toBeGreaterThan(0);
  expect(report.task_keys).toBeGreaterThan(0);
}, 300_000);
