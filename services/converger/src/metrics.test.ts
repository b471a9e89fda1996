// The metrics table of the README against what a converger exports.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Registry } from "@muster/shared/metrics";
import { expect, it } from "vitest";
import { convergerMetrics } from "./metrics.js";

const readme = fileURLToPath(new URL("../README.md", import.meta.url));

it("are those of the table in the README, labels included", () => {
  const registry = new Registry();
  convergerMetrics(registry);
  const exported = registry.getMetricsAsArray().map((metric) => {
    const { name, labelNames } = metric as typeof metric & { readonly labelNames: readonly string[] };
    return labelNames.length === 0 ? name : `${name}{${labelNames.join(",")}}`;
  });
  const rows = readFileSync(readme, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  const documented = rows.flatMap((row) => [...(row.split("|")[1] ?? "").matchAll(/`([^`]+)`/g)].map(([, name]) => name));
  expect(documented.sort()).toEqual(exported.sort());
});
