// The platform as the verbs see it: typed calls over one connection to the BBS, retried where that is safe.
import type { ActualLRP } from "@muster/proto/models/actual_lrp";
import type { CellPresence } from "@muster/proto/models/cells";
import type { DesiredLRP, DesiredLRPSchedulingInfo, DesiredLRPUpdate } from "@muster/proto/models/desired_lrp";
import { LocketClient, type Resource, TypeCode } from "@muster/proto/models/locket";
import type { Task as WireTask } from "@muster/proto/models/task";
import type { DesireTaskRequest } from "@muster/proto/models/task_requests";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { type FeatureFlag, FeatureFlagServiceClient } from "@muster/proto/muster/v1/feature_flags";
import { type HistoryRequest, type HistoryResponse, HistoryServiceClient } from "@muster/proto/muster/v1/history";
import { type RepairItem, type RepairResult, RepairServiceClient } from "@muster/proto/muster/v1/repair";
import { type WatchRequest, type WatchResponse, WatchServiceClient } from "@muster/proto/muster/v1/watch";
import type { Clock } from "@muster/shared/clock";
import { decodeRecord, kindOfWire, recordCodecs } from "@muster/shared/codec";
import { type ErrorCode, isBbsError } from "@muster/shared/errors";
import {
  asDomainName,
  asEpochNs,
  asTaskGuid,
  type CellId,
  type RecordKind,
  Tables,
  type TaskState,
  type Write,
} from "@muster/shared/model";
import { collect, dial, isTransient, serverStream, unary } from "@muster/shared/rpc";
import type { TlsMaterial } from "@muster/shared/tls";
import type { TaskFacts } from "../apps/tasks.js";

export interface PlatformOptions {
  readonly bbsAddresses: readonly string[];
  readonly tls: TlsMaterial;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How long a call is tried again while no BBS answers: a restarted or elected one takes a moment. */
  readonly patienceMs: number;
  /** Called once when the first try of a call found nobody, for a line to the user. */
  readonly onWaiting?: () => void;
}

/** One state of some kinds of records, with the cluster time it was read at. */
export interface Snapshot {
  readonly tables: Tables;
  readonly clusterTimeMs: number;
}

/** Diego's numbers for a task's states. */
const taskStates: readonly (TaskState | undefined)[] = [undefined, "PENDING", "RUNNING", "COMPLETED", "RESOLVING"];

const taskFactsOf = (task: WireTask): TaskFacts => ({
  taskGuid: asTaskGuid(task.taskGuid),
  domain: asDomainName(task.domain),
  state: taskStates[task.state] ?? "PENDING",
  failed: task.failed,
  failureReason: task.failureReason,
  rejectionReason: task.rejectionReason,
  result: task.result,
  cellId: task.cellId === "" ? undefined : (task.cellId as CellId),
  createdAtNs: asEpochNs(task.createdAt),
  annotation: task.taskDefinition?.annotation ?? "",
});

const retryMs = 200;
const callMs = 5_000;

/** All calls of operators and app verbs. Methods throw BbsError, or the signal's reason. */
export class Platform implements Disposable {
  readonly #options: PlatformOptions;
  readonly #bbs: InstanceType<typeof BBSServiceClient>;
  readonly #flags: InstanceType<typeof FeatureFlagServiceClient>;
  readonly #locket: InstanceType<typeof LocketClient>;
  readonly #repair: InstanceType<typeof RepairServiceClient>;
  readonly #history: InstanceType<typeof HistoryServiceClient>;
  readonly #watch: InstanceType<typeof WatchServiceClient>;
  #waited = false;

