// A scripted BBS for tests: keeps rows, answers reports as Diego's rules would for the plain cases, and can be told to misbehave.
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { type TaskDefinition, Task as WireTask } from "@muster/proto/models/task";
import type { ReportItem, ReportRequest, ReportResponse } from "@muster/proto/muster/v1/report";
import type { WatchResponse, Change as WireChange } from "@muster/proto/muster/v1/watch";
import { actualLRPKeyFromWire, encodeActualLRP, instanceKeyFromWire, netInfoFromWire, recordCodecs } from "@muster/shared/codec";
import { BbsError, type ErrorCode } from "@muster/shared/errors";
import { type ActualLRP, asCellId, asEpochNs, type InstanceGuid, rowKeyOf, type Task } from "@muster/shared/model";
import type { RepIO } from "../rep.js";
import type { ReportConnection } from "../report/session.js";

/** A stream of messages pushed by a test. */
class Feed<Message> implements AsyncIterable<Message> {
  readonly #queue: Message[] = [];
  #wake: () => void = () => undefined;
  #end: { readonly error: unknown } | undefined;

  push(message: Message): void {
    this.#queue.push(message);
    this.#wake();
  }

  end(error?: unknown): void {
    this.#end ??= { error };
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    while (true) {
      for (let message = this.#queue.shift(); message !== undefined; message = this.#queue.shift()) yield message;
      if (this.#end !== undefined) {
        if (this.#end.error !== undefined) throw this.#end.error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

interface Session {
  readonly feed: Feed<ReportResponse>;
  open: boolean;
}

type ReportCase = NonNullable<ReportItem["report"]>["$case"];

export class FakeBBS {
  /** Everything a rep has sent, in order. */
  readonly received: ReportRequest[] = [];
  readonly items: ReportItem[] = [];
  readonly rows = new Map<string, ActualLRP>();
  readonly desired = new Map<string, DesiredLRP>();
  readonly tasks = new Map<string, Task>();
  readonly definitions = new Map<string, TaskDefinition>();
  /** Refusals to give to items of a case instead of deciding them. */
  readonly refusals = new Map<ReportCase, ErrorCode>();
  /** Cases that get no answer at all. */
  readonly unanswered = new Set<ReportCase>();
  /** These are decided at once, and answered when `answerLate` is called. */
  readonly late = new Set<ReportCase>();
  readonly #lateAnswers: (() => void)[] = [];
  /** A hello is refused with this. */
  refuseHello: BbsError | undefined;
  /** Whether the answer to a claim brings what is to run. */
  answersWithDesired = false;
  answersHeartbeats = true;
  decidesInventories = true;
  sessionsOpened = 0;
  leaderEpoch = 1n;
  fetches = 0;
  fetchError: BbsError | undefined;
  readonly #sessions = new Set<Session>();
  readonly #watches = new Set<Feed<WatchResponse>>();
  #sequence = 0n;

  readonly io: RepIO = {
    openReport: (signal) => this.#openReport(signal),
    openWatch: (_request, signal) => this.#openWatch(signal),
    fetchDesiredLRP: async (processGuid) => {
      this.fetches += 1;
      if (this.fetchError !== undefined) throw this.fetchError;
      const found = this.desired.get(processGuid);
      if (found === undefined) throw new BbsError("ResourceNotFound");
      return found;
    },
    fetchTask: async (taskGuid) => {
      this.fetches += 1;
      if (this.fetchError !== undefined) throw this.fetchError;
      const taskDefinition = this.definitions.get(taskGuid);
      if (taskDefinition === undefined) throw new BbsError("ResourceNotFound");
      return { ...WireTask.decode(new Uint8Array(0)), taskGuid, taskDefinition };
    },
  };

  get heartbeats(): number {
    return this.received.filter((request) => request.message?.$case === "heartbeat").length;
  }

  /** The cases of the items received, in order. */
  get cases(): (ReportCase | undefined)[] {
    return this.items.map((item) => item.report?.$case);
  }

  inventories(): { readonly guid: string; readonly state: number }[][] {
    return this.received.flatMap((request) =>
      request.message?.$case === "inventory"
        ? [
            request.message.value.containers.map((line) => ({
              guid: line.actualLrpInstanceKey?.instanceGuid ?? "",
              state: line.state,
            })),
          ]
        : [],
    );
  }

  put(row: ActualLRP): void {
    this.rows.set(rowKeyOf(row), row);
    this.#publish([
      { kind: recordCodecs.actualLRP.wireKind ?? 0, key: rowKeyOf(row), record: Buffer.from(encodeActualLRP(row)) },
    ]);
  }

  drop(row: ActualLRP): void {
    this.rows.delete(rowKeyOf(row));
    this.#publish([{ kind: recordCodecs.actualLRP.wireKind ?? 0, key: rowKeyOf(row), record: undefined }]);
  }

  putTask(task: Task): void {
    this.tasks.set(task.taskGuid, task);
    this.#publish([taskChange(task.taskGuid, task)]);
  }

  dropTask(taskGuid: string): void {
    this.tasks.delete(taskGuid);
    this.#publish([taskChange(taskGuid, undefined)]);
  }

  rowOf(guid: InstanceGuid | string): ActualLRP | undefined {
    return [...this.rows.values()].find((row) => row.instanceKey?.instanceGuid === guid);
  }

  /** Cuts every session and watch, as a BBS that dies does. */
  cut(): void {
    for (const session of this.#sessions) session.feed.end(new BbsError("Unavailable"));
    for (const watch of this.#watches) watch.end(new BbsError("Unavailable"));
    this.#sessions.clear();
    this.#watches.clear();
  }

  #openReport(signal: AbortSignal): ReportConnection {
    this.sessionsOpened += 1;
    const session: Session = { feed: new Feed(), open: true };
    this.#sessions.add(session);
    const close = (): void => {
      session.open = false;
      this.#sessions.delete(session);
      session.feed.end();
    };
    signal.addEventListener("abort", close, { once: true });
    return {
      send: (message) => {
        if (!session.open) return;
        this.received.push(message);
        this.#take(session, message);
      },
      messages: session.feed,
      close,
    };
  }

  #take(session: Session, { message }: ReportRequest): void {
    const answer = (response: ReportResponse["message"]): void => session.feed.push({ message: response });
    switch (message?.$case) {
      case "hello":
        if (this.refuseHello !== undefined) session.feed.end(this.refuseHello);
        else
          answer({
            $case: "welcome",
            value: { leaderEpoch: this.leaderEpoch, incarnation: "one", clusterTimeMs: 0n },
          });
        return;
      case "heartbeat":
        if (this.answersHeartbeats) answer({ $case: "heartbeat", value: { number: message.value.number } });
        return;
      case "inventory":
        if (message.value.last && this.decidesInventories) answer({ $case: "inventoryDecided", value: {} });
        return;
      case "batch":
        for (const item of message.value.items) this.#decide(item, answer);
        return;
      default:
    }
  }

  #decide(item: ReportItem, answer: (response: ReportResponse["message"]) => void): void {
    this.items.push(item);
    const kind = item.report?.$case;
    if (kind === undefined || this.unanswered.has(kind)) return;
    const refusal = this.refusals.get(kind);
    const evacuation = refusal === undefined ? this.#applyEvacuation(item) : undefined;
    const errorType = refusal ?? evacuation?.errorType ?? this.#applyTask(item) ?? this.#apply(item);
    const keepContainer = evacuation?.keep ?? false;
    const desired = this.answersWithDesired ? this.desired.get(item.actualLrpKey?.processGuid ?? "") : undefined;
    const desiredLrp = Buffer.from(desired === undefined || kind !== "claimed" ? [] : DesiredLRP.encode(desired).finish());
    const shouldStart = kind === "taskStarted";
    const reply = { id: item.id, errorType, errorMessage: errorType, keepContainer, shouldStart, desiredLrp };
    const say = (): void => answer({ $case: "replies", value: { replies: [reply] } });
    if (this.late.has(kind)) this.#lateAnswers.push(say);
    else say();
  }

  answerLate(): void {
    for (const say of this.#lateAnswers.splice(0)) say();
  }

  /** `undefined`: the item is not about a task. */
  #applyTask({ report, actualLrpInstanceKey }: ReportItem): ErrorCode | "" | undefined {
    if (report === undefined || !("taskGuid" in report.value)) return undefined;
    const task = this.tasks.get(report.value.taskGuid);
    if (task === undefined) return "ResourceNotFound";
    const cellId = asCellId(actualLrpInstanceKey?.cellId ?? "cell-1");
    switch (report.$case) {
      case "taskStarted":
        if (task.state === "RUNNING" && task.cellId === cellId) return "";
        if (task.state !== "PENDING") return "InvalidStateTransition";
        this.putTask({ ...task, state: "RUNNING", cellId });
        return "";
      case "taskCompleted": {
        if (task.state !== "RUNNING") return "InvalidStateTransition";
        const { failed, failureReason, result } = report.value;
        this.putTask({ ...task, state: "COMPLETED", cellId: undefined, failed, failureReason, result });
        return "";
      }
      case "taskRejected":
        if (task.state !== "PENDING" && task.state !== "RUNNING") return "InvalidRequest";
        this.putTask({ ...task, state: "PENDING", rejectionCount: 1, rejectionReason: report.value.rejectionReason });
        return "";
      default:
        return undefined;
    }
  }

  /** Update strategy ROLLING: a copy runs on until the ordinary row runs elsewhere. `undefined`: the item is not about evacuation. */
  #applyEvacuation(item: ReportItem): { readonly errorType: ErrorCode | ""; readonly keep: boolean } | undefined {
    const kind = item.report?.$case ?? "";
    if (!kind.startsWith("evacuate") && kind !== "cancelEvacuation") return undefined;
    const guid = item.actualLrpInstanceKey?.instanceGuid;
    const of = [...this.rows.values()].filter(
      (row) => row.processGuid === item.actualLrpKey?.processGuid && row.index === item.actualLrpKey.index,
    );
    const ordinary = of.find((row) => row.presence === "ORDINARY");
    const holder = of.find((row) => row.instanceKey?.instanceGuid === guid);
    const settled = (keep: boolean) => ({ errorType: "" as const, keep });
    if (holder === undefined) return { errorType: "ResourceNotFound", keep: kind === "cancelEvacuation" };
    const unclaim = (): void =>
      this.put({ ...holder, presence: "ORDINARY", state: "UNCLAIMED", instanceKey: undefined, netInfo: undefined });
    if (kind === "cancelEvacuation") {
      if (holder.presence !== "EVACUATING") return settled(true);
      this.drop(holder);
      if (ordinary?.state === "RUNNING") return settled(false);
      this.put({ ...holder, presence: "ORDINARY" });
      return settled(true);
    }
    if (kind !== "evacuateRunning") {
      if (holder.presence === "ORDINARY") unclaim();
      else this.drop(holder);
      return settled(false);
    }
    if (holder === ordinary) {
      this.put({ ...holder, presence: "EVACUATING" });
      unclaim();
      return settled(true);
    }
    if (ordinary?.state !== "RUNNING") return settled(true);
    this.drop(holder);
    return settled(false);
  }

  /** The plain cases of Diego's rules: enough for a cell to live by. */
  #apply(item: ReportItem): ErrorCode | "" {
    const key = item.actualLrpKey === undefined ? undefined : actualLRPKeyFromWire(item.actualLrpKey);
    const instanceKey = instanceKeyFromWire(item.actualLrpInstanceKey);
    if (key === undefined || instanceKey === undefined) return "InvalidRequest";
    const row = [...this.rows.values()].find(
      (one) => one.processGuid === key.processGuid && one.index === key.index && one.presence === "ORDINARY",
    );
    if (row === undefined) return "ResourceNotFound";
    const ours = row.instanceKey?.instanceGuid === instanceKey.instanceGuid;
    const empty = { state: "UNCLAIMED", instanceKey: undefined, netInfo: undefined } as const;
    switch (item.report?.$case) {
      case "claimed":
        if (row.state !== "UNCLAIMED" && !ours) return "ActualLRPCannotBeClaimed";
        if (row.state !== "RUNNING") this.put({ ...row, state: "CLAIMED", instanceKey });
        return "";
      case "started": {
        if (row.state === "RUNNING" && !ours) return "ActualLRPCannotBeStarted";
        const started = item.report.value;
        const netInfo = netInfoFromWire(started.actualLrpNetInfo);
        const internalRoutes = started.actualLrpInternalRoutes.map((route) => route.hostname);
        const metricTags = new Map(Object.entries(started.metricTags));
        const published = { internalRoutes, metricTags, updateMarked: false };
        this.put({ ...row, state: "RUNNING", instanceKey, netInfo, routable: started.routable, ...published });
        return "";
      }
      case "crashed":
        if (!ours) return "ActualLRPCannotBeCrashed";
        this.put({ ...row, ...empty, crashCount: row.crashCount + 1, crashReason: item.report.value.errorMessage });
        return "";
      case "removed":
        if (!ours) return "ResourceNotFound";
        if (row.stopMarked) this.drop(row);
        else this.put({ ...row, ...empty });
        return "";
      default:
        return "Unimplemented";
    }
  }

  async *#openWatch(signal: AbortSignal): AsyncGenerator<WatchResponse, void, undefined> {
    const feed = new Feed<WatchResponse>();
    const end = (): void => feed.end();
    signal.addEventListener("abort", end, { once: true });
    const rows = [...this.rows].map(([key, row]) => ({
      kind: recordCodecs.actualLRP.wireKind ?? (0 as const),
      key,
      record: Buffer.from(encodeActualLRP(row)),
    }));
    const changes = [...rows, ...[...this.tasks].map(([guid, task]) => taskChange(guid, task))];
    const rest = { clusterTimeMs: 0n, leaderEpoch: this.leaderEpoch };
    feed.push({ message: { $case: "snapshot", value: { changes } }, ...rest });
    feed.push({ message: { $case: "synced", value: { token: this.#token() } }, ...rest });
    this.#watches.add(feed);
    try {
      yield* feed;
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  #publish(changes: WireChange[]): void {
    this.#sequence += 1n;
    for (const watch of this.#watches) {
      watch.push({
        message: { $case: "commit", value: { token: this.#token(), changes } },
        clusterTimeMs: 0n,
        leaderEpoch: this.leaderEpoch,
      });
    }
  }

  #token() {
    return { incarnation: "one", sequence: this.#sequence };
  }
}

const taskChange = (taskGuid: string, task: Task | undefined): WireChange => ({
  kind: recordCodecs.task.wireKind ?? 0,
  key: taskGuid,
  record: task === undefined ? undefined : Buffer.from(recordCodecs.task.encode(task)),
});

export const sinceTheEpoch = asEpochNs(1n);
