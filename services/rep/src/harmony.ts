// What keeping instances and keeping tasks in harmony have in common: their parts, what is left alone for a while, and how work is begun.
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { Mirror } from "@muster/shared/mirror";
import type { InstanceGuid } from "@muster/shared/model";
import type { Executor } from "./executor/executor.js";
import type { CellLends, ContainerRecord, RunRequest } from "./plan/index.js";
import type { Registry } from "./registry.js";
import type { ReportSession } from "./report/session.js";

export interface HarmonyOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: Registry;
  readonly executor: Executor;
  readonly mirror: Mirror;
  readonly session: ReportSession;
  readonly cell: { readonly cellId: string; readonly zone: string; readonly pollingMs: number };
  readonly adopting: () => boolean;
  readonly lends: CellLends;
}

/** After an outcome was answered, the mirror has this long to show it before it is reported again. */
export const settleMs = 10_000;
/** Before a report that nobody answered is made again. */
export const againMs = 500;
const fetchRetryMs = { first: 50, max: 2_000 };

/** What nothing is reported of before a time. */
export class Quiet<Key> {
  readonly #clock: Clock;
  /** On the elapsed scale. */
  readonly #until = new Map<Key, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  hush(key: Key, ms: number): void {
    this.#until.set(key, this.#clock.elapsedMs() + ms);
  }

  has(key: Key): boolean {
    const untilMs = this.#until.get(key);
    if (untilMs === undefined) return false;
    if (this.#clock.elapsedMs() < untilMs) return true;
    this.#until.delete(key);
    return false;
  }

  /** Forgets what is over, so that nothing stays of what is never asked about again. */
  sweep(): void {
    for (const key of [...this.#until.keys()]) this.has(key);
  }
}

/** However often it is called in a tick, `work` is done once, at the tick's end. */
export function oncePerTick(work: () => void): () => void {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      work();
    });
  };
}

/** Begins what the BBS has said to be this cell's: fetches what to run, and runs it. */
export class Starter {
  readonly #options: Pick<HarmonyOptions, "clock" | "log" | "registry" | "executor">;
  readonly #starting = new Set<InstanceGuid>();

  constructor(options: Pick<HarmonyOptions, "clock" | "log" | "registry" | "executor">) {
    this.#options = options;
  }

  /** Tries as long as the container waits for it; once at a time for each. A fault becomes the container's crash reason. */
  async start(
    guid: InstanceGuid,
    signal: AbortSignal,
    fetch: (record: ContainerRecord) => Promise<RunRequest | { readonly fault: string }>,
  ): Promise<void> {
    if (this.#starting.has(guid)) return;
    this.#starting.add(guid);
    try {
      await this.#try(guid, signal, fetch);
    } finally {
      this.#starting.delete(guid);
    }
  }

  async #try(guid: InstanceGuid, signal: AbortSignal, fetch: Parameters<Starter["start"]>[2]): Promise<void> {
    const { registry, executor, clock, log } = this.#options;
    for (let retryMs = fetchRetryMs.first; !signal.aborted; retryMs = Math.min(fetchRetryMs.max, retryMs * 2)) {
      const record = registry.get(guid);
      if (record?.state !== "reserved" || record.stopped) return;
      try {
        const request = await fetch(record);
        if ("fault" in request) executor.refuse(guid, "crashed", request.fault);
        else executor.run(guid, request);
        return;
      } catch (err) {
        if (signal.aborted) return;
        // What was to run is gone, or no longer ours: nothing to do. Anything else is tried again.
        if (err instanceof BbsError && (err.code === "ResourceNotFound" || err.code === "PermissionDenied")) {
          executor.refuse(guid, "removed", err.message);
          return;
        }
        log.warn({ err, instance_guid: guid, retry_ms: retryMs }, "run information could not be fetched");
        await clock.sleep(retryMs, signal).catch(() => undefined);
      }
    }
  }
}
