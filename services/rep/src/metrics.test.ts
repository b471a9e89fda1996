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
  metrics.observer.stranded(2);
  for (const call of ["State", "Perform", "Perform", "Perform"]) metrics.callBegun(call);
  metrics.observeCall("Perform", "ok", 3);
  metrics.observeCall("Perform", "InvalidRequest", 1);
  const text = await registry.metrics();
  for (const line of [
    "rep_containers 1",
    "rep_containers_starting 0",
    "rep_containers_completed_total 1",
    "rep_garden_healthcheck_failed 1",
    "rep_session_open 1",
    "rep_stranded_evacuating_lrps 2",
    "rep_evacuating 0",
    "rep_cell_unhealthy 0",
    'rep_capacity_memory_bytes{kind="remaining"} 1006632960',
    'rep_capacity_containers{kind="allocated"} 1',
    'rep_requests_started_total{type="Perform"} 3',
    'rep_requests_in_flight{type="Perform"} 1',
    'rep_requests_in_flight{type="State"} 1',
    'rep_requests_started_total{type="Evacuate"} 0',
    'rep_requests_total{type="Perform",result="ok"} 1',
    'rep_requests_total{type="Perform",result="InvalidRequest"} 1',
    'rep_requests_total{type="State",result="ok"} 0',
    'rep_request_duration_seconds_count{type="Perform"} 2',
    "rep_bulk_sync_duration_seconds_sum 0.002",
  ]) {
    expect(text.split("\n")).toContain(line);
  }
  await world.stop();
});

it("tells what each container uses, and forgets it with the container", async () => {
  const world = await openWorld();
  const guid = await world.placed("p");
  await world.clock.advance(9_000);
  const registry = new Registry();
  repMetrics(registry).attach(world.rep);
  const labels = `{process_guid="p",index="0",instance_guid="${guid}",task_guid=""}`;
  const lines = (await registry.metrics()).split("\n");
  expect(lines).toContain(`rep_container_memory_bytes${labels} 16777216`);
  expect(lines).toContain(`rep_container_memory_quota_bytes${labels} 67108864`);
  expect(lines).toContain(`rep_container_disk_bytes${labels} 4096`);
  const age = Number(
    lines
      .find((line) => line.startsWith("rep_container_age_seconds{"))
      ?.split(" ")
      .at(-1),
  );
  expect(age).toBeGreaterThan(9);
  expect(
    Number(
      lines
        .find((line) => line.startsWith("rep_container_cpu_seconds{"))
        ?.split(" ")
        .at(-1),
    ),
  ).toBeCloseTo(age / 10, 1);
  world.rep.stopInstance("p", guid);
  await world.clock.advance(5_000);
  expect(await registry.metrics()).not.toContain(guid);
  await world.stop();
});
