// The rep's metrics: names of convergence.md 8.3 without their prefix.
import { Counter, Gauge, Histogram, type Registry as MetricsRegistry } from "@muster/shared/metrics";
import type { Rep, RepObserver } from "./rep.js";
import { repCalls } from "./server.js";

const bytesPerMb = 1_048_576;

export interface RepMetrics {
  readonly observer: RepObserver;
  /** Counts and times the calls of the rep's own interface. */
  readonly callBegun: (call: string) => void;
  readonly observeCall: (call: string, code: string, durationMs: number) => void;
  /** Gauges are read off the rep whenever they are asked for. */
  attach(rep: Rep): void;
}

export function repMetrics(registry: MetricsRegistry): RepMetrics {
  const registers = [registry];
  const completed = new Counter({ name: "rep_containers_completed_total", help: "Containers that ended, however.", registers });
  const onTimeout = new Counter({
    name: "rep_containers_exited_on_timeout_total",
    help: "Processes killed because they outlived the graceful interval.",
    registers,
  });
  const bulk = new Histogram({
    name: "rep_bulk_sync_duration_seconds",
    help: "Building one plan over every container and row.",
    buckets: [0.000_1, 0.001, 0.01, 0.1, 1, 10],
    registers,
  });
  const checkFailed = new Gauge({
    name: "rep_garden_healthcheck_failed",
    help: "1 while the garden does not answer.",
    registers,
  });
  const stranded = new Gauge({
    name: "rep_stranded_evacuating_lrps",
    help: "Evacuating rows left when the time for an evacuation was over.",
    registers,
  });
  const started = new Counter({ name: "rep_requests_started_total", help: "Calls begun.", labelNames: ["type"], registers });
  const inFlight = new Gauge({
    name: "rep_requests_in_flight",
    help: "Calls under way; a State is as long as somebody follows it.",
    labelNames: ["type"],
    registers,
  });
  const requests = new Counter({
    name: "rep_requests_total",
    help: "Calls ended, by result: ok, or the kind of error.",
    labelNames: ["type", "result"],
    registers,
  });
  const durations = new Histogram({ name: "rep_request_duration_seconds", help: "Calls.", labelNames: ["type"], registers });
  for (const type of repCalls) {
    started.inc({ type }, 0);
    inFlight.set({ type }, 0);
    requests.inc({ type, result: "ok" }, 0);
  }
  return {
    observer: {
      completed: () => completed.inc(),
      exitedOnTimeout: () => onTimeout.inc(),
      bulkSync: (ms) => bulk.observe(ms / 1_000),
      gardenCheck: (ok) => checkFailed.set(ok ? 0 : 1),
      stranded: (count) => stranded.set(count),
    },
    callBegun: (type) => {
      started.inc({ type });
      inFlight.inc({ type });
    },
    observeCall: (type, result, ms) => {
      inFlight.dec({ type });
      requests.inc({ type, result });
      durations.observe({ type }, ms / 1_000);
    },
    attach: (rep) => attachGauges(rep, registers),
  };
}

function attachGauges(rep: Rep, registers: MetricsRegistry[]): void {
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge("rep_evacuating", "1 while the cell is being emptied.", () => (rep.condition.evacuating ? 1 : 0));
  gauge("rep_containers", "Containers the cell holds.", () => rep.registry.size);
  gauge("rep_containers_starting", "Containers reserved, initializing or created.", () => rep.registry.startingCount);
  gauge("rep_cell_unhealthy", "1 while the cell takes no work.", () => (rep.condition.unhealthyReason === undefined ? 0 : 1));
  gauge("rep_session_open", "1 while the BBS knows what this cell holds.", () => (rep.connected ? 1 : 0));
  const capacity = (name: string, help: string, total: number, remaining: () => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ["kind"],
      registers,
      collect() {
        this.set({ kind: "total" }, total);
        this.set({ kind: "remaining" }, remaining());
        this.set({ kind: "allocated" }, total - remaining());
      },
    });
  };
  attachContainers(rep, registers);
  const { total } = rep.registry;
  capacity(
    "rep_capacity_memory_bytes",
    "Memory for containers.",
    total.memoryMb * bytesPerMb,
    () => rep.registry.remaining().memoryMb * bytesPerMb,
  );
  capacity(
    "rep_capacity_disk_bytes",
    "Disk for containers.",
    total.diskMb * bytesPerMb,
    () => rep.registry.remaining().diskMb * bytesPerMb,
  );
  capacity("rep_capacity_containers", "Containers.", total.containers, () => rep.registry.remaining().containers);
}

type Measured = Awaited<ReturnType<Rep["containerMetrics"]>>[number];

/**
 * One series for each container and kind, as container monitors have it: their number is bounded by the cell's capacity, and they go with
 * their container. Counters of the kernel stay counters: rates are the reader's part.
 */
function attachContainers(rep: Rep, registers: MetricsRegistry[]): void {
  const labelNames = ["process_guid", "index", "instance_guid", "task_guid"];
  const gauge = (name: string, help: string, read: (one: Measured) => number): void => {
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      async collect() {
        const containers = await rep.containerMetrics();
        this.reset();
        for (const one of containers) {
          const labels = {
            process_guid: one.processGuid,
            index: one.taskGuid === "" ? String(one.index) : "",
            instance_guid: one.instanceGuid,
            task_guid: one.taskGuid,
          };
          this.set(labels, read(one));
        }
      },
    });
  };
  const seconds = (ns: bigint): number => Number(ns / 1_000n) / 1_000_000;
  gauge("rep_container_memory_bytes", "Memory a container uses.", (one) => Number(one.memoryUsageBytes));
  gauge("rep_container_memory_quota_bytes", "Memory it may use; 0: no limit.", (one) => Number(one.memoryQuotaBytes));
  gauge("rep_container_disk_bytes", "Disk a container uses.", (one) => Number(one.diskUsageBytes));
  gauge("rep_container_disk_quota_bytes", "Disk it may use; 0: no limit.", (one) => Number(one.diskQuotaBytes));
  gauge("rep_container_cpu_seconds", "CPU time a container has used since it was made.", (one) => seconds(one.cpuTimeNs));
  gauge("rep_container_age_seconds", "Since a container was made.", (one) => seconds(one.ageNs));
}
