// The rep's metrics show what the cell does.
import { Registry } from "@muster/shared/metrics";
import { expect, it } from "vitest";
import { repMetrics } from "./metrics.js";
import { openWorld } from "./testing/world.js";

it("tells of containers, capacity and calls, under the documented names", async () => {
  const world = await openWorld();
  await world.placed("p");
  const registry = new Registry();
  const metrics = repMetrics(registry);
  metrics.attach(world.rep);
  metrics.observer.completed();
  metrics.observer.gardenCheck(false);
  metrics.observer.bulkSync(2);
  metrics.observeCall("Perform", "ok", 3);
  const text = await registry.metrics();
  for (const line of [
    "rep_containers 1",
    "rep_containers_starting 0",
    "rep_containers_completed_total 1",
    "rep_garden_healthcheck_failed 1",
    "rep_session_open 1",
    "rep_cell_unhealthy 0",
    'rep_capacity_memory_bytes{kind="remaining"} 1006632960',
    'rep_capacity_containers{kind="allocated"} 1',
    'rep_requests_total{type="Perform",result="ok"} 1',
    "rep_bulk_sync_duration_seconds_sum 0.002",
  ]) {
    expect(text.split("\n")).toContain(line);
  }
  await world.stop();
});