  constructor(options: PlatformOptions) {
    this.#options = options;
    const { bbsAddresses, tls } = options;
    this.#bbs = dial(BBSServiceClient, bbsAddresses, tls, "bbs");
    this.#flags = dial(FeatureFlagServiceClient, bbsAddresses, tls, "bbs");
    this.#locket = dial(LocketClient, bbsAddresses, tls, "bbs");
    this.#repair = dial(RepairServiceClient, bbsAddresses, tls, "bbs");
    this.#history = dial(HistoryServiceClient, bbsAddresses, tls, "bbs");
    this.#watch = dial(WatchServiceClient, bbsAddresses, tls, "bbs");
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  get signal(): AbortSignal {
    return this.#options.signal;
  }

  get tls(): TlsMaterial {
    return this.#options.tls;
  }

  [Symbol.dispose](): void {
    for (const client of [this.#bbs, this.#flags, this.#locket, this.#repair, this.#history, this.#watch]) client.close();
  }

  /** Whether an active BBS answers, asked once. */
  async ping(deadlineMs: number): Promise<void> {
    await unary(this.#bbs.ping.bind(this.#bbs), {}, { deadlineMs, signal: this.signal });
  }

  async schedulingInfos(domain: string): Promise<DesiredLRPSchedulingInfo[]> {
    return this.#retried(() =>
      collect(
        serverStream(
          this.#bbs.desiredLrpSchedulingInfos.bind(this.#bbs),
          { domain, processGuids: [], appGuids: [] },
          this.#bounds(),
        ),
        (chunk) => chunk.desiredLrpSchedulingInfos,
      ),
    );
  }

  async desiredLRP(processGuid: string): Promise<DesiredLRP | undefined> {
    const response = await this.#retried(() =>
      unary(this.#bbs.desiredLrpByProcessGuid.bind(this.#bbs), { processGuid }, this.#bounds()),
    );
    return response.desiredLrp;
  }

  /** A desire whose answer got lost is made again; that it exists then is the answer. */
  async desire(desiredLrp: DesiredLRP): Promise<void> {
    await this.#repeated("ResourceExists", () =>
      unary(this.#bbs.desireDesiredLrp.bind(this.#bbs), { desiredLrp }, this.#bounds()),
    );
  }

  async update(processGuid: string, update: Partial<DesiredLRPUpdate>): Promise<void> {
    const whole: DesiredLRPUpdate = {
      optionalInstances: undefined,
      routes: undefined,
      optionalAnnotation: undefined,
      metricTags: {},
      optionalImageUsername: undefined,
      optionalImagePassword: undefined,
      ...update,
    };
    await this.#retried(() => unary(this.#bbs.updateDesiredLrp.bind(this.#bbs), { processGuid, update: whole }, this.#bounds()));
  }

  /** Removing what is gone already is done. */
  async remove(processGuid: string): Promise<void> {
    await this.#retried(async () => {
      try {
        await unary(this.#bbs.removeDesiredLrp.bind(this.#bbs), { processGuid }, this.#bounds());
      } catch (error) {
        if (!isBbsError(error, "ResourceNotFound")) throw error;
      }
    });
  }

  async actualLRPs(filter: {
    readonly domain?: string;
    readonly cellId?: string;
    readonly processGuid?: string;
  }): Promise<ActualLRP[]> {
    const request = {
      domain: filter.domain ?? "",
      cellId: filter.cellId ?? "",
      processGuid: filter.processGuid ?? "",
      optionalIndex: undefined,
    };
    return this.#retried(() =>
      collect(serverStream(this.#bbs.actualLrPs.bind(this.#bbs), request, this.#bounds()), (chunk) => chunk.actualLrps),
    );
  }

  async retire(key: { readonly processGuid: string; readonly index: number; readonly domain: string }): Promise<void> {
    await this.#retried(() => unary(this.#bbs.retireActualLrp.bind(this.#bbs), { actualLrpKey: key }, this.#bounds()));
  }

  /** A desire whose answer got lost is made again; that it exists then is the answer. */
  async desireTask(request: DesireTaskRequest): Promise<void> {
    await this.#repeated("ResourceExists", () => unary(this.#bbs.desireTask.bind(this.#bbs), request, this.#bounds()));
  }

  /** One that is over already when it is asked for again was ended by the first word. */
  async cancelTask(taskGuid: string): Promise<void> {
    await this.#repeated("InvalidStateTransition", () =>
      unary(this.#bbs.cancelTask.bind(this.#bbs), { taskGuid }, this.#bounds()),
    );
  }

  /** `undefined` when there is none, or none any more. */
  async task(taskGuid: string): Promise<TaskFacts | undefined> {
    return this.#retried(async () => {
      try {
        const { task } = await unary(this.#bbs.taskByGuid.bind(this.#bbs), { taskGuid }, this.#bounds());
        return task === undefined ? undefined : taskFactsOf(task);
      } catch (error) {
        if (isBbsError(error, "ResourceNotFound")) return undefined;
        throw error;
      }
    });
  }

  async domains(): Promise<string[]> {
    const { domains } = await this.#retried(() => unary(this.#bbs.domains.bind(this.#bbs), {}, this.#bounds()));
    return domains;
  }

  async upsertDomain(domain: string, ttlSeconds: number): Promise<void> {
    await this.#retried(() => unary(this.#bbs.upsertDomain.bind(this.#bbs), { domain, ttl: ttlSeconds }, this.#bounds()));
  }

  /** Live cells only, as Diego lists them. */
  async cells(): Promise<CellPresence[]> {
    const { cells } = await this.#retried(() => unary(this.#bbs.cells.bind(this.#bbs), {}, this.#bounds()));
    return cells;
  }

  async featureFlags(): Promise<FeatureFlag[]> {
    const response = await this.#retried(() => unary(this.#flags.listFeatureFlags.bind(this.#flags), {}, this.#bounds()));
    return response.featureFlags;
  }

  async setFeatureFlag(name: string, enabled: boolean): Promise<FeatureFlag | undefined> {
    const response = await this.#retried(() =>
      unary(this.#flags.setFeatureFlag.bind(this.#flags), { name, enabled }, this.#bounds()),
    );
    return response.featureFlag;
  }

  /** Locks that are held, presences left out. */
  async locks(): Promise<Resource[]> {
    const request = { type: "", typeCode: TypeCode.LOCK };
    const { resources } = await this.#retried(() => unary(this.#locket.fetchAll.bind(this.#locket), request, this.#bounds()));
    return resources;
  }

  async forgetCell(cellId: string): Promise<void> {
    await this.#retried(() => unary(this.#repair.forgetCell.bind(this.#repair), { cellId }, this.#bounds()));
  }

  /** Judged again by the BBS, one result for each; a repair that is asked for twice is stale the second time. */
  async repair(items: RepairItem[]): Promise<RepairResult[]> {
    const { results } = await this.#retried(() => unary(this.#repair.repair.bind(this.#repair), { items }, this.#bounds()));
    return results;
  }

  /** What the active BBS remembers of the past. */
  async history(request: HistoryRequest): Promise<HistoryResponse> {
    return this.#retried(() => unary(this.#history.history.bind(this.#history), request, this.#bounds()));
  }

  /** One watch, until it breaks or the signal aborts. */
  watch(request: WatchRequest): AsyncIterable<WatchResponse> {
    return serverStream(this.#watch.watch.bind(this.#watch), request, { signal: this.signal });
  }

  /** All records of some kinds at one state, with cluster time: the first part of a watch (rule T1: no wall clock is compared). */
  async snapshot(kinds: readonly RecordKind[]): Promise<Snapshot> {
    return this.#retried(async () => {
      const tables = new Tables();
      const wireKinds = kinds.map((kind) => recordCodecs[kind].wireKind).filter((kind) => kind !== undefined);
      const request = { after: undefined, kinds: wireKinds, cellId: "" };
      for await (const { message, clusterTimeMs } of serverStream(this.#watch.watch.bind(this.#watch), request, this.#bounds())) {
        if (message?.$case === "snapshot") {
          for (const change of message.value.changes) {
            const kind = kindOfWire(change.kind);
            if (kind === undefined || change.record === undefined) continue;
            tables.apply({ kind, key: change.key, record: decodeRecord(kind, change.record) } as Write);
          }
        }
        if (message?.$case === "synced") return { tables, clusterTimeMs: Number(clusterTimeMs) };
      }
      throw new Error("the watch ended before its snapshot was complete");
    });
  }

  async clusterTimeMs(): Promise<number> {
    return (await this.snapshot(["featureFlag"])).clusterTimeMs;
  }

  #bounds(): { deadlineMs: number; signal: AbortSignal } {
    return { deadlineMs: callMs, signal: this.signal };
  }

  /** A call whose answer may get lost; `done` is what a second one is refused with when the first took effect. */
  async #repeated(done: ErrorCode, call: () => Promise<unknown>): Promise<void> {
    let tries = 0;
    await this.#retried(async () => {
      tries += 1;
      try {
        await call();
      } catch (error) {
        if (tries === 1 || !isBbsError(error, done)) throw error;
      }
    });
  }

  /** Tries again while nobody answers. Every call made through it may be made twice. */
  async #retried<Result>(call: () => Promise<Result>): Promise<Result> {
    const { clock, signal, patienceMs, onWaiting } = this.#options;
    const giveUpAtMs = clock.elapsedMs() + patienceMs;
    for (;;) {
      try {
        return await call();
      } catch (error) {
        const mayRetry = isTransient(error) || isBbsError(error, "OutcomeUnknown");
        if (!mayRetry || clock.elapsedMs() + retryMs >= giveUpAtMs) throw error;
        if (!this.#waited) onWaiting?.();
        this.#waited = true;
        await clock.sleep(retryMs, signal);
      }
    }
  }
}

/** What apps need of the platform, so that tests can stand in for it. */
export type AppCalls = Pick<
  Platform,
  "clock" | "signal" | "desire" | "update" | "remove" | "actualLRPs" | "schedulingInfos" | "clusterTimeMs"
>;
