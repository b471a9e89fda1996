// The etcd driver against a server that dies, freezes, is cut off, answers late or runs full.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { StoreDriver } from "@muster/store";
import { encodeHead } from "@muster/store";
import { type EtcdStoreOptions, openEtcdStore } from "@muster/store/etcd";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { startProxy } from "../../support/tcp-proxy.js";
import { deleteLeader, makeRoom, withEtcd } from "./raw-etcd.js";
import { never, put, recordsOf, Scribe } from "./scribe.js";

const door = (endpoints: readonly string[], more: Partial<EtcdStoreOptions> = {}): Promise<StoreDriver> =>
  openEtcdStore({ endpoints, prefix: `/faults/${randomUUID()}/`, clock: systemClock, timing: { commitMs: 400 }, ...more });

const lead = async (store: StoreDriver, ttlMs: number): Promise<Scribe> =>
  new Scribe(store, await store.campaign("bbs", "x", ttlMs, never), await store.readHead(never));

/** Writes one record after another until told to stop; every one must be there in the end. */
async function writeUntil(bbs: Scribe, stop: AbortSignal): Promise<{ count: number; resends: number }> {
  let resends = 0;
  let count = 0;
  for (; !stop.aborted; count += 1)
    resends += await bbs.insist([put(`k/${`${count}`.padStart(6, "0")}`, `${count}`), put("last", `${count}`)]);
  return { count, resends };
}

async function expectAll(store: StoreDriver, bbs: Scribe, count: number): Promise<void> {
  const { head, records } = await recordsOf(store);
  expect(head).toEqual(bbs.head);
  expect(head?.sequence).toBe(BigInt(count));
  expect(records.slice(0, -1).map(([, value]) => value)).toEqual(Array.from({ length: count }, (_, n) => `${n}`));
  expect(records.at(-1)).toEqual(["last", `${count - 1}`]);
}

describe("etcd dies and freezes in the middle of commits", () => {
  it("kill -9, three times: nothing acknowledged is lost, nothing is written twice, a new leader finds it all", async () => {
    await using etcd = await startEtcd();
    const prefix = "/killed/";
    await using store = await door(etcd.endpoints, { prefix });
    const bbs = await lead(store, 30_000);
    const stop = new AbortController();
    const writing = writeUntil(bbs, stop.signal);
    for (let round = 0; round < 3; round += 1) {
      const before = bbs.head?.sequence ?? 0n;
      await expect.poll(() => (bbs.head?.sequence ?? 0n) > before + 20n, { timeout: 20_000 }).toBe(true);
      await etcd.kill9();
      await etcd.start();
    }
    stop.abort();
    const { count, resends } = await writing;
    expect(resends).toBeGreaterThan(0);
    expect(await store.confirm(bbs.leadership)).toBe(true);
    await expectAll(store, bbs, count);
    await bbs.leadership.resign();
    await using next = await door(etcd.endpoints, { prefix });
    await expectAll(next, await lead(next, 5_000), count);
  });

  it("SIGSTOP: the outcome is unknown until it thaws, then the resend settles it, once", async () => {
    await using etcd = await startEtcd();
    await using store = await door(etcd.endpoints);
    const bbs = await lead(store, 30_000);
    const stop = new AbortController();
    const writing = writeUntil(bbs, stop.signal);
    for (let round = 0; round < 2; round += 1) {
      const before = bbs.head?.sequence ?? 0n;
      await expect.poll(() => (bbs.head?.sequence ?? 0n) > before + 20n, { timeout: 20_000 }).toBe(true);
      etcd.freeze();
      await sleep(1_000);
      const frozen = bbs.head;
      await sleep(200);
      expect(bbs.head).toBe(frozen);
      etcd.thaw();
    }
    stop.abort();
    const { count, resends } = await writing;
    expect(resends).toBeGreaterThan(2);
    await expectAll(store, bbs, count);
  });

  it("a leader cut off for its TTL says so itself, and after the thaw commits and confirms nothing", async () => {
    await using etcd = await startEtcd();
    await using store = await door(etcd.endpoints, { prefix: "/cut/" });
    await using rival = await door(etcd.endpoints, { prefix: "/cut/" });
    const ttlMs = 2_500;
    const bbs = await lead(store, ttlMs);
    await bbs.write([put("a", "1")]);
    const late = bbs.batch([put("a", "late")]);
    const frozenAt = performance.now();
    etcd.freeze();
    expect(await bbs.send(late)).toMatchObject({ ok: false, why: "unknown" });
    await expect(store.confirm(bbs.leadership)).rejects.toThrow();
    await expect.poll(() => bbs.leadership.lost.aborted, { timeout: 10_000 }).toBe(true);
    expect(performance.now() - frozenAt).toBeLessThan(ttlMs + 2_000);
    expect(await store.confirm(bbs.leadership)).toBe(false);
    expect(await bbs.send(late)).toEqual({ ok: false, why: "fenced" });
    etcd.thaw();
    const elected = await lead(rival, 5_000);
    await elected.write([put("a", "2")]);
    expect((await recordsOf(rival)).records).toEqual([["a", "2"]]);
  });
});

