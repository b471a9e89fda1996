// The cells of one auction as typed arrays: scores, reservations and the search for the best cell. A score is Diego's
// formula (auction.md section 7), evaluated in one fixed order of operations, so that equal inputs give equal bits.
//
// What makes it fast and changes nothing: cells of one zone that offer the same are cut into blocks, each with a bound below
// all its scores, and a block that may not or cannot win is skipped. Scores without locality are kept while the same amount is asked (work comes sorted by memory and
// disk), so a block's bound is then exact; for a new amount it is the block's best score for nothing at all, plus what the
// amount adds on the largest cell there is.
import { invariant } from "@muster/shared/errors";
import type { AuctionOptions, CellState, Work } from "./types.js";

/** A score must be below this to win at all. */
const initialBestScore = 1e20;
/** Added for each instance of the same process on the cell (for a task: for each task). */
const localityOffset = 1000;
/** Cells per block: near the square root of a large zone, which is where skipping saves most. */
const blockSize = 32;

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Where the instances of one process are, by cell and by zone. */
export interface Ledger {
  /** A plain array: there is a ledger for each process, and a typed array costs more to make than its few numbers are worth. */
  readonly zoneCounts: number[];
  readonly cells: number[];
  readonly counts: number[];
}

export class Floor {
  /** Admitted cells by zone, then by what they offer, then by cell id. */
  readonly cells: readonly CellState[];
  readonly zones: number;
  /** Σ of starting containers over all cells; for the in-flight cap. */
  readonly startingAtFirst: number;

  readonly #weight: number;
  readonly #zoneOf: Int32Array;
  readonly #memory: Float64Array;
  readonly #disk: Float64Array;
  readonly #containers: Float64Array;
  readonly #totalMemory: Float64Array;
  readonly #totalDisk: Float64Array;
  readonly #totalContainers: Float64Array;
  readonly #starting: Float64Array;
  readonly #tasks: Float64Array;
  readonly #proxy: Float64Array;
  /** Normalised index in the zone times the bin-pack weight; all zero for tasks. */
  readonly #bias: Float64Array;
  readonly #noBias: Float64Array;
  /** Position by cell id over all zones: settles ties. */
  readonly #rank: Int32Array;
  readonly #locality: Float64Array;

  readonly #zoneBlock: Int32Array;
  readonly #blockStart: Int32Array;
  readonly #blockOf: Int32Array;
  /** Each cell's score for an amount of nothing. */
  readonly #idle: Readonly<Record<Work["kind"], Float64Array>>;
  /** A bound for any amount: no score in the block is below it, once `#leastAdded` is added. One for each kind of work. */
  readonly #blockFloor: Readonly<Record<Work["kind"], Float64Array>>;
  /** The best kept score of the block, while `#blockAmount` says it is for the prepared amount. */
  readonly #blockBest: Float64Array;
  readonly #blockAmount: Int32Array;

  readonly #base: Float64Array;
  readonly #largestMemory: number;
  readonly #largestDisk: number;
  #kind: Work["kind"] = "lrp";
  #askedMemory = Number.NaN;
  #askedDisk = Number.NaN;
  /** Counts the amounts prepared so far. */
  #amount = 0;
  #leastAdded = 0;

