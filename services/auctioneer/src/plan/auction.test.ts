// Diego's own figures and texts (auction.md sections 7, 9, 12, 14), each row a sentence of that page.
import { describe, expect, it } from "vitest";
import { planAuction } from "./auction.js";
import { Floor } from "./floor.js";
import { cell, lrp, task } from "./testing/fixtures.js";
import { type AuctionOptions, type AuctionPlan, type CellState, defaultAuctionOptions, type Work } from "./types.js";

const placed = (plan: AuctionPlan): Record<string, string> =>
  Object.fromEntries(plan.placements.map(({ work, cellId }) => [work.key, cellId]));
const errors = (plan: AuctionPlan): Record<string, string> =>
  Object.fromEntries(plan.failures.map(({ work, error }) => [work.key, error]));
const withOptions = (overrides: Partial<AuctionOptions>): AuctionOptions => ({ ...defaultAuctionOptions, ...overrides });

describe("scores", () => {
  const total = { memoryMb: 1_000, diskMb: 1_000, containers: 100 };
  const half = { memoryMb: 500, diskMb: 500, containers: 50 };
  const floorOf = (state: Partial<CellState>) => new Floor([cell("c", { total, ...state })], defaultAuctionOptions);

  it.each([
    { what: "an empty cell", state: {}, score: 0.07 },
    { what: "a half full cell", state: { available: half }, score: 0.57 },
    { what: "a half full cell with 2 starting", state: { available: half, startingContainerCount: 2 }, score: 1.07 },
    { what: "an empty cell with 4 starting", state: { startingContainerCount: 4 }, score: 1.07 },
  ])("$what scores $score for an item of 100 MB", ({ state, score }) => {
    const floor = floorOf(state);
    floor.prepare("lrp", 100, 100);
    expect(floor.score(0)).toBeCloseTo(score, 12);
  });

  it("an empty cell that runs one instance of the process scores 1000.07", () => {
    const floor = floorOf({});
    const ledger = floor.emptyLedger();
    floor.count(ledger, 0, 1);
    floor.prepare("lrp", 100, 100);
    floor.useLocality(ledger);
    expect(floor.score(0)).toBeCloseTo(1_000.07, 9);
  });

  it("a task pays 1000 for each task on the cell, and not for the bin-pack index", () => {
    const cells = [cell("a", { total, taskCount: 2, cellIndex: 1 }), cell("b", { total, cellIndex: 0 })];
    const floor = new Floor(cells, withOptions({ binPackFirstFitWeight: 1 }));
    floor.prepare("task", 100, 100);
    expect(floor.score(0)).toBeCloseTo(2_000.07, 9);
    expect(floor.score(1)).toBeCloseTo(0.07, 12);
  });

  it("a cell without any disk never wins, even for work that asks for none", () => {
    const cells = [cell("a", { total: { memoryMb: 100, diskMb: 0, containers: 10 } })];
    expect(errors(planAuction(cells, [lrp("p", 0, { diskMb: 0 })]))).toEqual({ "lrp/p/0": "insufficient resources: disk" });
  });

  it("a tie goes to the lower cell id, over zones as well", () => {
    const cells = [cell("cell-3", { zone: "a" }), cell("cell-2", { zone: "b" }), cell("cell-1", { zone: "c" })];
    expect(placed(planAuction(cells, [lrp("p", 0)]))).toEqual({ "lrp/p/0": "cell-1" });
  });
});

