// How soon a lost cell's instances have another place: the BBS on LMDB, the converger and the auctioneer as they are, in one process
// without gRPC between them, and cells that take whatever they are handed. A lost cell falls silent, as a machine without power does.
import { cpus } from "node:os";
import { AuctionRunner, auctioneerMetrics, type CellIO, defaultAuctionOptions, defaultRunnerSettings } from "@muster/auctioneer";
import { type ActiveBbs, Calls, desireLRP, OwnCalls, type ReportSession, watch } from "@muster/bbs";
import { Converger, convergerMetrics } from "@muster/converger";
import type { LRPState, LRPWork, PerformRequest, PerformResponse, StateResponse } from "@muster/proto/muster/v1/rep";
import type { ReportItem, ReportResponse } from "@muster/proto/muster/v1/report";
import { type WatchRequest, WatchResponse } from "@muster/proto/muster/v1/watch";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { BbsError, isBbsError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { Registry } from "@muster/shared/metrics";
import { Mirror } from "@muster/shared/mirror";
import { type ActualLRP, asCellId } from "@muster/shared/model";
import { lmdbHome } from "../support/bbs.js";
import { startActive } from "./in-process.js";
import { saturate } from "./load.js";
import { cellOf, desired, guidOf, netInfo } from "./messages.js";

export interface RecoveryBenchOptions {
  readonly instances: number;
  readonly instancesPerProcess: number;
  readonly instancesPerCell: number;
}

export const recoveryBenchDefaults: RecoveryBenchOptions = { instances: 10_000, instancesPerProcess: 5, instancesPerCell: 200 };

interface Loss {
  readonly cells: number;
  readonly instances: number;
  /** All from the cells' falling silent; a presence outlives its last heartbeat by its TTL. */
  readonly first_placed_ms: number;
  readonly all_placed_ms: number;
  readonly all_running_ms: number;
  /** CPU time of everything, heartbeats included, until all run. */
  readonly cpu_ms: number;
}

const presenceTtlMs = 5_000;
/** Design section 3: heartbeats every fifth of the TTL. */
const heartbeatMs = presenceTtlMs / 5;
/** A cell says something at least every 500 ms. */
const stateMs = 400;
/** A new leader expires no presence for three TTLs. */
const graceMs = 16_000;
/** Without a change for so long, it is given up. */
const patienceMs = 120_000;

/** What every part of the world stands on. */
interface World {
  readonly active: ActiveBbs;
  readonly stop: AbortSignal;
}

class BenchCell implements CellIO {
  readonly cellId: string;
  readonly #world: World;
  readonly #lrps: LRPState[] = [];
  #session: ReportSession | undefined;
  #silent = false;
  #told = 0;
  #tell: () => void = () => undefined;
  #ids = 0n;
  readonly #claims = new Map<bigint, LRPState>();

  constructor(cellId: string, world: World) {
    this.cellId = cellId;
    this.#world = world;
  }

  /** Resolves once the BBS has decided the (empty) inventory. */
  async open(): Promise<void> {
    const session = this.#world.active.openSession(
      asCellId(this.cellId),
      (response) => this.#hear(response),
      () => undefined,
    );
    this.#session = session;
    const presence = {
      cellId: this.cellId,
      repAddress: this.cellId,
      zone: "z1",
      capacity: { memoryMb: 1_000_000, diskMb: 1_000_000, containers: 10_000 },
      rootfsProviders: [{ name: "preloaded", properties: ["busybox"] }],
      placementTags: [],
      optionalPlacementTags: [],
      repUrl: "",
      annotations: {},
    };
    const hello = { presence, owner: this.cellId, ttlMs: presenceTtlMs, evacuating: false };
    await session.receive({ message: { $case: "hello", value: hello } });
    await session.receive({ message: { $case: "inventory", value: { containers: [], last: true } } });
    this.#beat(0n);
  }

  fallSilent(): void {
    this.#silent = true;
  }

  async *state(signal: AbortSignal): AsyncGenerator<StateResponse, void, undefined> {
    this.#told = 0;
    signal.addEventListener("abort", () => this.#tell(), { once: true });
    for (let full = true; !signal.aborted; full = false) {
      if (!this.#silent) yield this.#state(full);
      await new Promise<void>((resolve) => {
        this.#tell = resolve;
        systemClock.after(stateMs, resolve);
      });
    }
  }

  async perform(request: PerformRequest): Promise<PerformResponse> {
    if (this.#silent) return new Promise(() => undefined);
    this.#report(request.lrps.map((work) => this.#take(work)));
    this.#tell();
    return { refused: [] };
  }

  close(): void {}

  #take({ processGuid, index, domain, memoryMb, diskMb }: LRPWork): ReportItem {
    const instanceGuid = systemEntropy.guid();
    const lrp = { processGuid, index, domain, instanceGuid, state: "CLAIMED", memoryMb, diskMb };
    this.#lrps.push(lrp);
    const item = this.#item(lrp, { $case: "claimed", value: {} });
    this.#claims.set(item.id, lrp);
    return item;
  }

  #item({ processGuid, index, domain, instanceGuid }: LRPState, report: NonNullable<ReportItem["report"]>): ReportItem {
    this.#ids += 1n;
    const { cellId } = this;
    return {
      id: this.#ids,
      actualLrpKey: { processGuid, index, domain },
      actualLrpInstanceKey: { instanceGuid, cellId },
      report,
    };
  }

  #report(items: readonly ReportItem[]): void {
    for (let from = 0; from < items.length; from += 100) {
      void this.#session?.receive({ message: { $case: "batch", value: { items: items.slice(from, from + 100) } } });
    }
  }

  /** A container starts as soon as its claim was accepted. */
  #hear({ message }: ReportResponse): void {
    if (message?.$case !== "replies" || this.#silent) return;
    const claimed = message.value.replies.flatMap(({ id, errorType }) => {
      const lrp = this.#claims.get(id);
      this.#claims.delete(id);
      return lrp === undefined || errorType !== "" ? [] : [lrp];
    });
    const started = {
      actualLrpNetInfo: netInfo,
      actualLrpInternalRoutes: [],
      metricTags: {},
      routable: true,
      availabilityZone: "z1",
    };
    this.#report(claimed.map((lrp) => this.#item(lrp, { $case: "started", value: started })));
  }

  #beat(number: bigint): void {
    if (this.#silent || this.#world.stop.aborted) return;
    const heartbeat = { number, presence: undefined, evacuating: undefined };
    void this.#session?.receive({ message: { $case: "heartbeat", value: heartbeat } });
    systemClock.after(heartbeatMs, () => this.#beat(number + 1n));
  }

  #state(full: boolean): StateResponse {
    const lrps = this.#lrps.slice(this.#told);
    this.#told = this.#lrps.length;
    const taken = (of: (lrp: LRPState) => number): number => this.#lrps.reduce((sum, lrp) => sum + of(lrp), 0);
    return {
      full,
      cellId: this.cellId,
      cellIndex: 0,
      zone: "z1",
      total: { memoryMb: 1_000_000, diskMb: 1_000_000, containers: 10_000 },
      available: {
        memoryMb: 1_000_000 - taken(({ memoryMb }) => memoryMb),
        diskMb: 1_000_000 - taken(({ diskMb }) => diskMb),
        containers: 10_000 - this.#lrps.length,
      },
      startingContainerCount: 0,
      evacuating: false,
      healthy: true,
      unhealthyReason: "",
      rootFsProviders: [{ scheme: "preloaded", fixedSet: true, names: ["busybox"] }],
      volumeDrivers: [],
      placementTags: [],
      optionalPlacementTags: [],
      proxyMemoryAllocationMb: 0,
      lrps,
      removedLrps: [],
      tasks: [],
      removedTasks: [],
    };
  }
}

