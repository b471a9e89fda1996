// One cell: mirrors its rows, holds its session, admits work, and keeps what runs here and what the BBS believes in harmony.
// All logic of the rep is here and below; transports come in as functions, so that the simulator runs this very class.
import { setMaxListeners } from "node:events";
import type { Garden, GardenError } from "@muster/garden";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import type {
  ContainerMetrics,
  EvacuateRequest,
  EvacuateResponse,
  PerformRequest,
  PerformResponse,
  StateResponse,
} from "@muster/proto/muster/v1/rep";
import type { ContainerReport } from "@muster/proto/muster/v1/report";
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import { Mirror } from "@muster/shared/mirror";
import { asDomainName, asInstanceGuid, asProcessGuid, asTaskGuid } from "@muster/shared/model";
import { noTransfers } from "./assets/transfers.js";
import { Evacuation } from "./evacuation.js";
import { Executor } from "./executor/executor.js";
import { GardenWatch } from "./garden-watch.js";
import { Harmonizer } from "./harmonizer.js";
import { LogHub } from "./logs/hub.js";
import type { RepOptions, RepSettings } from "./options.js";
import {
  blockersOf,
  type CellCondition,
  type CellIdentity,
  type ContainerRecord,
  cellPresence,
  instanceGuidOf,
  type Leftover,
  type LRPAsk,
  planPerform,
  type TaskAsk,
  type TaskPart,
} from "./plan/index.js";
import { Registry } from "./registry.js";
import { inventoryLine } from "./report/items.js";
import { type Hello, ReportSession } from "./report/session.js";
import { StateFeed } from "./state-feed.js";
import { TaskHarmonizer } from "./task-harmonizer.js";
import { Usage } from "./usage.js";

export type { RepIO, RepObserver, RepOptions, RepSettings } from "./options.js";

/** A container is not watched meanwhile. */
const monitorRetryMs = 2_000;
/** Accepted attempts remembered for rule P1; far more than can be in flight on one cell. */
const rememberedAttempts = 4_096;

export class Rep {
  readonly logs: LogHub;
  readonly registry: Registry;
  readonly #options: RepOptions;
  readonly #identity: CellIdentity;
  readonly #executor: Executor;
  readonly #mirror: Mirror;
  readonly #session: ReportSession;
  readonly #harmonizer: Harmonizer;
  readonly #taskHarmonizer: TaskHarmonizer;
  readonly #evacuation: Evacuation;
  readonly #gardenWatch: GardenWatch;
  readonly #usage: Usage;
  readonly #feed: StateFeed;
  readonly #attempts = new Map<string, ContainerRecord["instanceGuid"]>();
  readonly #adopted: Promise<void>;
  #adoptedNow: () => void = () => undefined;
  #adopting = true;
  #lastRootFs: string | undefined;

