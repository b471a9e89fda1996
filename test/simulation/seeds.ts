// The suite's seeds, halved over two test files so that two cores run them side by side. SIM_SEED=n replays one, SIM_ECHO=1 prints it.
import { describe, expect, it } from "vitest";
import { eventKinds } from "./events.js";
import { manyFaults } from "./faults.js";
import { type RunReport, simulate } from "./scenario.js";
import { shrink, shrunkText } from "./shrink.js";

/** As many as two cores get through in the suite's 4 minutes; docs/testing.md has the measurement. */
const seeds = 300;
/** A run that neither ends nor fails is a failure too; finding a shorter one takes a minute. */
const timeoutMs = 180_000;

const replayed = process.env.SIM_SEED === undefined ? undefined : Number(process.env.SIM_SEED);
const echo = process.env.SIM_ECHO === undefined ? {} : { echo: (line: string) => process.stderr.write(`${line}\n`) };

/** Those of the seeds that leave this rest when divided by two. */
function seedsOf(rest: 0 | 1): number[] {
  const all = replayed === undefined ? Array.from({ length: seeds }, (_, at) => 1 + at) : [replayed];
  return all.filter((seed) => seed % 2 === rest);
}

/**
 * Runs one half. Every fault and every event must have come about in it, but for those `left` to the other half: a simulation that
 * meets nothing proves nothing.
 */
export function describeSeeds(rest: 0 | 1, left: readonly string[] = []): void {
  const half = seedsOf(rest);
  const reports: RunReport[] = [];
  describe("every fault at once, then none", () => {
    if (half.length === 0) it("is replayed in the other half", () => undefined);
    else
      it.each(half)("seed %i", { timeout: timeoutMs }, async (seed) => {
        const report = await simulate({ seed, ...echo });
        reports.push(report);
        if (report.ok) return;
        const shorter = replayed === undefined ? shrunkText(await shrink(report, { seed })) : "";
        expect.fail(`${report.failure ?? ""}\n\n${shorter}`);
      });
    it("has met everything there is to meet", () => {
      // One seed alone, replayed, meets what it meets.
      if (replayed !== undefined) return;
      const met = new Set(reports.flatMap(({ faults, events }) => [...Object.keys(faults), ...Object.keys(events)]));
      // Times and shares of a thousand are no faults of their own.
      const faults = Object.keys(manyFaults).filter((kind) => kind !== "delayMs" && kind !== "failCreate");
      expect([...faults, ...eventKinds].filter((kind) => !met.has(kind) && !left.includes(kind))).toEqual([]);
    });
  });
}
