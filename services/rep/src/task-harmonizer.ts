// Keeps tasks and their containers in harmony, as the harmonizer does for instances: facts of what changed, a plan, reports over the session.
import type { Task as WireTask } from "@muster/proto/models/task";
import type { ReportItem, ReportReply } from "@muster/proto/muster/v1/report";
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { Mirror } from "@muster/shared/mirror";
import { asInstanceGuid, asTaskGuid, type Change, type InstanceGuid, type Task, type TaskGuid } from "@muster/shared/model";
import type { Executor } from "./executor/executor.js";
import {
  buildTaskRequest,
  type CellLends,
  type ContainerRecord,
  type HarmonizeMode,
  planTask,
  planTaskReply,
  type TaskFacts,
  type TaskReportKind,
  type TaskStep,
} from "./plan/index.js";
import type { Registry } from "./registry.js";
import { taskReportItem } from "./report/items.js";
import type { ReportSession } from "./report/session.js";

export interface TaskHarmonizerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
  readonly executor: Executor;
  readonly mirror: Mirror;
  readonly session: ReportSession;
  /** @throws BbsError */
  readonly fetchTask: (taskGuid: string, signal: AbortSignal) => Promise<WireTask>;
  readonly cell: { readonly cellId: string; readonly pollingMs: number };
  readonly adopting: () => boolean;
  readonly lends: CellLends;
}

/** After an outcome was answered, the mirror has this long to show it before the task is reported again. */
const settleMs = 10_000;
const againMs = 500;
const fetchRetryMs = { first: 50, max: 2_000 };

const kindOfCase: Readonly<Record<string, TaskReportKind>> = {
  taskStarted: "task-started",
  taskCompleted: "task-completed",
  taskRejected: "task-rejected",
};

/** What a report is about: a container, or a task that has none here. */
type About = InstanceGuid | TaskGuid;

export class TaskHarmonizer {
  readonly #options: TaskHarmonizerOptions;
  readonly #dirty = new Set<TaskGuid>();
  /** Containers whose start the BBS has accepted. */
  readonly #accepted = new Set<InstanceGuid>();
  readonly #inFlight = new Set<About>();
  readonly #quietUntil = new Map<About, number>();
  readonly #starting = new Set<InstanceGuid>();
  #mode: HarmonizeMode = "changes";
  #scheduled = false;
  #signal: AbortSignal = AbortSignal.abort();

