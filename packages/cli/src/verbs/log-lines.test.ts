// Lines that are read again are printed once, and none is left out.
import { expect, it } from "vitest";
import { Printed } from "./log-lines.js";

const line = (instance: string, ns: number) => ({ instance_guid: instance, time_ns: String(ns) });

it("a reading that is taken up again goes on where the last one broke, also among lines of one time", () => {
  const printed = new Printed();
  const kept = [line("a", 1), line("a", 2), line("a", 2), line("b", 1), line("a", 2), line("a", 3)];
  const first = printed.reading();
  expect(kept.slice(0, 4).map(first)).toEqual([true, true, true, true]);
  const second = printed.reading();
  expect(kept.map(second)).toEqual([false, false, false, false, true, true]);
  const third = printed.reading();
  expect([...kept, line("a", 3), line("c", 1)].map(third)).toEqual([false, false, false, false, false, false, true, true]);
});

it("takes a live line that is older than the one before it for new", () => {
  const printed = new Printed();
  const reading = printed.reading();
  expect([line("a", 5), line("a", 4), line("a", 5)].map(reading)).toEqual([true, true, true]);
  expect([line("a", 5), line("a", 5), line("a", 5)].map(printed.reading())).toEqual([false, false, true]);
});
