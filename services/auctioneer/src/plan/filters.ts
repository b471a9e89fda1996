// The filters by name, in Diego's order (auction.md section 5): what each compares, and what it says when it refuses.
import { parseRootFS, type RootFS } from "./rootfs.js";
import type { Amount, Ask, CellState, CellVerdict, Explanation, FilterName, Work } from "./types.js";
import { filterNames } from "./types.js";

/** A provider for the scheme that takes anything, or that lists the opaque part. */
export function acceptsRootFS(cell: CellState, rootFS: RootFS | undefined): boolean {
  if (rootFS === undefined) return false;
  return cell.rootFSProviders.some(
    (provider) => provider.scheme === rootFS.scheme && (!provider.fixedSet || provider.names.includes(rootFS.opaque)),
  );
}

export const acceptsVolumeDrivers = (cell: CellState, drivers: readonly string[]): boolean =>
  drivers.every((driver) => cell.volumeDrivers.includes(driver));

/** With R the cell's tags, O its optional ones and D those asked for: R within D, and D within R and O together. */
export const acceptsPlacementTags = (cell: CellState, tags: readonly string[]): boolean =>
  cell.placementTags.every((tag) => tags.includes(tag)) &&
  tags.every((tag) => cell.placementTags.includes(tag) || cell.optionalPlacementTags.includes(tag));

/** An LRP brings its proxy's memory along; a task has none. */
export const neededMemoryMb = (kind: Work["kind"], ask: Ask, cell: CellState): number =>
  kind === "lrp" ? ask.memoryMb + cell.proxyMemoryMb : ask.memoryMb;

interface Refusal {
  readonly asked: string;
  readonly available: string;
}

interface Question {
  readonly kind: Work["kind"];
  readonly ask: Ask;
  readonly cell: CellState;
  /** What is left of the cell; its own `available` unless an auction has taken from it. */
  readonly left: Amount;
}

/** A total of nothing holds nothing, whatever is asked: its score would be a division by zero. */
const lacks = (left: number, total: number, needed: number): boolean => total <= 0 || left < needed;

const list = (values: readonly string[]): string => (values.length === 0 ? "none" : values.join(", "));
const megabytes = (left: number, total: number): string => `${left} MB of ${total} MB`;
const whenStatusIs =
  (status: CellState["status"]) =>
  ({ cell }: Question): Refusal | undefined =>
    cell.status === status ? { asked: "a cell that takes work", available: cell.statusReason || status } : undefined;

const refusals: Readonly<Record<FilterName, (question: Question) => Refusal | undefined>> = {
  silent: whenStatusIs("silent"),
  evacuating: whenStatusIs("evacuating"),
  unhealthy: whenStatusIs("unhealthy"),
  rootfs: ({ cell, ask }) => {
    const rootFS = parseRootFS(ask.rootFs);
    if (acceptsRootFS(cell, rootFS)) return undefined;
    const offers = cell.rootFSProviders.flatMap(({ scheme, fixedSet, names }) =>
      fixedSet ? names.map((name) => `${scheme}:${name}`) : [scheme],
    );
    const asked = rootFS === undefined ? "not a URL" : rootFS.opaque === "" ? rootFS.scheme : `${rootFS.scheme}:${rootFS.opaque}`;
    return { asked, available: list(offers) };
  },
  "volume-drivers": ({ cell, ask }) =>
    acceptsVolumeDrivers(cell, ask.volumeDrivers)
      ? undefined
      : { asked: list(ask.volumeDrivers), available: list(cell.volumeDrivers) },
  "placement-tags": ({ cell, ask }) => {
    if (acceptsPlacementTags(cell, ask.placementTags)) return undefined;
    const optional = cell.optionalPlacementTags.length === 0 ? "" : `; optional: ${list(cell.optionalPlacementTags)}`;
    return { asked: list(ask.placementTags), available: `${list(cell.placementTags)}${optional}` };
  },
  memory: ({ kind, cell, ask, left }) => {
    const needed = neededMemoryMb(kind, ask, cell);
    if (!lacks(left.memoryMb, cell.total.memoryMb, needed)) return undefined;
    const proxy = needed === ask.memoryMb ? "" : ` with ${cell.proxyMemoryMb} MB for its proxy`;
    return { asked: `${needed} MB${proxy}`, available: megabytes(left.memoryMb, cell.total.memoryMb) };
  },
  disk: ({ cell, ask, left }) =>
    lacks(left.diskMb, cell.total.diskMb, ask.diskMb)
      ? { asked: `${ask.diskMb} MB`, available: megabytes(left.diskMb, cell.total.diskMb) }
      : undefined,
  containers: ({ cell, left }) =>
    lacks(left.containers, cell.total.containers, 1)
      ? { asked: "1", available: `${left.containers} of ${cell.total.containers}` }
      : undefined,
};

/** One cell's first refusal; `undefined` when it would take the work. */
export function verdictOf(question: Question): CellVerdict | undefined {
  for (const filter of filterNames) {
    const refusal = refusals[filter](question);
    if (refusal !== undefined) return { cellId: question.cell.cellId, zone: question.cell.zone, filter, ...refusal };
  }
  return undefined;
}

/** Which of memory, disk and containers this cell lacks: all of them, not only the first. */
export function missingResources({ kind, ask, cell, left }: Question): ("memory" | "disk" | "containers")[] {
  const missing: ("memory" | "disk" | "containers")[] = [];
  if (lacks(left.memoryMb, cell.total.memoryMb, neededMemoryMb(kind, ask, cell))) missing.push("memory");
  if (lacks(left.diskMb, cell.total.diskMb, ask.diskMb)) missing.push("disk");
  if (lacks(left.containers, cell.total.containers, 1)) missing.push("containers");
  return missing;
}

/**
 * Every cell's first refusal of an ask, those that came closest first, at most `maxVerdicts`.
 * `leftOf` gives what is left of a cell; cells that would take the work are not listed.
 */
export function explain(
  cells: readonly CellState[],
  kind: Work["kind"],
  ask: Ask,
  maxVerdicts: number,
  leftOf: (cell: CellState) => Amount = (cell) => cell.available,
): Explanation {
  const verdicts: CellVerdict[] = [];
  for (const cell of cells) {
    const verdict = verdictOf({ kind, ask, cell, left: leftOf(cell) });
    if (verdict !== undefined) verdicts.push(verdict);
  }
  const depth = ({ filter }: CellVerdict): number => (filter === "refused" ? filterNames.length : filterNames.indexOf(filter));
  verdicts.sort((a, b) => depth(b) - depth(a) || (a.cellId < b.cellId ? -1 : 1));
  return { verdicts: verdicts.slice(0, maxVerdicts), omitted: Math.max(0, verdicts.length - maxVerdicts) };
}
