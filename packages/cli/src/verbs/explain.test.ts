// Why an instance is as it is, in a sentence.
import { describe, expect, it } from "vitest";
import type { InstanceShape } from "../apps/shapes.js";
import { UsageError } from "../exit.js";
import { parseTarget, whyOf } from "./explain.js";

const row: InstanceShape = {
  index: 0,
  state: "UNCLAIMED",
  presence: "ORDINARY",
  instance_guid: "",
  cell_id: "cell-1",
  zone: "z1",
  address: "",
  ports: [],
  routable: false,
  since: "2026-01-01T00:00:00.000Z",
  crash_count: 0,
  crash_reason: "",
  placement_error: "",
};

describe("an instance", () => {
  it.each<[string, Partial<InstanceShape>, boolean, string]>([
    ["that runs", { state: "RUNNING" }, true, "running on cell-1"],
    ["that starts", { state: "CLAIMED" }, true, "starting on cell-1"],
    ["that waits", {}, true, "waiting for a place"],
    ["without a place", { placement_error: "insufficient resources: memory" }, true, "insufficient resources: memory"],
    ["kept down by the flag", {}, false, "diego_docker is off"],
    ["in back-off", { state: "CRASHED", crash_count: 3, crash_reason: "Exited" }, true, "due at 2026-01-01T00:00:30.000Z"],
    ["given up", { state: "CRASHED", crash_count: 200 }, true, "not tried again"],
  ])("%s", (_, change, enabled, sentence) => {
    expect(whyOf({ ...row, ...change }, enabled)).toContain(sentence);
  });
});

it("a target is an app, or one of its instances", () => {
  expect(parseTarget("web")).toEqual({ name: "web", index: undefined });
  expect(parseTarget("web/2")).toEqual({ name: "web", index: 2 });
  expect(() => parseTarget("web/x")).toThrow(UsageError);
});
