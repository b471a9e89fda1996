// The auction once more, as plainly as auction.md tells it: no kept scores, no blocks, no classes. Slow, and what the fast one
// is compared with. For tests only.
import { acceptsPlacementTags, acceptsRootFS, acceptsVolumeDrivers } from "../filters.js";
import { parseRootFS } from "../rootfs.js";
import type { AuctionOptions, CellState, Work } from "../types.js";

interface Cell {
  readonly state: CellState;
  readonly index: number;
  memory: number;
  disk: number;
  containers: number;
  starting: number;
  tasks: number;
  readonly lrps: Map<string, number>;
}

export interface ReferencePlan {
  readonly placements: readonly { readonly key: string; readonly cellId: string }[];
  readonly failures: readonly { readonly key: string; readonly error: string }[];
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function normalisedIndex(state: CellState, states: readonly CellState[]): number {
  return states
    .filter(({ zone }) => zone === state.zone)
    .sort((a, b) => a.cellIndex - b.cellIndex || compare(a.cellId, b.cellId))
    .indexOf(state);
}

function order(waiting: readonly Work[]): Work[] {
  const unique = [...new Map(waiting.map((work) => [work.key, work])).values()];
  const bySize = (a: Work, b: Work) => b.ask.memoryMb - a.ask.memoryMb || b.ask.diskMb - a.ask.diskMb;
  const lrps = unique.flatMap((work) => (work.kind === "lrp" ? [work] : []));
  lrps.sort((a, b) => a.index - b.index || bySize(a, b) || compare(a.processGuid, b.processGuid));
  const tasks = unique.flatMap((work) => (work.kind === "task" ? [work] : []));
  tasks.sort((a, b) => bySize(a, b) || compare(a.taskGuid, b.taskGuid));
  return [...lrps.filter(({ index }) => index === 0), ...tasks, ...lrps.filter(({ index }) => index > 0)];
}

export function referenceAuction(states: readonly CellState[], waiting: readonly Work[], options: AuctionOptions): ReferencePlan {
  const admitted = states.filter(({ status }) => status === "healthy").sort((a, b) => compare(a.cellId, b.cellId));
  const cells: Cell[] = admitted.map((state) => ({
    state,
    index: normalisedIndex(state, admitted),
    memory: state.available.memoryMb,
    disk: state.available.diskMb,
    containers: state.available.containers,
    starting: state.startingContainerCount,
    tasks: state.taskCount,
    lrps: new Map(state.lrpsByProcess),
  }));
  const placements: { key: string; cellId: string }[] = [];
  const failures: { key: string; error: string }[] = [];
  let inFlight = cells.reduce((sum, { starting }) => sum + starting, 0);
  for (const work of order(waiting)) {
    const answer = decide(cells, work, inFlight, options);
    if (typeof answer === "string") {
      failures.push({ key: work.key, error: answer });
      continue;
    }
    reserve(answer, work);
    inFlight += 1;
    placements.push({ key: work.key, cellId: answer.state.cellId });
  }
  return { placements, failures };
}

function decide(cells: readonly Cell[], work: Work, inFlight: number, options: AuctionOptions): Cell | string {
  if (cells.length === 0) return "unable to communicate to compatible cells";
  const cap = options.startingContainerCountMaximum;
  if (cap > 0 && inFlight >= cap) return "waiting to start instance: reached in-flight start limit";
  const { ask } = work;
  const withRootFS = cells.filter(({ state }) => acceptsRootFS(state, parseRootFS(ask.rootFs)));
  if (withRootFS.length === 0) return "found no compatible cell for required rootfs";
  const withDrivers = withRootFS.filter(({ state }) => acceptsVolumeDrivers(state, ask.volumeDrivers));
  if (withDrivers.length === 0) return "found no compatible cell with required volume drivers";
  const eligible = withDrivers.filter(({ state }) => acceptsPlacementTags(state, ask.placementTags));
  if (eligible.length === 0) return tagError(ask.placementTags);
  for (const group of zoneGroups(cells, work)) {
    const winner = lowest(
      eligible.filter(({ state }) => group.includes(state.zone)),
      work,
      options,
    );
    if (winner !== undefined) return winner;
  }
  const common = ["containers", "disk", "memory"].filter((cause) => eligible.every((cell) => lacks(cell, work).includes(cause)));
  return common.length === 0 ? "insufficient resources" : `insufficient resources: ${common.join(", ")}`;
}

function tagError(tags: readonly string[]): string {
  const words = tags.map((tag) => `"${tag}"`);
  if (words.length === 0) return "found no compatible cell with no placement tags";
  if (words.length === 1) return `found no compatible cell with placement tag ${words[0]}`;
  return `found no compatible cell with placement tags ${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/** Zones with equally few instances of the process together, fewest first. A task sees one group of all zones. */
function zoneGroups(cells: readonly Cell[], work: Work): string[][] {
  const zones = [...new Set(cells.map(({ state }) => state.zone))];
  if (work.kind === "task") return [zones];
  const countOf = (zone: string) =>
    cells.filter(({ state }) => state.zone === zone).reduce((sum, { lrps }) => sum + (lrps.get(work.processGuid) ?? 0), 0);
  const counts = [...new Set(zones.map(countOf))].sort((a, b) => a - b);
  return counts.map((count) => zones.filter((zone) => countOf(zone) === count));
}

const memoryOf = (cell: Cell, work: Work): number => work.ask.memoryMb + (work.kind === "lrp" ? cell.state.proxyMemoryMb : 0);

function lacks(cell: Cell, work: Work): string[] {
  const { total } = cell.state;
  const causes: string[] = [];
  if (cell.containers < 1 || total.containers <= 0) causes.push("containers");
  if (cell.disk < work.ask.diskMb || total.diskMb <= 0) causes.push("disk");
  if (cell.memory < memoryOf(cell, work) || total.memoryMb <= 0) causes.push("memory");
  return causes;
}

function lowest(cells: readonly Cell[], work: Work, options: AuctionOptions): Cell | undefined {
  let best: { readonly cell: Cell; readonly score: number } | undefined;
  for (const cell of cells) {
    if (lacks(cell, work).length > 0) continue;
    const score = scoreOf(cell, work, options);
    if (score < (best?.score ?? 1e20)) best = { cell, score };
  }
  return best?.cell;
}

function scoreOf(cell: Cell, work: Work, options: AuctionOptions): number {
  const { total } = cell.state;
  const memory = 1 - (cell.memory - memoryOf(cell, work)) / total.memoryMb;
  const disk = 1 - (cell.disk - work.ask.diskMb) / total.diskMb;
  const containers = 1 - (cell.containers - 1) / total.containers;
  const resources = (memory + disk + containers) / 3 + cell.starting * options.startingContainerWeight;
  if (work.kind === "task") return resources + 1000 * cell.tasks;
  return resources + 1000 * (cell.lrps.get(work.processGuid) ?? 0) + cell.index * Math.max(0, options.binPackFirstFitWeight);
}

function reserve(cell: Cell, work: Work): void {
  cell.memory = cell.memory - work.ask.memoryMb - (work.kind === "lrp" ? cell.state.proxyMemoryMb : 0);
  cell.disk -= work.ask.diskMb;
  cell.containers -= 1;
  cell.starting += 1;
  if (work.kind === "task") cell.tasks += 1;
  else cell.lrps.set(work.processGuid, (cell.lrps.get(work.processGuid) ?? 0) + 1);
}
