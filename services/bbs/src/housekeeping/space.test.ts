// Levels of a store that fills and empties, and which commands are desires.
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { put, Tables } from "@muster/shared/model";
import type { StoreUsage } from "@muster/store";
import { expect, it } from "vitest";
import { desireLRP, removeDesiredLRP, updateDesiredLRP } from "../core/desired-lrp.js";
import { asksForMore, type SpaceLevel, spaceLevel } from "./space.js";

const usage = (usedBytes: number, more: Partial<StoreUsage> = {}): StoreUsage => ({
  usedBytes,
  fileBytes: usedBytes,
  allowedBytes: 1_000,
  closed: false,
  advice: "make room",
  compactions: { done: 0, failed: 0 },
  ...more,
});

it.each<{ from: SpaceLevel; used: number; to: SpaceLevel }>([
  { from: "ample", used: 699, to: "ample" },
  { from: "ample", used: 700, to: "low" },
  { from: "low", used: 690, to: "low" },
  { from: "low", used: 679, to: "ample" },
  { from: "low", used: 849, to: "low" },
  { from: "low", used: 850, to: "scarce" },
  { from: "scarce", used: 840, to: "scarce" },
  { from: "scarce", used: 829, to: "low" },
  { from: "scarce", used: 100, to: "ample" },
  { from: "ample", used: 1_200, to: "scarce" },
])("$from at $used of 1000 is $to", ({ from, used, to }) => {
  expect(spaceLevel(usage(used), from)).toBe(to);
});

it("a store that has shut out writes is closed however little it holds, and comes back by what it holds", () => {
  expect(spaceLevel(usage(10, { closed: true }), "ample")).toBe("closed");
  expect(spaceLevel(usage(10), "closed")).toBe("ample");
  expect(spaceLevel(usage(900), "closed")).toBe("scarce");
});

it("a file that is large but empty counts a tenth later", () => {
  expect(spaceLevel(usage(100, { fileBytes: 790 }), "ample")).toBe("ample");
  expect(spaceLevel(usage(100, { fileBytes: 810 }), "ample")).toBe("low");
  expect(spaceLevel(usage(100, { fileBytes: 960 }), "ample")).toBe("scarce");
});

it("a store without a bound is never full", () => {
  expect(spaceLevel(usage(10 ** 12, { allowedBytes: undefined }), "ample")).toBe("ample");
});

it("new desires and more instances ask for more; fewer, the same, removals and rows do not", () => {
  const tables = new Tables();
  const context = { nowMs: 0, guid: () => "g", open: (bytes: Uint8Array) => bytes, seal: (bytes: Uint8Array) => bytes } as never;
  const state = { tables, graceUntilMs: 0 } as never;
  const wire = DesiredLRP.fromPartial({ processGuid: "p", domain: "d", rootFs: "preloaded:x", instances: 2 });
  const desire = desireLRP(wire)(state, context).writes;
  expect(asksForMore(tables, desire)).toBe(true);
  for (const write of desire) tables.apply(write);
  const scaleTo = (instances: number) =>
    updateDesiredLRP("p" as never, { optionalInstances: { $case: "instances", value: instances }, metricTags: {} } as never)(
      state,
      context,
    ).writes;
  expect(asksForMore(tables, scaleTo(3))).toBe(true);
  expect(asksForMore(tables, scaleTo(2))).toBe(false);
  expect(asksForMore(tables, scaleTo(1))).toBe(false);
  expect(asksForMore(tables, removeDesiredLRP("p" as never)(state, context).writes)).toBe(false);
  const [row] = tables.actualLRPs.values();
  if (row === undefined) throw new Error("no row");
  expect(asksForMore(tables, [put("actualLRP", { ...row, state: "CRASHED" })])).toBe(false);
  const task = { taskGuid: "t", state: "PENDING" } as never;
  expect(asksForMore(tables, [put("task", task)])).toBe(true);
  tables.apply(put("task", task));
  expect(asksForMore(tables, [put("task", task)])).toBe(false);
});
