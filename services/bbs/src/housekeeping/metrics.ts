// What housekeeping tells Prometheus beside size and quota (../metrics.ts); names are in docs/operations.md.
import { Counter, Gauge, type Registry } from "@muster/shared/metrics";
import type { Housekeeper } from "./housekeeper.js";
import { spaceLevels } from "./space.js";

/** Gauges and counters read the housekeeper whenever they are collected. */
export function housekeepingMetrics(registry: Registry, keeper: Housekeeper): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge("bbs_store_file_bytes", "Bytes of the store's file that count against its bound.", () => keeper.usage?.fileBytes ?? 0);
  gauge("bbs_store_space_level", `How full the store is: ${spaceLevels.map((level, n) => `${n} ${level}`).join(", ")}.`, () =>
    spaceLevels.indexOf(keeper.level),
  );
  const counter = (name: string, help: string, read: () => number): Counter =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  counter("bbs_store_usage_failures_total", "Looks at the store's size that it did not answer.", () => keeper.failures);
  counter("bbs_desires_refused_total", "Desires refused because the store is nearly full.", () => keeper.refused);
  new Counter({
    name: "bbs_store_compactions_total",
    help: "Compactions of the store's history, by result.",
    labelNames: ["result"],
    registers,
    collect() {
      this.reset();
      this.inc({ result: "done" }, keeper.usage?.compactions.done ?? 0);
      this.inc({ result: "failed" }, keeper.usage?.compactions.failed ?? 0);
    },
  });
}