/** The BBS's watch, with messages as they are on the wire. */
const watchOf = ({ active }: World) =>
  async function* (request: WatchRequest, signal: AbortSignal): AsyncGenerator<WatchResponse, void, undefined> {
    for await (const message of watch(active, request, { audience: "scheduler", signal }))
      yield WatchResponse.decode(WatchResponse.encode(message).finish());
  };

function converger(world: World): Promise<void> {
  const own = new OwnCalls(world.active);
  const loop = new Converger({
    clock: systemClock,
    log: silentLog(),
    metrics: convergerMetrics(new Registry()),
    io: { openWatch: watchOf(world), repair: (items) => own.repair(items) },
    config: { convergeIntervalMs: 30_000 },
  });
  return loop.run(world.stop);
}

function auctioneer(world: World, cells: ReadonlyMap<string, BenchCell>): Promise<void> {
  const calls = new Calls(world.active);
  const runner = new AuctionRunner({
    clock: systemClock,
    entropy: systemEntropy,
    log: silentLog(),
    metrics: auctioneerMetrics(new Registry()),
    io: {
      watch: watchOf(world),
      cell: (_cellId, address) => {
        const cell = cells.get(address);
        if (cell === undefined) throw new Error(`no cell at ${address}`);
        return cell;
      },
      failActualLRP: async ({ key, judgedTag, error }) => {
        const context = { peer: { role: "auctioneer" as const }, traceId: "", auctionId: judgedTag };
        await calls.failActualLRP({ actualLrpKey: { ...key }, errorMessage: error }, context);
      },
      rejectTask: () => Promise.reject(new Error("no task was desired")),
    },
    settings: { ...defaultRunnerSettings, auction: defaultAuctionOptions },
    mayAct: () => true,
  });
  return runner.run(world.stop);
}

