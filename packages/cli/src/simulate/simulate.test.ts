// Scenario files and what is made of them: Diego's own scenarios give Diego's numbers, a bad file says where it is bad.
import { readdirSync, readFileSync } from "node:fs";
import { planAuction } from "@muster/auctioneer/plan";
import { describe, expect, it } from "vitest";
import { UsageError } from "../exit.js";
import { reportOf } from "./report.js";
import { readScenario } from "./scenario.js";

const folder = new URL("../../scenarios/", import.meta.url);
const reportOfText = (text: string) => {
  const scenario = readScenario(text, "scenario.yml");
  return reportOf(scenario, planAuction(scenario.cells, scenario.work, scenario.options), 10);
};
const run = (name: string) => reportOfText(readFileSync(new URL(name, folder), "utf8"));

describe("the ready scenarios", () => {
  it("cold start: ten on each cell", () => {
    const report = run("cold-start.yml");
    expect(report.placed_per_cell).toEqual({ least: 10, most: 10, mean: 10, standard_deviation: 0 });
    expect(report.distribution_score.after).toBe(0);
  });

  it("rolling deploy: the fresh cells are not flooded", () => {
    const { cells } = run("rolling-deploy.yml");
    for (const { placed } of cells) expect(Math.abs(placed - 5)).toBeLessThanOrEqual(1);
  });

  it("zones: as many in each", () => {
    expect(run("zones.yml").zones.map(({ zone, placed }) => [zone, placed])).toEqual([
      ["z0", 20],
      ["z1", 20],
    ]);
  });

  it("boulders and pebbles: 51 placed, 31 not", () => {
    const report = run("boulders-and-pebbles.yml");
    expect([report.placed, report.failed]).toEqual([51, 31]);
    expect(report.failures.reduce((sum, { count }) => sum + count, 0)).toBe(31);
  });

  it("full fleet: as many as there is room for, and why not the others", () => {
    const report = run("full-fleet.yml");
    expect([report.placed, report.failed]).toEqual([200, 200]);
    expect(report.failures[0]).toMatchObject({ placement_error: "insufficient resources: containers, disk, memory", count: 200 });
    expect(report.placed_per_cell.standard_deviation).toBe(0);
  });

  it("mixed fleet: tags and draining cells are kept to, what is too large is explained", () => {
    const report = run("mixed-fleet.yml");
    const placedOn = (name: string): number =>
      report.cells.filter(({ cell_id: id }) => id.startsWith(name)).reduce((sum, { placed }) => sum + placed, 0);
    expect([placedOn("shared"), placedOn("isolated"), placedOn("draining")]).toEqual([38, 12, 0]);
    expect(report.failures).toEqual([{ placement_error: "insufficient resources: memory", count: 2, first: "lrp/too-large/0" }]);
    expect(report.verdicts.map(({ filter }) => filter)).toContain("evacuating");
  });

  it("are all run here", () => {
    expect(readdirSync(folder).length).toBe(6);
  });
});

describe("a report", () => {
  const small = (cells: string): string =>
    `name: s\ncells: [${cells}]\nwork: [{ process: p, instances: 2, memory: 10M, disk: 1M }]\n`;

  it("counts what ran before and what each instance costs on top", () => {
    const text = small(
      "{ memory: 100M, disk: 100M, proxy_memory: 5M, running: [{ process: p, instances: 2, memory: 10M, disk: 1M }] }",
    );
    expect(reportOfText(text).cells[0]).toMatchObject({
      placed: 2,
      memory_mb: { before: 30, after: 60, total: 100 },
      disk_mb: { before: 2, after: 4, total: 100 },
      containers: { before: 2, after: 4, total: 250 },
    });
  });
});

describe("a bad file", () => {
  const work = "work: [{ process: p }]";
  it.each([
    { what: "no YAML", text: "a: [", says: /is not YAML/ },
    { what: "no cells", text: `name: s\n${work}`, says: /cells/ },
    { what: "a misspelt key", text: `name: s\ncells: [{ memroy: 1G }]\n${work}`, says: /cells\.0.*memroy/ },
    { what: "no size", text: `name: s\ncells: [{ memory: lots }]\n${work}`, says: /memory of cell-1: "lots" is no size/ },
    {
      what: "more running than fits",
      text: `name: s\ncells: [{ memory: 1G, running: [{ process: p, instances: 5 }] }]\n${work}`,
      says: /more than it holds/,
    },
    {
      what: "too much work",
      text: "name: s\ncells: [{}]\nwork: [{ process: p, processes: 2000, instances: 1000 }]",
      says: /1000000/,
    },
  ])("$what is told where it is", ({ text, says }) => {
    expect(() => readScenario(text, "f.yml")).toThrow(UsageError);
    expect(() => readScenario(text, "f.yml")).toThrow(says);
  });
});
