// The BBS's metrics; names are in docs/operations.md.
import { Counter, Gauge, Histogram, type Registry } from "@muster/shared/metrics";
import type { ActiveBbs } from "./active/active-bbs.js";
import type { JournalMetrics } from "./journal/journal.js";

const callSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

export interface BbsMetrics extends JournalMetrics {
  called(call: string, code: string, durationMs: number): void;
  /** Gauges read this BBS from now on. */
  follow(active: ActiveBbs): void;
}

export function bbsMetrics(registry: Registry): BbsMetrics {
  const registers = [registry];
  const calls = new Histogram({
    name: "bbs_request_duration_seconds",
    help: "Time from a call's arrival to its reply, by call and result code.",
    labelNames: ["call", "code"],
    buckets: callSeconds,
    registers,
  });
  const batch = new Histogram({
    name: "bbs_journal_batch_writes",
    help: "Records written by one store commit.",
    buckets: [1, 2, 4, 8, 16, 32, 64, 127],
    registers,
  });
  const commit = new Histogram({
    name: "bbs_journal_commit_duration_seconds",
    help: "Time of one store commit, resends included.",
    buckets: callSeconds,
    registers,
  });
  const resends = new Counter({
    name: "bbs_journal_resends_total",
    help: "Commits sent again because their outcome was unknown.",
    registers,
  });
  let active: ActiveBbs | undefined;
  const gauge = (name: string, help: string, read: (bbs: ActiveBbs) => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(active === undefined ? 0 : read(active));
      },
    });
  gauge("bbs_lock_held", "1 while this BBS leads.", () => 1);
  gauge("bbs_cells_present", "Cells with a live presence.", (bbs) => {
    let live = 0;
    for (const cell of bbs.state.tables.cells.values()) if (cell.lostAtMs === undefined) live += 1;
    return live;
  });
  gauge("bbs_desired_lrps", "DesiredLRPs on record.", (bbs) => bbs.state.tables.desiredLRPs.size);
  gauge("bbs_lrps_desired", "Instances desired, over all DesiredLRPs.", (bbs) => {
    let sum = 0;
    for (const desired of bbs.state.tables.desiredLRPs.values()) sum += desired.instances;
    return sum;
  });
  new Gauge({
    name: "bbs_lrps",
    help: "ActualLRP rows by state and presence.",
    labelNames: ["state", "presence"],
    registers,
    collect() {
      this.reset();
      for (const row of active?.state.tables.actualLRPs.values() ?? []) {
        this.inc({ state: row.state.toLowerCase(), presence: row.presence.toLowerCase() });
      }
    },
  });
  gauge("bbs_watchers", "Open watches.", (bbs) => bbs.feed.watchers);
  gauge("bbs_cell_sessions", "Open report sessions.", (bbs) => bbs.sessions);
  gauge("bbs_journal_waiting", "Calls that wait for the store.", (bbs) => bbs.journal.waiting);
  return {
    called: (call, code, durationMs) => calls.observe({ call, code }, durationMs / 1000),
    committed: (writes, durationMs) => {
      batch.observe(writes);
      commit.observe(durationMs / 1000);
    },
    resent: () => resends.inc(),
    follow: (bbs) => {
      active = bbs;
    },
  };
}
