// What an auction made of a scenario: who took how much, how even it is, and what found no place. Pure.
import type { AuctionPlan, CellState, CellVerdict } from "@muster/auctioneer/plan";
import type { Scenario } from "./scenario.js";

export interface CellReport {
  readonly cell_id: string;
  readonly zone: string;
  readonly state: string;
  readonly containers: Share;
  readonly memory_mb: Share;
  readonly disk_mb: Share;
  /** Instances and tasks placed by this auction. */
  readonly placed: number;
}

interface Share {
  readonly before: number;
  readonly after: number;
  readonly total: number;
}

export interface ZoneReport {
  readonly zone: string;
  readonly cells: number;
  readonly placed: number;
  readonly memory_mb: Share;
}

/** Over the cells that can take work. */
export interface Spread {
  readonly least: number;
  readonly most: number;
  readonly mean: number;
  readonly standard_deviation: number;
}

export interface SimulationReport {
  readonly scenario: string;
  readonly about: string;
  readonly cells: readonly CellReport[];
  readonly zones: readonly ZoneReport[];
  readonly asked: number;
  readonly placed: number;
  readonly failed: number;
  readonly failures: readonly { readonly placement_error: string; readonly count: number; readonly first: string }[];
  readonly placed_per_cell: Spread;
  /** Diego's distribution score: standard deviation over mean of the memory in use, by cell; 0 is even. */
  readonly distribution_score: { readonly before: number; readonly after: number };
  /** Why the first work that failed fits on no cell. */
  readonly verdicts: readonly CellVerdict[];
  readonly auction_ms: number;
  readonly placements_per_second: number;
}

/** Names every cell, zone and reason; `elapsedMs` is what the auction alone took. */
export function reportOf(scenario: Scenario, plan: AuctionPlan, elapsedMs: number): SimulationReport {
  const taken = new Map<string, Taken>();
  const proxyMb = new Map<string, number>(scenario.cells.map((cell) => [cell.cellId, cell.proxyMemoryMb]));
  for (const { work, cellId } of plan.placements) {
    const sum = taken.get(cellId) ?? { placed: 0, memoryMb: 0, diskMb: 0 };
    const extraMb = work.kind === "lrp" ? (proxyMb.get(cellId) ?? 0) : 0;
    taken.set(cellId, {
      placed: sum.placed + 1,
      memoryMb: sum.memoryMb + work.ask.memoryMb + extraMb,
      diskMb: sum.diskMb + work.ask.diskMb,
    });
  }
  const cells = scenario.cells.map((cell) => cellReport(cell, taken.get(cell.cellId)));
  const able = cells.filter((cell) => cell.state === "healthy");
  return {
    scenario: scenario.name,
    about: scenario.about,
    cells,
    zones: zonesOf(cells),
    asked: plan.placements.length + plan.failures.length,
    placed: plan.placements.length,
    failed: plan.failures.length,
    failures: failuresOf(plan),
    placed_per_cell: spreadOf(able.map((cell) => cell.placed)),
    distribution_score: {
      before: scoreOf(able.map((cell) => cell.memory_mb.before)),
      after: scoreOf(able.map((cell) => cell.memory_mb.after)),
    },
    verdicts: plan.failures[0]?.explanation.verdicts ?? [],
    auction_ms: round(elapsedMs),
    placements_per_second: elapsedMs === 0 ? 0 : Math.round((plan.placements.length / elapsedMs) * 1_000),
  };
}

interface Taken {
  readonly placed: number;
  readonly memoryMb: number;
  readonly diskMb: number;
}

const round = (value: number): number => Number(value.toFixed(3));

function cellReport(cell: CellState, taken: Taken | undefined): CellReport {
  const share = (total: number, available: number, more: number): Share => ({
    before: total - available,
    after: total - available + more,
    total,
  });
  return {
    cell_id: cell.cellId,
    zone: cell.zone,
    state: cell.status,
    containers: share(cell.total.containers, cell.available.containers, taken?.placed ?? 0),
    memory_mb: share(cell.total.memoryMb, cell.available.memoryMb, taken?.memoryMb ?? 0),
    disk_mb: share(cell.total.diskMb, cell.available.diskMb, taken?.diskMb ?? 0),
    placed: taken?.placed ?? 0,
  };
}

function zonesOf(cells: readonly CellReport[]): ZoneReport[] {
  const zones = new Map<string, ZoneReport>();
  for (const { zone, placed, memory_mb: memory } of cells) {
    const sum = zones.get(zone) ?? { zone, cells: 0, placed: 0, memory_mb: { before: 0, after: 0, total: 0 } };
    zones.set(zone, {
      zone,
      cells: sum.cells + 1,
      placed: sum.placed + placed,
      memory_mb: {
        before: sum.memory_mb.before + memory.before,
        after: sum.memory_mb.after + memory.after,
        total: sum.memory_mb.total + memory.total,
      },
    });
  }
  return [...zones.values()].sort((a, b) => (a.zone < b.zone ? -1 : 1));
}

function failuresOf(plan: AuctionPlan): SimulationReport["failures"] {
  const byError = new Map<string, { count: number; first: string }>();
  for (const { work, error } of plan.failures) {
    const known = byError.get(error);
    if (known === undefined) byError.set(error, { count: 1, first: work.key });
    else known.count += 1;
  }
  return [...byError]
    .map(([placement_error, { count, first }]) => ({ placement_error, count, first }))
    .sort((a, b) => b.count - a.count);
}

const mean = (numbers: readonly number[]): number =>
  numbers.length === 0 ? 0 : numbers.reduce((sum, one) => sum + one, 0) / numbers.length;

const deviation = (numbers: readonly number[]): number => {
  const middle = mean(numbers);
  return Math.sqrt(mean(numbers.map((one) => (one - middle) ** 2)));
};

const spreadOf = (counts: readonly number[]): Spread => ({
  least: counts.reduce((least, one) => Math.min(least, one), counts[0] ?? 0),
  most: counts.reduce((most, one) => Math.max(most, one), 0),
  mean: round(mean(counts)),
  standard_deviation: round(deviation(counts)),
});

const scoreOf = (memory: readonly number[]): number => (mean(memory) === 0 ? 0 : round(deviation(memory) / mean(memory)));
