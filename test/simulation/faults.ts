// Which faults befall the world, how often, and how often each did.
import { type Entropy, seededEntropy } from "@muster/shared/clock";

/** Chances are of one message, one commit or one tick each, 0 … 1; times are simulated milliseconds. */
export interface Faults {
  /** A call's request or its answer is lost: the caller learns nothing until its deadline. */
  readonly dropMessage: number;
  /** A call's request arrives twice, one right behind the other. */
  readonly duplicateMessage: number;
  /** The longest way of a message. */
  readonly delayMs: number;
  /** A message breaks the stream it travels on. */
  readonly cutStream: number;
  /** A message, and all that follows it on its stream, takes up to 4 s. */
  readonly stallStream: number;
  /** Each tick: the active BBS dies. */
  readonly crashBbs: number;
  /** Each commit: the active BBS dies in the middle of it, with the commit written or not. */
  readonly crashBbsAtCommit: number;
  /** Each tick: the active BBS stands still for up to 20 s, then goes on. */
  readonly freezeBbs: number;
  readonly crashAuctioneer: number;
  readonly crashConverger: number;
  /** Each tick: a rep dies; its containers run on. */
  readonly crashRep: number;
  /** Each tick: a container's process dies. */
  readonly crashContainer: number;
  /** Each tick: a machine loses its power with everything on it, and comes back after up to 30 s. */
  readonly loseCell: number;
  /** Each tick: a cell is cut off from everybody for up to 20 s; its containers run on. */
  readonly cutCell: number;
  /** Each tick: half of the cells are cut off at once. */
  readonly cutManyCells: number;
  /** Each tick: a cell's garden hangs for up to 8 s. */
  readonly hangGarden: number;
  /** Each container: making it takes up to 12 s more, as with a slow registry. */
  readonly slowCreate: number;
  /** Of a thousand containers: so many cannot be made. */
  readonly failCreate: number;
  /** Each tick: the active BBS and the store cannot reach each other for up to 20 s; everybody still reaches both. */
  readonly cutStore: number;
  /** Each commit: its outcome is unknown; it arrived, arrives late or never. */
  readonly storeUnknown: number;
  /** Each commit: the store refuses it for good, and its BBS ends. */
  readonly storeRefused: number;
  /** Each tick: an operator empties a cell, and mostly takes it back after up to 40 s. */
  readonly evacuateCell: number;
  /** Each tick: somebody switches the docker flag off and on for up to 5 s. */
  readonly flapFlag: number;
  /** Each tick: one process's wall clock jumps by up to an hour, either way. */
  readonly jumpClock: number;
}

export type FaultKind = Exclude<keyof Faults, "delayMs" | "failCreate">;

export const noFaults: Faults = {
  dropMessage: 0,
  duplicateMessage: 0,
  delayMs: 5,
  cutStream: 0,
  stallStream: 0,
  crashBbs: 0,
  crashBbsAtCommit: 0,
  freezeBbs: 0,
  crashAuctioneer: 0,
  crashConverger: 0,
  crashRep: 0,
  crashContainer: 0,
  loseCell: 0,
  cutCell: 0,
  cutManyCells: 0,
  hangGarden: 0,
  slowCreate: 0,
  failCreate: 0,
  cutStore: 0,
  storeUnknown: 0,
  storeRefused: 0,
  evacuateCell: 0,
  flapFlag: 0,
  jumpClock: 0,
};

/** Everything at once, each so often that a run of two minutes meets most of it. */
export const manyFaults: Faults = {
  dropMessage: 0.03,
  duplicateMessage: 0.05,
  delayMs: 60,
  cutStream: 0.002,
  stallStream: 0.002,
  crashBbs: 0.0004,
  crashBbsAtCommit: 0.003,
  freezeBbs: 0.0005,
  crashAuctioneer: 0.002,
  crashConverger: 0.002,
  crashRep: 0.004,
  crashContainer: 0.01,
  loseCell: 0.0015,
  cutCell: 0.003,
  cutManyCells: 0.0004,
  hangGarden: 0.002,
  slowCreate: 0.04,
  failCreate: 10,
  cutStore: 0.0005,
  storeUnknown: 0.02,
  storeRefused: 0.0003,
  evacuateCell: 0.004,
  flapFlag: 0.0004,
  jumpClock: 0.001,
};

/** The dice. Each kind has a stream of its own, so that a new draw in one leaves the others as they were. */
export class FaultDice {
  readonly counts: Partial<Record<FaultKind, number>> = {};
  readonly #streams = new Map<string, Entropy>();
  readonly #seed: string;
  #faults: Faults;

  constructor(seed: string, faults: Faults) {
    this.#seed = seed;
    this.#faults = faults;
  }

  get faults(): Faults {
    return this.#faults;
  }

  stop(): void {
    this.#faults = noFaults;
  }

  stream(purpose: string): Entropy {
    const known = this.#streams.get(purpose);
    if (known !== undefined) return known;
    const stream = seededEntropy(`${this.#seed}:${purpose}`);
    this.#streams.set(purpose, stream);
    return stream;
  }

  /** Whether this fault falls due now. Whoever carries it out counts it, where it finds somebody to befall. */
  falls(kind: FaultKind): boolean {
    // Drawn also when the chance is 0, so that stopping one kind leaves the rest of a run as it was.
    return this.stream(kind).below(1_000_000) < this.#faults[kind] * 1_000_000;
  }

  /** Whether this fault happens now, which nothing can prevent; counted when it does. */
  strikes(kind: FaultKind): boolean {
    const falls = this.falls(kind);
    if (falls) this.count(kind);
    return falls;
  }

  count(kind: FaultKind): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  /** A whole number of `from` … `to`. */
  between(purpose: string, from: number, to: number): number {
    return from + this.stream(purpose).below(to - from + 1);
  }

  pick<Item>(purpose: string, items: readonly Item[]): Item | undefined {
    return items[this.stream(purpose).below(items.length)];
  }
}
