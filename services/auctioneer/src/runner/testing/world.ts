// A small world for the runner: a BBS that is only its watch and its two failure calls, and cells that take or refuse work. All of
// it moves on a fake clock. For tests only.
import type { LRPState, PerformRequest, PerformResponse, StateResponse, TaskState } from "@muster/proto/muster/v1/rep";
import type { WatchResponse, Change as WireChange } from "@muster/proto/muster/v1/watch";
import { type FakeClock, fakeClock, seededEntropy } from "@muster/shared/clock";
import { recordCodecs, toBuffer } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { Registry } from "@muster/shared/metrics";
import {
  type ActualLRP,
  asCellId,
  asDomainName,
  asEpochNs,
  asInstanceGuid,
  asProcessGuid,
  asTaskGuid,
  type Cell,
  type DesiredLRP,
  drop,
  put,
  Tables,
  type Task,
  type Write,
} from "@muster/shared/model";
import { actualLRP, cell, desiredLRP } from "@muster/shared/testing";
import { auctioneerMetrics } from "../../metrics.js";
import { defaultAuctionOptions } from "../../plan/index.js";
import type { AuctioneerIO, CellIO, LRPFailure, TaskRejection } from "../io.js";
import { AuctionRunner, defaultRunnerSettings, type RunnerSettings } from "../runner.js";

/** Messages for one reader; ends with its signal. */
class Feed<Message> {
  readonly #messages: Message[] = [];
  #wake: () => void = () => undefined;
  #broken: Error | undefined;

  push(message: Message): void {
    this.#messages.push(message);
    this.#wake();
  }

  break(error: Error): void {
    this.#broken = error;
    this.#wake();
  }

