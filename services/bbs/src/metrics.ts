// The BBS's metrics: names follow Diego's (docs/operations.md has the table, and a test compares it with what a BBS exports).

import { Counter, Gauge, Histogram, type Registry } from "@muster/shared/metrics";
import type { Change } from "@muster/shared/model";
import { type ConnectionRefusal, connectionRefusals } from "@muster/shared/rpc";
import type { StoreUsage } from "@muster/store";
import type { ActiveBbs } from "./active/active-bbs.js";
import type { JournalMetrics } from "./journal/options.js";
import { type RecordTally, tallyRecords } from "./record-tally.js";

const callSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
/** Label values come from closed sets; cells and domains are counted up to here, the rest under one name. */
const maxNames = 2_000;
const others = "others";
const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export interface BbsMetrics extends JournalMetrics {
  called(call: string, code: string, durationMs: number): void;
  /** A gRPC connection was turned away. */
  refused(why: ConnectionRefusal): void;
  /** A lock or presence was not renewed in time. */
  expired(kind: "lock" | "presence"): void;
  /** This process leads until `lost` aborts. */
  elected(lost: AbortSignal): void;
  /** Gauges read this BBS from now on. */
  follow(active: ActiveBbs): void;
  /** Where open gRPC connections are counted. */
  connections(count: () => number): void;
  /** Where the store's usage was last read; `undefined` while nobody knows. */
  usage(read: () => StoreUsage | undefined): void;
}

