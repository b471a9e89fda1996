// Rule A1: which version of an app wins, and which one people see.
import { describe, expect, it } from "vitest";
import type { AppAnnotation } from "./annotation.js";
import { type AppVersion, currentVersion, planSettlements } from "./versions.js";

const now = 1_000_000;
const annotation = (change: Partial<AppAnnotation>): AppAnnotation => ({
  name: "web",
  app_guid: "app",
  version: 1,
  image: "web:latest",
  digest: "sha256:0",
  requested_state: "STARTED",
  wanted: 2,
  own_command: false,
  replaces: [],
  updating_until_ms: 0,
  ...change,
});
const version = (processGuid: string, change: Partial<AppAnnotation> = {}, instances = 2): AppVersion => ({
  processGuid,
  annotation: annotation(change),
  instances,
  memoryMb: 64,
  diskMb: 64,
});
const old = version("old");
const update = version("new", { version: 2, replaces: ["old"] });
const settle = (versions: readonly AppVersion[], running: Readonly<Record<string, number>>) =>
  planSettlements(versions, (guid) => running[guid] ?? 0, now).map(({ winner, losers }) => ({
    winner: winner.processGuid,
    losers: losers.map((loser) => loser.processGuid),
  }));

describe("an interrupted update", () => {
  it("is finished when the new version is healthy", () => {
    expect(settle([old, update], { old: 2, new: 2 })).toEqual([{ winner: "new", losers: ["old"] }]);
  });

  it("is undone when only the old one is", () => {
    expect(settle([old, update], { old: 2, new: 1 })).toEqual([{ winner: "old", losers: ["new"] }]);
  });

  it("waits while neither is", () => {
    expect(settle([old, update], { old: 1, new: 1 })).toEqual([]);
  });

  it("is left to its push while that renews its claim", () => {
    const claimed = version("new", { version: 2, replaces: ["old"], updating_until_ms: now + 1 });
    expect(settle([old, claimed], { old: 2, new: 2 })).toEqual([]);
    const lapsed = version("new", { version: 2, replaces: ["old"], updating_until_ms: now });
    expect(settle([old, lapsed], { old: 2, new: 2 })).toEqual([{ winner: "new", losers: ["old"] }]);
  });

  it("that left the old version's name behind is tidied up", () => {
    expect(settle([update], { new: 2 })).toEqual([{ winner: "new", losers: [] }]);
    expect(settle([old], { old: 2 })).toEqual([]);
  });

  it("of two pushes at once goes to the smaller process guid, whatever the order of the records", () => {
    const [a, b] = [version("a", { version: 2 }), version("b", { version: 2 })];
    expect(settle([b, a], { a: 2, b: 2 })).toEqual([{ winner: "a", losers: ["b"] }]);
    expect(settle([a, b], { a: 2, b: 2 })).toEqual([{ winner: "a", losers: ["b"] }]);
  });

  it("of a stopped app goes to the newest", () => {
    const stopped = version("new", { version: 2, replaces: ["old"], requested_state: "STOPPED" }, 0);
    expect(settle([old, stopped], { old: 2 })).toEqual([{ winner: "new", losers: ["old"] }]);
  });

  it("touches no other app", () => {
    const other = version("other", { name: "api" });
    expect(settle([other, old, update], { other: 2, old: 2, new: 2 })).toEqual([{ winner: "new", losers: ["old"] }]);
  });
});

describe("the version people see", () => {
  const current = (...versions: AppVersion[]) => currentVersion(versions, now)?.processGuid;

  it("is the old one until the switch", () => {
    expect(current(version("new", { version: 2, replaces: ["old"], updating_until_ms: now + 1 }), old)).toBe("old");
    expect(current(update, old)).toBe("old");
  });

  it("is the new one after it, and the only one during a first push", () => {
    expect(current(update)).toBe("new");
    expect(current(version("first", { updating_until_ms: now + 1 }))).toBe("first");
    expect(current()).toBeUndefined();
  });
});
