// What convergence costs over whole fleets: the real converger over a mirror, on a clock that is moved on, against a BBS that says
// "done" to every repair. CPU time, not wall time, so that a busy machine says the same.
import { cpus } from "node:os";
import { Converger, convergerMetrics } from "@muster/converger";
import { type RepairItem, RepairOutcome, type RepairResult } from "@muster/proto/muster/v1/repair";
import type { WatchRequest, WatchResponse, Change as WireChange } from "@muster/proto/muster/v1/watch";
import { type FakeClock, fakeClock } from "@muster/shared/clock";
import { encodeRecord, recordCodecs } from "@muster/shared/codec";
import { silentLog } from "@muster/shared/log";
import { Registry } from "@muster/shared/metrics";
import {
  type ActualLRP,
  asCellId,
  asEpochMs,
  asInstanceGuid,
  asProcessGuid,
  type DesiredLRP,
  epochMsToNs,
  put,
  Tables,
  type Write,
} from "@muster/shared/model";
import { planConvergence, resolvedInternalRoutes, resolvedMetricTags } from "@muster/shared/rules";
import { actualLRP, cell, desiredLRP } from "@muster/shared/testing";
import { cellOf, guidOf } from "./messages.js";

export interface ConvergeBenchOptions {
  /** One round for each of these. */
  readonly instances: readonly number[];
  readonly instancesPerProcess: number;
  /** 200 makes 1,250 cells for 250,000. */
  readonly instancesPerCell: number;
  /** Rows that change one by one, each a commit of its own. */
  readonly changes: number;
}

export const convergeBenchDefaults: ConvergeBenchOptions = {
  instances: [10_000, 100_000, 250_000],
  instancesPerProcess: 5,
  instancesPerCell: 200,
  changes: 20_000,
};

interface Round {
  readonly instances: number;
  readonly processes: number;
  readonly cells: number;
  /** From the watch's first message to the end of the first cycle: decoding, a look at every record, its plan. */
  readonly start_cpu_ms: number;
  /** A cycle over the open keys, of which there are none: the median of nine, and the worst. */
  readonly idle_cycle_cpu_ms: number;
  readonly idle_cycle_worst_cpu_ms: number;
  /** Every tenth cycle: the same and a look at every record. */
  readonly full_cycle_cpu_ms: number;
  readonly change_cpu_us: number;
  readonly half_of_cells_lost: {
    readonly repairs: number;
    readonly calls: number;
    /** From the commit that tells of it to the last repair asked for, hold-back between. */
    readonly cpu_ms: number;
  };
  /** The plan alone, where every instance is missing: the most there is to find. */
  readonly everything_missing_plan_cpu_ms: number;
}

/** The watch and the repairs of a BBS that agrees to everything. */
class AgreeingBbs {
  asked = 0;
  calls = 0;
  #sequence = 0n;
  readonly #clock: FakeClock;
  readonly #snapshot: () => Iterable<readonly Write[]>;
  #queue: WatchResponse[] = [];
  #wake: () => void = () => undefined;

  constructor(clock: FakeClock, snapshot: () => Iterable<readonly Write[]>) {
    this.#clock = clock;
    this.#snapshot = snapshot;
  }

  tell(message: WatchResponse): void {
    this.#queue.push(message);
    this.#wake();
  }

  commit(writes: readonly Write[]): WatchResponse {
    this.#sequence += 1n;
    return this.#said({ $case: "commit", value: { token: this.#token(), changes: writes.map(wireOf) } });
  }

