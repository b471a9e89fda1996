// Internal routes and metric tags of one instance, and when an instance's own are out of date.
import { describe, expect, it } from "vitest";
import { asCellId, asInstanceGuid } from "../model/index.js";
import { actualLRP, desiredLRP } from "../testing/index.js";
import { isOutdated, resolvedInternalRoutes, resolvedMetricTags } from "./resolved.js";

const routes = (text: string) => new Map([["internal-router", new TextEncoder().encode(text)]]);

it.each([
  { text: '[{"hostname":"a.internal"},{"hostname":"b.internal"}]', hostnames: ["a.internal", "b.internal"] },
  { text: "[]", hostnames: [] },
  { text: '[1, {}, null, {"hostname":2}]', hostnames: [] },
  { text: '{"hostname":"a.internal"}', hostnames: [] },
  { text: "not json", hostnames: [] },
])("internal routes of $text are $hostnames", ({ text, hostnames }) => {
  const desired = desiredLRP({ routes: routes(text) });
  expect(resolvedInternalRoutes(desired)).toEqual(hostnames);
  expect(resolvedInternalRoutes(desired)).toEqual(hostnames);
  expect(resolvedInternalRoutes(desiredLRP())).toEqual([]);
});

it("a tag is its text, the index in decimal, or the instance's guid", () => {
  const metricTags = new Map([
    ["source_id", { static: "app" }],
    ["instance_id", { dynamic: "INDEX" as const }],
    ["process_instance_id", { dynamic: "INSTANCE_GUID" as const }],
  ]);
  expect(Object.fromEntries(resolvedMetricTags({ metricTags }, 12, "guid-a"))).toEqual({
    source_id: "app",
    instance_id: "12",
    process_instance_id: "guid-a",
  });
});

describe("an instance", () => {
  const desired = desiredLRP({
    routes: routes('[{"hostname":"a.internal"}]'),
    metricTags: new Map([["instance_id", { dynamic: "INDEX" as const }]]),
  });
  const row = (internalRoutes: string[], tags: Record<string, string>) =>
    actualLRP({
      state: "RUNNING",
      index: 3,
      instanceKey: { instanceGuid: asInstanceGuid("i"), cellId: asCellId("c") },
      internalRoutes,
      metricTags: new Map(Object.entries(tags)),
    });
  it.each([
    { what: "has the routes and tags", of: row(["a.internal"], { instance_id: "3" }), outdated: false },
    { what: "has no routes", of: row([], { instance_id: "3" }), outdated: true },
    { what: "has another route", of: row(["b.internal"], { instance_id: "3" }), outdated: true },
    { what: "has one route more", of: row(["a.internal", "b.internal"], { instance_id: "3" }), outdated: true },
    { what: "has another tag value", of: row(["a.internal"], { instance_id: "4" }), outdated: true },
    { what: "has one tag more", of: row(["a.internal"], { instance_id: "3", more: "x" }), outdated: true },
    { what: "has another tag", of: row(["a.internal"], { other: "3" }), outdated: true },
    { what: "has reported no tags at all", of: row(["a.internal"], {}), outdated: false },
  ])("that $what is outdated: $outdated", ({ of, outdated }) => {
    expect(isOutdated(desired, of)).toBe(outdated);
  });
});
