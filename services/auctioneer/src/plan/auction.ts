// The auction: which cell takes what. A pure function from the cells and what waits to a plan that leaves no choices.
// Rules: auction.md sections 5 to 9, with its quirks settled as docs/decisions and the README of this service say.
import type { CellId } from "@muster/shared/model";
import { type EligibilityClass, EligibilityClasses, noCellError } from "./classes.js";
import { explain, missingResources } from "./filters.js";
import { Floor, type Ledger } from "./floor.js";
import { communicationError, inFlightError, resourceError } from "./placement-errors.js";
import {
  type AuctionOptions,
  type AuctionPlan,
  type CellState,
  defaultAuctionOptions,
  type Explanation,
  type Failure,
  type Placement,
  type Work,
} from "./types.js";
import { inAuctionOrder } from "./work-order.js";

const noExplanation: Explanation = { verdicts: [], omitted: 0 };

/**
 * Decides an auction. The same cells and work, in any order and with repeats, give the same plan.
 * Cells that are not healthy take nothing and appear in explanations only. Nothing given is changed.
 * Units: MiB. Throws: InvariantError when one cell is given twice.
 */
export function planAuction(
  cells: readonly CellState[],
  waiting: readonly Work[],
  options: AuctionOptions = defaultAuctionOptions,
): AuctionPlan {
  return new Auction(cells, waiting, options).run();
}

/** What work of one process and ask has in common. */
interface Context {
  readonly eligibility: EligibilityClass;
  /** `undefined` for tasks. */
  readonly ledger: Ledger | undefined;
}

class Auction {
  readonly #cells: readonly CellState[];
  readonly #waiting: readonly Work[];
  readonly #options: AuctionOptions;
  readonly #floor: Floor;
  readonly #classes: EligibilityClasses;
  readonly #placements: Placement[] = [];
  readonly #failures: Failure[] = [];
  readonly #refusals: RefusalBook;
  /** Zones of one walk that are still to be asked, and the group being asked; kept to spare allocations. */
  readonly #group: Int32Array;

  constructor(cells: readonly CellState[], waiting: readonly Work[], options: AuctionOptions) {
    this.#cells = cells;
    this.#waiting = waiting;
    this.#options = options;
    this.#floor = new Floor(cells, options);
    this.#classes = new EligibilityClasses(this.#floor.cells, (cell) => this.#floor.zoneOf(cell));
    this.#refusals = new RefusalBook(options.maxExplanations);
    this.#group = new Int32Array(this.#floor.zones);
  }

  run(): AuctionPlan {
    const ledgers = openLedgers(this.#floor, this.#waiting);
    const contextOf = (work: Work): Context => ({
      eligibility: this.#classes.of(work.ask),
      ledger: work.kind === "lrp" ? ledgers.get(work.processGuid) : undefined,
    });
    for (const { work, context } of inAuctionOrder(this.#waiting, contextOf)) {
      const blocked = this.#blockedError();
      if (blocked === undefined) this.#place(work, context);
      else this.#fail(work, blocked, blocked === communicationError);
    }
    return {
      placements: this.#placements,
      failures: this.#failures.map(({ work, error }) => ({ work, error, explanation: this.#explanationOf(work) })),
    };
  }

  /** What stops every item whatever it asks: no cell at all, or the cluster-wide cap on starting containers. */
  #blockedError(): string | undefined {
    if (this.#floor.cells.length === 0) return communicationError;
    const cap = this.#options.startingContainerCountMaximum;
    const inFlight = this.#floor.startingAtFirst + this.#placements.length;
    return cap > 0 && inFlight >= cap ? inFlightError : undefined;
  }

  #place(work: Work, { eligibility, ledger }: Context): void {
    if (eligibility.zones.length === 0) {
      this.#fail(work, noCellError(eligibility.furthest, work.ask), true);
      return;
    }
    const known = this.#refusals.knownError(work, eligibility.eligible, this.#placements.length);
    if (known !== undefined) {
      this.#fail(work, known, true);
      return;
    }
    this.#floor.prepare(work.kind, work.ask.memoryMb, work.ask.diskMb);
    const winner =
      ledger === undefined
        ? this.#floor.best(eligibility.zones, eligibility.zones.length, eligibility.eligible)
        : this.#bestOverZones(eligibility, ledger);
    if (winner === -1) {
      const error = this.#resourceError(work, eligibility);
      this.#refusals.remember(work, eligibility.eligible, this.#placements.length, error);
      this.#fail(work, error, true);
      return;
    }
    this.#floor.reserve(winner);
    if (ledger !== undefined) this.#floor.count(ledger, winner, 1);
    this.#placements.push({ work, cellId: this.#floor.cells[winner]?.cellId as CellId });
  }

  /** Zones with fewer instances of the process first, equal ones as one group; the first group with a winner settles it. */
  #bestOverZones({ zones, eligible }: EligibilityClass, ledger: Ledger): number {
    this.#floor.useLocality(ledger);
    let winner = -1;
    let asked = -1;
    for (let remaining = zones.length; remaining > 0 && winner === -1; ) {
      let fewest = Number.POSITIVE_INFINITY;
      for (const zone of zones) {
        const count = ledger.zoneCounts[zone] ?? 0;
        if (count > asked && count < fewest) fewest = count;
      }
      let size = 0;
      for (const zone of zones) {
        if ((ledger.zoneCounts[zone] ?? 0) !== fewest) continue;
        this.#group[size] = zone;
        size += 1;
      }
      winner = this.#floor.best(this.#group, size, eligible);
      asked = fewest;
      remaining -= size;
    }
    this.#floor.forgetLocality(ledger);
    return winner;
  }

