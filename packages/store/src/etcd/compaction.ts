// Keeping etcd's history short while we lead: every minute it is compacted to what stood five minutes before.
import type { Clock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { EtcdClient } from "./client.js";
import { isCompacted } from "./errors.js";
import type { EtcdKeys } from "./requests.js";

export interface CompactionTools {
  readonly client: EtcdClient;
  readonly keys: EtcdKeys;
  readonly clock: Clock;
  readonly log: Log;
  readonly everyMs: number;
  /** How much history stays; asked each time. */
  readonly keepHistoryMs: () => number;
  /** Counted up here. */
  readonly counts: { done: number; failed: number };
}

interface Mark {
  readonly atMs: number;
  readonly revision: string;
}

/** Runs until the signal aborts; never throws. */
export async function keepCompacted(tools: CompactionTools, signal: AbortSignal): Promise<void> {
  const { clock, log, everyMs, counts } = tools;
  let marks: Mark[] = [];
  while (!signal.aborted) {
    try {
      marks = await compactOnce(tools, marks, signal);
      await clock.sleep(everyMs, signal);
    } catch (err) {
      if (signal.aborted) return;
      counts.failed += 1;
      log.warn({ err, step: "compact", retry_ms: everyMs }, "etcd was not compacted");
      await clock.sleep(everyMs, signal).catch(() => undefined);
    }
  }
}

/** Marks the present revision, compacts to the youngest mark that is old enough, and returns the marks that are left. */
async function compactOnce(tools: CompactionTools, marks: readonly Mark[], signal: AbortSignal): Promise<Mark[]> {
  const { client, keys, clock, log, keepHistoryMs, counts } = tools;
  const head = await client.persist((options) => client.kv.range({ key: keys.head, keys_only: true }, options), signal);
  const atMs = clock.elapsedMs();
  const all = [...marks, { atMs, revision: head.header.revision }];
  const old = all.filter((mark) => mark.atMs <= atMs - keepHistoryMs());
  const target = old.at(-1);
  if (target === undefined) return all;
  try {
    await client.once((options) => client.kv.compact({ revision: target.revision }, options));
    counts.done += 1;
    log.debug({ step: "compact", revision: target.revision }, "etcd compacted");
  } catch (error) {
    // Another client's compaction went further: as good as ours.
    if (!isCompacted(error)) throw error;
  }
  return all.slice(old.length);
}
