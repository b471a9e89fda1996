// The whole house on a fake clock: hurt for two simulated minutes by every fault at once, then left to heal. SIM_SEED=n replays one.
import { describe, expect, it } from "vitest";
import { eventKinds } from "./events.js";
import { manyFaults } from "./faults.js";
import { type RunReport, simulate } from "./scenario.js";

const seeds = 56;
const first = Number(process.env.SIM_SEED ?? 1);
const count = process.env.SIM_SEED === undefined ? seeds : 1;
const echo = process.env.SIM_ECHO === undefined ? {} : { echo: (line: string) => process.stderr.write(`${line}\n`) };

const reports: RunReport[] = [];

describe("every fault at once, then none", () => {
  it.each(Array.from({ length: count }, (_, at) => first + at))("seed %i", async (seed) => {
    const report = await simulate({ seed, ...echo });
    reports.push(report);
    expect(report.failure).toBeUndefined();
  });

  it("has met everything there is to meet", () => {
    // One seed alone, replayed, meets what it meets.
    if (count < seeds) return;
    const met = new Set(reports.flatMap(({ faults, events }) => [...Object.keys(faults), ...Object.keys(events)]));
    // Times and shares of a thousand are no faults of their own.
    const faults = Object.keys(manyFaults).filter((kind) => kind !== "delayMs" && kind !== "failCreate");
    expect([...faults, ...eventKinds].filter((kind) => !met.has(kind))).toEqual([]);
  });
});

describe("one seed", () => {
  it("replays to the byte, and another seed differs", async () => {
    const options = { hurtTicks: 400 };
    const [once, again, other] = [
      await simulate({ seed: 7, ...options }),
      await simulate({ seed: 7, ...options }),
      await simulate({ seed: 8, ...options }),
    ];
    expect(again).toEqual(once);
    expect(other.traceHash).not.toBe(once.traceHash);
  });
});
