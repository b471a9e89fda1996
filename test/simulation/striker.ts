// What befalls the simulated world at each tick, by the dice: services killed or frozen, machines lost, cut off or hung, clocks that
// jump. What befalls single messages and commits is in network.ts and seats.ts.
import type { FakeClock } from "@muster/shared/clock";
import type { BbsDoor } from "./bbs-door.js";
import type { CellSeat } from "./cell.js";
import type { SimClient } from "./client.js";
import type { FaultDice, FaultKind } from "./faults.js";
import type { SimNetwork } from "./network.js";
import type { Operator } from "./operator.js";
import type { SimProcess } from "./process.js";
import type { AuctioneerSeat, BbsSeat, ConvergerSeat } from "./seats.js";
import type { Seat } from "./stage.js";
import type { Trace } from "./trace.js";

/** What can be struck, and with what. */
interface Struck {
  readonly clock: FakeClock;
  readonly dice: FaultDice;
  readonly trace: Trace;
  readonly door: BbsDoor;
  readonly network: SimNetwork;
  readonly bbss: readonly BbsSeat[];
  readonly convergers: readonly ConvergerSeat[];
  readonly auctioneers: readonly AuctioneerSeat[];
  readonly cells: readonly CellSeat[];
  readonly seats: readonly Seat[];
  readonly client: SimClient;
  readonly operator: Operator;
}

export class Striker {
  readonly #world: Struck;

  constructor(world: Struck) {
    this.#world = world;
  }

  /** What befalls the world at this tick. */
  strike(): void {
    this.#strikeServices();
    this.#strikeCells();
  }

  /** Counted only where it came about: what finds nobody to befall is no fault. */
  #befall(kind: FaultKind, act: () => boolean): void {
    if (this.#world.dice.falls(kind) && act()) this.#world.dice.count(kind);
  }

  #strikeServices(): void {
    const { dice, bbss, door, auctioneers, convergers, client, seats } = this.#world;
    const leader = bbss.find((seat) => seat.process !== undefined && seat.process === door.leader?.process);
    this.#befall("crashBbs", () => leader?.crash() === true);
    const leading = leader?.process;
    this.#befall("freezeBbs", () => leading !== undefined && !leading.frozen && this.#freeze(leading));
    this.#befall("cutStore", () => leading !== undefined && leader !== undefined && this.#cutStore(leader));
    this.#befall("crashAuctioneer", () => this.#holder(auctioneers)?.crash() === true);
    this.#befall("crashConverger", () => this.#holder(convergers)?.crash() === true);
    this.#befall("flapFlag", () => client.flap(dice.between("flap", 500, 5_000)));
    this.#befall("jumpClock", () => this.#jumpClock(dice.pick("jumps", seats)?.process));
  }

  #freeze(leading: SimProcess): boolean {
    const forMs = this.#world.dice.between("freeze", 1_000, 20_000);
    this.#world.trace.say("freeze", `${leading.name} for ${forMs} ms`);
    this.#world.network.freeze(leading);
    this.#world.clock.after(forMs, () => leading.thaw());
    return true;
  }

  #jumpClock(process: SimProcess | undefined): boolean {
    if (process === undefined) return false;
    process.jumpWall(this.#world.dice.between("jump", -3_600_000, 3_600_000));
    return true;
  }

  #cutStore(seat: BbsSeat): boolean {
    const forMs = this.#world.dice.between("cut store", 500, 20_000);
    this.#world.trace.say("cut off", `${seat.process?.name ?? ""} from the store for ${forMs} ms`);
    seat.cutStore(true);
    this.#world.clock.after(forMs, () => seat.cutStore(false));
    return true;
  }

  #holder<Holder extends AuctioneerSeat | ConvergerSeat>(seats: readonly Holder[]): Holder | undefined {
    return seats.find((seat) => seat.holds) ?? this.#world.dice.pick("standby", seats);
  }

  #strikeCells(): void {
    const { dice, cells } = this.#world;
    const any = (): CellSeat | undefined => dice.pick("cell", cells);
    this.#befall("crashRep", () => any()?.crash() === true);
    this.#befall("crashContainer", () => this.#crashContainer(any()));
    this.#befall("loseCell", () => this.#loseCell(any()));
    this.#befall("cutCell", () => this.#cut(any(), dice.between("cut", 500, 20_000)));
    this.#befall("cutManyCells", () => {
      const forMs = dice.between("cut", 500, 25_000);
      return cells.slice(0, Math.ceil(cells.length * 0.75)).filter((cell) => this.#cut(cell, forMs)).length > 1;
    });
    this.#befall("hangGarden", () => this.#hang(any()));
  }

  #hang(cell: CellSeat | undefined): boolean {
    if (cell === undefined) return false;
    const { garden } = cell;
    garden.hang(true);
    this.#world.clock.after(this.#world.dice.between("hang", 500, 8_000), () => garden.hang(false));
    return true;
  }

  #crashContainer(cell: CellSeat | undefined): boolean {
    const victim = this.#world.dice.pick("container", cell?.containers().filter(({ running }) => running) ?? []);
    if (cell === undefined || victim === undefined) return false;
    this.#world.trace.say("container dies", `${cell.name} ${victim.handle}`);
    cell.garden.crash(victim.handle);
    return true;
  }

  #loseCell(cell: CellSeat | undefined): boolean {
    if (cell === undefined) return false;
    const disk = this.#world.dice.stream("disk").below(4) === 0;
    this.#world.trace.say("power lost", `${cell.name}${disk ? ", and its disk" : ""}`);
    const wasOn = cell.losePower(disk);
    if (disk) this.#world.operator.forget(cell);
    this.#world.clock.after(this.#world.dice.between("power", 2_000, 30_000), () => cell.bringBack());
    return wasOn;
  }

  #cut(cell: CellSeat | undefined, forMs: number): boolean {
    if (cell === undefined || this.#world.network.isCut(cell.machine)) return false;
    this.#world.trace.say("cut off", `${cell.name} for ${forMs} ms`);
    this.#world.network.cut(cell.machine);
    this.#world.clock.after(forMs, () => this.#world.network.join(cell.machine));
    return true;
  }
}
