// The simulated world: two BBSs over one store, auctioneers, convergers, cells and a client on one clock, with faults from one seed.
import { type FakeClock, fakeClock } from "@muster/shared/clock";
import { type ActualLRP, type CellId, type Change, epochNsToMs } from "@muster/shared/model";
import { isLive, isWanted, restartAtMs } from "@muster/shared/rules";
import { memoryStore } from "@muster/store/memory";
import { BbsDoor } from "./bbs-door.js";
import { CellSeat, type FoundContainer } from "./cell.js";
import { crashing, SimClient, unplaceable } from "./client.js";
import { EvacuationJudge } from "./evacuation-judge.js";
import { Events } from "./events.js";
import { FaultDice, type Faults, noFaults } from "./faults.js";
import { besideFaults, changeFaults, instanceFaults, rowFaults } from "./invariants.js";
import { absent } from "./ledger.js";
import { SimNetwork } from "./network.js";
import { Operator } from "./operator.js";
import { isMassLoss } from "./repair-judge.js";
import { AuctioneerSeat, BbsSeat, ConvergerSeat } from "./seats.js";
import type { Seat, Stage } from "./stage.js";
import { Striker } from "./striker.js";
import { TaskClient } from "./task-client.js";
import { TaskLives, taskFaults } from "./task-judge.js";
import { kindOf } from "./task-script.js";
import { Trace } from "./trace.js";
import { Truth } from "./truth.js";

export const tickMs = 100;
/** Two containers of one key, both heard of and no Suspect beside them, for longer than a graceful stop and its way there. */
const longestDoubleMs = 15_000;
/** More than a full cycle of the converger, of the auctioneer's retries and of the reps' comparisons. */
const quietMs = 32_000;
/** Their rows move for ever: one crashes, the other's failed placements are tried again and told of when their words are new. */
const restless: ReadonlySet<string> = new Set([crashing, unplaceable]);

export interface WorldOptions {
  readonly seed: number;
  readonly cells: number;
  readonly faults?: Partial<Faults>;
  readonly processes?: number;
  /** Whether one process wants more than a hundred instances. */
  readonly many?: boolean;
  /** Chance of one change by the client at each tick. */
  readonly busy?: number;
  /** Chance of one call about a task at each tick. */
  readonly busyWithTasks?: number;
  /** What the docker flag is to be when the world has healed. */
  readonly flagAtEnd?: boolean;
  /** For people: every line of the trace, and every log line, as it comes. */
  readonly echo?: (line: string) => void;
}

/** A cell with what runs there now. */
interface Found {
  readonly cell: CellSeat;
  readonly containers: readonly FoundContainer[];
}

export interface RunOptions {
  readonly ticks: number;
  readonly afterEachTick?: (world: SimWorld) => void;
}

export class SimulationFailure extends Error {
  override readonly name = "SimulationFailure";
}

export class SimWorld {
  readonly clock: FakeClock;
  readonly dice: FaultDice;
  readonly trace: Trace;
  readonly truth: Truth;
  readonly door: BbsDoor;
  readonly network: SimNetwork;
  readonly bbss: readonly BbsSeat[];
  readonly convergers: readonly ConvergerSeat[];
  readonly auctioneers: readonly AuctioneerSeat[];
  readonly cells: readonly CellSeat[];
  readonly client: SimClient;
  readonly tasks: TaskClient;
  readonly operator: Operator;
  /** What must not happen and did. */
  readonly wrongs: string[] = [];
  /** What came about, by kind: a simulation that meets nothing proves nothing. */
  readonly events = new Events();
  readonly #seed: number;
  readonly #taskLives = new TaskLives();
  readonly #evacuations: EvacuationJudge;
  readonly #striker: Striker;
  readonly #doubleSince = new Map<string, number>();
  /** Instances that a durable mark told to stop. */
  readonly #marked = new Set<string>();
  /** Nothing is left to do: no row may move. */
  #still = false;
  ticks = 0;