export function bbsMetrics(registry: Registry): BbsMetrics {
  const journal = journalMetrics(registry);
  const calls = callMetrics(registry);
  const tasks = taskCounters(registry);
  let lost: AbortSignal | undefined;
  let active: ActiveBbs | undefined;
  let connections = (): number => 0;
  let usage = (): StoreUsage | undefined => undefined;
  const counter = (name: string, help: string): Counter => new Counter({ name, help, registers: [registry] });
  const gauge = (name: string, help: string, read: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  const elections = counter("bbs_elections_total", "Times this process became the active BBS.");
  const expired = {
    lock: counter("locket_locks_expired_total", "Locks that were not renewed in time."),
    presence: counter("locket_presences_expired_total", "Presences of cells that were not renewed in time."),
  };
  gauge("bbs_lock_held", "1 while this BBS leads.", () => (lost === undefined || lost.aborted ? 0 : 1));
  gauge("bbs_grpc_connections", "Open gRPC connections.", () => connections());
  gauge("bbs_desired_lrps", "DesiredLRPs on record.", () => active?.state.tables.desiredLRPs.size ?? 0);
  gauge("locket_active_locks", "Locks that are held.", () => active?.state.tables.locks.size ?? 0);
  gauge("bbs_watchers", "Open watches.", () => active?.feed.watchers ?? 0);
  gauge("bbs_watch_lag_commits", "Commits that the watcher furthest behind has not taken.", () => active?.feed.lag ?? 0);
  gauge("bbs_watch_snapshots", "Snapshots under way.", () => active?.snapshots.taken ?? 0);
  gauge("bbs_cell_sessions", "Open report sessions.", () => active?.sessions ?? 0);
  gauge("bbs_journal_waiting", "Calls that wait for the store.", () => active?.journal.waiting ?? 0);
  gauge("bbs_store_used_bytes", "Bytes the store holds; 0 while unknown.", () => usage()?.usedBytes ?? 0);
  gauge("bbs_store_quota_bytes", "Bytes the store may hold; 0 for no bound.", () => usage()?.allowedBytes ?? 0);
  recordGauges(registry, () => active);
  return {
    ...journal,
    ...calls,
    expired: (kind) => expired[kind].inc(),
    elected: (signal) => {
      lost = signal;
      elections.inc();
    },
    follow: (bbs) => {
      active = bbs;
      bbs.feed.observe(({ changes }) => {
        for (const { change } of changes) tasks(change);
      });
    },
    connections: (count) => {
      connections = count;
    },
    usage: (read) => {
      usage = read;
    },
  };
}

function journalMetrics(registry: Registry): JournalMetrics {
  const registers = [registry];
  const batch = new Histogram({
    name: "bbs_journal_batch_writes",
    help: "Records written by one store commit.",
    buckets: [1, 2, 4, 8, 16, 32, 64, 127, 256, 512],
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
  return {
    committed: (writes, durationMs) => {
      batch.observe(writes);
      commit.observe(durationMs / 1000);
    },
    resent: () => resends.inc(),
  };
}

function callMetrics(registry: Registry): Pick<BbsMetrics, "called" | "refused"> {
  const registers = [registry];
  const calls = new Histogram({
    name: "bbs_request_duration_seconds",
    help: "Time from a call's arrival to its reply, by call and result code.",
    labelNames: ["call", "code"],
    buckets: callSeconds,
    registers,
  });
  const denials = new Counter({
    name: "bbs_permission_denials_total",
    help: "Calls refused because of the caller's certificate.",
    labelNames: ["call"],
    registers,
  });
  const refused = new Counter({
    name: "bbs_connections_refused_total",
    help: "gRPC connections turned away, by reason.",
    labelNames: ["reason"],
    registers,
  });
  for (const reason of connectionRefusals) refused.inc({ reason }, 0);
  return {
    called: (call, code, durationMs) => {
      calls.observe({ call, code }, durationMs / 1000);
      if (code === "PermissionDenied") denials.inc({ call });
    },
    refused: (reason) => refused.inc({ reason }),
  };
}

/** Counts tasks by what their cells did with them. Returns what looks at every committed change. */
function taskCounters(registry: Registry): (change: Change) => void {
  const perCell = (name: string, help: string): Counter<"cell_id"> =>
    new Counter({ name, help, labelNames: ["cell_id"], registers: [registry] });
  const started = perCell("bbs_tasks_started_total", "Tasks that cells started.");
  const succeeded = perCell("bbs_tasks_succeeded_total", "Tasks that ended well on their cell.");
  const failed = perCell("bbs_tasks_failed_total", "Tasks that failed, on their cell or before they reached one (no cell_id).");
  const names = new Set<string>();
  const label = (cellId: string): string => {
    if (names.has(cellId)) return cellId;
    if (names.size >= maxNames) return others;
    names.add(cellId);
    return cellId;
  };
  return (change) => {
    if (change.kind !== "task" || change.after === undefined) return;
    const { before, after } = change;
    if (before?.state === after.state) return;
    const cellId = label(after.cellId ?? before?.cellId ?? "");
    if (after.state === "RUNNING") started.inc({ cell_id: cellId });
    else if (after.state === "COMPLETED") (after.failed ? failed : succeeded).inc({ cell_id: cellId });
  };
}

/** Gauges over all records: one walk serves them all, in slices, at each scrape. */
function recordGauges(registry: Registry, current: () => ActiveBbs | undefined): void {
  let walk: Promise<RecordTally | undefined> | undefined;
  const tally = (): Promise<RecordTally | undefined> => {
    const active = current();
    if (active === undefined) return Promise.resolve(undefined);
    walk ??= tallyRecords(active.state.tables, active.journal.nowMs(), pause).finally(() => {
      walk = undefined;
    });
    return walk;
  };
  const gauge = <Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    fill: (gauge: Gauge<Label>, tally: RecordTally) => void,
  ): Gauge<Label> =>
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      async collect() {
        const counted = await tally();
        this.reset();
        if (counted !== undefined) fill(this as Gauge<Label>, counted);
      },
    });
  gauge("bbs_lrps", "ActualLRP rows by state and presence.", ["state", "presence"], (gauge, { rows }) => {
    for (const [key, count] of rows) {
      const [state = "", presence = ""] = key.toLowerCase().split("/");
      gauge.set({ state, presence }, count);
    }
  });
  gauge("bbs_suspect_lrps", "Suspect rows by state.", ["state"], (gauge, { rows }) => {
    for (const state of ["CLAIMED", "RUNNING"] as const)
      gauge.set({ state: state.toLowerCase() }, rows.get(`${state}/SUSPECT`) ?? 0);
  });
  gauge("bbs_tasks", "Tasks by state.", ["state"], (gauge, { tasks }) => {
    for (const [state, count] of tasks) gauge.set({ state: state.toLowerCase() }, count);
  });
  gauge("bbs_lrps_desired", "Instances desired, over all DesiredLRPs.", [], (gauge, one) => gauge.set(one.instancesDesired));
  gauge("bbs_desired_lrps_crashing", "Processes with a CRASHED instance.", [], (gauge, one) => gauge.set(one.processesCrashing));
  gauge("bbs_cells_present", "Cells with a live presence.", [], (gauge, one) => gauge.set(one.cellsPresent));
  gauge("bbs_cells_suspect", "Cells without one that instances still name.", [], (gauge, one) => gauge.set(one.cellsSuspect));
  gauge("locket_active_presences", "Presences that are held.", [], (gauge, one) => gauge.set(one.cellsPresent));
  gauge("bbs_domain_fresh", "1 while somebody vouches for the domain, else 0.", ["domain"], (gauge, { domains }) => {
    for (const [domain, fresh] of [...domains].slice(0, maxNames)) gauge.set({ domain }, fresh ? 1 : 0);
  });
}
