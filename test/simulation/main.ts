// `pnpm sim --seeds 1000 [--from 1] [--cells 4] [--ticks 1200] [--echo]`: runs many seeds, one after the other, and prints one JSON
// document: what failed, with the seeds that replay it, and how often each fault happened. Exits 1 when a seed failed.
import { parseArgs } from "node:util";
import { systemClock } from "@muster/shared/clock";
import { type RunReport, simulate } from "./scenario.js";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: process.env.SIM_SEED ?? "1" },
    cells: { type: "string", default: "4" },
    ticks: { type: "string", default: "1200" },
    echo: { type: "boolean", default: false },
  },
});

const add = (into: Record<string, number>, counts: Readonly<Record<string, number>>): void => {
  for (const [name, count] of Object.entries(counts)) into[name] = (into[name] ?? 0) + count;
};

const startedMs = systemClock.elapsedMs();
const failed: Pick<RunReport, "seed" | "failure">[] = [];
const faults: Record<string, number> = {};
const events: Record<string, number> = {};
const client: Record<string, number> = {};
let longestDoubleMs = 0;
const healedMs: number[] = [];
let simulatedMs = 0;
let commits = 0;
const first = Number(values.from);
const seeds = process.env.SIM_SEED === undefined ? Number(values.seeds) : 1;
const echo = values.echo ? { echo: (line: string) => process.stderr.write(`${line}\n`) } : {};
for (let seed = first; seed < first + seeds; seed += 1) {
  const report = await simulate({ seed, cells: Number(values.cells), hurtTicks: Number(values.ticks), ...echo });
  add(faults, report.faults);
  add(events, report.events);
  add(client, report.client);
  longestDoubleMs = Math.max(longestDoubleMs, report.longestDoubleMs);
  if (report.ok) healedMs.push(report.healedMs);
  simulatedMs += report.simulatedMs;
  commits += Number(report.commits);
  if (report.ok) continue;
  failed.push({ seed, failure: report.failure });
  process.stderr.write(`seed ${seed} failed\n`);
}
const seconds = (ms: number): number => Math.round(ms / 1_000);
healedMs.sort((a, b) => a - b);
const quantile = (share: number): number | undefined =>
  healedMs[Math.min(healedMs.length - 1, Math.floor(share * healedMs.length))];
const summary = {
  seeds,
  from: first,
  failed,
  faults,
  events,
  healed_ms: { median: quantile(0.5), p90: quantile(0.9), most: quantile(1) },
  longest_double_ms: longestDoubleMs,
  client,
  commits,
  simulated_seconds: seconds(simulatedMs),
  seconds: seconds(systemClock.elapsedMs() - startedMs),
};
process.stdout.write(`${JSON.stringify(summary, undefined, 2)}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
