// A BBS as the converger sees it, for its tests: judges repairs by the rules over its own records, carries them out plainly, and
// can be told to lag, fail, refuse or wait.
import { type RepairItem, RepairOutcome, type RepairResult } from "@muster/proto/muster/v1/repair";
import type { WatchRequest, WatchResponse, Change as WireChange } from "@muster/proto/muster/v1/watch";
import type { Clock } from "@muster/shared/clock";
import { encodeRecord, recordCodecs } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import {
  type ActualLRP,
  asEpochMs,
  asProcessGuid,
  asTaskGuid,
  drop,
  epochMsToNs,
  presences,
  put,
  type RecordKind,
  Tables,
  type Write,
} from "@muster/shared/model";
import { isRuleName, type Repair, ruleHolds } from "@muster/shared/rules";
import type { ConvergerIO } from "../converger.js";
import { actualLRP } from "./records.js";

interface Stream {
  readonly queue: (WatchResponse | "end")[];
  wake: () => void;
}

export interface Call {
  readonly atMs: number;
  readonly repairs: readonly string[];
}

const kinds: readonly RecordKind[] = ["desiredLRP", "actualLRP", "task", "domain", "cell", "featureFlag"];

export class FakeBbs implements ConvergerIO {
  readonly tables = new Tables();
  /** Every Repair call, as `rule process/index` or `rule name`. */
  readonly calls: Call[] = [];
  /** Until then, by cluster time, the absence of a cell's record means nothing. */
  graceUntilMs = 0;
  /** What the next calls end with, in order; then calls are answered. */
  readonly script: ("unavailable" | "stale")[] = [];
  /** Commits stay here instead of reaching the watch. */
  withheld: WatchResponse[] | undefined;
  callMs = 0;
  most = 0;
  #underWay = 0;
  #sequence = 0n;
  #incarnation = "one";
  readonly #streams = new Set<Stream>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  commit(...writes: readonly Write[]): void {
    this.tables.applyAll(writes);
    this.#sequence += 1n;
    const changes = writes.map((write) => this.#wire(write));
    this.#send({ ...this.#stamp(), message: { $case: "commit", value: { token: this.#token(), changes } } });
  }

  /** Makes withheld commits arrive. */
  release(): void {
    const late = this.withheld ?? [];
    this.withheld = undefined;
    for (const message of late) this.#send(message);
  }

  /** Breaks every watch; the next one starts anew with another store incarnation. */
  restart(): void {
    this.#incarnation += "+";
    this.withheld = undefined;
    for (const stream of this.#streams) {
      stream.queue.push("end");
      stream.wake();
    }
  }