  constructor(options: WorldOptions) {
    const { seed, cells, faults = {}, processes = 6, many = false, busy = 0.08, echo } = options;
    const { busyWithTasks = 0.04, flagAtEnd = true } = options;
    this.#seed = seed;
    this.clock = fakeClock();
    this.dice = new FaultDice(`seed ${seed}`, { ...noFaults, ...faults });
    this.trace = new Trace(this.clock, echo);
    const { clock, dice, trace } = this;
    this.network = new SimNetwork({ clock, dice, trace });
    const store = memoryStore(clock);
    this.truth = new Truth(store, {
      committed: (changes) => this.#committed(changes),
      decided: (change, head) => {
        const { decided } = this.truth;
        this.events.see(change);
        this.#judge([...changeFaults(change, decided), ...this.#evacuations.see(change, decided)]);
        const lost = change.kind === "cell" && change.after?.lostAtMs !== undefined;
        if (lost && isMassLoss(decided, head.clusterTimeMs)) this.events.count("mass loss");
        if (change.kind === "task") this.#judge(taskFaults(change, decided, BigInt(Math.round(head.clusterTimeMs)) * 1_000_000n));
      },
      decidedAll: () => this.#judge(this.#evacuations.end()),
    });
    this.#evacuations = new EvacuationJudge({
      runs: (cellId, instanceGuid) => this.#containerOf(cellId, instanceGuid)?.running === true,
      evacuates: (cellId) => this.cells.find((cell) => cell.cellId === cellId)?.evacuating === true,
    });
    this.door = new BbsDoor(this.network, dice, {
      takenByFlag: () => this.events.count("stale surplus taken by the flag"),
      wrong: (what) => this.#judge([what]),
    });
    const stage: Stage = {
      clock,
      dice,
      trace,
      store,
      network: this.network,
      truth: this.truth,
      door: this.door,
      wrong: (what) => this.#judge([what]),
      taskRuns: (taskGuid, what) => this.#judge(this.#taskLives.runs(taskGuid, what)),
      heard: echo && ((line) => echo(`${(clock.elapsedMs() / 1_000).toFixed(3)}   ${line}`)),
    };
    const numbers = Array.from({ length: cells }, (_, at) => at + 1);
    this.cells = numbers.map((number) => new CellSeat(stage, number));
    this.bbss = [1, 2].map((number) => new BbsSeat(stage, `bbs-${number}`, `bbs-${number}`));
    this.convergers = [1, 2].map((number) => new ConvergerSeat(stage, `converger-${number}`, `converger-${number}`));
    this.auctioneers = [1, 2].map((number) => new AuctioneerSeat(stage, `auctioneer-${number}`, this.cells));
    this.client = new SimClient(stage, { processes, many, busy, flagAtEnd });
    this.tasks = new TaskClient(stage, this.client.process, this.#taskLives, { busy: busyWithTasks, counts: this.client.counts });
    // What is left has room for everything, also for the process with more than a hundred instances.
    this.operator = new Operator(stage, this.client.process, this.cells, many ? 1 : Math.floor(cells / 2));
    this.#striker = new Striker(this);
    for (const seat of this.seats) seat.start();
  }

  get seats(): readonly Seat[] {
    return [...this.bbss, ...this.convergers, ...this.auctioneers, ...this.cells];
  }

  /** Lets time pass, tick by tick. @throws SimulationFailure at the first thing that must not happen, with the seed that replays it. */
  async run({ ticks, afterEachTick }: RunOptions): Promise<void> {
    for (let tick = 0; tick < ticks; tick += 1) {
      this.#striker.strike();
      this.client.tick();
      this.tasks.tick();
      this.operator.tick();
      await this.clock.advance(tickMs);
      this.ticks += 1;
      this.#judgeTick();
      afterEachTick?.(this);
      this.#stopIfWrong();
    }
  }

  /**
   * Runs until what is wanted is there and nothing else is, and then sees to it that nothing moves any more for a whole cycle of the
   * converger. Returns how long it took until then. @throws SimulationFailure when that takes longer than `withinMs`.
   */
  async settle(withinMs: number): Promise<number> {
    const startMs = this.clock.elapsedMs();
    let healedMs = 0;
    for (let seconds = 0; seconds < 3; ) {
      const goneMs = this.clock.elapsedMs() - startMs;
      if (!this.#settled()) seconds = 0;
      else if (seconds++ === 0) healedMs = goneMs;
      if (goneMs >= withinMs && seconds === 0) {
        this.#judge(this.unmet().map((what) => `not so after ${withinMs / 1_000} s without faults: ${what}`));
        this.#stopIfWrong();
      }
      await this.run({ ticks: 1_000 / tickMs });
    }
    // A crashed instance in its back-off will move, and should.
    const still = [...this.truth.tables.actualLRPs.values()].every(
      (row) => row.state !== "CRASHED" || row.processGuid === crashing,
    );
    this.#still = still;
    await this.run({ ticks: quietMs / tickMs });
    this.#judge(this.unmet().map((what) => `it was settled, and then: ${what}`));
    this.#stopIfWrong();
    return healedMs;
  }

  #settled(): boolean {
    const served =
      this.seats.every(({ process }) => process !== undefined) && this.cells.every(({ cellId }) => this.door.hears(cellId));
    const idle = this.client.idle && this.tasks.idle && this.operator.idle;
    return served && idle && this.unmet().length === 0;
  }

  /** Nothing is lost, cut off or killed from here on; who is away comes back. */
  stopFaults(): void {
    this.dice.stop();
    this.client.quieten();
    this.tasks.quieten();
    this.operator.quieten();
    for (const cell of this.cells) {
      this.network.join(cell.machine);
      cell.garden.hang(false);
      cell.bringBack();
    }
    for (const bbs of this.bbss) bbs.cutStore(false);
    for (const { process } of this.seats) if (process?.frozen) process.thaw();
  }

  /** What the records and the cells lack of what is wanted, and what they have too much. */
  unmet(): string[] {
    return [...this.#unmetWishes(), ...this.#unmetTasks(), ...this.#unmetOrders(), ...this.#surplus()];
  }

  *#unmetWishes(): Iterable<string> {
    const { tables } = this.truth;
    for (const { cellId } of this.cells) if (!this.door.hears(cellId)) yield `the BBS does not hear ${cellId}`;
    for (const desired of tables.desiredLRPs.values()) {
      for (let index = 0; index < desired.instances; index += 1) {
        if (!isWanted(tables, desired, index)) continue;
        const row = tables.rows(desired.processGuid, index).ORDINARY;
        if (row !== undefined && this.#fulfils(row)) continue;
        yield `${desired.processGuid}/${index} is ${row === undefined ? "without a row" : row.state} instead of running`;
      }
    }
  }

  *#unmetTasks(): Iterable<string> {
    for (const { taskGuid, state, rejectionCount } of this.truth.tables.tasks.values()) {
      const waits = kindOf(taskGuid) === "nowhere" && rejectionCount > 0;
      if (state === "RUNNING" || (state === "PENDING" && !waits)) yield `${taskGuid} is still ${state}`;
    }
  }

  *#unmetOrders(): Iterable<string> {
    for (const cell of this.cells) {
      const says = this.truth.tables.cell(cell.cellId)?.evacuating === true;
      if (says !== cell.evacuating) yield `the presence of ${cell.name} says that it is ${says ? "" : "not "}evacuating`;
      if (cell.evacuating && cell.containers().length > 0) yield `${cell.name} is to be empty, and is not`;
    }
  }

  #fulfils(row: ActualLRP): boolean {
    if (row.processGuid === crashing && row.state !== "CRASHED") return true;
    if (row.processGuid === unplaceable) return row.state === "UNCLAIMED" && row.placementError !== "";
    if (row.state === "CRASHED") {
      const dueMs = restartAtMs(row.crashCount, epochNsToMs(row.sinceNs));
      const nowMs = this.door.leader?.active.journal.nowMs() ?? 0;
      return dueMs === undefined || nowMs < dueMs + 2_000;
    }
    const { instanceKey: key } = row;
    return row.state === "RUNNING" && key !== undefined && this.#containerOf(key.cellId, key.instanceGuid)?.running === true;
  }

  #containerOf(cellId: CellId, handle: string): FoundContainer | undefined {
    return this.cells.find((cell) => cell.cellId === cellId)?.container(handle);
  }

  *#surplus(): Iterable<string> {
    const { tables } = this.truth;
    for (const row of tables.actualLRPs.values()) {
      const wanted = isWanted(tables, tables.desiredLRP(row.processGuid), row.index);
      if (row.presence !== "ORDINARY") yield `${row.processGuid}/${row.index} still has a row that is ${row.presence}`;
      else if (!wanted) yield `${row.processGuid}/${row.index} is ${row.state} and not wanted`;
    }
    for (const cell of this.cells) {
      for (const { handle, processGuid, index, taskGuid, running } of cell.containers()) {
        // One that crashed again this very moment is still to be destroyed.
        if (processGuid === crashing && !running) continue;
        if (taskGuid !== "") {
          const task = tables.tasks.get(taskGuid as never);
          const runs = task?.state === "RUNNING" && task.cellId === cell.cellId;
          if (!runs) yield `${cell.name} still has container ${handle} of ${taskGuid}`;
          continue;
        }
        const row = tables.rows(
          tables.desiredLRPs.has(processGuid as never) ? (processGuid as never) : ("" as never),
          index,
        ).ORDINARY;
        if (row?.instanceKey?.instanceGuid !== handle)
          yield `${cell.name} still has container ${handle} of ${processGuid}/${index}`;
        if (this.#marked.has(handle)) yield `${cell.name} still has container ${handle}, which was told to stop`;
      }
    }
  }

  #committed(changes: readonly Change[]): void {
    const { trace, truth } = this;
    const faults: string[] = [];
    for (const change of changes) {
      if (change.kind === "task") faults.push(...this.#taskLives.see(change));
      trace.say("commit", `${change.kind} ${change.key} ${JSON.stringify(change.after, plainJson)}`, true);
      if (change.kind !== "actualLRP") continue;
      const { before, after } = change;
      if (this.#still && !restless.has((after ?? before)?.processGuid ?? ""))
        faults.push(`everything was settled, and ${change.key} moved`);
      if (after === undefined) continue;
      faults.push(...rowFaults(change.key, after), ...besideFaults(after, truth.tables));
      if (after.stopMarked && after.instanceKey !== undefined) this.#marked.add(after.instanceKey.instanceGuid);
    }
    this.#judge([...faults, ...instanceFaults(truth.tables)]);
  }

  #judgeTick(): void {
    const found = this.cells.map((cell): Found => ({ cell, containers: cell.containers().filter(({ running }) => running) }));
    this.#judge([...this.#lostWishes(), ...this.operator.faults(), ...this.#doubles(found), ...doubleTasks(found)]);
  }

  /** No acknowledged desire, scale, removal or flag is lost. */
  *#lostWishes(): Iterable<string> {
    const { ledger } = this.client;
    const { tables } = this.truth;
    for (const processGuid of ledger.processGuids) {
      const stored = tables.desiredLRPs.get(processGuid as never)?.instances ?? absent;
      const possible = ledger.possible(processGuid);
      if (!possible.has(stored)) yield `${processGuid} is stored as ${stored}, acknowledged was ${[...possible].join(" or ")}`;
    }
    const flag = tables.flag("diego_docker") ?? false;
    if (!ledger.flags.has(flag)) yield `the flag is stored as ${flag}, acknowledged was ${!flag}`;
  }

  /** One container a key, save beside a Suspect or Evacuating row, on cells not heard of, or for the time of a graceful stop. */
  *#doubles(found: readonly Found[]): Iterable<string> {
    const { tables } = this.truth;
    const nowMs = this.clock.elapsedMs();
    const running = new Map<string, number>();
    for (const { cell, containers } of found) {
      const heard = this.door.hears(cell.cellId) && isLive(tables.cell(cell.cellId)) && !this.network.isCut(cell.machine);
      if (!heard) continue;
      for (const { key, taskGuid } of containers) if (taskGuid === "") running.set(key, (running.get(key) ?? 0) + 1);
    }
    for (const key of [...this.#doubleSince.keys()]) if ((running.get(key) ?? 0) < 2) this.#doubleSince.delete(key);
    for (const [key, count] of running) {
      if (count < 2) continue;
      const [processGuid = "", index = ""] = key.split("/");
      const rows = tables.rows(processGuid as never, Number(index));
      if (rows.SUSPECT !== undefined || rows.EVACUATING !== undefined) {
        this.#doubleSince.delete(key);
        continue;
      }
      const sinceMs = this.#doubleSince.get(key) ?? nowMs;
      this.#doubleSince.set(key, sinceMs);
      this.events.longestDoubleMs = Math.max(this.events.longestDoubleMs, nowMs - sinceMs);
      if (nowMs - sinceMs > longestDoubleMs) yield `${key} has had ${count} running containers for ${nowMs - sinceMs} ms`;
    }
  }

  #judge(faults: readonly string[]): void {
    for (const fault of faults) {
      this.trace.say("WRONG", fault);
      this.wrongs.push(fault);
    }
  }

  #stopIfWrong(): void {
    if (this.wrongs.length === 0) return;
    const list = this.wrongs.slice(0, 10).map((what) => `  - ${what}`);
    throw new SimulationFailure(
      `${list.join("\n")}\nat tick ${this.ticks}; replay with SIM_SEED=${this.#seed}\nthe last of what happened:\n${this.trace.tail()}`,
    );
  }
}

/** I35: no task runs twice, not even on a cell that is not heard of. */
function* doubleTasks(found: readonly Found[]): Iterable<string> {
  const running = new Map<string, string>();
  for (const { cell, containers } of found) {
    for (const { taskGuid, handle } of containers) {
      if (taskGuid === "") continue;
      const other = running.get(taskGuid);
      if (other !== undefined) yield `I35 ${taskGuid} runs in ${other} and in ${handle} on ${cell.name}`;
      running.set(taskGuid, `${handle} on ${cell.name}`);
    }
  }
}

const plainJson = (_key: string, value: unknown): unknown => {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Map) return [...value];
  return ArrayBuffer.isView(value) ? Buffer.from(value as Uint8Array).toString("base64") : value;
};
