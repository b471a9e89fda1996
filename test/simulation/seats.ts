// The services in their seats: each the real class, wired to the simulated world as its own main.ts wires it to the real one.
import { setMaxListeners } from "node:events";
import { AuctionRunner, auctioneerMetrics, defaultAuctionOptions, defaultRunnerSettings } from "@muster/auctioneer";
import { ActiveBbs } from "@muster/bbs";
import { Converger, convergerMetrics } from "@muster/converger";
import type { PerformRequest, StateResponse } from "@muster/proto/muster/v1/rep";
import type { BbsError } from "@muster/shared/errors";
import { LostLeadershipError } from "@muster/shared/lifecycle";
import { type HeldLock, holdLock } from "@muster/shared/locket-lock";
import type { Log } from "@muster/shared/log";
import { Registry } from "@muster/shared/metrics";
import { type CommitFault, type MemoryFaults, openMemoryStore } from "@muster/store/memory";
import type { CellSeat } from "./cell.js";
import type { SimProcess } from "./process.js";
import { Seat, type Stage } from "./stage.js";

const leadershipTtlMs = 10_000;
const presenceTtlMs = 5_000;
const lockTtlMs = 10_000;
const storeLatencyMs = 2;
const longestLateCommitMs = 3_000;

/** Records are not sealed in the simulation: their bytes would differ at every run. */
const plain = { seal: (bytes: Uint8Array): Uint8Array => bytes, open: (bytes: Uint8Array): Uint8Array => bytes };

const never = new AbortController().signal;
// Processes that died in the middle of a wait never take their listeners back.
setMaxListeners(0, never);

export class BbsSeat extends Seat {
  #faults: MemoryFaults = {};

  /** Keeps the process in the seat from the store, or lets it have it again. */
  cutStore(cut: boolean): void {
    this.#faults.cutOff = cut;
  }

  protected override expects(line: string): boolean {
    return line.startsWith("store refuses writes") && line.includes("injected refusal");
  }

  protected async main(process: SimProcess, log: Log): Promise<void> {
    const { stage } = this;
    const faults: MemoryFaults = { latencyMs: storeLatencyMs, onCommit: () => this.#commitFault(process) };
    this.#faults = faults;
    const store = await openMemoryStore(stage.store, { clock: process.clock, faults });
    const leadership = await store.campaign("bbs", process.name, leadershipTtlMs, process.gone);
    let lose: (cause: BbsError) => void = () => undefined;
    const lost = new Promise<never>((_, reject) => {
      lose = (cause) => reject(new LostLeadershipError(cause.message, { cause }));
    });
    const active = await ActiveBbs.start({
      store,
      leadership,
      clock: process.clock,
      entropy: this.entropy(process),
      log,
      secrets: plain,
      metrics: { committed: () => undefined, resent: () => undefined },
      presenceTtlMs,
      onLost: (cause) => lose(cause),
    });
    const publish = active.feed.publish.bind(active.feed);
    active.feed.publish = (batch) => {
      stage.truth.told(
        batch.head,
        batch.changes.map(({ change }) => change),
      );
      publish(batch);
    };
    stage.trace.say("leads", process.name);
    stage.door.open(process, active);
    await lost;
  }

  #commitFault(process: SimProcess): CommitFault | undefined {
    const { dice, trace } = this.stage;
    if (dice.strikes("crashBbsAtCommit")) {
      const arrives = dice.stream("arrives").below(2) === 0 ? "now" : "never";
      trace.say("crash", `${process.name} in a commit that arrives ${arrives}`);
      process.kill();
      return { kind: "unknown", arrives };
    }
    if (dice.strikes("storeRefused")) return { kind: "refused", reason: "no-space" };
    if (!dice.strikes("storeUnknown")) return undefined;
    const arrivals = ["now", "never", { afterMs: 1 + dice.stream("late").below(longestLateCommitMs) }] as const;
    return { kind: "unknown", arrives: dice.pick("arrives", arrivals) ?? "never" };
  }
}