  openWatch = (request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchResponse> => this.#watch(request, signal);

  repair = async (items: readonly RepairItem[], signal: AbortSignal): Promise<readonly RepairResult[]> => {
    this.#underWay += 1;
    this.most = Math.max(this.most, this.#underWay);
    try {
      this.calls.push({ atMs: this.#clock.elapsedMs(), repairs: items.map(nameOf) });
      if (this.callMs > 0) await this.#clock.sleep(this.callMs, signal);
      const outcome = this.script.shift();
      if (outcome === "unavailable") throw new BbsError("Unavailable");
      if (outcome === "stale") return items.map(() => ({ outcome: RepairOutcome.REPAIR_OUTCOME_STALE, dueInMs: 0n }));
      return items.map((item) => this.#decide(repairOf(item)));
    } finally {
      this.#underWay -= 1;
    }
  };

  #decide(repair: Repair): RepairResult {
    const nowMs = this.#clock.nowMs();
    const verdict = ruleHolds(this.tables, repair, {
      nowMs,
      graceUntilMs: asEpochMs(this.graceUntilMs),
      leaderSinceMs: asEpochMs(0),
    });
    if (verdict.holds) {
      this.commit(...this.#carryOut(repair));
      return { outcome: RepairOutcome.REPAIR_OUTCOME_DONE, dueInMs: 0n };
    }
    if (verdict.dueAtMs === undefined) return { outcome: RepairOutcome.REPAIR_OUTCOME_STALE, dueInMs: 0n };
    return { outcome: RepairOutcome.REPAIR_OUTCOME_NOT_DUE, dueInMs: BigInt(verdict.dueAtMs - nowMs) };
  }

  #carryOut(repair: Repair): Write[] {
    const { processGuid, index, presence, name } = repair;
    const row = this.tables.rows(processGuid, index)[presence];
    const fresh = (changes: Partial<ActualLRP> = {}): Write =>
      put("actualLRP", actualLRP({ processGuid, index, sinceNs: epochMsToNs(this.#clock.nowMs()), ...changes }));
    switch (repair.rule) {
      case "missing":
        return [fresh()];
      case "restart":
        return [fresh({ crashCount: row?.crashCount ?? 0 })];
      case "cell-lost":
        return row === undefined ? [] : [put("actualLRP", { ...row, presence: "SUSPECT" }), fresh()];
      case "surplus":
        if (row === undefined) return [];
        return [row.instanceKey === undefined ? drop("actualLRP", row) : put("actualLRP", { ...row, stopMarked: true })];
      case "evacuating-lost":
        return row === undefined ? [] : [drop("actualLRP", row)];
      case "outdated":
        return row === undefined ? [] : [put("actualLRP", { ...row, updateMarked: true })];
      case "task-callback":
        return [];
      case "task-over":
        return [{ kind: "task", key: name, record: undefined }];
      case "task-expired":
      case "task-disabled":
      case "task-cell-lost":
      case "task-unresolved":
        return this.#ended(name);
      case "domain-expired":
        return [{ kind: "domain", key: name, record: undefined }];
      case "cell-gone":
        return [{ kind: "cell", key: name, record: undefined }];
    }
  }

  #ended(taskGuid: string): Write[] {
    const task = this.tables.task(asTaskGuid(taskGuid));
    if (task === undefined) return [];
    const firstCompletedAtNs = task.state === "RESOLVING" ? task.firstCompletedAtNs : epochMsToNs(this.#clock.nowMs());
    return [put("task", { ...task, state: "COMPLETED", firstCompletedAtNs })];
  }

  async *#watch(request: WatchRequest, signal: AbortSignal): AsyncGenerator<WatchResponse> {
    const stream: Stream = { queue: [], wake: () => undefined };
    const end = (): void => stream.wake();
    signal.addEventListener("abort", end, { once: true });
    this.#streams.add(stream);
    try {
      yield* this.#opening(request);
      while (!signal.aborted) {
        const next = stream.queue.shift();
        if (next === "end") return;
        if (next !== undefined) yield next;
        else await new Promise<void>((resolve) => (stream.wake = resolve));
      }
    } finally {
      this.#streams.delete(stream);
      signal.removeEventListener("abort", end);
    }
  }

  *#opening({ after }: WatchRequest): Generator<WatchResponse> {
    if (after?.incarnation === this.#incarnation) return;
    if (after !== undefined) yield { ...this.#stamp(), message: { $case: "reset", value: { reason: "another store" } } };
    for (const kind of kinds) {
      const changes = [...this.tables.all(kind)].map(([key, record]) => this.#wire({ kind, key, record } as Write));
      yield { ...this.#stamp(), message: { $case: "snapshot", value: { changes } } };
    }
    yield { ...this.#stamp(), message: { $case: "synced", value: { token: this.#token() } } };
  }

  #send(message: WatchResponse): void {
    if (this.withheld !== undefined) {
      this.withheld.push(message);
      return;
    }
    for (const stream of this.#streams) {
      stream.queue.push(message);
      stream.wake();
    }
  }

  #token = () => ({ incarnation: this.#incarnation, sequence: this.#sequence });

  #stamp = () => ({ clusterTimeMs: BigInt(this.#clock.nowMs()), leaderEpoch: 1n });

  #wire(write: Write): WireChange {
    const kind = recordCodecs[write.kind].wireKind ?? 0;
    const record = write.record === undefined ? undefined : Buffer.from(encodeRecord(write.kind, write.record));
    return { kind, key: write.key, record };
  }
}

const nameOf = ({ rule, processGuid, index, name }: RepairItem): string =>
  name === "" ? `${rule} ${processGuid}/${index}` : `${rule} ${name}`;

function repairOf({ rule, processGuid, index, presence, name }: RepairItem): Repair {
  const found = presences[presence];
  if (!isRuleName(rule) || found === undefined) throw new BbsError("InvalidRequest");
  return { rule, processGuid: asProcessGuid(processGuid), index, presence: found, name };
}
