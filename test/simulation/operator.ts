// An operator who empties cells and takes that back again, as the seed has it, and keeps what each cell's rep has acknowledged.
import type { CellSeat } from "./cell.js";
import type { SimProcess } from "./process.js";
import type { Stage } from "./stage.js";

/** Between asking a cell that did not answer and asking again. */
const againMs = 1_000;
const longestMs = 40_000;
/** Mostly before every replacement runs. */
const soonMs = 3_000;
const deadlineMs = 3_000;

/** What one cell was asked, and what its folder may therefore remember. */
interface Order {
  wish: boolean;
  possible: ReadonlySet<boolean>;
  busy: boolean;
}

export class Operator {
  readonly #stage: Stage;
  readonly #process: SimProcess;
  readonly #cells: readonly CellSeat[];
  readonly #orders = new Map<CellSeat, Order>();
  /** So many cells are being emptied at once, at most: the others have room for everything. */
  readonly #most: number;

  constructor(stage: Stage, process: SimProcess, cells: readonly CellSeat[], most: number) {
    this.#stage = stage;
    this.#process = process;
    this.#cells = cells;
    this.#most = most;
    for (const cell of cells) this.#orders.set(cell, settledAs(false));
  }

  /** Every order was acknowledged. */
  get idle(): boolean {
    return [...this.#orders.values()].every(({ busy, wish, possible }) => !busy && possible.size === 1 && possible.has(wish));
  }

  /** Whether the cell was last told to empty itself. */
  wantsEmpty(cell: CellSeat): boolean {
    return this.#orders.get(cell)?.wish === true;
  }

  tick(): void {
    for (const cell of this.#cells) this.#carry(cell);
    const { dice, clock } = this.#stage;
    if (!dice.falls("evacuateCell")) return;
    const cell = dice.pick("evacuate", this.#cells);
    const emptying = this.#cells.filter((one) => this.wantsEmpty(one)).length;
    if (cell === undefined || emptying >= this.#most) return;
    if (!this.wantsEmpty(cell)) dice.count("evacuateCell");
    this.#order(cell, true);
    // Some stay so until the world is left to heal.
    const fate = dice.stream("take back").below(4);
    if (fate > 0) clock.after(dice.between("emptying", 200, fate === 1 ? longestMs : soonMs), () => this.#order(cell, false));
  }

  /** The last orders: half of the cells that are being emptied stay so. */
  quieten(): void {
    for (const cell of this.#cells)
      if (this.wantsEmpty(cell) && this.#stage.dice.stream("stay empty").below(2) === 0) this.#order(cell, false);
  }

  /** The cell has another data folder: nobody told this one anything. */
  forget(cell: CellSeat): void {
    this.#orders.set(cell, settledAs(false));
  }

  /** E2: what was acknowledged is remembered, whatever becomes of the rep. */
  *faults(): Iterable<string> {
    for (const [cell, { possible }] of this.#orders) {
      if (!possible.has(cell.evacuating))
        yield `E2 ${cell.name} remembers that it is ${cell.evacuating ? "" : "not "}evacuating; acknowledged was the contrary`;
    }
  }

  #order(cell: CellSeat, wish: boolean): void {
    const order = this.#orders.get(cell);
    if (order === undefined || order.wish === wish) return;
    order.wish = wish;
    this.#stage.trace.say("operator", `${wish ? "empties" : "takes back the emptying of"} ${cell.name}`);
    this.#carry(cell);
  }

  /** Asks until the cell has said yes to the present wish. */
  #carry(cell: CellSeat): void {
    const order = this.#orders.get(cell);
    if (order === undefined || order.busy || (order.possible.size === 1 && order.possible.has(order.wish))) return;
    const { network, clock, trace } = this.#stage;
    const { wish } = order;
    order.busy = true;
    order.possible = new Set([...order.possible, wish]);
    const ended = (done: boolean): void => {
      trace.say("operator", `${cell.name} ${wish ? "evacuate" : "cancel"} ${done ? "done" : "unknown"}`);
      if (done) order.possible = new Set([wish]);
      if (done) order.busy = false;
      else
        clock.after(againMs, () => {
          order.busy = false;
        });
    };
    const handle = async (): Promise<void> => {
      cell.rep?.evacuate({ cancel: !wish, progressOnly: false });
    };
    network.call(this.#process, cell.process, "Evacuate", handle, { deadlineMs }).then(
      () => ended(true),
      () => ended(false),
    );
  }
}

const settledAs = (wish: boolean): Order => ({ wish, possible: new Set([wish]), busy: false });