/** Follows the rows; counts how many Ordinary ones have a place on a cell that is not silent, and how many run there. */
class Placements {
  readonly silent = new Set<string>();
  readonly #mirror: Mirror;
  #moved: () => void = () => undefined;
  placed = 0;
  running = 0;

  constructor(world: World) {
    this.#mirror = new Mirror({ open: watchOf(world), kinds: ["actualLRP"], clock: systemClock, log: silentLog() });
    this.#mirror.onChanges((changes) => {
      for (const change of changes) {
        if (change.kind !== "actualLRP") continue;
        this.#count(change.before, -1);
        this.#count(change.after, 1);
      }
      this.#moved();
    });
    void this.#mirror.run(world.stop);
  }

  /** These cells fell silent: nothing on them counts any more. Returns how many instances that are. */
  lose(cellIds: readonly string[]): number {
    let instances = 0;
    for (const cellId of cellIds) {
      for (const row of this.#mirror.tables.rowsOnCell(asCellId(cellId))) {
        if (row.presence !== "ORDINARY") continue;
        this.#count(row, -1);
        instances += 1;
      }
      this.silent.add(cellId);
    }
    return instances;
  }

  /** @throws when it does not come about in time. */
  async until(what: string, holds: () => boolean): Promise<number> {
    let [advancedMs, known] = [systemClock.elapsedMs(), -1];
    while (!holds()) {
      if (this.placed + this.running !== known) [advancedMs, known] = [systemClock.elapsedMs(), this.placed + this.running];
      if (systemClock.elapsedMs() - advancedMs > patienceMs) {
        throw new Error(`${what}: ${this.placed} placed and ${this.running} running, and no change for ${patienceMs} ms`);
      }
      await new Promise<void>((resolve) => {
        const cancel = systemClock.after(1_000, resolve);
        this.#moved = () => {
          cancel();
          resolve();
        };
      });
    }
    return systemClock.elapsedMs();
  }

  #count(row: ActualLRP | undefined, by: 1 | -1): void {
    if (row?.presence !== "ORDINARY" || row.instanceKey === undefined || this.silent.has(row.instanceKey.cellId)) return;
    this.placed += by;
    if (row.state === "RUNNING") this.running += by;
  }
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
};