describe("placement errors", () => {
  const docker = { rootFSProviders: [{ scheme: "docker", fixedSet: false, names: [] }] };
  const small = { memoryMb: 10, diskMb: 100, containers: 10 };
  it.each<{ text: string; cells: CellState[]; work: Work }>([
    { text: "unable to communicate to compatible cells", cells: [], work: lrp("p", 0) },
    {
      text: "unable to communicate to compatible cells",
      cells: [cell("a", { status: "silent" }), cell("b", { status: "evacuating" }), cell("c", { status: "unhealthy" })],
      work: lrp("p", 0),
    },
    { text: "found no compatible cell for required rootfs", cells: [cell("a")], work: lrp("p", 0, { rootFs: "docker:///r" }) },
    { text: "found no compatible cell for required rootfs", cells: [cell("a", docker)], work: lrp("p", 0, { rootFs: "no url" }) },
    {
      text: "found no compatible cell with required volume drivers",
      cells: [cell("a")],
      work: lrp("p", 0, { volumeDrivers: ["my-driver", "nfs"] }),
    },
    {
      text: "found no compatible cell with no placement tags",
      cells: [cell("a", { placementTags: ["x"] })],
      work: lrp("p", 0),
    },
    { text: 'found no compatible cell with placement tag "a"', cells: [cell("a")], work: lrp("p", 0, { placementTags: ["a"] }) },
    {
      text: 'found no compatible cell with placement tags "a" and "b"',
      cells: [cell("a")],
      work: lrp("p", 0, { placementTags: ["a", "b"] }),
    },
    {
      text: 'found no compatible cell with placement tags "a", "b" and "c"',
      cells: [cell("a")],
      work: task("t", { placementTags: ["a", "b", "c"] }),
    },
    {
      text: "found no compatible cell with required volume drivers",
      cells: [cell("a", docker), cell("b", { zone: "other", volumeDrivers: [] })],
      work: lrp("p", 0, { volumeDrivers: ["nfs"] }),
    },
    {
      text: "insufficient resources: containers, disk, memory",
      cells: [cell("a", { total: { memoryMb: 1, diskMb: 1, containers: 0 } })],
      work: lrp("p", 0, { memoryMb: 2, diskMb: 2 }),
    },
    {
      text: "insufficient resources: memory",
      cells: [cell("a", { total: small }), cell("b", { total: { ...small, diskMb: 1 } })],
      work: lrp("p", 0, { memoryMb: 20, diskMb: 5 }),
    },
    {
      text: "insufficient resources",
      cells: [
        cell("a", { total: { memoryMb: 1, diskMb: 9, containers: 9 } }),
        cell("b", { total: { memoryMb: 9, diskMb: 1, containers: 9 } }),
      ],
      work: lrp("p", 0, { memoryMb: 5, diskMb: 5 }),
    },
    {
      text: "insufficient resources: memory",
      cells: [cell("a", { total: small, proxyMemoryMb: 5 })],
      work: lrp("p", 0, { memoryMb: 6 }),
    },
  ])("$text", ({ text, cells, work }) => {
    expect(errors(planAuction(cells, [work]))).toEqual({ [work.key]: text });
  });

  it("explains each cell's first refusal, what was asked and what is left, closest first", () => {
    const cells = [
      cell("full", { available: { memoryMb: 3, diskMb: 100, containers: 5 }, proxyMemoryMb: 2 }),
      cell("gone", { status: "silent", statusReason: "no state for 1 s" }),
      cell("tagged", { placementTags: ["gpu"], optionalPlacementTags: ["x"] }),
      cell("other", docker),
    ];
    const [failure] = planAuction(cells, [lrp("p", 0, { memoryMb: 10 })]).failures;
    expect(failure?.explanation).toEqual({
      omitted: 0,
      verdicts: [
        { cellId: "full", zone: "Z0", filter: "memory", asked: "12 MB with 2 MB for its proxy", available: "3 MB of 100 MB" },
        { cellId: "tagged", zone: "Z0", filter: "placement-tags", asked: "none", available: "gpu; optional: x" },
        { cellId: "other", zone: "Z0", filter: "rootfs", asked: "preloaded:linux", available: "docker" },
        { cellId: "gone", zone: "Z0", filter: "silent", asked: "a cell that takes work", available: "no state for 1 s" },
      ],
    });
  });

  it("explains what is left after the auction, and bounds how much it explains", () => {
    const work = [lrp("a", 0, { memoryMb: 60 }), lrp("b", 0, { memoryMb: 50 }), lrp("c", 0, { memoryMb: 45 })];
    const plan = planAuction([cell("x"), cell("y", { total: { memoryMb: 1, diskMb: 9, containers: 9 } })], work, {
      ...defaultAuctionOptions,
      maxExplanations: 1,
      maxVerdicts: 1,
    });
    expect(plan.failures.map(({ work: { key }, explanation }) => [key, explanation])).toEqual([
      [
        "lrp/b/0",
        { verdicts: [{ cellId: "x", zone: "Z0", filter: "memory", asked: "50 MB", available: "40 MB of 100 MB" }], omitted: 1 },
      ],
      ["lrp/c/0", { verdicts: [], omitted: 0 }],
    ]);
  });
});