  constructor(options: TaskHarmonizerOptions) {
    this.#options = options;
    options.registry.onChange((guid, record, before) => {
      const task = (record ?? before)?.task;
      if (task === undefined) return;
      if (record === undefined) this.#accepted.delete(guid);
      this.#look(task.guid);
    });
    options.mirror.onChanges((changes, snapshot) => this.#onRows(changes, snapshot));
  }

  /** Fetches stop when the signal aborts; whoever owns both calls `everything` at its own pace. */
  follow(signal: AbortSignal): void {
    this.#signal = signal;
  }

  everything(): void {
    this.#mode = "everything";
    const nowMs = this.#options.clock.elapsedMs();
    for (const [about, untilMs] of this.#quietUntil) if (untilMs <= nowMs) this.#quietUntil.delete(about);
    for (const record of this.#options.registry.all()) if (record.task !== undefined) this.#dirty.add(record.task.guid);
    for (const guid of this.#options.mirror.tables.tasks.keys()) this.#dirty.add(guid);
    this.#schedule();
  }

  onSessionClosed(): void {
    this.#inFlight.clear();
  }

  onReply(item: ReportItem, reply: ReportReply): void {
    const kind = kindOfCase[item.report?.$case ?? ""];
    const report = item.report?.value;
    if (kind === undefined || report === undefined || !("taskGuid" in report)) return;
    const taskGuid = asTaskGuid(report.taskGuid);
    const container = asInstanceGuid(item.actualLrpInstanceKey?.instanceGuid ?? "");
    const about = container === "" ? taskGuid : container;
    this.#inFlight.delete(about);
    this.#carryOut(about, container, taskGuid, kind, reply);
    this.#look(taskGuid);
  }

  #carryOut(about: About, container: InstanceGuid, taskGuid: TaskGuid, kind: TaskReportKind, reply: ReportReply): void {
    const { executor, log, cell } = this.#options;
    const step = planTaskReply(kind, reply.errorType);
    const reason = `${reply.errorType}: ${reply.errorMessage}`;
    if (reply.errorType !== "") log.info({ task_guid: taskGuid, reason, step: kind }, `report refused, container: ${step}`);
    switch (step) {
      case "run":
        if (this.#options.registry.get(container) === undefined) return;
        this.#accepted.add(container);
        void this.#start(container, taskGuid);
        return;
      case "discard":
        executor.discard(container);
        return;
      case "delete":
        this.#hush(about, settleMs);
        executor.delete(container);
        return;
      case "later":
        log.error({ task_guid: taskGuid, reason, step: kind }, "report is faulty");
        this.#lookAfter(about, taskGuid, cell.pollingMs);
        return;
      case "again":
        this.#lookAfter(about, taskGuid, againMs);
        return;
    }
  }

  #lookAfter(about: About, taskGuid: TaskGuid, ms: number): void {
    this.#hush(about, ms);
    this.#options.clock.after(ms, () => this.#look(taskGuid));
  }

  #hush(about: About, ms: number): void {
    this.#quietUntil.set(about, this.#options.clock.elapsedMs() + ms);
  }

  #onRows(changes: readonly Change[], snapshot: boolean): void {
    for (const change of changes) {
      if (change.kind !== "task") continue;
      const { before, after } = change;
      const guid = (after ?? before)?.taskGuid;
      if (guid === undefined) continue;
      // It was held and is not any more: whether its container may stay has to be asked anew.
      if (this.#held(before) && !this.#held(after)) this.#forget(guid);
      this.#look(guid);
    }
    if (snapshot) this.everything();
  }

  #forget(taskGuid: TaskGuid): void {
    for (const record of this.#options.registry.ofTask(taskGuid)) this.#accepted.delete(record.instanceGuid);
  }

  #held(row: Task | undefined): boolean {
    return row?.state === "RUNNING" && row.cellId === this.#options.cell.cellId;
  }

  #look(taskGuid: TaskGuid): void {
    this.#dirty.add(taskGuid);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    const { mirror, session, adopting, executor } = this.#options;
    const mode = mirror.synced ? this.#mode : "changes";
    const steps = [...this.#dirty].sort().flatMap((guid) => planTask(this.#facts(guid), mirror.synced && !adopting(), mode));
    // Cleared first: carrying the plan out changes containers, which must be looked at again.
    this.#dirty.clear();
    this.#mode = "changes";
    for (const step of steps) if (step.do === "discard") executor.discard(step.container.instanceGuid);
    // Without a session nothing is reported: everything is looked at again when the next one is decided.
    if (session.phase !== "decided") return;
    const reports = steps.filter((step) => step.do === "report");
    const { room } = session;
    for (const step of reports.slice(room)) this.#dirty.add(step.taskGuid);
    if (reports.length > room) this.#mode = mode;
    this.#send(reports.slice(0, room));
  }

  #send(steps: readonly (TaskStep & { do: "report" })[]): void {
    if (steps.length === 0) return;
    for (const { container, taskGuid } of steps) this.#inFlight.add(container?.instanceGuid ?? taskGuid);
    this.#options.session.send(
      steps.map((step) => taskReportItem(step.report, step.taskGuid, step.container, this.#options.cell.cellId)),
    );
  }

  #facts(taskGuid: TaskGuid): TaskFacts {
    const { registry, mirror, executor, cell } = this.#options;
    const row = mirror.tables.task(taskGuid);
    const settling = (container: ContainerRecord | undefined): boolean => {
      const about = container?.instanceGuid ?? taskGuid;
      const destroying = container !== undefined && executor.isDestroying(container.instanceGuid);
      return destroying || this.#inFlight.has(about) || this.#quiet(about);
    };
    return {
      taskGuid,
      containers: registry.ofTask(taskGuid),
      row: row?.cellId === cell.cellId ? row : undefined,
      accepted: (container) => this.#accepted.has(container.instanceGuid),
      settling,
    };
  }

  #quiet(about: About): boolean {
    const untilMs = this.#quietUntil.get(about);
    if (untilMs === undefined) return false;
    if (this.#options.clock.elapsedMs() < untilMs) return true;
    this.#quietUntil.delete(about);
    return false;
  }

  /** The task is this cell's: fetches what to run and runs it. Tries as long as the container waits for it. */
  async #start(guid: InstanceGuid, taskGuid: TaskGuid): Promise<void> {
    const { registry, executor, clock, log, fetchTask, lends } = this.#options;
    if (this.#starting.has(guid)) return;
    this.#starting.add(guid);
    try {
      for (let retryMs = fetchRetryMs.first; !this.#signal.aborted; retryMs = Math.min(fetchRetryMs.max, retryMs * 2)) {
        const record = registry.get(guid);
        if (record?.state !== "reserved" || record.stopped) return;
        try {
          const { taskDefinition } = await fetchTask(taskGuid, this.#signal);
          const request =
            taskDefinition === undefined ? { fault: "the task has no definition" } : buildTaskRequest(taskDefinition, lends);
          if ("fault" in request) executor.refuse(guid, "crashed", `failed to run container: ${request.fault}`);
          else executor.run(guid, request);
          return;
        } catch (err) {
          if (this.#signal.aborted) return;
          // The task is gone, or no longer ours: nothing to run. Anything else is tried again.
          if (err instanceof BbsError && (err.code === "ResourceNotFound" || err.code === "PermissionDenied")) {
            executor.refuse(guid, "removed", err.message);
            return;
          }
          log.warn({ err, task_guid: taskGuid, retry_ms: retryMs }, "task could not be fetched");
          await clock.sleep(retryMs, this.#signal).catch(() => undefined);
        }
      }
    } finally {
      this.#starting.delete(guid);
    }
  }
}