  /** Names the causes that hold on every eligible cell. */
  #resourceError({ kind, ask }: Work, { eligible }: EligibilityClass): string {
    let causes: string[] = ["containers", "disk", "memory"];
    for (const [i, cell] of this.#floor.cells.entries()) {
      if (eligible[i] === 0 || causes.length === 0) continue;
      const missing: readonly string[] = missingResources({ kind, ask, cell, left: this.#floor.left(i) });
      causes = causes.filter((cause) => missing.includes(cause));
    }
    return resourceError(causes);
  }

  #fail(work: Work, error: string, explainable: boolean): void {
    if (explainable) this.#refusals.note(work);
    this.#failures.push({ work, error, explanation: noExplanation });
  }

  /** What is left once the auction is over: what an operator would have to add to. */
  #explanationOf(work: Work): Explanation {
    return this.#refusals.explanationOf(work, () => {
      const places = new Map(this.#floor.cells.map((cell, i) => [cell.cellId, i]));
      return explain(this.#cells, work.kind, work.ask, this.#options.maxVerdicts, (cell) => {
        const place = places.get(cell.cellId);
        return place === undefined ? cell.available : this.#floor.left(place);
      });
    });
  }
}

/** Refusals that are the same for many items: worked out once, and bounded. */
class RefusalBook {
  readonly #limit: number;
  readonly #explanations = new Map<string, Explanation | undefined>();
  readonly #errors = new Map<Uint8Array, { readonly work: Work; readonly placed: number; readonly error: string }>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  note(work: Work): void {
    if (this.#explanations.size < this.#limit) this.#explanations.set(refusalKey(work), undefined);
  }

  /** The error of the last work refused by these cells, if it asked the same and nothing was placed since: nothing has changed then. */
  knownError({ kind, ask }: Work, eligible: Uint8Array, placed: number): string | undefined {
    const known = this.#errors.get(eligible);
    if (known === undefined || known.placed !== placed || known.work.kind !== kind) return undefined;
    const same = known.work.ask.memoryMb === ask.memoryMb && known.work.ask.diskMb === ask.diskMb;
    return same ? known.error : undefined;
  }

  remember(work: Work, eligible: Uint8Array, placed: number, error: string): void {
    this.#errors.set(eligible, { work, placed, error });
  }

  explanationOf(work: Work, make: () => Explanation): Explanation {
    const key = refusalKey(work);
    if (!this.#explanations.has(key)) return noExplanation;
    const made = this.#explanations.get(key) ?? make();
    this.#explanations.set(key, made);
    return made;
  }
}

const refusalKey = ({ kind, ask }: Work): string =>
  JSON.stringify([kind, ask.rootFs, ask.memoryMb, ask.diskMb, ask.placementTags, ask.volumeDrivers]);

/** Counts where the waiting processes already run, by whichever side is shorter: the waiting, or all that runs. */
function openLedgers(floor: Floor, waiting: readonly Work[]): Map<string, Ledger> {
  const ledgers = new Map<string, Ledger>();
  for (const work of waiting) {
    if (work.kind === "lrp" && !ledgers.has(work.processGuid)) ledgers.set(work.processGuid, floor.emptyLedger());
  }
  const running = floor.cells.reduce((sum, cell) => sum + cell.lrpsByProcess.size, 0);
  for (const [i, cell] of floor.cells.entries()) {
    if (ledgers.size * floor.cells.length <= running) {
      for (const [guid, ledger] of ledgers) addTo(floor, ledger, i, cell.lrpsByProcess.get(guid));
    } else {
      for (const [guid, instances] of cell.lrpsByProcess) addTo(floor, ledgers.get(guid), i, instances);
    }
  }
  return ledgers;
}

function addTo(floor: Floor, ledger: Ledger | undefined, cell: number, instances: number | undefined): void {
  if (ledger !== undefined && instances !== undefined && instances > 0) floor.count(ledger, cell, instances);
}