/** Measures one lost cell, then a tenth of all at once. Returns JSON-able figures; throws when something finds no place in time. */
export async function benchRecovery(options: Partial<RecoveryBenchOptions> = {}): Promise<object> {
  const { instances, instancesPerProcess, instancesPerCell } = { ...recoveryBenchDefaults, ...options };
  const count = Math.ceil(instances / instancesPerCell);
  await using home = await lmdbHome();
  await using store = await home.open();
  const active = await startActive(store);
  // Before the store is closed: what went wrong is told, and not the leadership that ends with it.
  using _term = { [Symbol.dispose]: () => active.close(new BbsError("Unavailable", "the bench is over")) };
  const servingMs = systemClock.elapsedMs();
  const stop = new AbortController();
  const world: World = { active, stop: stop.signal };
  const cells = new Map(Array.from({ length: count }, (_, n) => [cellOf(n, count), new BenchCell(cellOf(n, count), world)]));
  await Promise.all([...cells.values()].map((cell) => cell.open()));
  const placements = new Placements(world);
  const running = [converger(world), auctioneer(world, cells)];
  const processes = Math.ceil(instances / instancesPerProcess);
  const [desiringMs, cpuBeforeDesiring] = [systemClock.elapsedMs(), cpuMs()];
  const desire = async (n: number): Promise<void> => {
    // On a busy machine the store may stall for a second.
    for (let tries = 1; ; tries += 1) {
      try {
        await active.journal.submit(desireLRP(desired(guidOf("app", n), instancesPerProcess)));
        return;
      } catch (error) {
        if (isBbsError(error, "ResourceExists") && tries > 1) return;
        if (tries === 100) throw error;
        await systemClock.sleep(50);
      }
    }
  };
  await saturate((n, done) => void desire(n).then(() => done(null), done), { calls: processes, inFlight: 100 });
  const all = processes * instancesPerProcess;
  const allRunMs = await placements.until("all desired", () => placements.running === all);
  const filled = {
    desire_to_running_ms: Math.round(allRunMs - desiringMs),
    desire_to_running_cpu_us_per_instance: Math.round(((cpuMs() - cpuBeforeDesiring) * 1_000) / all),
  };
  await systemClock.sleep(Math.max(0, servingMs + graceMs - systemClock.elapsedMs()), stop.signal);
  const lose = async (many: number): Promise<Loss> => {
    process.stderr.write(`bench recovery: ${many} of ${count} cells fall silent\n`);
    const lost = [...cells.values()].filter(({ cellId }) => !placements.silent.has(cellId)).slice(0, many);
    const [startedMs, cpuBefore] = [systemClock.elapsedMs(), cpuMs()];
    for (const cell of lost) cell.fallSilent();
    const affected = placements.lose(lost.map(({ cellId }) => cellId));
    const firstMs = await placements.until("the first replacement", () => placements.placed > all - affected);
    const placedMs = await placements.until("all replacements placed", () => placements.placed === all);
    const runningMs = await placements.until("all replacements running", () => placements.running === all);
    const since = (ms: number): number => Math.round(ms - startedMs);
    return {
      cells: lost.length,
      instances: affected,
      first_placed_ms: since(firstMs),
      all_placed_ms: since(placedMs),
      all_running_ms: since(runningMs),
      cpu_ms: Math.round(cpuMs() - cpuBefore),
    };
  };
  const losses = [await lose(1), await lose(Math.max(1, Math.floor(count / 10)))];
  stop.abort();
  await Promise.all(running);
  await active.drain();
  return {
    bench: "recovery",
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
    store: home.name,
    instances: all,
    cells: count,
    // Of everything without gRPC: comparable over sizes, also on a machine that has other work.
    ...filled,
    presence_ttl_ms: presenceTtlMs,
    /** Design section 8: the presence's TTL and one second. */
    target_all_placed_ms: presenceTtlMs + 1_000,
    losses,
  };
}
