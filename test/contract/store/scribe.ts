// What a journal does with a store, in its shortest form: the next batch on the head, sent and settled.
import { setTimeout as sleep } from "node:timers/promises";
import type { CommitResult, Head, Leadership, StoreBatch, StoreDriver, StoreWrite } from "@muster/store";
import { expect } from "vitest";

/** A signal that never aborts. */
export const never: AbortSignal = new AbortController().signal;

export const put = (key: string, value: string): StoreWrite => ({ key, value: Buffer.from(value) });
export const del = (key: string): StoreWrite => ({ key, value: undefined });
export const text = (value: Uint8Array): string => Buffer.from(value).toString();

let batches = 0;

/** Writes batch upon batch under one leadership. `head` is the last that was seen to be written. */
export class Scribe {
  readonly driver: StoreDriver;
  readonly leadership: Leadership;
  head: Head | undefined;

  constructor(driver: StoreDriver, leadership: Leadership, head?: Head) {
    this.driver = driver;
    this.leadership = leadership;
    this.head = head;
  }

  batch(writes: readonly StoreWrite[]): StoreBatch {
    batches += 1;
    const unborn = { incarnation: "", sequence: 0n, leaderEpoch: 0n, batchId: "", clusterTimeMs: 0, schemaVersion: 1 };
    const from: Head = this.head ?? unborn;
    const to: Head = {
      incarnation: from.incarnation === "" ? "store-under-test" : from.incarnation,
      sequence: from.sequence + 1n,
      leaderEpoch: 1n,
      batchId: `batch-${batches}`,
      clusterTimeMs: from.clusterTimeMs + 1,
      schemaVersion: 1,
    };
    return { writes, from, to };
  }

  send(batch: StoreBatch): Promise<CommitResult> {
    return this.driver.commit(batch, this.leadership);
  }

  settle(batch: StoreBatch): void {
    this.head = batch.to;
  }

  /** Commits and expects no trouble. */
  async write(writes: readonly StoreWrite[]): Promise<void> {
    const batch = this.batch(writes);
    expect(await this.send(batch)).toEqual({ ok: true });
    this.settle(batch);
  }

  /** Commits as a journal must: resent byte for byte while the outcome is unknown. Returns the number of resends. */
  async insist(writes: readonly StoreWrite[]): Promise<number> {
    const batch = this.batch(writes);
    for (let resends = 0; ; resends += 1) {
      const result = await this.send(batch);
      if (result.ok) {
        this.settle(batch);
        return resends;
      }
      expect(result.why).toBe("unknown");
      await sleep(20);
    }
  }
}

/** Everything a load gives, values as text. */
export async function recordsOf(store: StoreDriver): Promise<{ head: Head | undefined; records: [string, string][] }> {
  const load = await store.load(never);
  const records: [string, string][] = [];
  for await (const { key, value } of load.records) records.push([key, text(value)]);
  return { head: load.head, records };
}
