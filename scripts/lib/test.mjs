// `npm test`: everything a change must pass, each step timed, with one plain line of figures at the very end.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Refusal, run, say, takeSignals } from "./run.mjs";
import { ensureSystemPackages, neededForTests } from "./system-packages.mjs";
import { prepareWorkspace, root } from "./workspace.mjs";

const minutes = (n) => n * 60_000;
const nothing = { passed: 0, failed: 0 };

/** Limits are twice what the steps may take on two cores (lint and proto 1, unit and contract 6, simulation 4, cluster 8 minutes). */
const steps = [
  { name: "lint", work: () => node("node_modules/@biomejs/biome/bin/biome", ["check", "--error-on-warnings", "."], minutes(2)) },
  { name: "proto", work: () => node("scripts/proto.mjs", ["check"], minutes(3)) },
  { name: "unit, contract", work: () => vitest(["unit", "contract"], minutes(12)) },
  { name: "simulation", work: () => vitest(["simulation"], minutes(8)) },
  { name: "cluster", work: () => vitest(["cluster"], minutes(16)) },
];

/** @returns {Promise<number>} 0 when every step held, 1 when one failed, 2 for arguments it does not know. */
export async function test(args) {
  if (args.length > 0)
    throw new Refusal(
      "npm test takes no arguments; parts of it: npm run lint | test:unit | test:contract | test:sim | test:cluster",
      2,
    );
  takeSignals();
  const results = [];
  const prepare = async () => {
    await ensureSystemPackages(neededForTests);
    await prepareWorkspace();
    return nothing;
  };
  for (const step of [{ name: "install, build", work: prepare }, ...steps]) {
    say(`test: ${step.name}`);
    results.push({ name: step.name, ...(await timed(step.work)) });
    if (results.length === 1 && !results[0].ok) break;
  }
  return report(results);
}

async function timed(work) {
  const begun = performance.now();
  const seconds = () => (performance.now() - begun) / 1000;
  try {
    const counts = await work();
    return { ok: counts.failed === 0, counts, seconds: seconds() };
  } catch (error) {
    if (!(error instanceof Refusal) || error.exitCode > 128) throw error;
    say(error.message);
    return { ok: false, counts: nothing, seconds: seconds() };
  }
}

function report(results) {
  const sum = (pick) => results.reduce((total, result) => total + pick(result.counts), 0);
  const passed = sum((counts) => counts.passed);
  const failed = sum((counts) => counts.failed);
  for (const { name, ok, seconds } of results)
    say(`${name.padEnd(16)} ${ok ? "ok    " : "FAILED"} ${seconds.toFixed(1).padStart(7)} s`);
  if (passed + failed === 0) say("no test was run");
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  return results.every((result) => result.ok) && passed > 0 ? 0 : 1;
}

async function node(script, args, limitMs) {
  const { code } = await run(process.execPath, [script, ...args], { cwd: root, limitMs, output: "inherit" });
  if (code !== 0) throw new Refusal(`${path.basename(script)} ended with exit ${code}`);
  return nothing;
}

/** Runs vitest projects and counts what they say in their report, not what their exit code lets one guess. */
async function vitest(projects, limitMs) {
  const folder = await mkdtemp(path.join(tmpdir(), "muster-test-"));
  try {
    const file = path.join(folder, "report.json");
    const args = [
      "run",
      ...projects.flatMap((name) => ["--project", name]),
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${file}`,
    ];
    const { code } = await run(process.execPath, ["node_modules/vitest/vitest.mjs", ...args], {
      cwd: root,
      limitMs,
      output: "inherit",
    });
    return count(code, JSON.parse(await readFile(file, "utf8").catch(() => "{}")));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * A file that could not be loaded, an error outside any test and a run without a test each count as one failure, and so does
 * every test that was skipped: a suite that steps aside where a tool is missing would prove nothing.
 */
export function count(exitCode, { numPassedTests: passed = 0, testResults = [] }) {
  const tests = testResults.flatMap((file) => file.assertionResults);
  const left = tests.filter((test) => test.status !== "passed" && test.status !== "failed");
  for (const test of left) say(`not run (${test.status}): ${test.fullName}`);
  const broken = testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.every((test) => test.status !== "failed"),
  );
  const failed = tests.filter((test) => test.status === "failed").length + left.length + broken.length;
  return { passed, failed: failed === 0 && (exitCode !== 0 || passed === 0) ? 1 : failed };
}