/** A service that works while it holds its lock. */
abstract class LockSeat extends Seat {
  protected abstract readonly lockKey: string;
  protected abstract work(process: SimProcess, log: Log, lock: HeldLock): Promise<void>;
  lock: HeldLock | undefined;

  protected async main(process: SimProcess, log: Log): Promise<void> {
    this.lock = undefined;
    const lock = await holdLock({
      io: this.stage.door.locket(process),
      key: this.lockKey,
      owner: this.entropy(process).guid(),
      value: process.name,
      ttlMs: lockTtlMs,
      clock: process.clock,
      log,
      signal: never,
    });
    this.lock = lock;
    this.stage.trace.say("holds", `${process.name} ${this.lockKey}`);
    await this.work(process, log, lock);
    if (lock.lost.aborted) throw lock.lost.reason;
  }

  get holds(): boolean {
    return this.process !== undefined && this.lock?.held() === true;
  }
}

export class ConvergerSeat extends LockSeat {
  protected readonly lockKey = "converger";

  protected async work(process: SimProcess, log: Log, lock: HeldLock): Promise<void> {
    const { door } = this.stage;
    const converger = new Converger({
      clock: process.clock,
      log,
      metrics: convergerMetrics(new Registry()),
      io: {
        openWatch: (request, signal) => door.watch(process, request, signal),
        repair: async (items, signal) => {
          if (!lock.held()) throw new LostLeadershipError("the lock is not held");
          return door.call(process, "Repair", ({ own }) => own.repair(items), { signal, deadlineMs: 10_000 });
        },
      },
      config: { convergeIntervalMs: 30_000 },
    });
    await converger.run(lock.lost);
  }
}

export class AuctioneerSeat extends LockSeat {
  protected readonly lockKey = "auctioneer";
  readonly #cells: readonly CellSeat[];

  constructor(stage: Stage, name: string, cells: readonly CellSeat[]) {
    super(stage, name, name);
    this.#cells = cells;
  }

  protected async work(process: SimProcess, log: Log, lock: HeldLock): Promise<void> {
    const { door } = this.stage;
    const runner = new AuctionRunner({
      clock: process.clock,
      entropy: this.entropy(process),
      log,
      metrics: auctioneerMetrics(new Registry()),
      io: {
        watch: (request, signal) => door.watch(process, request, signal),
        cell: (_cellId, address) => this.#cellIO(process, address),
        failActualLRP: async ({ key, judgedTag, error }, signal) => {
          const request = { actualLrpKey: { ...key }, errorMessage: error };
          const context = { peer: { role: "auctioneer" as const }, traceId: "", auctionId: judgedTag };
          await door.call(process, "FailActualLRP", ({ calls }) => calls.failActualLRP(request, context), { signal });
        },
        rejectTask: async ({ taskGuid, judgedSequence, reason }, signal) => {
          const request = { taskGuid, rejectionReason: reason };
          const context = { peer: { role: "auctioneer" as const }, traceId: "", auctionId: judgedSequence };
          await door.call(process, "RejectTask", ({ calls }) => calls.rejectTask(request, context), { signal });
        },
      },
      settings: { ...defaultRunnerSettings, auction: defaultAuctionOptions },
      mayAct: () => lock.held(),
    });
    await runner.run(lock.lost);
  }

  #cellIO(process: SimProcess, address: string) {
    const { network } = this.stage;
    const cell = this.#cells.find((seat) => seat.address === address);
    return {
      state: (signal: AbortSignal): AsyncIterable<StateResponse> => {
        const rep = cell?.rep;
        return network.stream(process, cell?.process, (cancelled) => rep?.state(cancelled) ?? nothing(), signal);
      },
      perform: (request: PerformRequest, deadlineMs: number, signal: AbortSignal) => {
        const rep = cell?.rep;
        const handle = async () => rep?.perform(request) ?? { refused: [] };
        return network.call(process, cell?.process, "Perform", handle, { deadlineMs, signal });
      },
      close: () => undefined,
    };
  }
}

async function* nothing(): AsyncGenerator<StateResponse, void, undefined> {}