describe("placement tags", () => {
  it.each([
    { required: ["a"], optional: [], asked: [], fits: false },
    { required: ["a"], optional: [], asked: ["a"], fits: true },
    { required: ["a"], optional: ["b"], asked: ["a", "b"], fits: true },
    { required: ["a"], optional: ["b"], asked: ["b"], fits: false },
    { required: [], optional: [], asked: ["a"], fits: false },
    { required: [], optional: ["a"], asked: ["a"], fits: true },
    { required: [], optional: ["a"], asked: [], fits: true },
  ])("a cell with tags $required and optional $optional, asked for $asked: $fits", ({ required, optional, asked, fits }) => {
    const state = cell("a", { placementTags: required, optionalPlacementTags: optional });
    expect(planAuction([state], [lrp("p", 0, { placementTags: asked })]).placements).toHaveLength(fits ? 1 : 0);
  });
});

describe("rootfs", () => {
  it.each([
    { rootFs: "preloaded:linux", fits: true },
    { rootFs: "preloaded:linux?layer=x", fits: true },
    { rootFs: "PRELOADED:linux", fits: true },
    { rootFs: "preloaded:windows", fits: false },
    { rootFs: "preloaded+layer:linux", fits: false },
    { rootFs: "linux", fits: false },
    { rootFs: "", fits: false },
    { rootFs: "preloaded:linux\n", fits: false },
  ])("$rootFs on a cell with preloaded:linux: $fits", ({ rootFs, fits }) => {
    expect(planAuction([cell("a")], [lrp("p", 0, { rootFs })]).placements).toHaveLength(fits ? 1 : 0);
  });
});

