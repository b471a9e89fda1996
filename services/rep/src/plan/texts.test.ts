// The words that apps' users see.
import { describe, expect, it } from "vitest";
import { durationText, exitText, texts } from "./texts.js";

it.each([
  [0, "0ms"],
  [250, "250ms"],
  [1_000, "1s"],
  [10_000, "10s"],
  [60_000, "1m0s"],
  [60_100, "1m0.1s"],
  [3_600_000, "1h0m0s"],
])("%d ms read %s", (ms, text) => {
  expect(durationText(ms)).toBe(text);
});

describe("an exit", () => {
  it.each([
    [{ status: 1, oom: false, exceeded: undefined }, "1"],
    [{ status: 137, oom: true, exceeded: undefined }, "137 (out of memory)"],
    [{ status: 0, oom: true, exceeded: undefined }, "0"],
    [{ status: 137, oom: false, exceeded: 10_000 }, "137 (exceeded 10s graceful shutdown interval)"],
    [{ status: 137, oom: true, exceeded: 10_000 }, "137 (exceeded 10s graceful shutdown interval) (out of memory)"],
  ])("%o reads %s", ({ status, oom, exceeded }, text) => {
    expect(exitText({ exitStatus: status, outOfMemory: oom }, exceeded)).toBe(text);
  });
});

it("words a start-up that timed out as Diego does", () => {
  const text = texts.startupTimedOut(60_000, 30, "refused");
  expect(text).toBe("Timed out after 1m0s (30 attempts) waiting for startup check to succeed: refused");
  expect(texts.neverHealthy(60_100, text)).toBe(`Instance never healthy after 1m0.1s: ${text}`);
});
