// When many are told: at once, by a window that grows with their number and with how late the event loop is, never later than its bound.
import { type Clock, fakeClock } from "@muster/shared/clock";
import { expect, it } from "vitest";
import { maxGatherMs, Pace } from "./pace.js";

/** A pace over a clock whose timers run late by so much, with the times at which it told. */
function world(listeners: number, lateMs = 0) {
  const clock = fakeClock();
  const late: Clock = { ...clock, after: (ms, run) => clock.after(ms + lateMs, run) };
  const toldMs: number[] = [];
  const pace: Pace = new Pace(late, () => {
    toldMs.push(clock.elapsedMs());
    pace.told();
  });
  return {
    clock,
    toldMs,
    push: (full = false): void => pace.push(listeners, full),
    /** Something to tell every millisecond for so long. */
    steady: async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 1) {
        pace.push(listeners, false);
        await clock.advance(1);
      }
    },
  };
}

it.each([
  { listeners: 1, times: 600 },
  { listeners: 4, times: 600 },
  { listeners: 20, times: 61 },
  { listeners: 60, times: 21 },
  { listeners: 200, times: 7 },
  { listeners: 10_000, times: 7 },
])("$listeners listeners are told $times times in 600 ms of steady change", async ({ listeners, times }) => {
  const { steady, toldMs } = world(listeners);
  await steady(600);
  expect(toldMs.length).toBe(times);
});

it("a lone change is told at once, also after a busy time", async () => {
  const { clock, steady, push, toldMs } = world(200, 20);
  await steady(300);
  await clock.advance(1_000);
  const before = toldMs.length;
  push();
  expect(toldMs.slice(before)).toEqual([clock.elapsedMs()]);
});

it("tells less often while the event loop is late, within the bound", async () => {
  const onTime = world(20);
  const late = world(20, 10);
  const veryLate = world(20, 500);
  for (const one of [onTime, late, veryLate]) await one.steady(2_000);
  const longest = ({ toldMs }: { toldMs: number[] }): number =>
    Math.max(...toldMs.slice(1).map((at, n) => at - (toldMs[n] ?? 0)));
  expect([longest(onTime), longest(late), longest(veryLate)]).toEqual([10, 10 + 4 * 10 + 10, maxGatherMs + 500]);
});

it("waits for nothing once it is full", () => {
  const { push, toldMs } = world(200);
  push();
  push();
  expect(toldMs).toEqual([0]);
  push(true);
  expect(toldMs).toEqual([0, 0]);
});
