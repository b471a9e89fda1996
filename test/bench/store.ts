// How fast the store drivers commit: batches of several sizes, one commit in flight, as the journal sends them.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import type { Head, StoreBatch, StoreDriver } from "@muster/store";
import { openEtcdStore } from "@muster/store/etcd";
import { openLmdbStore } from "@muster/store/lmdb";
import { memoryStore, openMemoryStore } from "@muster/store/memory";
import { startEtcd } from "../support/etcd.js";

export type StoreDriverName = "memory" | "lmdb" | "etcd";

export interface StoreBenchOptions {
  /** All three when absent. */
  readonly drivers?: readonly StoreDriverName[];
  /** Puts in each batch; 1, 16 and 127 when absent. */
  readonly batchSizes?: readonly number[];
  /** How long each batch size is measured, after a tenth of it as a warm-up; 3,000 when absent. */
  readonly durationMs?: number;
  /** Bytes of each value; 300 when absent, about an ActualLRP. */
  readonly valueBytes?: number;
  /** Endpoints of an etcd to use; one member of our own on loopback when absent. */
  readonly etcdEndpoints?: readonly string[];
}

export interface StoreBenchRow {
  readonly driver: StoreDriverName;
  readonly batchSize: number;
  readonly valueBytes: number;
  readonly commits: number;
  readonly commitsPerSecond: number;
  readonly putsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface StoreBench {
  readonly bench: "store";
  readonly rows: readonly StoreBenchRow[];
}

/** Measures every driver in turn and cleans up. @throws when a commit is not taken. */
export async function benchStore(options: StoreBenchOptions = {}): Promise<StoreBench> {
  const { drivers = ["memory", "lmdb", "etcd"], batchSizes = [1, 16, 127], durationMs = 3_000, valueBytes = 300 } = options;
  const rows: StoreBenchRow[] = [];
  for (const driver of drivers) {
    await withDriver(driver, options, async (store) => {
      const measure = await committer(store, valueBytes);
      for (const batchSize of batchSizes) {
        await measure(batchSize, durationMs / 10);
        rows.push({ driver, batchSize, valueBytes, ...tally(await measure(batchSize, durationMs), batchSize) });
      }
    });
  }
  return { bench: "store", rows };
}

async function withDriver(
  name: StoreDriverName,
  options: StoreBenchOptions,
  use: (store: StoreDriver) => Promise<void>,
): Promise<void> {
  const clock = systemClock;
  if (name === "memory") {
    await using store = await openMemoryStore(memoryStore(clock));
    return await use(store);
  }
  if (name === "lmdb") {
    const path = await mkdtemp(join(tmpdir(), "muster-bench-"));
    try {
      await using store = await openLmdbStore({ path, clock });
      return await use(store);
    } finally {
      await rm(path, { recursive: true });
    }
  }
  await using own = options.etcdEndpoints === undefined ? await startEtcd() : undefined;
  const endpoints = options.etcdEndpoints ?? own?.endpoints ?? [];
  await using store = await openEtcdStore({ endpoints, prefix: `/bench/${systemEntropy.guid()}/`, clock });
  await use(store);
}

/** Commits batch upon batch for `ms` and returns how long each took, in milliseconds. Keys come round after 10,000. */
async function committer(store: StoreDriver, valueBytes: number): Promise<(batchSize: number, ms: number) => Promise<number[]>> {
  const leadership = await store.campaign("bench", "bench", 60_000, new AbortController().signal);
  const value = Buffer.alloc(valueBytes, 7);
  let head: Head = { incarnation: "bench", sequence: 0n, leaderEpoch: 1n, batchId: "", clusterTimeMs: 0, schemaVersion: 1 };
  let key = 0;
  const next = (batchSize: number): StoreBatch => {
    const writes = Array.from({ length: batchSize }, () => {
      key = (key + 1) % 10_000;
      return { key: `bench/${key}`, value };
    });
    return { writes, from: head, to: { ...head, sequence: head.sequence + 1n, batchId: systemEntropy.guid() } };
  };
  return async (batchSize, ms) => {
    const took: number[] = [];
    for (const until = performance.now() + ms; performance.now() < until; ) {
      const batch = next(batchSize);
      const start = performance.now();
      const result = await store.commit(batch, leadership);
      took.push(performance.now() - start);
      if (!result.ok) throw new Error(`a commit was not taken: ${result.why}`);
      head = batch.to;
    }
    return took;
  };
}

function tally(took: readonly number[], batchSize: number): Omit<StoreBenchRow, "driver" | "batchSize" | "valueBytes"> {
  const sorted = [...took].sort((a, b) => a - b);
  const seconds = took.reduce((sum, ms) => sum + ms, 0) / 1_000;
  const at = (share: number): number => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  const perSecond = took.length / seconds;
  return {
    commits: took.length,
    commitsPerSecond: Math.round(perSecond),
    putsPerSecond: Math.round(perSecond * batchSize),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
  };
}

const round = (ms: number): number => Math.round(ms * 1_000) / 1_000;
