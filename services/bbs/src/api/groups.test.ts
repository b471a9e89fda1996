// Groups as Diego's deprecated reads show them (bbs-semantics.md 4.2).
import { describe, expect, it } from "vitest";
import { claimed, row, running } from "../core/rows.test-support.js";
import { resolveGroups } from "./groups.js";

const shown = (...rows: Parameters<typeof resolveGroups>[0]) =>
  [...resolveGroups(rows)].map(({ instance, evacuating }) => [
    instance?.actualLrpInstanceKey?.instanceGuid,
    evacuating?.actualLrpInstanceKey?.instanceGuid,
  ]);
const suspect = { presence: "SUSPECT" } as const;
const evacuating = { presence: "EVACUATING" } as const;

describe("a group's instance", () => {
  it.each([
    { name: "ordinary alone", rows: [claimed("o", "c")], instance: "o" },
    { name: "suspect alone", rows: [running("s", "c", suspect)], instance: "s" },
    { name: "an ordinary that runs beats any suspect", rows: [running("o", "c"), running("s", "d", suspect)], instance: "o" },
    {
      name: "a suspect that runs beats a claimed ordinary",
      rows: [claimed("o", "c"), running("s", "d", suspect)],
      instance: "s",
    },
    { name: "a suspect beats an unclaimed ordinary", rows: [row(), claimed("s", "d", suspect)], instance: "s" },
  ])("$name", ({ rows, instance }) => {
    expect(shown(...rows)).toEqual([[instance, undefined]]);
    expect(shown(...[...rows].reverse())).toEqual([[instance, undefined]]);
  });
});

it("evacuating rows stand beside their index's instance, or alone", () => {
  const rows = [
    running("e1", "c", { ...evacuating, index: 1 }),
    running("o0", "c"),
    running("e0", "d", evacuating),
    running("e2", "d", { ...evacuating, index: 2 }),
    running("s2", "e", { ...suspect, index: 2 }),
  ];
  expect(shown(...rows)).toEqual([
    ["o0", "e0"],
    [undefined, "e1"],
    ["s2", "e2"],
  ]);
});
