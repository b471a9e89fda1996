// Owns containers from reservation to proven destruction: creates, starts, watches, stops, adopts (cell.md sections 5 to 8).

import {
  type Container,
  type Garden,
  GardenError,
  type GardenErrorCode,
  type GardenProcess,
  type LentFolder,
  type OutputSink,
} from "@muster/garden";
import type { DownloadAction, RunAction, UploadAction } from "@muster/proto/models/actions";
import type { Clock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { InstanceGuid } from "@muster/shared/model";
import type { Transfers } from "../assets/transfers.js";
import { RecordWriter } from "../data/record-writer.js";
import type { ContainerStore } from "../data/store.js";
import type { LogHub } from "../logs/hub.js";
import {
  type ContainerRecord,
  completed,
  decodeSkeleton,
  type Ending,
  inspectionResult,
  maxResultBytes,
  type Published,
  type RunRequest,
  type TaskEnd,
  texts,
} from "../plan/index.js";
import type { Registry } from "../registry.js";
import { prepareDependencies } from "./dependencies.js";
import { Identities, type IdentitySource } from "./identities.js";
import { Life, type LifeOptions } from "./life.js";
import { readResult } from "./result-file.js";
import { containerSpec, netInfoOf, processSpec } from "./specs.js";
import { type StepHandle, type StepHost, type StepResult, startStep } from "./steps.js";
import { Voice } from "./voice.js";

export interface ExecutorOptions extends Pick<LifeOptions, "entropy" | "probeHttp" | "fetchMonitor"> {
  readonly cellId: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly garden: Garden;
  readonly registry: Registry;
  readonly logs: LogHub;
  readonly store: ContainerStore;
  /** Between SIGTERM and SIGKILL. */
  readonly gracefulShutdownMs: number;
  readonly adoptionTimeoutMs: number;
  readonly transfers: Transfers;
  /** Where instances' certificates come from; without it they get none. */
  readonly identity: IdentitySource | undefined;
  /** Told of things that are counted. */
  readonly count: (what: "completed" | "exited-on-timeout") => void;
  /** A create failed for a reason that is the cell's own (no space, a broken tool). */
  readonly onCreateFailed: (error: GardenError) => void;
}

/** What runs of one container in this process. */
interface Running {
  readonly abort: AbortController;
  step: StepHandle | undefined;
  /** When its certificate is to be renewed, in wall-clock time; 0: not known. */
  identityDueMs: number;
  /** Resolves when nothing of it runs in the rep any more. */
  ended: Promise<void>;
}

/** Root of a container's process ids; the tree's paths follow it. */
const rootProcess = "app";
/** Faults of the cell or its way to a registry: another cell may do better. */
const isOfThisCell: ReadonlySet<GardenErrorCode> = new Set<GardenErrorCode>([
  "image-unreachable",
  "no-space",
  "timeout",
  "tool-failed",
]);
const destroyRetryMs = { first: 500, max: 30_000 };

/** How long a crashed container's destruction waits for starts: a new placement comes within the first of these. */
const letPass = { firstMs: 50, againMs: 25, atMostMs: 1_000 };

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export class Executor {
  readonly #options: ExecutorOptions;
  readonly #running = new Map<InstanceGuid, Running>();
  readonly #destroying = new Map<InstanceGuid, Promise<void>>();
  readonly #records: RecordWriter;
  readonly #voice: Voice;
  readonly #life: Life;
  readonly #identities: Identities | undefined;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#records = new RecordWriter(options.store, options.registry, options.log);
    this.#voice = new Voice(options);
    this.#identities = options.identity && new Identities(options, options.identity);
    this.#life = new Life({ ...options, voice: this.#voice, save: (guid) => void this.#save(guid) });
  }

  /** Starts a reserved container; its fate is told by the registry. A container that is no longer reserved is left alone. */
  run(guid: InstanceGuid, request: RunRequest): void {
    const { registry, log } = this.#options;
    const started = registry.updateIf(guid, ["reserved"], (record) => ({
      ...record,
      state: "initializing",
      startInfo: request.start,
      task: record.task && { ...record.task, resultFile: request.resultFile },
    }));
    if (!started) return;
    const { skippedChecks } = request;
    if (skippedChecks > 0)
      log.warn({ instance_guid: guid, count: skippedChecks }, "health checks that name no port were left out");
    const { inspectImage } = request;
    if (inspectImage === undefined) this.#track(guid, (running) => this.#create(guid, request, running));
    else this.#track(guid, (running) => this.#inspect(guid, inspectImage, request, running));
  }

  /** Ends a container that cannot be run at all, with a reason its owner can read. */
  refuse(guid: InstanceGuid, ending: Ending, reason: string): void {
    const record = this.#options.registry.get(guid);
    if (record === undefined) return;
    if (ending === "crashed") this.#voice.say(record, texts.createFailed(this.#options.cellId, guid, reason), "stderr");
    this.#complete(guid, ending, reason);
  }

  /** Takes up a container that an earlier rep started. `undefined`: the garden does not have it any more. */
  adopt(record: ContainerRecord, container: Container | undefined): void {
    const { registry } = this.#options;
    const neverStarted = container === undefined || record.startInfo === undefined || container.info().state === "created";
    if (record.state === "completed" || neverStarted) {
      // Of a task whose container was not running yet nothing has happened: another cell may try.
      const nothingRan = record.state !== "running" && record.stepsDone.length === 0;
      registry.add(completed(record, "removed", texts.missing, { outcome: nothingRan ? "rejected" : "failed", result: "" }));
      if (record.ending === "discarded") this.delete(record.instanceGuid);
      else void this.#save(record.instanceGuid);
      return;
    }
    this.#options.transfers.hold(record.instanceGuid, record.cacheKeys);
    const state = record.state === "running" ? "running" : "created";
    registry.add({ ...record, state, netInfo: netInfoOf(container) });
    this.#track(record.instanceGuid, (running) => this.#follow(record.instanceGuid, container, running, undefined));
    if (record.ending === "discarded") this.discard(record.instanceGuid);
    else if (record.stopped) this.#halt(record.instanceGuid);
  }

  /** Gives a running instance other routes and tags; its environment and processes stay as they are. */
  publish(guid: InstanceGuid, published: Published): void {
    const changed = this.#options.registry.updateIf(guid, ["created", "running"], (record) =>
      record.startInfo === undefined ? record : { ...record, startInfo: { ...record.startInfo, ...published } },
    );
    if (changed) void this.#save(guid);
  }

  /** Says to a container's owner what the cell does with it. */
  tell(guid: InstanceGuid, text: string): void {
    const record = this.#options.registry.get(guid);
    if (record !== undefined) this.#voice.say(record, text);
  }

  /** Asks a container to end; returns at once. Its completion is a removal, not a crash. */
  stop(guid: InstanceGuid): void {
    const record = this.#options.registry.get(guid);
    if (record === undefined || record.stopped || record.state === "completed") return;
    this.#options.registry.update({ ...record, stopped: true });
    this.#voice.say(record, texts.stopping(this.#options.cellId, guid));
    void this.#save(guid);
    this.#halt(guid);
  }

  /** Ends and destroys a container of which nobody wants to hear: the BBS refused its claim. */
  discard(guid: InstanceGuid): void {
    const { registry } = this.#options;
    const record = registry.get(guid);
    if (record === undefined) return;
    if (record.state !== "completed" && !record.stopped) registry.update({ ...record, stopped: true, ending: "discarded" });
    this.#halt(guid);
    this.delete(guid);
  }

  /** Destroys a container, however long it takes, and forgets it then. */
  delete(guid: InstanceGuid): void {
    if (this.#destroying.has(guid) || this.#options.registry.get(guid) === undefined) return;
    const done = this.#destroy(guid)
      .catch((err: unknown) => this.#options.log.error({ err, instance_guid: guid }, "destroying a container broke"))
      .finally(() => this.#destroying.delete(guid));
    this.#destroying.set(guid, done);
  }

  isDestroying(guid: InstanceGuid): boolean {
    return this.#destroying.has(guid);
  }

  /** A container that the garden lost behind our back. */
  vanished(guid: InstanceGuid): void {
    this.#running.get(guid)?.abort.abort();
    this.#complete(guid, "crashed", texts.missing);
  }

  /** Leaves containers as they are and stops watching them (rule R5). */
  async detach(): Promise<void> {
    for (const running of this.#running.values()) running.abort.abort();
    await this.#records.settled();
  }

  #track(guid: InstanceGuid, body: (running: Running) => Promise<void>): void {
    const running: Running = { abort: new AbortController(), step: undefined, identityDueMs: 0, ended: Promise.resolve() };
    this.#running.set(guid, running);
    running.ended = body(running)
      .catch((err: unknown) => {
        this.#options.log.error({ err, instance_guid: guid }, "running a container broke");
        this.#complete(guid, "crashed", `the cell failed to run the container: ${messageOf(err)}`);
      })
      .finally(() => this.#running.delete(guid));
  }

  async #create(guid: InstanceGuid, request: RunRequest, running: Running): Promise<void> {
    const { registry, garden, cellId } = this.#options;
    const record = registry.get(guid);
    if (record === undefined) return;
    this.#voice.say(record, texts.creating(cellId, guid));
    // Written before the container exists: a container without a record is one that nobody can adopt.
    await this.#save(guid);
    const folders = await this.#prepare(record, request, running);
    if (folders === undefined) return;
    let container: Container;
    try {
      container = await garden.create(containerSpec(record, request, folders), running.abort.signal);
    } catch (error) {
      this.#createFailed(guid, error, running);
      return;
    }
    if (!(await this.#giveIdentity(record, container, running))) return;
    const netInfo = netInfoOf(container);
    if (!registry.updateIf(guid, ["initializing"], (now) => ({ ...now, state: "created", netInfo }))) return;
    this.#voice.say(record, texts.created(cellId, guid));
    await this.#follow(guid, container, running, request);
  }

  /** `undefined`: what it needs cannot be had, and the container is completed. */
  async #prepare(record: ContainerRecord, { dependencies }: RunRequest, { abort }: Running): Promise<LentFolder[] | undefined> {
    if (dependencies.length === 0) return [];
    const { registry, transfers, log } = this.#options;
    const { instanceGuid } = record;
    const folders = await prepareDependencies({ transfers, log, voice: this.#voice }, record, dependencies, abort.signal);
    if (folders === undefined || abort.signal.aborted) {
      const nothingRan = { outcome: "rejected", result: "" } as const;
      if (abort.signal.aborted) this.#complete(instanceGuid, "removed", texts.stoppedBeforeRunning, nothingRan);
      else this.#complete(instanceGuid, "crashed", texts.cachedFailed, nothingRan);
      return undefined;
    }
    const cacheKeys = dependencies.map(({ cacheKey }) => cacheKey);
    registry.updateIf(instanceGuid, ["initializing"], (now) => ({ ...now, cacheKeys }));
    // A restarted rep must know what the container uses before it is there.
    await this.#save(instanceGuid);
    return folders;
  }

  /** False: it could not be given one, and the container is completed. */
  async #giveIdentity(record: ContainerRecord, container: Container, running: Running): Promise<boolean> {
    if (this.#identities === undefined || record.startInfo?.identity === undefined) return true;
    try {
      running.identityDueMs = await this.#identities.give(record, container);
      return true;
    } catch (err) {
      const { instanceGuid } = record;
      this.#options.log.warn({ err, instance_guid: instanceGuid }, "an instance's certificate could not be made");
      this.#voice.say(record, texts.createFailed(this.#options.cellId, instanceGuid, texts.credentialsFailed), "stderr");
      this.#complete(instanceGuid, "crashed", texts.credentialsFailed, { outcome: "rejected", result: "" });
      return false;
    }
  }

  #createFailed(guid: InstanceGuid, error: unknown, running: Running): void {
    const record = this.#options.registry.get(guid);
    if (record === undefined) return;
    if (running.abort.signal.aborted) {
      this.#complete(guid, "removed", texts.stoppedBeforeRunning, { outcome: "rejected", result: "" });
      return;
    }
    if (error instanceof GardenError) this.#options.onCreateFailed(error);
    const reason = messageOf(error);
    this.#options.log.warn({ err: error, instance_guid: guid, process_guid: record.key.processGuid }, "container create failed");
    this.#voice.say(record, texts.createFailed(this.#options.cellId, guid, reason), "stderr");
    this.#complete(guid, "crashed", `failed to create container: ${reason}`, { outcome: "rejected", result: "" });
  }

  /** A task that only asks what an image is: its metadata is its result, and no container is made. */
  async #inspect(guid: InstanceGuid, image: string, request: RunRequest, running: Running): Promise<void> {
    const { registry, garden } = this.#options;
    registry.updateIf(guid, ["initializing"], (now) => ({ ...now, state: "created" }));
    registry.updateIf(guid, ["created"], (now) => ({ ...now, state: "running" }));
    await this.#save(guid);
    try {
      const metadata = await garden.inspectImage(image, request.credentials, running.abort.signal);
      const result = inspectionResult(image, metadata);
      if (Buffer.byteLength(result) > maxResultBytes) this.#complete(guid, "crashed", texts.resultTooLarge(maxResultBytes));
      else this.#complete(guid, "removed", "", { outcome: "succeeded", result });
    } catch (error) {
      // A rep that detaches leaves the question to its successor, which gives it back.
      if (running.abort.signal.aborted && registry.get(guid)?.stopped !== true) return;
      const text = `failed to inspect image: ${messageOf(error)}`;
      const record = registry.get(guid);
      if (record !== undefined) this.#voice.say(record, text, "stderr");
      const outcome = error instanceof GardenError && isOfThisCell.has(error.code) ? "rejected" : "failed";
      this.#complete(guid, "crashed", text, { outcome, result: "" });
    }
  }

  /** Runs the steps (or finds them running: no request), watches health, and completes the container when they end. */
  async #follow(guid: InstanceGuid, container: Container, running: Running, request: RunRequest | undefined): Promise<void> {
    const record = this.#options.registry.get(guid);
    if (record?.startInfo === undefined) return;
    if (request !== undefined && (record.stopped || running.abort.signal.aborted)) {
      this.#complete(guid, "removed", texts.stoppedBeforeRunning, { outcome: "rejected", result: "" });
      return;
    }
    const info = record.startInfo;
    const action = request?.action ?? decodeSkeleton(info.skeleton);
    const adopted = request === undefined ? this.#boundAdoption(guid, running) : () => undefined;
    const host = this.#hostOf(record, container, request, adopted);
    const step = startStep(action, { host, id: rootProcess, source: info.logSource });
    running.step = step;
    const watching = new AbortController();
    const detached = aborted(running.abort.signal);
    void step.done.then(adopted);
    void step.ready.then(() => this.#save(guid));
    const unhealthy = this.#life.watch({ guid, container, info, host, request }, step.ready, watching.signal);
    if (info.identity !== undefined) void this.#identities?.keep(record, container, running.identityDueMs, watching.signal);
    let first = await Promise.race([step.done, unhealthy, detached]);
    if (typeof first === "object" && first.ok && info.monitored && record.task === undefined) {
      // Under a monitor action an end without a fault is no crash: the process may have left another behind.
      first = await Promise.race([unhealthy, detached, this.#whenStopped(guid)]);
    }
    watching.abort();
    if (first === undefined) return;
    if (typeof first === "string") {
      step.stop();
      await Promise.race([step.done, detached]);
      this.#complete(guid, "crashed", first);
      return;
    }
    if (record.task !== undefined) await this.#completeTask(guid, container, first);
    // Asked for nothing and ended well is a crash too, and says so.
    else this.#complete(guid, "crashed", first.text ?? "exited");
  }

  #whenStopped(guid: InstanceGuid): Promise<StepResult> {
    const { registry } = this.#options;
    return new Promise((resolve) => {
      const look = (): void => {
        if (registry.get(guid)?.stopped === false) return;
        unfollow();
        resolve({ ok: false, text: "cancelled", quiet: true });
      };
      const unfollow = registry.onChange((changed) => {
        if (changed === guid) look();
      });
      look();
    });
  }

  /** A task's end: its result is read whether it failed or not, but only one that succeeded fails for want of it. */
  async #completeTask(guid: InstanceGuid, container: Container, ended: StepResult): Promise<void> {
    const file = this.#options.registry.get(guid)?.task?.resultFile ?? "";
    const read = file === "" ? { text: "" } : await readResult(this.#options.clock, container, file);
    const result = "text" in read ? read.text : "";
    if (!ended.ok) this.#complete(guid, "crashed", ended.text, { outcome: "failed", result });
    else if ("fault" in read) this.#complete(guid, "crashed", read.fault);
    else this.#complete(guid, "removed", "", { outcome: "succeeded", result });
  }

  /** R5: a container of which no process is found again in time is reported as gone. The result is called when one is. */
  #boundAdoption(guid: InstanceGuid, running: Running): () => void {
    return this.#options.clock.after(this.#options.adoptionTimeoutMs, () => {
      running.abort.abort();
      this.#complete(guid, "removed", texts.notAdopted);
    });
  }

  #hostOf(record: ContainerRecord, container: Container, request: RunRequest | undefined, adopted: () => void): StepHost {
    const { clock, gracefulShutdownMs, count, transfers, registry } = this.#options;
    const netInfo = netInfoOf(container);
    return {
      clock,
      gracefulMs: gracefulShutdownMs,
      log: this.#voice.limitedLog(record),
      exceededGraceful: () => count("exited-on-timeout"),
      startProcess: async (id: string, action: RunAction, output: OutputSink): Promise<GardenProcess> => {
        if (request !== undefined) return container.run(processSpec(id, action, netInfo), output);
        const found = await container.attach(id, output);
        if (found === undefined) throw new GardenError("process-failed", "the cell was restarted before the process was started");
        adopted();
        return found;
      },
      download: (action: DownloadAction, signal: AbortSignal) => transfers.download(container, action, signal),
      upload: (action: UploadAction, signal: AbortSignal) => transfers.upload(container, action, signal),
      before: (id: string) => (request !== undefined ? undefined : record.stepsDone.includes(id) ? "done" : "unknown"),
      markDone: (id: string) => {
        const { instanceGuid } = record;
        const noted = registry.updateIf(instanceGuid, ["created", "running"], (now) => ({
          ...now,
          stepsDone: [...now.stepsDone, id],
        }));
        if (noted) void this.#save(instanceGuid);
      },
    };
  }

  /** Makes what runs of a container end: aborts its creation, stops its steps, or completes it when nothing runs yet. */
  #halt(guid: InstanceGuid): void {
    const running = this.#running.get(guid);
    if (running?.step !== undefined) running.step.stop();
    else if (running !== undefined) running.abort.abort();
    else this.#complete(guid, "removed", texts.stoppedBeforeRunning, { outcome: "rejected", result: "" });
  }

  /** The end of a container. What was asked to stop is removed, whatever its last words were. */
  #complete(guid: InstanceGuid, ending: Ending, reason: string, end?: TaskEnd): void {
    const { registry, count } = this.#options;
    const record = registry.get(guid);
    if (record === undefined || record.state === "completed") return;
    const asked: Ending = record.ending === "discarded" ? "discarded" : record.stopped ? "removed" : ending;
    count("completed");
    registry.update(completed(record, asked, reason, record.stopped ? undefined : end));
    void this.#save(guid);
  }

  async #destroy(guid: InstanceGuid): Promise<void> {
    const { registry, garden, clock, log, cellId, logs, transfers } = this.#options;
    await this.#running.get(guid)?.ended;
    const record = registry.get(guid);
    if (record === undefined) return;
    const existed = garden.lookup(guid) !== undefined;
    if (existed && record.ending === "crashed") await this.#letStartsPass();
    if (existed) this.#voice.say(record, texts.destroying(cellId, guid));
    for (let retryMs = destroyRetryMs.first; ; retryMs = Math.min(destroyRetryMs.max, retryMs * 2)) {
      try {
        await garden.destroy(guid);
        break;
      } catch (error) {
        this.#voice.say(record, texts.destroyFailed(cellId, guid, messageOf(error)), "stderr");
        log.warn({ err: error, instance_guid: guid, retry_ms: retryMs }, "container destroy failed");
        await clock.sleep(retryMs);
      }
    }
    if (existed) this.#voice.say(record, texts.destroyed(cellId, guid));
    logs.gone(guid);
    transfers.release(guid);
    registry.remove(guid);
    await this.#records.drop(guid);
  }

  /** A crash is mostly followed by a restart, often on this very cell: taking the old container away meanwhile would make it late. */
  async #letStartsPass(): Promise<void> {
    const { clock, registry } = this.#options;
    const untilMs = clock.elapsedMs() + letPass.atMostMs;
    await clock.sleep(letPass.firstMs);
    while (registry.startingCount > 0 && clock.elapsedMs() < untilMs) await clock.sleep(letPass.againMs);
  }

  #save(guid: InstanceGuid): Promise<void> {
    return this.#records.save(guid);
  }
}

const aborted = (signal: AbortSignal): Promise<undefined> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
