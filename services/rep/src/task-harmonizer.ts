// Keeps tasks and their containers in harmony, as the harmonizer does for instances: facts of what changed, a plan, reports over the session.
import type { Task as WireTask } from "@muster/proto/models/task";
import type { ReportItem, ReportReply } from "@muster/proto/muster/v1/report";
import { asInstanceGuid, asTaskGuid, type Change, type InstanceGuid, type Task, type TaskGuid } from "@muster/shared/model";
import { againMs, type HarmonyOptions, oncePerTick, Quiet, Starter, settleMs } from "./harmony.js";
import {
  buildTaskRequest,
  type ContainerRecord,
  type HarmonizeMode,
  planTask,
  planTaskReply,
  type TaskFacts,
  type TaskReportKind,
  type TaskStep,
} from "./plan/index.js";
import { taskReportItem } from "./report/items.js";

export interface TaskHarmonizerOptions extends HarmonyOptions {
  /** @throws BbsError */
  readonly fetchTask: (taskGuid: string, signal: AbortSignal) => Promise<WireTask>;
}

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
  readonly #quiet: Quiet<About>;
  readonly #starter: Starter;
  readonly #schedule = oncePerTick(() => this.#turn());
  #mode: HarmonizeMode = "changes";
  #signal: AbortSignal = AbortSignal.abort();

  constructor(options: TaskHarmonizerOptions) {
    this.#options = options;
    this.#quiet = new Quiet(options.clock);
    this.#starter = new Starter(options);
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
    this.#quiet.sweep();
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
        this.#quiet.hush(about, settleMs);
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
    this.#quiet.hush(about, ms);
    this.#options.clock.after(ms, () => this.#look(taskGuid));
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

  #turn(): void {
    const { mirror, session, adopting } = this.#options;
    const mode = mirror.synced ? this.#mode : "changes";
    const steps = [...this.#dirty].sort().flatMap((guid) => planTask(this.#facts(guid), mirror.synced && !adopting(), mode));
    this.#dirty.clear();
    this.#mode = "changes";
    // Without a session nothing is reported: everything is looked at again when the next one is decided.
    if (session.phase !== "decided") return;
    const { room } = session;
    for (const step of steps.slice(room)) this.#dirty.add(step.taskGuid);
    if (steps.length > room) this.#mode = mode;
    this.#send(steps.slice(0, room));
  }

  #send(steps: readonly TaskStep[]): void {
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
      return destroying || this.#inFlight.has(about) || this.#quiet.has(about);
    };
    return {
      taskGuid,
      containers: registry.ofTask(taskGuid),
      row: row?.cellId === cell.cellId ? row : undefined,
      accepted: (container) => this.#accepted.has(container.instanceGuid),
      settling,
    };
  }

  /** The task is this cell's. */
  #start(guid: InstanceGuid, taskGuid: TaskGuid): Promise<void> {
    const { fetchTask, lends } = this.#options;
    return this.#starter.start(guid, this.#signal, async () => {
      const { taskDefinition } = await fetchTask(taskGuid, this.#signal);
      const request =
        taskDefinition === undefined ? { fault: "the task has no definition" } : buildTaskRequest(taskDefinition, lends);
      return "fault" in request ? { fault: `failed to run container: ${request.fault}` } : request;
    });
  }
}