  constructor(options: RepOptions) {
    this.#options = options;
    const { clock, log, garden, settings, store, entropy, observer } = options;
    const total = capacityOf(settings, garden);
    this.#identity = { ...settings, total };
    this.registry = new Registry(total);
    this.logs = new LogHub(clock);
    this.#usage = new Usage({ clock, garden, registry: this.registry });
    this.#adopted = new Promise((resolve) => {
      this.#adoptedNow = resolve;
    });
    this.#gardenWatch = new GardenWatch({
      clock,
      log,
      garden,
      entropy,
      checkRootFs: () => this.#checkRootFs(),
      checkMs: settings.containerCheckMs,
      onChange: (ok) => {
        observer?.gardenCheck(ok);
        this.#feed.touch();
      },
    });
    this.#executor = new Executor({
      ...settings,
      clock,
      log,
      garden,
      store,
      registry: this.registry,
      logs: this.logs,
      probeHttp: options.probeHttp,
      transfers: options.transfers ?? noTransfers,
      identity: options.identity,
      entropy,
      fetchMonitor: (processGuid, signal) => this.#fetchMonitor(processGuid, signal),
      count: (what) => (what === "completed" ? observer?.completed() : observer?.exitedOnTimeout()),
      onCreateFailed: (error: GardenError) => this.#gardenWatch.createFailed(error),
    });
    this.#mirror = new Mirror({
      open: options.io.openWatch,
      kinds: ["actualLRP", "task"],
      cellId: settings.cellId,
      clock,
      log,
    });
    this.#session = new ReportSession({
      open: options.io.openReport,
      clock,
      entropy,
      log,
      owner: options.owner,
      ttlMs: settings.presenceTtlMs,
      handler: {
        hello: () => this.#hello(),
        inventory: () => this.#inventory(),
        onDecided: () => {
          this.#harmonizer.everything();
          this.#taskHarmonizer.everything();
        },
        onReply: (item, reply) => {
          this.#harmonizer.onReply(item, reply);
          this.#taskHarmonizer.onReply(item, reply);
        },
        onClosed: () => {
          this.#harmonizer.onSessionClosed();
          this.#taskHarmonizer.onSessionClosed();
        },
      },
    });
    this.#evacuation = new Evacuation({
      clock,
      log,
      cellId: settings.cellId,
      registry: this.registry,
      executor: this.#executor,
      timeoutMs: settings.evacuationTimeoutMs,
      begun: options.evacuating,
      remember: (evacuating) => options.rememberEvacuating?.(evacuating),
      onChange: () => {
        this.#session.refreshPresence();
        this.#feed.touch();
        this.#harmonizer.compareNow();
      },
      countStranded: () => this.#evacuatingRows(),
      onStranded: (count) => observer?.stranded(count),
      blockers: () => blockersOf(this.#leftovers()),
    });
    const harmony = {
      clock,
      log,
      registry: this.registry,
      executor: this.#executor,
      mirror: this.#mirror,
      session: this.#session,
      cell: settings,
      adopting: () => this.#adopting,
      lends: { identities: options.identity !== undefined, trustedCertificatesDir: settings.trustedCertificatesDir },
    };
    this.#taskHarmonizer = new TaskHarmonizer({ ...harmony, fetchTask: options.io.fetchTask });
    this.#harmonizer = new Harmonizer({
      ...harmony,
      fetchDesiredLRP: options.io.fetchDesiredLRP,
      evacuating: () => this.#evacuation.active,
      onComparison: () => this.#taskHarmonizer.everything(),
      onBulkSync: (ms) => observer?.bulkSync(ms),
    });
    this.#feed = new StateFeed({ clock, registry: this.registry, identity: this.#identity, condition: () => this.#condition() });
  }

  /** Why there is no session with the BBS; `undefined` when there is. */
  get trouble(): string | undefined {
    return this.#session.trouble;
  }

  get connected(): boolean {
    return this.#session.phase === "decided";
  }

  get condition(): CellCondition {
    return this.#condition();
  }

  /**
   * Runs the cell until the signal aborts, then detaches from its containers (rule R5).
   * @throws OperatorError when the garden cannot be started, Error when it does not answer: the presence then ends with the process.
   */
  async run(signal: AbortSignal): Promise<void> {
    const broken = new AbortController();
    const either = AbortSignal.any([signal, broken.signal]);
    // Every container that waits for something listens to it; their number is bounded by the cell's capacity.
    setMaxListeners(0, either);
    this.#taskHarmonizer.follow(either);
    const loops = [
      this.#session.run(either),
      this.#mirror.run(either),
      this.#harmonizer.run(either),
      this.#adopt(either).then(() => this.#watchOver(either)),
    ];
    try {
      await Promise.all(loops.map((loop) => loop.catch((error: unknown) => Promise.reject(signal.aborted ? undefined : error))));
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      broken.abort(new Error("the rep is ending"));
      this.#evacuation.detach();
      await this.#executor.detach();
    }
  }

  /** Takes or refuses work; the answer is given before anything is started. @throws BbsError InvalidRequest for another cell's work. */
  perform(request: PerformRequest): PerformResponse {
    const { cellId } = this.#options.settings;
    if (request.cellId !== "" && request.cellId !== cellId) {
      throw new BbsError("InvalidRequest", "workload cell ID does not match this cell", { cell_id: request.cellId });
    }
    const { lrps, tasks } = planPerform(
      {
        closedBecause: this.#closedBecause(),
        remaining: this.registry.remaining(),
        rootFSSchemes: new Set(this.#options.settings.rootFSSchemes),
        stacks: new Set(this.#options.settings.stacks),
        holds: (processGuid, index) => this.registry.holds(processGuid, index),
        holdsTask: (taskGuid) => this.registry.ofTask(asTaskGuid(taskGuid)).some((record) => record.state !== "completed"),
        accepted: (auctionId) => this.#acceptedBefore(auctionId),
      },
      request.lrps,
      request.tasks,
    );
    for (const verdict of lrps) if (verdict.take === "now") this.#reserve(verdict.ask, lrpKeyOf(verdict.ask), undefined);
    for (const verdict of tasks) if (verdict.take === "now") this.#reserve(verdict.ask, ...taskKeyOf(verdict.ask));
    const refused = [...lrps, ...tasks].flatMap((verdict) =>
      verdict.take === "refused" ? [{ auctionId: verdict.ask.auctionId, reason: verdict.reason }] : [],
    );
    return { refused };
  }

  /** The whole state, then changes. */
  state(signal: AbortSignal): AsyncGenerator<StateResponse, void, undefined> {
    return this.#feed.follow(signal);
  }

  /** Stops one instance now. @throws BbsError ResourceNotFound */
  stopInstance(processGuid: string, instanceGuid: string): void {
    const record = this.registry.get(asInstanceGuid(instanceGuid));
    if (record === undefined || record.task !== undefined || record.key.processGuid !== processGuid) {
      throw new BbsError("ResourceNotFound", "this cell has no such instance", { instance_guid: instanceGuid });
    }
    this.#executor.stop(record.instanceGuid);
  }

  /** Begins to empty the cell, or takes that back, or only says how it goes. */
  evacuate(request: EvacuateRequest): EvacuateResponse {
    if (!request.progressOnly) {
      if (request.cancel) this.#evacuation.cancel();
      else this.#evacuation.start();
    }
    return this.#evacuation.progress();
  }

  /** What each container uses, as of the last second; one that cannot say is left out. */
  containerMetrics(): Promise<ContainerMetrics[]> {
    return this.#usage.read();
  }

  /** The root of a container that is here: its image needs no registry. */
  #checkRootFs(): string | undefined {
    for (const record of this.registry.all()) {
      if (record.state === "created" || record.state === "running") this.#lastRootFs = record.rootFs;
    }
    return this.#lastRootFs;
  }

  /** A monitor action may hold secrets, so a restarted rep asks for it again. */
  async #fetchMonitor(processGuid: string, signal: AbortSignal): Promise<DesiredLRP["monitor"]> {
    const { io, clock, log } = this.#options;
    while (!signal.aborted) {
      try {
        return (await io.fetchDesiredLRP(processGuid, signal)).monitor;
      } catch (err) {
        if (signal.aborted || (err instanceof BbsError && err.code === "ResourceNotFound")) return undefined;
        log.debug({ err, process_guid: processGuid, retry_ms: monitorRetryMs }, "monitor action could not be fetched");
        await clock.sleep(monitorRetryMs, signal).catch(() => undefined);
      }
    }
    return undefined;
  }

  #evacuatingRows(): number {
    let count = 0;
    for (const row of this.#mirror.tables.actualLRPs.values()) if (row.presence === "EVACUATING") count += 1;
    return count;
  }

  #leftovers(): Leftover[] {
    const { tables } = this.#mirror;
    return [...this.registry.all()].map((record) => {
      const { ORDINARY, EVACUATING, SUSPECT } = tables.rows(record.key.processGuid, record.key.index);
      return {
        record,
        rows: record.task === undefined ? [ORDINARY, EVACUATING, SUSPECT].filter((row) => row !== undefined) : [],
        connected: this.connected,
        stays: this.#harmonizer.staysForNow(record.instanceGuid),
        destroying: this.#executor.isDestroying(record.instanceGuid),
      };
    });
  }

  #acceptedBefore(auctionId: string): boolean {
    const guid = this.#attempts.get(auctionId);
    return guid !== undefined && this.registry.get(guid) !== undefined;
  }

  #reserve(ask: LRPAsk | TaskAsk, key: ContainerRecord["key"], task: TaskPart | undefined): void {
    const { clock, entropy, log } = this.#options;
    const instanceGuid = asInstanceGuid(instanceGuidOf(entropy.guid()));
    this.#remember(ask.auctionId, instanceGuid);
    this.registry.add({
      key,
      task,
      instanceGuid,
      auctionId: ask.auctionId,
      rootFs: ask.rootFs,
      memoryMb: ask.memoryMb,
      diskMb: ask.diskMb,
      maxPids: ask.maxPids,
      state: "reserved",
      reservedAtMs: clock.elapsedMs(),
      stopped: false,
      ending: "crashed",
      failureReason: "",
      netInfo: undefined,
      routable: false,
      startInfo: undefined,
      stepsDone: [],
      cacheKeys: [],
    });
    const whose = task === undefined ? { process_guid: key.processGuid, index: key.index } : { task_guid: task.guid };
    log.info({ ...whose, instance_guid: instanceGuid }, "container reserved");
  }

  #remember(auctionId: string, guid: ContainerRecord["instanceGuid"]): void {
    this.#attempts.delete(auctionId);
    this.#attempts.set(auctionId, guid);
    const [oldest] = this.#attempts.keys();
    if (this.#attempts.size > rememberedAttempts && oldest !== undefined) this.#attempts.delete(oldest);
  }

  #closedBecause(): string | undefined {
    if (this.#adopting) return "the cell is starting and takes no work yet";
    if (this.#evacuation.active) return "the cell is evacuating";
    return this.#gardenWatch.unhealthyReason;
  }

  #condition(): CellCondition {
    const evacuating = this.#evacuation.active;
    return {
      available: this.registry.remaining(),
      startingContainerCount: this.registry.startingCount,
      evacuating,
      unhealthyReason: evacuating && !this.#adopting ? this.#gardenWatch.unhealthyReason : this.#closedBecause(),
    };
  }

  #hello(): Hello {
    return { presence: cellPresence(this.#identity), evacuating: this.#evacuation.active };
  }

  async #inventory(): Promise<readonly ContainerReport[]> {
    await this.#adopted;
    return [...this.registry.all()].map((record) => inventoryLine(record, this.#identity.cellId));
  }

  /** Takes up what an earlier rep left (R5). */
  async #adopt(signal: AbortSignal): Promise<void> {
    const { garden, store, clock, settings, log } = this.#options;
    const found = await within(clock, settings.adoptionTimeoutMs, signal, async (inTime) => {
      await garden.start(inTime);
      return { containers: await garden.containers(), records: await store.load(clock.elapsedMs()) };
    });
    const left = new Map(found.containers.map((container) => [container.handle, container]));
    for (const record of found.records) {
      this.#executor.adopt(record, left.get(record.instanceGuid));
      left.delete(record.instanceGuid);
    }
    this.#gardenWatch.destroyStrays([...left.keys()]);
    if (found.records.length > 0) log.info({ count: found.records.length, strays: left.size }, "containers adopted");
    this.#adopting = false;
    this.#adoptedNow();
    this.#feed.touch();
  }

  async #watchOver(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#gardenWatch.run(signal),
      this.#gardenWatch.checkEvery(signal),
      this.#gardenWatch.compareEvery(signal, this.registry, (guid) => this.#executor.vanished(guid)),
    ]);
  }
}