it("a leadership outlives its TTL for as long as it is held", async () => {
  await using etcd = await startEtcd();
  await using store = await door(etcd.endpoints);
  const bbs = await lead(store, 3_000);
  await sleep(7_000);
  expect(bbs.leadership.lost.aborted).toBe(false);
  expect(await store.confirm(bbs.leadership)).toBe(true);
  await bbs.write([put("a", "1")]);
});

describe("messages that arrive late", () => {
  const patient = { timing: { commitMs: 1_500 } };
  let etcd: EtcdCluster;
  beforeAll(async () => {
    etcd = await startEtcd();
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  it("a commit whose answer is lost has arrived, and its resend says so", async () => {
    await using proxy = await startProxy(etcd.endpoints[0] ?? "");
    await using store = await door([`http://127.0.0.1:${proxy.port}`], patient);
    const bbs = await lead(store, 30_000);
    await bbs.write([put("a", "1")]);
    const batch = bbs.batch([put("a", "2")]);
    proxy.mute();
    expect(await bbs.send(batch)).toMatchObject({ ok: false, why: "unknown" });
    expect(await store.readHead(never)).toEqual(batch.to);
    expect(await bbs.send(batch)).toEqual({ ok: true });
    bbs.settle(batch);
    await bbs.write([put("b", "3")]);
    expect((await recordsOf(store)).records).toEqual([
      ["a", "2"],
      ["b", "3"],
    ]);
  });

  it("a commit that arrives behind its resend and another commit changes nothing", async () => {
    await using proxy = await startProxy(etcd.endpoints[0] ?? "");
    await using store = await door([`http://127.0.0.1:${proxy.port}`], patient);
    // Another client of this process keeps its connection open: the resend must not travel on it.
    await using neighbour = await door([`http://127.0.0.1:${proxy.port}`], patient);
    await neighbour.readHead(never);
    const bbs = await lead(store, 30_000);
    await bbs.write([put("a", "1")]);
    const batch = bbs.batch([put("a", "late"), put("late", "1")]);
    proxy.hold();
    const sending = bbs.send(batch);
    await expect.poll(() => proxy.heldBytes, { timeout: 5_000 }).toBeGreaterThan(200);
    const deliver = proxy.seize(); // before the deadline: without the cancellation that follows it
    expect(await sending).toMatchObject({ ok: false, why: "unknown" });
    expect(await bbs.send(batch)).toEqual({ ok: true });
    bbs.settle(batch);
    await bbs.write([put("a", "2")]);
    const answered = proxy.answeredBytes;
    deliver();
    await expect.poll(() => proxy.answeredBytes, { timeout: 5_000 }).toBeGreaterThan(answered);
    expect(await recordsOf(store)).toEqual({
      head: bbs.head,
      records: [
        ["a", "2"],
        ["late", "1"],
      ],
    });
    await bbs.write([put("a", "3")]);
  });

  it("a commit of a cut-off leader that arrives under its successor writes nothing", async () => {
    const prefix = "/successor/";
    await using proxy = await startProxy(etcd.endpoints[0] ?? "");
    await using store = await door([`http://127.0.0.1:${proxy.port}`], { ...patient, prefix });
    await using rival = await door(etcd.endpoints, { prefix });
    const bbs = await lead(store, 10_000);
    await bbs.write([put("a", "1")]);
    proxy.hold({ newOnes: true });
    const sending = bbs.send(bbs.batch([put("a", "late"), put("late", "1")]));
    await expect.poll(() => proxy.heldBytes, { timeout: 5_000 }).toBeGreaterThan(200);
    const deliver = proxy.seize(); // before the deadline: without the cancellation that follows it
    expect(await sending).toMatchObject({ ok: false, why: "unknown" });
    // The lease goes as an expired one would, and the rival is elected on the same head that the late commit expects.
    await deleteLeader(etcd.endpoints, prefix, "bbs");
    const elected = await lead(rival, 10_000);
    deliver();
    await expect.poll(() => proxy.answeredBytes, { timeout: 5_000 }).toBeGreaterThan(0);
    expect(await recordsOf(rival)).toEqual({ head: elected.head, records: [["a", "1"]] });
    await elected.write([put("a", "2")]);
  });
});

describe("three members", () => {
  let etcd: EtcdCluster;
  beforeAll(async () => {
    etcd = await startEtcd({ members: 3 });
  });
  afterAll(() => etcd[Symbol.asyncDispose]());

  it("one of three killed, then another frozen: commits go on after a resend, the leadership stays", async () => {
    await using store = await door(etcd.endpoints);
    const bbs = await lead(store, 5_000);
    const stop = new AbortController();
    const writing = writeUntil(bbs, stop.signal);
    const progress = async (): Promise<void> => {
      const before = bbs.head?.sequence ?? 0n;
      await expect.poll(() => (bbs.head?.sequence ?? 0n) > before + 20n, { timeout: 20_000 }).toBe(true);
    };
    await progress();
    for (const n of [0, 1, 2]) {
      await etcd.kill9(n);
      await progress();
      await etcd.start(n);
      etcd.freeze(n);
      await progress();
      etcd.thaw(n);
      await etcd.ready(n);
    }
    stop.abort();
    const { count } = await writing;
    expect(bbs.leadership.lost.aborted).toBe(false);
    await expectAll(store, bbs, count);
  });

  it("with the majority frozen nothing is confirmed and nothing is acknowledged", async () => {
    await using store = await door(etcd.endpoints);
    const bbs = await lead(store, 20_000);
    await bbs.write([put("a", "1")]);
    etcd.freeze(1);
    etcd.freeze(2);
    const batch = bbs.batch([put("a", "2")]);
    // Whichever endpoint is in use: all three get a turn.
    for (let n = 0; n < 3; n += 1) {
      await expect(store.confirm(bbs.leadership)).rejects.toThrow();
      expect(await bbs.send(batch)).toMatchObject({ ok: false, why: "unknown" });
    }
    etcd.thaw(1);
    etcd.thaw(2);
    await expect.poll(() => bbs.send(batch), { timeout: 10_000 }).toEqual({ ok: true });
    bbs.settle(batch);
    await expect.poll(() => store.confirm(bbs.leadership), { timeout: 10_000 }).toBe(true);
    expect(await recordsOf(store)).toEqual({ head: bbs.head, records: [["a", "2"]] });
  });
});

describe("limits and housekeeping", () => {
  it("a full quota is refused as no-space, reads and confirms go on, and space makes it writable again", async () => {
    const quotaBytes = 16 * 1024 ** 2;
    await using etcd = await startEtcd({ quotaBytes });
    await using store = await door(etcd.endpoints, { quotaBytes });
    const bbs = await lead(store, 30_000);
    let refused: unknown;
    for (let n = 0; n < 40 && refused === undefined; n += 1) {
      const batch = bbs.batch([{ key: "same", value: Buffer.alloc(1_000_000, n) }]);
      const result = await bbs.send(batch);
      if (result.ok) bbs.settle(batch);
      else refused = result;
    }
    expect(refused).toMatchObject({ ok: false, why: "refused", reason: "no-space" });
    const probe = bbs.batch([]);
    expect(await bbs.send(probe)).toMatchObject({ ok: false, why: "refused", reason: "no-space" });
    expect(await store.confirm(bbs.leadership)).toBe(true);
    expect((await store.load(never)).head).toEqual(bbs.head);
    const { usedBytes, allowedBytes } = await store.usage(never);
    expect(usedBytes).toBeGreaterThan(0.8 * quotaBytes);
    expect(allowedBytes).toBe(quotaBytes);
    await withEtcd(etcd.endpoints, makeRoom);
    expect(await bbs.send(probe)).toEqual({ ok: true });
  });

  it("a server with lower limits than ours refuses as too-large", async () => {
    await using etcd = await startEtcd({ flags: ["--max-txn-ops", "16", "--max-request-bytes", "100000"] });
    await using store = await door(etcd.endpoints);
    const bbs = await lead(store, 10_000);
    await bbs.write([put("a", "1")]);
    const many = bbs.batch(Array.from({ length: 20 }, (_, n) => put(`k${n}`, "1")));
    expect(await bbs.send(many)).toMatchObject({ ok: false, why: "refused", reason: "too-large" });
    const large = bbs.batch([{ key: "large", value: Buffer.alloc(200_000) }]);
    expect(await bbs.send(large)).toMatchObject({ ok: false, why: "refused", reason: "too-large" });
    await bbs.write([put("a", "2")]);
    expect((await recordsOf(store)).records).toEqual([["a", "2"]]);
  });

  it("a leader compacts the history behind it, and a load that falls behind the compaction says so", async () => {
    await using etcd = await startEtcd();
    await using store = await door(etcd.endpoints, { timing: { compactEveryMs: 50, keepHistoryMs: 200 } });
    const bbs = await lead(store, 10_000);
    // Three pages: the second is read ahead.
    const large = "1".repeat(4_000);
    for (let n = 0; n < 10; n += 1) await bbs.write(Array.from({ length: 100 }, (_, i) => put(`${n}/${i}`, large)));
    const slow = await store.load(never);
    const stalled = slow.records[Symbol.asyncIterator]();
    await stalled.next();
    const { revision } = await withEtcd(etcd.endpoints, async (client) => (await client.get("x").exec()).header);
    await bbs.write([put("after", "1")]);
    const old = () => withEtcd(etcd.endpoints, (client) => client.kv.range({ key: Buffer.from("x"), revision }));
    await expect.poll(() => old().then(() => "there", String), { timeout: 5_000 }).toContain("compacted");
    const drain = async (): Promise<void> => {
      while (!(await stalled.next()).done);
    };
    await expect(drain()).rejects.toThrow("compacted");
    expect((await recordsOf(store)).records).toHaveLength(1_001);
  });

  it("compactions that fail are counted, and go on when etcd is back", async () => {
    await using etcd = await startEtcd();
    const timing = { compactEveryMs: 50, keepHistoryMs: 50, callMs: 200, patienceMs: 200 };
    await using store = await door(etcd.endpoints, { timing });
    const bbs = await lead(store, 60_000);
    // Without a write between there is nothing to compact.
    const counts = async () => {
      await bbs.insist([put("a", "1")]);
      return (await store.usage(never)).compactions;
    };
    await expect.poll(async () => (await counts()).done, { timeout: 10_000 }).toBeGreaterThan(0);
    expect((await counts()).failed).toBe(0);
    etcd.freeze();
    await sleep(1_500);
    etcd.thaw();
    await etcd.ready();
    const { done, failed } = await counts();
    expect(failed).toBeGreaterThan(0);
    await expect.poll(async () => (await counts()).done, { timeout: 10_000 }).toBeGreaterThan(done);
  });

  it("a head that another version wrote is taken over by a resend", async () => {
    await using etcd = await startEtcd();
    const prefix = "/newer/";
    await using store = await door(etcd.endpoints, { prefix });
    const bbs = await lead(store, 10_000);
    await bbs.write([put("a", "1")]);
    // Field 100, varint 1: what a newer version might add.
    const newer = Buffer.concat([encodeHead(bbs.head as never), Buffer.from([0xa0, 0x06, 0x01])]);
    await withEtcd(etcd.endpoints, async (client) => {
      await client.put(`${prefix}head`).value(newer);
    });
    expect(await store.readHead(never)).toEqual(bbs.head);
    expect(await bbs.insist([put("a", "2")])).toBe(1);
    expect(await bbs.insist([put("a", "3")])).toBe(0);
  });
});

describe("getting in", () => {
  it("waits for an etcd that does not run yet", async () => {
    await using etcd = await startEtcd();
    await etcd.kill9();
    await using store = await door(etcd.endpoints);
    const electing = store.campaign("bbs", "x", 5_000, never);
    await etcd.start();
    expect(await store.confirm(await electing)).toBe(true);
  });

  it("speaks TLS, knows its user, and says when etcd does not", async () => {
    await using etcd = await startEtcd({ tls: true });
    const tls = { ca: etcd.caOf() };
    await using plain = await door(etcd.endpoints, { tls });
    const bbs = await lead(plain, 10_000);
    await bbs.write([put("a", "1")]);
    await bbs.leadership.resign();
    await withEtcd(
      etcd.endpoints,
      async (client) => {
        await client.role("root").create();
        const root = await client.user("root").create("right");
        await root.addRole("root");
        await client.auth.authEnable();
      },
      { rootCertificate: tls.ca },
    );
    const refused = { name: "OperatorError", message: "etcd does not accept this client" };
    await expect(plain.campaign("bbs", "x", 5_000, never)).rejects.toMatchObject(refused);
    await using wrong = await door(etcd.endpoints, { tls, auth: { username: "root", password: "wrong" } });
    await expect(wrong.campaign("bbs", "x", 5_000, never)).rejects.toMatchObject(refused);
    await using right = await door(etcd.endpoints, { tls, auth: { username: "root", password: "right" } });
    const known = await lead(right, 10_000);
    await known.write([put("a", "1")]);
    expect(await right.confirm(known.leadership)).toBe(true);
    expect((await recordsOf(right)).records).toEqual([["a", "1"]]);
  });

  it.each([
    { what: "no endpoint", options: { endpoints: [] } },
    { what: "an endpoint without a port", options: { endpoints: ["http://127.0.0.1"] } },
    { what: "schemes mixed", options: { endpoints: ["http://127.0.0.1:1", "https://127.0.0.1:2"] } },
    { what: "a prefix without its end", options: { prefix: "/muster" } },
    { what: "a deadline out of bounds", options: { timing: { commitMs: 1 } } },
  ])("refuses settings that cannot work: $what", async ({ options }) => {
    await expect(
      openEtcdStore({ endpoints: ["http://127.0.0.1:1"], prefix: "/x/", clock: systemClock, ...options }),
    ).rejects.toThrow(OperatorError);
  });
});
