// The faults of the memory driver, which the contract suite does not use: the simulator relies on each of them.
import { type FakeClock, fakeClock } from "@muster/shared/clock";
import { describe, expect, it } from "vitest";
import type { Head, StoreBatch } from "../driver.js";
import { type MemoryFaults, type MemoryStore, memoryStore, openMemoryStore } from "./index.js";

const ttlMs = 10_000;
const never = new AbortController().signal;

const head = (sequence: bigint, batchId = `b${sequence}`): Head => ({
  incarnation: "i",
  sequence,
  leaderEpoch: 1n,
  batchId,
  clusterTimeMs: 1_000,
  schemaVersion: 1,
});
const batch = (sequence: bigint, value: string): StoreBatch => ({
  writes: [{ key: "k", value: Buffer.from(value) }],
  from: head(sequence - 1n),
  to: head(sequence),
});

async function world(): Promise<{ clock: FakeClock; store: MemoryStore; faults: MemoryFaults }> {
  const clock = fakeClock();
  return { clock, store: memoryStore(clock), faults: {} };
}
const values = (store: MemoryStore): string[] => store.snapshot().map(({ value }) => Buffer.from(value).toString());

describe("faults of the memory driver", () => {
  it("an unknown outcome that arrived is settled by its resend", async () => {
    const { store, faults } = await world();
    const driver = await openMemoryStore(store, { faults });
    const leader = await driver.campaign("bbs", "a", ttlMs, never);
    faults.onCommit = () => ({ kind: "unknown", arrives: "now" });
    expect(await driver.commit(batch(1n, "one"), leader)).toMatchObject({ ok: false, why: "unknown" });
    expect(values(store)).toEqual(["one"]);
    delete faults.onCommit;
    expect(await driver.commit(batch(1n, "one"), leader)).toEqual({ ok: true });
    expect(store.head?.sequence).toBe(1n);
  });

  it("an unknown outcome that did not arrive is written by its resend", async () => {
    const { store, faults } = await world();
    const driver = await openMemoryStore(store, { faults });
    const leader = await driver.campaign("bbs", "a", ttlMs, never);
    faults.onCommit = () => ({ kind: "unknown", arrives: "never" });
    expect(await driver.commit(batch(1n, "one"), leader)).toMatchObject({ ok: false, why: "unknown" });
    expect(values(store)).toEqual([]);
    delete faults.onCommit;
    expect(await driver.commit(batch(1n, "one"), leader)).toEqual({ ok: true });
    expect(values(store)).toEqual(["one"]);
  });

  it("a commit that arrives behind its resend and the next one changes nothing", async () => {
    const { clock, store, faults } = await world();
    const driver = await openMemoryStore(store, { faults });
    const leader = await driver.campaign("bbs", "a", ttlMs, never);
    faults.onCommit = () => ({ kind: "unknown", arrives: { afterMs: 500 } });
    await driver.commit(batch(1n, "one"), leader);
    delete faults.onCommit;
    expect(await driver.commit(batch(1n, "one"), leader)).toEqual({ ok: true });
    expect(await driver.commit(batch(2n, "two"), leader)).toEqual({ ok: true });
    await clock.advance(1_000);
    expect(values(store)).toEqual(["two"]);
    expect(store.head?.sequence).toBe(2n);
  });

  it("a late commit of a deposed leader writes nothing under its successor", async () => {
    const { clock, store, faults } = await world();
    const old = await openMemoryStore(store, { faults });
    const successor = await openMemoryStore(store);
    const deposed = await old.campaign("bbs", "a", ttlMs, never);
    faults.onCommit = () => ({ kind: "unknown", arrives: { afterMs: 500 } });
    await old.commit(batch(1n, "late"), deposed);
    store.depose("bbs");
    await successor.campaign("bbs", "b", ttlMs, never);
    await clock.advance(1_000);
    expect(values(store)).toEqual([]);
  });

  it("a cut-off leader loses its leadership after the TTL, and its rival is elected", async () => {
    const { clock, store, faults } = await world();
    const old = await openMemoryStore(store, { faults });
    const rival = await openMemoryStore(store);
    const term = await old.campaign("bbs", "a", ttlMs, never);
    const next = rival.campaign("bbs", "b", ttlMs, never);
    await clock.advance(60_000);
    expect(term.lost.aborted).toBe(false);
    faults.cutOff = true;
    expect(await old.commit(batch(1n, "one"), term)).toMatchObject({ why: "unknown" });
    await expect(old.confirm(term)).rejects.toThrow("out of reach");
    await clock.advance(ttlMs / 2);
    expect(term.lost.aborted).toBe(false);
    await clock.advance(ttlMs / 2);
    expect(term.lost.aborted).toBe(true);
    expect((await next).lost.aborted).toBe(false);
    expect(store.leaderOf("bbs")).toBe("b");
  });

  it("a full store refuses what would grow it and takes what does not", async () => {
    const { store } = await world();
    const driver = await openMemoryStore(store);
    const leader = await driver.campaign("bbs", "a", ttlMs, never);
    store.capacityBytes = 10;
    expect(await driver.commit(batch(1n, "123456789"), leader)).toEqual({ ok: true });
    const more: StoreBatch = { writes: [{ key: "j", value: Buffer.from("1") }], from: head(1n), to: head(2n) };
    expect(await driver.commit(more, leader)).toMatchObject({ ok: false, why: "refused", reason: "no-space" });
    const less: StoreBatch = { writes: [{ key: "k", value: undefined }], from: head(1n), to: head(2n, "c") };
    expect(await driver.commit(less, leader)).toEqual({ ok: true });
    expect(await driver.usage(never)).toMatchObject({ usedBytes: 0, allowedBytes: 10 });
  });

  it("keeps its records apart from the caller's buffers", async () => {
    const { store } = await world();
    const driver = await openMemoryStore(store);
    const leader = await driver.campaign("bbs", "a", ttlMs, never);
    const value = Buffer.from("one");
    await driver.commit({ writes: [{ key: "k", value }], from: head(0n), to: head(1n) }, leader);
    value.fill("x");
    expect(values(store)).toEqual(["one"]);
  });

  it("a campaign that is called off leaves the seat to the next in line", async () => {
    const { store } = await world();
    const driver = await openMemoryStore(store);
    const first = await driver.campaign("bbs", "a", ttlMs, never);
    const tired = new AbortController();
    const second = driver.campaign("bbs", "b", ttlMs, tired.signal);
    const third = driver.campaign("bbs", "c", ttlMs, never);
    tired.abort(new Error("called off"));
    await expect(second).rejects.toThrow("called off");
    await first.resign();
    expect((await third).lost.aborted).toBe(false);
    expect(store.leaderOf("bbs")).toBe("c");
  });
});