  async *read(signal: AbortSignal): AsyncGenerator<Message, void, undefined> {
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    while (!signal.aborted) {
      const message = this.#messages.shift();
      if (message !== undefined) yield message;
      else if (this.#broken !== undefined) throw this.#broken;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}

export const processGuid = asProcessGuid("p");

export const desired = (fields: Partial<DesiredLRP> = {}): DesiredLRP =>
  desiredLRP({ processGuid, instances: 10, memoryMb: 10, diskMb: 10, rootFs: "preloaded:linux", ...fields });

export const row = (index: number, fields: Partial<ActualLRP> = {}): ActualLRP =>
  actualLRP({
    processGuid,
    index,
    sinceNs: asEpochNs(0n),
    modificationTag: { epoch: `row-${index}`, index: 0 },
    routable: true,
    ...fields,
  });

export const claimed = (index: number, cellId: string, tag = 1): ActualLRP =>
  row(index, {
    state: "CLAIMED",
    instanceKey: { instanceGuid: asInstanceGuid(`i-${index}`), cellId: asCellId(cellId) },
    modificationTag: { epoch: `row-${index}`, index: tag },
  });

export const pendingTask = (fields: Partial<Task> = {}): Task => ({
  taskGuid: asTaskGuid("t"),
  domain: asDomainName("d"),
  createdAtNs: asEpochNs(0n),
  updatedAtNs: asEpochNs(0n),
  firstCompletedAtNs: asEpochNs(0n),
  state: "PENDING",
  cellId: undefined,
  result: "",
  failed: false,
  failureReason: "",
  rejectionCount: 0,
  rejectionReason: "",
  rootFs: "preloaded:linux",
  memoryMb: 10,
  diskMb: 10,
  maxPids: 0,
  placementTags: [],
  volumeDrivers: [],
  completionCallbackUrl: "",
  annotation: "",
  changedAt: 1n,
  ...fields,
});

const presence = (cellId: string, zone: string): Cell =>
  cell({
    cellId: asCellId(cellId),
    repAddress: `${cellId}:1800`,
    zone,
    memoryMb: 100,
    diskMb: 100,
    containers: 10,
    rootfsProviders: [{ name: "preloaded", properties: ["linux"] }],
    owner: "o",
  });

/** How a cell answers requests to take work. */
export type Manner = "takes" | "refuses" | "hangs" | "unavailable" | "forbids";

export class FakeCell implements CellIO {
  readonly cellId: string;
  readonly zone: string;
  manner: Manner = "takes";
  /** Whether it tells its state. */
  mute = false;
  /** Whether what it takes shows in its state. */
  showsWork = true;
  memoryMb = 100;
  evacuating = false;
  /** Whether what it takes is running when its state is next told. */
  startsAtOnce = true;
  #starting = 0;
  readonly performed: PerformRequest[] = [];
  readonly #clock: FakeClock;
  readonly #lrps: LRPState[] = [];
  readonly #tasks: TaskState[] = [];
  #feed: Feed<StateResponse> | undefined;

  constructor(cellId: string, zone: string, clock: FakeClock) {
    this.cellId = cellId;
    this.zone = zone;
    this.#clock = clock;
    this.#beat();
  }

  async *state(signal: AbortSignal): AsyncIterable<StateResponse> {
    this.#feed = new Feed();
    if (!this.mute) this.#feed.push(this.#message(true));
    yield* this.#feed.read(signal);
  }

  async perform(request: PerformRequest): Promise<PerformResponse> {
    this.performed.push(request);
    const works = [...request.lrps, ...request.tasks];
    if (this.manner === "hangs") return new Promise(() => undefined);
    if (this.manner === "unavailable") throw new BbsError("Unavailable", "connection refused");
    if (this.manner === "forbids") throw new BbsError("PermissionDenied", "not an auctioneer");
    if (this.manner === "refuses")
      return { refused: works.map(({ auctionId }) => ({ auctionId, reason: `${this.cellId} is full` })) };
    if (this.showsWork) this.#take(request);
    return { refused: [] };
  }

  close(): void {
    this.#feed = undefined;
  }

  /** Tells its state now. */
  tell(full = false): void {
    if (!this.mute) this.#feed?.push(this.#message(full));
  }

  /** A container that was starting runs. */
  started(): void {
    this.#starting -= 1;
    this.tell();
  }

  breakStream(): void {
    this.#feed?.break(new BbsError("Unavailable", "connection reset"));
  }

  get performedIds(): string[] {
    return this.performed.flatMap(({ lrps, tasks }) => [...lrps, ...tasks].map(({ auctionId }) => auctionId));
  }

  #beat(): void {
    this.#clock.after(400, () => {
      this.tell();
      this.#beat();
    });
  }

  #take(request: PerformRequest): void {
    for (const { processGuid: guid, index, domain, memoryMb, diskMb } of request.lrps) {
      const instanceGuid = `${guid}-${index}-on-${this.cellId}`;
      this.#lrps.push({ processGuid: guid, index, domain, instanceGuid, state: "CLAIMED", memoryMb, diskMb });
      this.memoryMb -= memoryMb;
    }
    for (const { taskGuid, domain, memoryMb, diskMb } of request.tasks) {
      this.#tasks.push({ taskGuid, domain, state: "RUNNING", memoryMb, diskMb });
      this.memoryMb -= memoryMb;
    }
    if (!this.startsAtOnce) this.#starting += request.lrps.length + request.tasks.length;
    this.tell(true);
  }

  #message(full: boolean): StateResponse {
    return {
      full,
      cellId: this.cellId,
      cellIndex: 0,
      zone: this.zone,
      total: { memoryMb: 100, diskMb: 1_000, containers: 50 },
      available: { memoryMb: this.memoryMb, diskMb: 1_000, containers: 50 },
      startingContainerCount: this.#starting,
      evacuating: this.evacuating,
      healthy: true,
      unhealthyReason: "",
      rootFsProviders: [{ scheme: "preloaded", fixedSet: true, names: ["linux"] }],
      volumeDrivers: [],
      placementTags: [],
      optionalPlacementTags: [],
      proxyMemoryAllocationMb: 0,
      lrps: full ? [...this.#lrps] : [],
      removedLrps: [],
      tasks: full ? [...this.#tasks] : [],
      removedTasks: [],
    };
  }
}

export class FakeWorld implements AuctioneerIO {
  readonly clock: FakeClock = fakeClock();
  readonly tables = new Tables();
  readonly cells = new Map<string, FakeCell>();
  readonly failures: LRPFailure[] = [];
  readonly rejections: TaskRejection[] = [];
  readonly runner: AuctionRunner;
  readonly registry = new Registry();
  mayAct = true;
  /** Whether the BBS sends anything at all. */
  watchIsMute = false;
  /** What the next failure calls meet. */
  failureError: Error | undefined;
  readonly #stop = new AbortController();
  #watch: Feed<WatchResponse> | undefined;
  #running: Promise<void> | undefined;
  #sequence = 1n;