describe("order and room", () => {
  const packed = [
    lrp("pg-7", 0, { memoryMb: 10 }),
    lrp("pg-7", 1, { memoryMb: 10 }),
    lrp("pg-8", 1, { memoryMb: 40 }),
    task("tg-1", { memoryMb: 10 }),
    task("tg-2", { memoryMb: 20 }),
  ];
  const cellOf = (memoryMb: number) => cell("a", { total: { memoryMb, diskMb: 100, containers: 100 } });
  it.each([
    { memoryMb: 45, won: ["lrp/pg-7/0", "task/tg-2", "task/tg-1"] },
    { memoryMb: 80, won: ["lrp/pg-7/0", "task/tg-2", "task/tg-1", "lrp/pg-8/1"] },
    { memoryMb: 95, won: ["lrp/pg-7/0", "task/tg-2", "task/tg-1", "lrp/pg-8/1", "lrp/pg-7/1"] },
  ])("a cell of $memoryMb MB takes $won", ({ memoryMb, won }) => {
    const plan = planAuction([cellOf(memoryMb)], [...packed, lrp("pg-8", 2, { memoryMb: 40 })]);
    expect(plan.placements.map(({ work }) => work.key)).toEqual(won);
  });

  it("index 0 goes before tasks even when there is no other index: Diego's quirk is not kept", () => {
    const plan = planAuction([cellOf(10)], [task("t", { memoryMb: 10 }), lrp("p", 0, { memoryMb: 10 })]);
    expect(placed(plan)).toEqual({ "lrp/p/0": "a" });
  });

  it("spreads over zones before anything else", () => {
    const one = new Map([["pg-1", 1]]);
    const cells = [
      cell("A-cell", {
        zone: "A",
        available: { memoryMb: 80, diskMb: 98, containers: 98 },
        lrpsByProcess: new Map([...one, ["pg-2", 1]]),
      }),
      cell("B-cell", {
        zone: "B",
        available: { memoryMb: 70, diskMb: 98, containers: 98 },
        lrpsByProcess: new Map([
          ["pg-3", 1],
          ["pg-4", 1],
        ]),
      }),
    ];
    const work = [
      lrp("pg-3", 1, { memoryMb: 40 }),
      lrp("pg-2", 1, { memoryMb: 5 }),
      task("tg-1", { memoryMb: 40 }),
      task("tg-2", { memoryMb: 5 }),
    ];
    expect(placed(planAuction(cells, work))).toEqual({
      "lrp/pg-3/1": "A-cell",
      "task/tg-1": "A-cell",
      "lrp/pg-2/1": "B-cell",
      "task/tg-2": "B-cell",
    });
  });

  it("tells the causes as they are when each item fails, not as they were for the one before", () => {
    const state = cell("a", { total: { memoryMb: 50, diskMb: 100, containers: 1 } });
    const work = [lrp("big", 0, { memoryMb: 60 }), lrp("small", 0), lrp("big", 1, { memoryMb: 60 })];
    expect(errors(planAuction([state], work))).toEqual({
      "lrp/big/0": "insufficient resources: memory",
      "lrp/big/1": "insufficient resources: containers, memory",
    });
  });

  it("goes on to a busier zone when the emptier one has no room", () => {
    const cells = [
      cell("a", { zone: "A", lrpsByProcess: new Map([["p", 3]]) }),
      cell("b", { zone: "B", available: { memoryMb: 0, diskMb: 0, containers: 0 } }),
    ];
    expect(placed(planAuction(cells, [lrp("p", 3)]))).toEqual({ "lrp/p/3": "a" });
  });

  it("counts an LRP's proxy memory in what it reserves, and a task's not", () => {
    const state = cell("a", { total: { memoryMb: 100, diskMb: 100, containers: 100 }, proxyMemoryMb: 30 });
    const work = [lrp("p", 0, { memoryMb: 20 }), lrp("p", 1, { memoryMb: 20 }), lrp("q", 0, { memoryMb: 1 })];
    expect(Object.keys(placed(planAuction([state], work)))).toEqual(["lrp/p/0", "lrp/q/0"]);
    expect(Object.keys(placed(planAuction([state], [...work, task("t", { memoryMb: 20 })])))).toEqual(["lrp/p/0", "lrp/q/0"]);
    expect(Object.keys(placed(planAuction([state], [task("t", { memoryMb: 100 })])))).toEqual(["task/t"]);
  });
});

describe("the in-flight cap", () => {
  it("of 5, with one container starting on each of two cells, lets three of four pass", () => {
    const cells = [cell("a", { startingContainerCount: 1 }), cell("b", { startingContainerCount: 1 })];
    const work = [lrp("pg-7", 0), lrp("pg-7", 1), task("t1", { memoryMb: 5 }), task("t2", { memoryMb: 3 })];
    const plan = planAuction(cells, work, withOptions({ startingContainerCountMaximum: 5 }));
    expect(plan.placements.map(({ work: { key } }) => key)).toEqual(["lrp/pg-7/0", "task/t1", "task/t2"]);
    expect(errors(plan)).toEqual({ "lrp/pg-7/1": "waiting to start instance: reached in-flight start limit" });
  });

  it.each([
    { cap: 3, placements: 3 },
    { cap: 0, placements: 5 },
    { cap: -1, placements: 5 },
  ])("of $cap lets $placements of five pass", ({ cap, placements }) => {
    const work = [0, 1, 2, 3, 4].map((index) => lrp("p", index));
    const plan = planAuction([cell("a")], work, withOptions({ startingContainerCountMaximum: cap }));
    expect(plan.placements).toHaveLength(placements);
  });
});

it("refuses to auction with one cell given twice", () => {
  expect(() => planAuction([cell("a"), cell("a", { zone: "other" })], [lrp("p", 0)])).toThrow(
    "a cell takes part in an auction once",
  );
});
