// Work grouped by what the first three filters say of it: two asks of one class are eligible on exactly the same cells.
// Names that no cell knows are folded into one, so that the number of classes is bounded by what the fleet offers.
import { acceptsPlacementTags, acceptsRootFS, acceptsVolumeDrivers } from "./filters.js";
import { placementTagError, rootFSError, volumeDriverError } from "./placement-errors.js";
import { parseRootFS } from "./rootfs.js";
import type { Ask, CellState } from "./types.js";

export interface EligibilityClass {
  /** 1 for each cell that passes rootfs, drivers and tags. */
  readonly eligible: Uint8Array;
  /** Zones with at least one such cell, ascending. */
  readonly zones: Int32Array;
  /** The furthest filter any cell failed at: what the error names when nobody is eligible. */
  readonly furthest: "rootfs" | "volume-drivers" | "placement-tags";
}

const unknown = "\u0000";

export class EligibilityClasses {
  readonly #cells: readonly CellState[];
  readonly #zoneOf: (cell: number) => number;
  readonly #classes = new Map<string, EligibilityClass>();
  readonly #fixedNames = new Map<string, Set<string>>();
  readonly #drivers: ReadonlySet<string>;
  readonly #tags: ReadonlySet<string>;

  constructor(cells: readonly CellState[], zoneOf: (cell: number) => number) {
    this.#cells = cells;
    this.#zoneOf = zoneOf;
    this.#drivers = new Set(cells.flatMap((cell) => cell.volumeDrivers));
    this.#tags = new Set(cells.flatMap((cell) => [...cell.placementTags, ...cell.optionalPlacementTags]));
    for (const provider of cells.flatMap((cell) => cell.rootFSProviders)) {
      const names = this.#fixedNames.get(provider.scheme) ?? new Set();
      if (provider.fixedSet) for (const name of provider.names) names.add(name);
      this.#fixedNames.set(provider.scheme, names);
    }
  }

  of(ask: Ask): EligibilityClass {
    const key = this.#keyOf(ask);
    const known = this.#classes.get(key);
    if (known !== undefined) return known;
    const made = this.#make(ask);
    this.#classes.set(key, made);
    return made;
  }

  #keyOf(ask: Ask): string {
    const rootFS = parseRootFS(ask.rootFs);
    const names = rootFS === undefined ? undefined : this.#fixedNames.get(rootFS.scheme);
    const scheme = names === undefined ? unknown : (rootFS?.scheme ?? unknown);
    const opaque = rootFS !== undefined && names?.has(rootFS.opaque) ? rootFS.opaque : unknown;
    if (ask.volumeDrivers.length === 0 && ask.placementTags.length === 0) return JSON.stringify([scheme, opaque]);
    return JSON.stringify([scheme, opaque, fold(ask.volumeDrivers, this.#drivers), fold(ask.placementTags, this.#tags)]);
  }

  #make(ask: Ask): EligibilityClass {
    const rootFS = parseRootFS(ask.rootFs);
    const eligible = new Uint8Array(this.#cells.length);
    const zones = new Set<number>();
    let furthest: EligibilityClass["furthest"] = "rootfs";
    for (const [i, cell] of this.#cells.entries()) {
      if (!acceptsRootFS(cell, rootFS)) continue;
      if (furthest === "rootfs") furthest = "volume-drivers";
      if (!acceptsVolumeDrivers(cell, ask.volumeDrivers)) continue;
      furthest = "placement-tags";
      if (!acceptsPlacementTags(cell, ask.placementTags)) continue;
      eligible[i] = 1;
      zones.add(this.#zoneOf(i));
    }
    return { eligible, zones: Int32Array.from([...zones].sort((a, b) => a - b)), furthest };
  }
}

function fold(names: readonly string[], known: ReadonlySet<string>): string[] {
  return [...new Set(names.map((name) => (known.has(name) ? name : unknown)))].sort();
}

/**
 * The error when no cell is eligible. Diego keeps the error of whichever zone came last in a random order; ours is that of the
 * cell that came closest, over all zones.
 */
export function noCellError(furthest: EligibilityClass["furthest"], ask: Ask): string {
  if (furthest === "rootfs") return rootFSError;
  return furthest === "volume-drivers" ? volumeDriverError : placementTagError(ask.placementTags);
}
