// The picture of a simulation: it shows the numbers of the report, and can be read.
import { readdirSync, readFileSync } from "node:fs";
import { planAuction } from "@muster/auctioneer/plan";
import { describe, expect, it } from "vitest";
import { reportOf, type SimulationReport } from "./report.js";
import { readScenario } from "./scenario.js";
import { svgOf } from "./svg.js";

const folder = new URL("../../scenarios/", import.meta.url);
const reportOfText = (text: string): SimulationReport => {
  const scenario = readScenario(text, "scenario.yml");
  return reportOf(scenario, planAuction(scenario.cells, scenario.work, scenario.options), 10);
};
const ready = (name: string): SimulationReport => reportOfText(readFileSync(new URL(name, folder), "utf8"));
const fleet = (cells: string): SimulationReport =>
  reportOfText(`name: fleet\ncells: [${cells}]\nwork: [{ process: p, instances: 30, memory: 10M, disk: 1M }]\n`);

interface Box {
  readonly what: string;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

const attribute = (tag: string, name: string): number => Number(new RegExp(`${name}="([\\d.]+)"`).exec(tag)?.[1]);

/** Characters of DejaVu Sans, the widest of the usual ones, are seven tenths as wide as the font is high where they are wide. */
const sizes: Readonly<Record<string, number>> = { title: 16, small: 10, "": 12, zone: 12 };
function textsOf(svg: string): Box[] {
  return [...svg.matchAll(/<text ([^>]*)>([^<]*)<\/text>/g)].map(([, tag = "", content = ""]) => {
    const size = sizes[/class="(\w+)"/.exec(tag)?.[1] ?? ""] ?? 12;
    const left = attribute(tag, "x");
    const bottom = attribute(tag, "y");
    const characters = content.replace(/&#\d+;/g, "x").length;
    return { what: content, left, right: left + characters * size * 0.6, top: bottom - size * 0.8, bottom: bottom + size * 0.2 };
  });
}

/** By the cell's name: the heights of its parts. */
function barsOf(svg: string): Map<string, Record<string, number>> {
  const bars = [...svg.matchAll(/<g><title>([^ ]+) .*?<\/title>(.*?)<\/g>/g)];
  return new Map(
    bars.map(([, name = "", rects = ""]) => [
      name,
      Object.fromEntries(
        [...rects.matchAll(/<rect class="(\w+)"[^>]*>/g)].map(([tag, kind]) => [kind, attribute(tag, "height")]),
      ),
    ]),
  );
}

const meet = (a: Box, b: Box): boolean => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

const pictures: readonly (readonly [string, () => SimulationReport])[] = [
  ...readdirSync(folder).map((name) => [name, () => ready(name)] as const),
  ["one cell", () => fleet("{ count: 1 }")],
  [
    "a zone for each of forty cells",
    () => fleet(`{ count: 40, zones: [${Array.from({ length: 40 }, (_, n) => `zone-number-${n}`)}] }`),
  ],
  ["a zone with a long name", () => fleet(`{ count: 3, zones: ["${"long".repeat(40)}", b] }`)],
  ["a thousand cells", () => fleet("{ count: 1000, zones: [a, b] }")],
];

describe("a picture of", () => {
  it.each(pictures)("%s: no text lies over another or over a bar, and nothing outside", (_, reportNow) => {
    const svg = svgOf(reportNow());
    const texts = textsOf(svg);
    const page = { width: attribute(svg, "width"), height: attribute(svg, "height") };
    const rects = [...svg.matchAll(/<rect class="\w+"[^>]*>/g)].map(([tag]) => {
      const [left, top] = [attribute(tag, "x"), attribute(tag, "y")];
      return { what: tag, left, right: left + attribute(tag, "width"), top, bottom: top + attribute(tag, "height") };
    });
    const outside = [...texts, ...rects].filter(
      ({ left, right, top, bottom }) => !(left >= 0 && top >= 0 && right <= page.width && bottom <= page.height),
    );
    expect(outside).toEqual([]);
    const over = texts.flatMap((one, at) =>
      [...texts.slice(at + 1), ...rects].filter((other) => meet(one, other)).map((other) => `${one.what} / ${other.what}`),
    );
    expect(over).toEqual([]);
  });

  it("every cell: its parts are as high as its memory says, and its name and number stand by it", () => {
    const report = ready("zones.yml");
    const svg = svgOf(report);
    const bars = barsOf(svg);
    expect([...bars.keys()].sort()).toEqual(report.cells.map(({ cell_id: id }) => id).sort());
    for (const { cell_id: id, memory_mb: memory } of report.cells) {
      const { old = 0, new: placed = 0, free = 0 } = bars.get(id) ?? {};
      const whole = old + placed + free;
      expect(old / whole, id).toBeCloseTo(memory.before / memory.total, 2);
      expect(placed / whole, id).toBeCloseTo((memory.after - memory.before) / memory.total, 2);
    }
    const said = textsOf(svg).map(({ what }) => what);
    expect(said).toEqual(
      expect.arrayContaining(["zones", "a-1", "+10", "+20", "z0: 20 placed on 2 cells", "z1: 20 placed on 1 cell"]),
    );
  });

  it("what has no place says how much and why", () => {
    const said = textsOf(svgOf(ready("boulders-and-pebbles.yml"))).map(({ what }) => what);
    expect(said).toContain("51 of 82 placed, 31 without a place: 31 × insufficient resources: memory");
  });

  it("a cell that takes no work shows it, and names are escaped", () => {
    const drained = barsOf(svgOf(ready("mixed-fleet.yml"))).get("draining-1");
    expect(Object.keys(drained ?? {})).toEqual(["out"]);
    const svg = svgOf(fleet('{ count: 3, name: "<a>&", zones: ["<z>"] }'));
    expect(svg.match(/<g>/g)).toHaveLength(3);
    expect(svg).toContain("&#60;a&#62;&#38;-1");
    expect(svg).not.toContain("<a>");
  });
});