  constructor(settings: Partial<RunnerSettings> = {}) {
    this.runner = new AuctionRunner({
      clock: this.clock,
      entropy: seededEntropy("runner"),
      log: silentLog(),
      metrics: auctioneerMetrics(this.registry),
      io: this,
      settings: { ...defaultRunnerSettings, auction: defaultAuctionOptions, ...settings },
      mayAct: () => this.mayAct,
    });
    this.#beat();
  }

  /** Starts the runner and lets it settle. */
  async start(): Promise<void> {
    this.#running = this.runner.run(this.#stop.signal);
    await this.clock.advance(20);
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error("the test is over"));
    await this.clock.advance(20_000);
    await this.#running;
  }

  addCell(cellId: string, zone = "z1"): FakeCell {
    const cell = new FakeCell(cellId, zone, this.clock);
    this.cells.set(cellId, cell);
    this.write(put("cell", presence(cellId, zone)));
    return cell;
  }

  loseCell(cellId: string): void {
    this.write(drop("cell", presence(cellId, "")));
  }

  /** Changes the truth in one commit. */
  write(...writes: readonly Write[]): void {
    for (const write of writes) this.tables.apply(write);
    this.#sequence += 1n;
    this.#say({ $case: "commit", value: { token: this.#token, changes: writes.flatMap(wireChange) } });
  }

  async *watch(_request: unknown, signal: AbortSignal): AsyncIterable<WatchResponse> {
    this.#watch = new Feed();
    const changes = (["desiredLRP", "actualLRP", "task", "cell", "featureFlag"] as const).flatMap((kind) =>
      [...this.tables.all(kind).values()].flatMap((record) => wireChange(put(kind, record))),
    );
    this.#say({ $case: "reset", value: { reason: "test" } });
    this.#say({ $case: "snapshot", value: { changes } });
    this.#say({ $case: "synced", value: { token: this.#token } });
    yield* this.#watch.read(signal);
  }

  cell(cellId: string): CellIO {
    const cell = this.cells.get(cellId);
    if (cell === undefined) throw new Error(`the test made no cell ${cellId}`);
    return cell;
  }

  async failActualLRP(failure: LRPFailure): Promise<void> {
    this.failures.push(failure);
    if (this.failureError !== undefined) throw this.failureError;
    const { key, judgedTag, error } = failure;
    const known = this.tables.rows(key.processGuid, key.index).ORDINARY;
    const tag = known?.modificationTag;
    if (known === undefined || tag === undefined || `${tag.epoch}.${tag.index}` !== judgedTag) return;
    this.write(put("actualLRP", { ...known, placementError: error, modificationTag: { ...tag, index: tag.index + 1 } }));
  }

  async rejectTask(rejection: TaskRejection): Promise<void> {
    this.rejections.push(rejection);
    const task = this.tables.task(rejection.taskGuid);
    if (task === undefined || `${task.changedAt}` !== rejection.judgedSequence) return;
    this.write(
      put("task", {
        ...task,
        rejectionCount: task.rejectionCount + 1,
        rejectionReason: rejection.reason,
        updatedAtNs: asEpochNs(BigInt(this.clock.nowMs()) * 1_000_000n),
        changedAt: task.changedAt + 1n,
      }),
    );
  }

  /** Everything any cell was asked to take, as `cell auction-id`, in the order of cells. */
  get performed(): string[] {
    return [...this.cells.values()].flatMap((cell) => cell.performedIds.map((id) => `${cell.cellId} ${id}`));
  }

  #beat(): void {
    this.clock.after(1_000, () => {
      this.#say({ $case: "progress", value: { token: this.#token } });
      this.#beat();
    });
  }

  get #token() {
    return { incarnation: "one", sequence: this.#sequence };
  }

  #say(message: NonNullable<WatchResponse["message"]>): void {
    if (this.watchIsMute) return;
    this.#watch?.push({ message, clusterTimeMs: BigInt(this.clock.nowMs()), leaderEpoch: 1n });
  }
}

function wireChange(write: Write): WireChange[] {
  const codec = recordCodecs[write.kind];
  if (codec.wireKind === undefined) return [];
  const encode = codec.encode as (record: unknown) => Uint8Array;
  const record = write.record === undefined ? undefined : toBuffer(encode(write.record));
  return [{ kind: codec.wireKind, key: write.key, record }];
}
