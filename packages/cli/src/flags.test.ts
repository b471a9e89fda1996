// What users type after flags.
import { describe, expect, it } from "vitest";
import { UsageError } from "./exit.js";
import { parseAppName, parseCount, parseDurationMs, parseRegistry, parseSizeMb } from "./flags.js";

describe("sizes", () => {
  it.each([
    ["256M", 256],
    ["1G", 1024],
    ["2gb", 2048],
    ["1T", 1_048_576],
  ])("%s is %i MB", (text, mb) => {
    expect(parseSizeMb(text, "-m")).toBe(mb);
  });

  it.each(["", "256", "M", "0M", "-1M", "1.5G", "99999999G", "1K"])("%j is none", (text) => {
    expect(() => parseSizeMb(text, "-m")).toThrow(UsageError);
  });
});

describe("durations", () => {
  const bounds = { minMs: 100, maxMs: 60_000 };
  it.each([
    ["500ms", 500],
    ["5s", 5_000],
    ["1m", 60_000],
  ])("%s is %i ms", (text, ms) => {
    expect(parseDurationMs(text, "--x", bounds)).toBe(ms);
  });

  it.each(["5", "s", "50ms", "2m", "-1s"])("%j is none, or out of bounds", (text) => {
    expect(() => parseDurationMs(text, "--x", bounds)).toThrow(UsageError);
  });
});

it.each(["web", "a", "my-app_1.x", "A".repeat(63)])("%s is a name", (name) => {
  expect(parseAppName(name)).toBe(name);
});

it.each(["", "-web", "web-", "a b", "ä", "A".repeat(64), "a/b"])("%j is no name", (name) => {
  expect(() => parseAppName(name)).toThrow(UsageError);
});

it("registries are HOST:PORT in the words of Diego's builder", () => {
  expect(parseRegistry("127.0.0.1:5000", "--insecure-registry")).toBe("127.0.0.1:5000");
  expect(() => parseRegistry("http://a:1", "--x")).toThrow("no scheme allowed");
  expect(() => parseRegistry("hub", "--x")).toThrow("ip:port expected");
});

it("counts are whole and within bounds", () => {
  expect(parseCount("5", "-i", { min: 0, max: 5 })).toBe(5);
  for (const text of ["6", "-1", "1e1", "x", ""]) expect(() => parseCount(text, "-i", { min: 0, max: 5 })).toThrow(UsageError);
});