  constructor(states: readonly CellState[], options: AuctionOptions) {
    const admitted = states.filter(({ status }) => status === "healthy").map((cell) => ({ cell, offer: offerOf(cell) }));
    admitted.sort((a, b) => byText(a.cell.zone, b.cell.zone) || byText(a.offer, b.offer) || byText(a.cell.cellId, b.cell.cellId));
    this.cells = admitted.map(({ cell }) => cell);
    const count = this.cells.length;
    const numbers = (read: (cell: CellState, place: number) => number): Float64Array => Float64Array.from(this.cells, read);
    this.#weight = options.startingContainerWeight;
    this.#memory = numbers((cell) => cell.available.memoryMb);
    this.#disk = numbers((cell) => cell.available.diskMb);
    this.#containers = numbers((cell) => cell.available.containers);
    this.#totalMemory = numbers((cell) => cell.total.memoryMb);
    this.#totalDisk = numbers((cell) => cell.total.diskMb);
    this.#totalContainers = numbers((cell) => cell.total.containers);
    this.#starting = numbers((cell) => cell.startingContainerCount);
    this.#tasks = numbers((cell) => cell.taskCount);
    this.#proxy = numbers((cell) => cell.proxyMemoryMb);
    this.#locality = new Float64Array(count);
    this.#base = new Float64Array(count);
    this.#noBias = new Float64Array(count);
    this.startingAtFirst = this.#starting.reduce((sum, starting) => sum + starting, 0);
    this.#zoneOf = numberZones(this.cells);
    this.zones = count === 0 ? 0 : int(this.#zoneOf, count - 1) + 1;
    this.#rank = ranksById(this.cells);
    this.#bias = zoneBias(this.cells, this.#zoneOf, options.binPackFirstFitWeight);
    const blocks = cutBlocks(
      this.#zoneOf,
      this.zones,
      admitted.map(({ offer }) => offer),
    );
    this.#zoneBlock = blocks.zoneBlock;
    this.#blockStart = blocks.blockStart;
    this.#blockOf = blocks.blockOf;
    const blockCount = blocks.blockStart.length - 1;
    this.#blockBest = new Float64Array(blockCount);
    this.#blockAmount = new Int32Array(blockCount);
    this.#blockFloor = { lrp: new Float64Array(blockCount), task: new Float64Array(blockCount) };
    this.#largestMemory = this.#totalMemory.reduce((most, total) => Math.max(most, total), 1);
    this.#largestDisk = this.#totalDisk.reduce((most, total) => Math.max(most, total), 1);
    this.#idle = {
      lrp: numbers((_, cell) => this.#baseScore("lrp", cell, 0, 0)),
      task: numbers((_, cell) => this.#baseScore("task", cell, 0, 0)),
    };
    for (let block = 0; block < blockCount; block += 1) this.#setFloors(block);
  }

  zoneOf(cell: number): number {
    return int(this.#zoneOf, cell);
  }

  emptyLedger(): Ledger {
    return { zoneCounts: new Array<number>(this.zones).fill(0), cells: [], counts: [] };
  }

  /** Counts `instances` more of the ledger's process on a cell. */
  count(ledger: Ledger, cell: number, instances: number): void {
    const zone = int(this.#zoneOf, cell);
    ledger.zoneCounts[zone] = (ledger.zoneCounts[zone] ?? 0) + instances;
    const place = ledger.cells.indexOf(cell);
    if (place === -1) {
      ledger.cells.push(cell);
      ledger.counts.push(instances);
    } else ledger.counts[place] = (ledger.counts[place] ?? 0) + instances;
  }

  /** What is left of a cell after the reservations so far. */
  left(cell: number): { memoryMb: number; diskMb: number; containers: number } {
    return { memoryMb: num(this.#memory, cell), diskMb: num(this.#disk, cell), containers: num(this.#containers, cell) };
  }

  /** Says what the next searches and reservations are for. */
  prepare(kind: Work["kind"], memoryMb: number, diskMb: number): void {
    if (kind === this.#kind && memoryMb === this.#askedMemory && diskMb === this.#askedDisk) return;
    this.#kind = kind;
    this.#askedMemory = memoryMb;
    this.#askedDisk = diskMb;
    this.#amount += 1;
    this.#leastAdded = (memoryMb / this.#largestMemory + diskMb / this.#largestDisk) / 3;
  }

  /** Lays the ledger's instances over the cells, for the next search. Taken off with `forgetLocality`. */
  useLocality(ledger: Ledger): void {
    for (let i = 0; i < ledger.cells.length; i += 1) {
      this.#locality[ledger.cells[i] ?? 0] = localityOffset * (ledger.counts[i] ?? 0);
    }
  }

  forgetLocality(ledger: Ledger): void {
    for (const cell of ledger.cells) this.#locality[cell] = 0;
  }

  /**
   * The eligible cell of `zones` with the lowest score for the prepared amount; a tie goes to the lower cell id.
   * -1 when none has room. `zones` is read up to `zoneCount`.
   */
  best(zones: Int32Array, zoneCount: number, eligible: Uint8Array): number {
    // Named once: these loops are where an auction spends its time.
    const base = this.#base;
    const locality = this.#locality;
    const rank = this.#rank;
    const bias = this.#kind === "lrp" ? this.#bias : this.#noBias;
    let bestScore = initialBestScore;
    let winner = -1;
    for (let z = 0; z < zoneCount; z += 1) {
      const firstBlock = int(this.#zoneBlock, int(zones, z));
      const lastBlock = int(this.#zoneBlock, int(zones, z) + 1);
      const likeliest = this.#likeliestBlock(firstBlock, lastBlock, eligible);
      // The likeliest block goes first, so that its winner rules out most of the others.
      for (let turn = firstBlock - 1; turn < lastBlock; turn += 1) {
        const block = turn < firstBlock ? likeliest : turn;
        if (turn === likeliest || this.#bound(block) > bestScore) continue;
        // Cells of a block offer the same: its first one speaks for all.
        const first = int(this.#blockStart, block);
        if (eligible[first] === 0) continue;
        // Locality and bias are never negative, so the block's best kept score bounds every score in it. Ids ascend within
        // a block, so one that can only draw level loses to a winner before its first cell.
        const bound = this.#keptBest(block);
        if (bound > bestScore || (bound === bestScore && int(rank, winner) < int(rank, first))) continue;
        const end = int(this.#blockStart, block + 1);
        for (let cell = first; cell < end; cell += 1) {
          const score = num(base, cell) + num(locality, cell) + num(bias, cell);
          if (score > bestScore) continue;
          if (score < bestScore || (winner !== -1 && int(rank, cell) < int(rank, winner))) {
            bestScore = score;
            winner = cell;
          }
        }
      }
    }
    return winner;
  }

  /** A cell's score for the prepared amount and the locality in use: what `best` compares. */
  score(cell: number): number {
    const bias = this.#kind === "lrp" ? num(this.#bias, cell) : 0;
    return this.#baseScore(this.#kind, cell, this.#askedMemory, this.#askedDisk) + num(this.#locality, cell) + bias;
  }

  /** Takes the prepared amount from a cell. An LRP's proxy counts: Diego forgets it here and overfills the cell. */
  reserve(cell: number): void {
    const proxy = this.#kind === "lrp" ? num(this.#proxy, cell) : 0;
    this.#memory[cell] = num(this.#memory, cell) - this.#askedMemory - proxy;
    this.#disk[cell] = num(this.#disk, cell) - this.#askedDisk;
    this.#containers[cell] = num(this.#containers, cell) - 1;
    this.#starting[cell] = num(this.#starting, cell) + 1;
    if (this.#kind === "task") this.#tasks[cell] = num(this.#tasks, cell) + 1;
    const block = int(this.#blockOf, cell);
    this.#idle.lrp[cell] = this.#baseScore("lrp", cell, 0, 0);
    this.#idle.task[cell] = this.#baseScore("task", cell, 0, 0);
    this.#setFloors(block);
    if (int(this.#blockAmount, block) !== this.#amount) return;
    this.#base[cell] = this.#baseScore(this.#kind, cell, this.#askedMemory, this.#askedDisk);
    this.#blockBest[block] = this.#lowest(this.#base, block);
  }

  /** The score without an LRP's locality and bias; infinite when the cell has no room, or a total of nothing. */
  #baseScore(kind: Work["kind"], cell: number, askedMemory: number, askedDisk: number): number {
    const memory = num(this.#memory, cell) - (askedMemory + (kind === "lrp" ? num(this.#proxy, cell) : 0));
    const disk = num(this.#disk, cell) - askedDisk;
    const containers = num(this.#containers, cell) - 1;
    const totalMemory = num(this.#totalMemory, cell);
    const totalDisk = num(this.#totalDisk, cell);
    const totalContainers = num(this.#totalContainers, cell);
    if (memory < 0 || disk < 0 || containers < 0) return Number.POSITIVE_INFINITY;
    if (totalMemory <= 0 || totalDisk <= 0 || totalContainers <= 0) return Number.POSITIVE_INFINITY;
    const resources = (1 - memory / totalMemory + (1 - disk / totalDisk) + (1 - containers / totalContainers)) / 3;
    const score = resources + num(this.#starting, cell) * this.#weight;
    return kind === "lrp" ? score : score + localityOffset * num(this.#tasks, cell);
  }

  #likeliestBlock(firstBlock: number, lastBlock: number, eligible: Uint8Array): number {
    let likeliest = firstBlock;
    let lowest = Number.POSITIVE_INFINITY;
    for (let block = firstBlock; block < lastBlock; block += 1) {
      const bound = this.#bound(block);
      if (bound >= lowest || eligible[int(this.#blockStart, block)] === 0) continue;
      lowest = bound;
      likeliest = block;
    }
    return likeliest;
  }

  #bound(block: number): number {
    if (int(this.#blockAmount, block) === this.#amount) return num(this.#blockBest, block);
    return num(this.#blockFloor[this.#kind], block) + this.#leastAdded;
  }

  /** The block's best score for the prepared amount, worked out when it is first asked for. */
  #keptBest(block: number): number {
    if (int(this.#blockAmount, block) !== this.#amount) {
      this.#blockAmount[block] = this.#amount;
      const end = int(this.#blockStart, block + 1);
      for (let cell = int(this.#blockStart, block); cell < end; cell += 1) {
        this.#base[cell] = this.#baseScore(this.#kind, cell, this.#askedMemory, this.#askedDisk);
      }
      this.#blockBest[block] = this.#lowest(this.#base, block);
    }
    return num(this.#blockBest, block);
  }

  #lowest(scores: Float64Array, block: number): number {
    let lowest = Number.POSITIVE_INFINITY;
    const end = int(this.#blockStart, block + 1);
    for (let cell = int(this.#blockStart, block); cell < end; cell += 1) {
      const score = num(scores, cell);
      if (score < lowest) lowest = score;
    }
    return lowest;
  }

  /** Sets the block's bounds for any amount: a little below its best score for nothing, since sums are rounded. */
  #setFloors(block: number): void {
    this.#blockFloor.lrp[block] = lowered(this.#lowest(this.#idle.lrp, block));
    this.#blockFloor.task[block] = lowered(this.#lowest(this.#idle.task, block));
  }
}

const lowered = (score: number): number => (score === Number.POSITIVE_INFINITY ? score : score - 1e-9 * (1 + Math.abs(score)));

/** Read an array within its bounds, where the compiler cannot know them. Two, so that each sees one kind of array and stays fast. */
const num = (array: Float64Array, index: number): number => array[index] as number;
const int = (array: Int32Array, index: number): number => array[index] as number;

function numberZones(cells: readonly CellState[]): Int32Array {
  const zoneOf = new Int32Array(cells.length);
  let zone = -1;
  let name: string | undefined;
  for (const [i, cell] of cells.entries()) {
    if (cell.zone !== name) zone += 1;
    name = cell.zone;
    zoneOf[i] = zone;
  }
  return zoneOf;
}

function ranksById(cells: readonly CellState[]): Int32Array {
  const order = cells.map((cell, i) => ({ id: cell.cellId, i })).sort((a, b) => byText(a.id, b.id));
  const rank = new Int32Array(cells.length);
  for (const [position, { id, i }] of order.entries()) {
    invariant(order[position - 1]?.id !== id, "a cell takes part in an auction once");
    rank[i] = position;
  }
  return rank;
}

/** Diego's normalised index: 0, 1, 2 … inside each zone by cell index, times the weight. */
function zoneBias(cells: readonly CellState[], zoneOf: Int32Array, weight: number): Float64Array {
  const bias = new Float64Array(cells.length);
  if (weight <= 0) return bias;
  const order = cells
    .map((cell, i) => ({ cell, i, zone: int(zoneOf, i) }))
    .sort((a, b) => a.zone - b.zone || a.cell.cellIndex - b.cell.cellIndex || byText(a.cell.cellId, b.cell.cellId));
  let zone = -1;
  let normalised = 0;
  for (const entry of order) {
    normalised = entry.zone === zone ? normalised + 1 : 0;
    zone = entry.zone;
    bias[entry.i] = normalised * weight;
  }
  return bias;
}

/** All that the first three filters look at: cells with one offer accept the same work as long as they have room. */
function offerOf(cell: CellState): string {
  const providers = cell.rootFSProviders.map(({ scheme, fixedSet, names }) => [scheme, fixedSet, names]);
  return JSON.stringify([providers, cell.volumeDrivers, cell.placementTags, cell.optionalPlacementTags]);
}

/** Cuts each zone into blocks; no block spans two zones or two offers. */
function cutBlocks(zoneOf: Int32Array, zones: number, offers: readonly string[]) {
  const zoneBlock = new Int32Array(zones + 1);
  const blockOf = new Int32Array(zoneOf.length);
  const starts: number[] = [];
  let zone = -1;
  for (let cell = 0; cell < zoneOf.length; cell += 1) {
    const newZone = int(zoneOf, cell) !== zone;
    if (newZone) {
      zone = int(zoneOf, cell);
      zoneBlock[zone] = starts.length;
    }
    const full = cell - (starts.at(-1) ?? 0) === blockSize;
    if (newZone || full || offers[cell] !== offers[cell - 1]) starts.push(cell);
    blockOf[cell] = starts.length - 1;
  }
  zoneBlock[zones] = starts.length;
  return { zoneBlock, blockOf, blockStart: Int32Array.from([...starts, zoneOf.length]) };
}
