// Diego's simulation scenarios (auction.md section 13) and the index-weight tables: how well the work is spread.
import { seededEntropy } from "@muster/shared/clock";
import { expect, it } from "vitest";
import { planAuction } from "./auction.js";
import { faultsOf } from "./faults.js";
import { cell, loaded, lrp } from "./testing/fixtures.js";
import { type AuctionOptions, type CellState, defaultAuctionOptions, type Work } from "./types.js";

const name = (i: number): string => `REP-${String(i + 1).padStart(3, "0")}`;
const zone = (i: number): string => `Z${i % 2}`;
const emptyCells = (count: number): CellState[] =>
  Array.from({ length: count }, (_, i) => cell(name(i), { zone: zone(i), cellIndex: i }));
const distinct = (count: number): Work[] => Array.from({ length: count }, (_, i) => lrp(`p-${String(i).padStart(4, "0")}`, 0));
const oneProcess = (count: number): Work[] => Array.from({ length: count }, (_, index) => lrp("red", index));

/** How many LRPs each cell won, in the order of the cells. */
function wins(cells: readonly CellState[], work: readonly Work[], options: Partial<AuctionOptions> = {}): number[] {
  const plan = planAuction(cells, work, { ...defaultAuctionOptions, ...options });
  expect(faultsOf(plan, cells, work)).toEqual([]);
  return cells.map(({ cellId }) => plan.placements.filter((placement) => placement.cellId === cellId).length);
}

function expectWithin(counts: readonly number[], tolerance: number): void {
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  for (const count of counts) expect(Math.abs(count - mean)).toBeLessThanOrEqual(tolerance);
}

const coldStarts = [
  { cells: 4, lrps: 8, each: 2 },
  { cells: 10, lrps: 40, each: 4 },
  { cells: 20, lrps: 200, each: 10 },
  { cells: 40, lrps: 800, each: 20 },
];

it.each(coldStarts)("a small cold start of $lrps LRPs on $cells cells puts $each on every cell", ({ cells, lrps, each }) => {
  expect(wins(emptyCells(cells), distinct(lrps))).toEqual(Array(cells).fill(each));
});

it.each(coldStarts)(
  "one process of $lrps instances spreads over $cells cells, with the index weight on",
  ({ cells, lrps, each }) => {
    const counts = wins(emptyCells(cells), oneProcess(lrps), { binPackFirstFitWeight: 0.5, startingContainerWeight: 0.5 });
    expectWithin(counts, 1);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(each * cells);
  },
);

it.each([
  { weight: 0.25, cells: 10, lrps: 40, perZone: [5, 4, 4, 4, 3] },
  { weight: 0.5, cells: 10, lrps: 40, perZone: [6, 5, 4, 3, 2] },
  { weight: 0.75, cells: 10, lrps: 40, perZone: [7, 5, 4, 3, 1] },
  { weight: 0.75, cells: 20, lrps: 200, perZone: [17, 15, 14, 12, 11, 9, 8, 6, 5, 3] },
  { weight: 0.5, cells: 20, lrps: 200, perZone: [14, 13, 12, 11, 10, 10, 9, 8, 7, 6] },
])("index weight $weight: $lrps LRPs on $cells cells fill each zone as $perZone", ({ weight, cells, lrps, perZone }) => {
  const counts = wins(emptyCells(cells), distinct(lrps), { binPackFirstFitWeight: weight, startingContainerWeight: 0.5 });
  for (const inZone of [0, 1]) expect(counts.filter((_, i) => i % 2 === inZone)).toEqual(perZone);
});

it.each([
  { cells: 25, times: 1 },
  { cells: 100, times: 4 },
])("a large cold start spreads within 10 over $cells cells", ({ cells, times }) => {
  const entropy = seededEntropy(`large ${cells}`);
  const work: Work[] = [];
  const next = new Map<string, number>();
  for (const { count, memoryMb } of [
    { count: 1_800 * times, memoryMb: 1 },
    { count: 200 * times, memoryMb: 2 },
    { count: 50 * times, memoryMb: 4 },
  ]) {
    for (let i = 0; i < count; i += 1) {
      const process = i % 2 === 0 ? `own-${memoryMb}-${i}` : `shared-${memoryMb}-${entropy.below(12)}`;
      const index = next.get(process) ?? 0;
      next.set(process, index + 1);
      work.push(lrp(process, index, { memoryMb }));
    }
  }
  expectWithin(wins(emptyCells(cells), work), 10);
});

it.each([
  { empty: 5, lrps: 500 },
  { empty: 1, lrps: 100 },
])("an imbalanced deploy of $lrps with $empty empty cells of 100 does not flood the empty ones", ({ empty, lrps }) => {
  const cells = Array.from({ length: 100 }, (_, i) =>
    i < empty
      ? cell(name(i), { zone: zone(i), cellIndex: i })
      : loaded(name(i), Object.fromEntries(Array.from({ length: 50 }, (_, p) => [`old-${i}-${p}`, 1])), {
          zone: zone(i),
          cellIndex: i,
        }),
  );
  expectWithin(wins(cells, distinct(lrps)), 1);
});

it("40 instances of one process over two zones: 20 in each, whatever runs there", () => {
  const cells = [
    cell("REP-1", { zone: "Z0" }),
    loaded("REP-2", Object.fromEntries(Array.from({ length: 50 }, (_, p) => [`old-${p}`, 1])), { zone: "Z1" }),
    cell("REP-3", { zone: "Z0" }),
  ];
  expect(wins(cells, oneProcess(40))).toEqual([10, 20, 10]);
});

it.each([
  { cells: 10, lrps: 80 },
  { cells: 30, lrps: 200 },
  { cells: 100, lrps: 400 },
])("the Watters demo: $lrps instances on $cells cells that are four fifths full", ({ cells, lrps }) => {
  const entropy = seededEntropy(`watters ${cells}`);
  const states = Array.from({ length: cells }, (_, i) => {
    const old = 78 + entropy.below(3);
    return loaded(name(i), Object.fromEntries(Array.from({ length: old }, (_, p) => [`old-${i}-${p}`, 1])), {
      zone: zone(i),
      cellIndex: i,
    });
  });
  expectWithin(wins(states, oneProcess(lrps)), 1);
});

it("packing: the larger index 0 first, its second instance last", () => {
  const work = [...distinct(80), lrp("red", 0, { memoryMb: 50 }), lrp("red", 1, { memoryMb: 50 })];
  const plan = planAuction([cell("REP-1")], work);
  expect([plan.placements.length, plan.failures.length]).toEqual([51, 31]);
  expect(plan.placements.map(({ work: { key } }) => key)).toContain("lrp/red/0");
  expect(plan.failures.map(({ work: { key } }) => key)).toContain("lrp/red/1");
});
