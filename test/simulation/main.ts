// `pnpm sim --seeds 1000 [--from 1] [--cells 4] [--ticks 1200] [--faults a,b] [--shrink] [--echo]`: runs many seeds, one after the
// other, and prints one JSON document: what failed, with the seeds that replay it, and how often each fault happened. `--faults` leaves
// out all others (`none`: all), `--shrink` looks for a shorter run of each that failed. Exits 1 when a seed failed.
import { parseArgs } from "node:util";
import { systemClock } from "@muster/shared/clock";
import { manyFaults, noFaults } from "./faults.js";
import { type RunReport, type ScenarioOptions, simulate } from "./scenario.js";
import { shrink, shrunkText } from "./shrink.js";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: process.env.SIM_SEED ?? "1" },
    cells: { type: "string", default: "4" },
    ticks: { type: "string", default: "1200" },
    faults: { type: "string" },
    shrink: { type: "boolean", default: false },
    echo: { type: "boolean", default: false },
  },
});

const add = (into: Record<string, number>, counts: Readonly<Record<string, number>>): void => {
  for (const [name, count] of Object.entries(counts)) into[name] = (into[name] ?? 0) + count;
};

const startedMs = systemClock.elapsedMs();
const failed: (Pick<RunReport, "seed" | "failure"> & { shorter?: string })[] = [];
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
const wished = values.faults?.split(",");
const { delayMs, failCreate } = manyFaults;
const kept = Object.entries(manyFaults).filter(([kind]) => wished?.includes(kind));
const faultOptions = wished === undefined ? {} : { faults: { ...noFaults, delayMs, failCreate, ...Object.fromEntries(kept) } };
for (let seed = first; seed < first + seeds; seed += 1) {
  const options: ScenarioOptions = {
    seed,
    cells: Number(values.cells),
    hurtTicks: Number(values.ticks),
    ...faultOptions,
    ...echo,
  };
  const report = await simulate(options);
  add(faults, report.faults);
  add(events, report.events);
  add(client, report.client);
  longestDoubleMs = Math.max(longestDoubleMs, report.longestDoubleMs);
  if (report.ok) healedMs.push(report.healedMs);
  simulatedMs += report.simulatedMs;
  commits += Number(report.commits);
  if (report.ok) continue;
  process.stderr.write(`seed ${seed} failed\n`);
  const shorter = values.shrink ? { shorter: shrunkText(await shrink(report, options)) } : {};
  failed.push({ seed, failure: report.failure, ...shorter });
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
