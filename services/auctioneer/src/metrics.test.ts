// The auctioneer's metrics: those that the README promises, and what they count.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Registry } from "@muster/shared/metrics";
import { put } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { auctioneerMetrics } from "./metrics.js";
import {
  communicationError,
  failureReasonOf,
  failureReasons,
  inFlightError,
  placementTagError,
  resourceError,
  rootFSError,
  volumeDriverError,
} from "./plan/placement-errors.js";
import { desired, FakeWorld, row } from "./runner/testing/world.js";

const readme = fileURLToPath(new URL("../README.md", import.meta.url));

it("are those of the table in the README, labels included", () => {
  const registry = new Registry();
  auctioneerMetrics(registry);
  const exported = registry.getMetricsAsArray().map((metric) => {
    const { name, labelNames } = metric as typeof metric & { readonly labelNames: readonly string[] };
    return labelNames.length === 0 ? name : `${name}{${labelNames.join(",")}}`;
  });
  const rows = readFileSync(readme, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  const documented = rows.flatMap((line) => [...(line.split("|")[1] ?? "").matchAll(/`([^`]+)`/g)].map(([, name]) => name));
  expect(documented.sort()).toEqual(exported.sort());
  const reasons = rows.find((line) => line.includes("placement_failures"))?.split("|")[2] ?? "";
  expect([...reasons.matchAll(/`([^`]+)`/g)].map(([, name]) => name).sort()).toEqual([...failureReasons].sort());
});

it("tell why work fails, how much of it, and for how long the oldest has waited", async () => {
  const world = new FakeWorld();
  world.addCell("a");
  await world.start();
  const line = async (name: string): Promise<number | undefined> => {
    const found = (await world.registry.metrics()).split("\n").find((text) => text.startsWith(`${name} `));
    return found === undefined ? undefined : Number(found.slice(name.length + 1));
  };
  expect(await line("auctioneer_longest_wait_seconds")).toBe(0);
  world.write(put("desiredLRP", desired({ memoryMb: 101 })), put("actualLRP", row(0)), put("actualLRP", row(1)));
  await world.clock.advance(4_000);
  world.write(put("actualLRP", row(2)));
  await world.clock.advance(1_000);
  const failed = await line('auctioneer_lrp_auctions_total{result="failed"}');
  // Three instances; some are tried again while the row does not show their failure.
  expect(failed).toBeGreaterThanOrEqual(3);
  expect(await line('auctioneer_placement_failures_total{kind="lrp",reason="memory"}')).toBe(failed);
  expect(await line('auctioneer_placement_failures_total{kind="lrp",reason="disk"}')).toBe(0);
  expect(await line('auctioneer_placement_failures_total{kind="task",reason="memory"}')).toBe(0);
  expect(await line("auctioneer_longest_wait_seconds")).toBeCloseTo(5, 0);
  expect(await line("auctioneer_auction_duration_seconds_count")).toBeGreaterThanOrEqual(2);
  await world.stop();
});

describe("a placement error comes to", () => {
  it.each([
    [communicationError, "no-cells"],
    [rootFSError, "rootfs"],
    [volumeDriverError, "volume-drivers"],
    [placementTagError([]), "placement-tags"],
    [placementTagError(["a", "b"]), "placement-tags"],
    [resourceError(["memory"]), "memory"],
    [resourceError(["disk"]), "disk"],
    [resourceError(["containers"]), "containers"],
    [resourceError(["disk", "memory"]), "several-resources"],
    [resourceError([]), "several-resources"],
    [inFlightError, "in-flight-limit"],
  ])("%s: %s", (error, reason) => {
    expect(failureReasonOf(error)).toBe(reason);
  });
});
