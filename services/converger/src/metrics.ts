// What the converger counts (convergence.md 8.1, with our prefix).
import { Counter, Gauge, Histogram, type Registry } from "@muster/shared/metrics";

export const convergerMetrics = (registry: Registry) => ({
  runs: new Counter({
    name: "converger_lrp_convergence_runs_total",
    help: "Finished full cycles.",
    registers: [registry],
  }),
  duration: new Histogram({
    name: "converger_lrp_convergence_duration_seconds",
    help: "A full cycle: its plan and the repairs it asked for.",
    buckets: [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20],
    registers: [registry],
  }),
  planDuration: new Histogram({
    name: "converger_plan_duration_seconds",
    help: "One plan: over what changes touched, over all open keys (each cycle), or over every record.",
    labelNames: ["scope"],
    buckets: [0.0001, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    registers: [registry],
  }),
  planDifferences: new Counter({
    name: "converger_plan_differences_total",
    help: "Repairs on which the open keys and a look at every record did not agree: a mistake of ours.",
    registers: [registry],
  }),
  actions: new Counter({
    name: "converger_convergence_actions_total",
    help: "Repairs by rule, and what the BBS answered.",
    labelNames: ["rule", "result"],
    registers: [registry],
  }),
  tasksKicked: new Counter({
    name: "converger_convergence_tasks_kicked_total",
    help: "Tasks failed, or called back again.",
    registers: [registry],
  }),
  tasksPruned: new Counter({
    name: "converger_convergence_tasks_pruned_total",
    help: "Completed tasks that went of age.",
    registers: [registry],
  }),
  repairCallsFailed: new Counter({
    name: "converger_repair_calls_failed_total",
    help: "Repair calls without an answer; their repairs are judged and sent again.",
    registers: [registry],
  }),
  missing: new Gauge({
    name: "converger_lrps_missing",
    help: "Wanted indices without an Ordinary row, as the last full cycle found them.",
    registers: [registry],
  }),
  extra: new Gauge({
    name: "converger_lrps_extra",
    help: "Rows that are not wanted and not yet told to stop, as the last full cycle found them.",
    registers: [registry],
  }),
  oldestUnplaced: new Gauge({
    name: "converger_oldest_unplaced_seconds",
    help: "For how long the oldest wanted UNCLAIMED instance has been as it is, as the last full cycle found it; 0: none.",
    registers: [registry],
  }),
  waiting: new Gauge({
    name: "converger_repairs_waiting",
    help: "Repairs whose time has not come: crashed instances in their back-off, cells held back, domains.",
    registers: [registry],
  }),
  synced: new Gauge({
    name: "converger_watch_synced",
    help: "1 once the BBS's records are mirrored.",
    registers: [registry],
  }),
  lockHeld: new Gauge({
    name: "converger_lock_held",
    help: "1 while this converger holds its lock.",
    registers: [registry],
  }),
});

export type ConvergerMetrics = ReturnType<typeof convergerMetrics>;