  openWatch = (_request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchResponse> => this.#watch(signal);

  repair = async (items: readonly RepairItem[]): Promise<readonly RepairResult[]> => {
    this.calls += 1;
    this.asked += items.length;
    return items.map(() => ({ outcome: RepairOutcome.REPAIR_OUTCOME_DONE, dueInMs: 0n }));
  };

  async *#watch(signal: AbortSignal): AsyncGenerator<WatchResponse> {
    for (const writes of this.#snapshot()) yield this.#said({ $case: "snapshot", value: { changes: writes.map(wireOf) } });
    yield this.#said({ $case: "synced", value: { token: this.#token() } });
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    while (!signal.aborted) {
      const messages = this.#queue;
      this.#queue = [];
      yield* messages;
      if (this.#queue.length === 0 && !signal.aborted) await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #token = () => ({ incarnation: "bench", sequence: this.#sequence });

  #said = (message: NonNullable<WatchResponse["message"]>): WatchResponse => ({
    message,
    clusterTimeMs: BigInt(this.#clock.nowMs()),
    leaderEpoch: 1n,
  });
}

function wireOf(write: Write): WireChange {
  const record = write.record === undefined ? undefined : Buffer.from(encodeRecord(write.kind, write.record));
  return { kind: recordCodecs[write.kind].wireKind ?? 0, key: write.key, record };
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
};

/** CPU milliseconds that `work` takes, other threads of this process (the collector's) included. */
async function cpuOf(work: () => unknown): Promise<number> {
  const before = cpuMs();
  await work();
  return cpuMs() - before;
}

const round = (value: number, digits = 1): number => Math.round(value * 10 ** digits) / 10 ** digits;

/** Apps as they are: an internal route, and five tags, of which two are told each instance. */
const desiredOf = (process: number, instances: number): DesiredLRP => {
  const processGuid = asProcessGuid(guidOf("process", process));
  return desiredLRP({
    processGuid,
    instances,
    routes: new Map([["internal-router", Buffer.from(`[{"hostname":"app-${process}.apps.internal"}]`)]]),
    metricTags: new Map([
      ["source_id", { static: processGuid }],
      ["app_name", { static: `app-${process}` }],
      ["space_name", { static: `space-${process % 100}` }],
      ["instance_id", { dynamic: "INDEX" }],
      ["process_instance_id", { dynamic: "INSTANCE_GUID" }],
    ]),
  });
};

function runningRow(desired: DesiredLRP, index: number, cellId: string, nowMs: number): ActualLRP {
  const { processGuid, domain } = desired;
  const instanceGuid = asInstanceGuid(`${processGuid}-instance-${index}`);
  return actualLRP({
    processGuid,
    domain,
    index,
    state: "RUNNING",
    instanceKey: { instanceGuid, cellId: asCellId(cellId) },
    sinceNs: epochMsToNs(asEpochMs(nowMs)),
    internalRoutes: resolvedInternalRoutes(desired),
    metricTags: resolvedMetricTags(desired, index, instanceGuid),
    routable: true,
  });
}

/** Measures rounds of growing fleets. Returns JSON-able figures; throws when the converger did not find what it must. */
export async function benchConverge(options: Partial<ConvergeBenchOptions> = {}): Promise<object> {
  const settings = { ...convergeBenchDefaults, ...options };
  const rounds: Round[] = [];
  for (const instances of settings.instances) {
    process.stderr.write(`bench converge: ${instances} instances\n`);
    rounds.push(await measure(instances, settings));
  }
  const [first, last] = [rounds[0], rounds.at(-1)];
  const growth = (of: (round: Round) => number) =>
    first === undefined || last === undefined || first === last ? undefined : round(of(last) / of(first), 2);
  return {
    bench: "converge",
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
    target_idle_cycle_cpu_ms: 50,
    target_full_plan_cpu_ms: 1_000,
    rounds,
    growth: {
      instances: first === undefined || last === undefined ? undefined : round(last.instances / first.instances, 2),
      full_cycle: growth((each) => each.full_cycle_cpu_ms),
      half_of_cells_lost: growth((each) => each.half_of_cells_lost.cpu_ms),
    },
  };
}

async function measure(
  instances: number,
  { instancesPerProcess, instancesPerCell, changes }: ConvergeBenchOptions,
): Promise<Round> {
  const processes = Math.ceil(instances / instancesPerProcess);
  const cells = Math.ceil(instances / instancesPerCell);
  const clock = fakeClock();
  const placed = (n: number): ActualLRP =>
    runningRow(
      desiredOf(Math.floor(n / instancesPerProcess), instancesPerProcess),
      n % instancesPerProcess,
      cellOf(n, cells),
      clock.nowMs(),
    );
  const lose = (n: number, lostAtMs?: number): Write =>
    put("cell", cell({ cellId: asCellId(cellOf(n, cells)), lostAtMs: lostAtMs === undefined ? undefined : asEpochMs(lostAtMs) }));
  const bbs = new AgreeingBbs(clock, function* () {
    yield Array.from({ length: cells }, (_, n) => lose(n));
    for (let from = 0; from < processes; from += 1_000) {
      const many = Math.min(1_000, processes - from);
      yield Array.from({ length: many }, (_, n) => put("desiredLRP", desiredOf(from + n, instancesPerProcess)));
    }
    for (let from = 0; from < instances; from += 1_000) {
      yield Array.from({ length: Math.min(1_000, instances - from) }, (_, n) => put("actualLRP", placed(from + n)));
    }
  });
  const metrics = convergerMetrics(new Registry());
  const converger = new Converger({ clock, log: silentLog(), metrics, io: bbs, config: { convergeIntervalMs: 30_000 } });
  const stop = new AbortController();
  // The snapshot is made while it is taken: what making it costs is measured beforehand and taken off.
  const making = await cpuOf(async () => {
    for await (const message of bbs.openWatch({} as WatchRequest, AbortSignal.abort())) void message;
  });
  let running = Promise.resolve();
  const started = await cpuOf(async () => {
    running = converger.run(stop.signal);
    while (!converger.synced) await clock.advance(0);
    await clock.advance(0);
  });
  const idle: number[] = [];
  for (let cycle = 0; cycle < 9; cycle += 1) idle.push(await cpuOf(() => clock.advance(30_000)));
  idle.sort((a, b) => a - b);
  const full = await cpuOf(() => clock.advance(30_000));
  const told = Array.from({ length: changes }, (_, n) => bbs.commit([put("actualLRP", placed((n * 7) % instances))]));
  const followed = await cpuOf(async () => {
    for (let from = 0; from < told.length; from += 100) {
      for (const message of told.slice(from, from + 100)) bbs.tell(message);
      await clock.advance(0);
    }
  });
  if (bbs.asked > 0) throw new Error(`${bbs.asked} repairs asked for where all is well`);
  const lost = Array.from({ length: Math.floor(cells / 2) }, (_, n) => lose(n, clock.nowMs()));
  const message = bbs.commit(lost);
  const loss = await cpuOf(async () => {
    bbs.tell(message);
    await clock.advance(0);
    // Twice the presence's TTL is how long a mass loss is held back.
    await clock.advance(10_000);
    for (let asked = -1; asked !== bbs.asked; await clock.advance(0)) asked = bbs.asked;
  });
  const [repairs, calls] = [bbs.asked, bbs.calls];
  const onLost = Array.from({ length: instances }, (_, n) => n % cells).filter((at) => at < lost.length).length;
  if (repairs !== onLost) throw new Error(`${repairs} repairs asked for, ${onLost} instances on lost cells`);
  stop.abort();
  await clock.advance(0);
  await running;
  return {
    instances,
    processes,
    cells,
    start_cpu_ms: round(started - making, 0),
    idle_cycle_cpu_ms: round(idle[4] ?? 0),
    idle_cycle_worst_cpu_ms: round(idle[8] ?? 0),
    full_cycle_cpu_ms: round(full),
    change_cpu_us: round((followed * 1_000) / changes),
    half_of_cells_lost: { repairs, calls, cpu_ms: round(loss, 0) },
    everything_missing_plan_cpu_ms: round(await planOfNothing(processes, instancesPerProcess, instances), 0),
  };
}

async function planOfNothing(processes: number, instancesPerProcess: number, instances: number): Promise<number> {
  const tables = new Tables();
  for (let n = 0; n < processes; n += 1) tables.apply(put("desiredLRP", desiredOf(n, instancesPerProcess)));
  const time = { nowMs: asEpochMs(1_700_000_000_000), graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(0) };
  let found = 0;
  const cpu = await cpuOf(() => {
    found = planConvergence(tables, time).repairs.length;
  });
  if (found < instances) throw new Error(`${found} repairs found, ${instances} instances missing`);
  return cpu;
}