const lrpKeyOf = (ask: LRPAsk): ContainerRecord["key"] => ({
  processGuid: asProcessGuid(ask.processGuid),
  index: ask.index,
  domain: asDomainName(ask.domain),
});

/** A task's log lines are found by its guid, where an LRP's have their process guid. */
const taskKeyOf = (ask: TaskAsk): [ContainerRecord["key"], TaskPart] => [
  { processGuid: asProcessGuid(ask.taskGuid), index: 0, domain: asDomainName(ask.domain) },
  { guid: asTaskGuid(ask.taskGuid), resultFile: "", outcome: undefined, result: "" },
];

function capacityOf(settings: RepSettings, garden: Garden) {
  const own = garden.capacity();
  const { capacity } = settings;
  return {
    memoryMb: capacity.memoryMb || own.memoryMb,
    diskMb: capacity.diskMb || own.diskMb,
    containers: capacity.containers || own.containers,
  };
}

/** Runs `work`, but no longer than `ms`. @throws Error when the time is over. */
async function within<Value>(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const over = new AbortController();
  const late = new Promise<never>((_, reject) => {
    const fail = (): void => reject(new Error(`the garden did not answer within ${ms} ms of the start`));
    over.signal.addEventListener("abort", fail, { once: true });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  late.catch(() => undefined);
  const cancel = clock.after(ms, () => over.abort());
  try {
    return await Promise.race([work(AbortSignal.any([signal, over.signal])), late]);
  } finally {
    cancel();
  }
}
