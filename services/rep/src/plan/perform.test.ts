// Admission of work: what fits, what is refused and why.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Admission, instanceGuidOf, type LRPAsk, planPerform } from "./perform.js";

const ask = (processGuid: string, over: Partial<LRPAsk> = {}): LRPAsk => ({
  auctionId: `${processGuid}/0/e/0`,
  processGuid,
  index: 0,
  domain: "apps",
  rootFs: "docker:///library/app",
  memoryMb: 100,
  diskMb: 100,
  maxPids: 0,
  ...over,
});

const open: Admission = {
  closedBecause: undefined,
  remaining: { memoryMb: 300, diskMb: 1_000, containers: 10 },
  rootFSSchemes: new Set(["docker"]),
  holds: () => false,
  holdsTask: () => false,
  accepted: () => false,
};

const reasons = (state: Admission, asks: readonly LRPAsk[]): Record<string, string> =>
  Object.fromEntries(
    planPerform(state, asks).lrps.map((verdict) => [
      verdict.ask.processGuid,
      verdict.take === "refused" ? verdict.reason : verdict.take,
    ]),
  );

describe("admission", () => {
  it("gives the largest memory its place first", () => {
    const asks = [ask("small", { memoryMb: 50 }), ask("large", { memoryMb: 200 }), ask("middle", { memoryMb: 100 })];
    expect(reasons(open, asks)).toEqual({
      large: "now",
      middle: "now",
      small: "insufficient resources available: memory (asked 50 MB, free 0 MB)",
    });
  });

  it.each([
    { what: "disk", over: { diskMb: 2_000 }, reason: "insufficient resources available: disk (asked 2000 MB, free 1000 MB)" },
    { what: "another rootfs", over: { rootFs: "preloaded:x" }, reason: "found no compatible cell for required rootfs" },
    { what: "a rootfs that is no URL", over: { rootFs: "app" }, reason: "found no compatible cell for required rootfs" },
    { what: "a stack it has not", over: { rootFs: "preloaded:other" }, reason: "found no compatible cell for required rootfs" },
  ])("refuses for $what", ({ over, reason }) => {
    expect(reasons(open, [ask("p", over)])).toEqual({ p: reason });
  });

  it("takes the stacks it has", () => {
    expect(reasons({ ...open, stacks: new Set(["fs4"]) }, [ask("p", { rootFs: "preloaded:fs4" })])).toEqual({ p: "now" });
  });

  it("refuses everything while closed, except what it took before", () => {
    const closed: Admission = { ...open, closedBecause: "the cell is evacuating", accepted: (id) => id === "old/0/e/0" };
    expect(reasons(closed, [ask("old"), ask("new")])).toEqual({ old: "before", new: "the cell is evacuating" });
  });

  it("takes one of two that ask for the same index, and the same attempt once", () => {
    const twice = planPerform(open, [ask("p"), ask("p", { auctionId: "other" }), ask("p")]).lrps;
    expect(twice.map((verdict) => verdict.take)).toEqual(["now", "refused", "before"]);
    expect(reasons({ ...open, holds: () => true }, [ask("p")])).toEqual({
      p: "this index is held by another container of the cell",
    });
  });

  it("has no free slot for a container too many", () => {
    const full = { ...open, remaining: { ...open.remaining, containers: 1 } };
    expect(Object.values(reasons(full, [ask("a"), ask("b")]))).toEqual(["now", "insufficient resources available: containers"]);
  });

  it("never gives more than there is, and answers every ask", () => {
    const asks = fc.array(fc.record({ memoryMb: fc.nat(200), diskMb: fc.nat(200), guid: fc.integer({ min: 0, max: 9 }) }), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(asks, fc.nat(500), fc.nat(500), fc.nat(5), (wanted, memoryMb, diskMb, containers) => {
        const list = wanted.map((one, at) => ask(`p${one.guid}`, { ...one, auctionId: `${at}` }));
        const verdicts = planPerform({ ...open, remaining: { memoryMb, diskMb, containers } }, list).lrps;
        const taken = verdicts.filter((verdict) => verdict.take === "now").map((verdict) => verdict.ask);
        const sum = (of: (one: LRPAsk) => number): number => taken.reduce((all, one) => all + of(one), 0);
        expect(verdicts.length).toBe(list.length);
        expect(sum((one) => one.memoryMb)).toBeLessThanOrEqual(memoryMb);
        expect(sum((one) => one.diskMb)).toBeLessThanOrEqual(diskMb);
        expect(taken.length).toBeLessThanOrEqual(containers);
        expect(new Set(taken.map((one) => one.processGuid)).size).toBe(taken.length);
      }),
    );
  });

  it("cuts instance guids to Diego's 28 characters", () => {
    expect(instanceGuidOf("0ea1b4a7-49bf-4b7c-8f0e-7f2f3d1a0b1c")).toBe("0ea1b4a7-49bf-4b7c-8f0e-7f2f");
  });
});
