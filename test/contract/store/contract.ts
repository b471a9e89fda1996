// The promises of the store interface, as tests for every driver. What only one driver can show is in that driver's own file.
import type { Leadership, StoreDriver, StoreWrite } from "@muster/store";
import { maxBatchBytes, maxKeyBytes, maxBatchWrites as takenByEvery } from "@muster/store";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { del, never, put, recordsOf, Scribe, text } from "./scribe.js";

/** One store and the ways to get at it. */
export interface StoreFixture extends AsyncDisposable {
  /** Opens another door to the same store. Where `shared` is false, only once the one before was disposed of. */
  open(): Promise<StoreDriver>;
  readonly shared: boolean;
  /** A TTL this store can keep and a test can wait for. */
  readonly ttlMs: number;
  /** Ends the present term of `name` behind its holder's back, where the store has a way to do so. */
  depose(name: string, holder: Leadership): Promise<void>;
}

export function describeStoreContract(name: string, create: () => Promise<StoreFixture>): void {
  describe(`the store contract, ${name}`, () => {
    let fixture: StoreFixture;
    let store: StoreDriver;
    let doors: StoreDriver[];
    const open = async (): Promise<StoreDriver> => {
      const door = await fixture.open();
      doors.push(door);
      return door;
    };
    const lead = (driver: StoreDriver, signal: AbortSignal = never): Promise<Leadership> =>
      driver.campaign("bbs", "127.0.0.1:8891", fixture.ttlMs, signal);
    const scribe = async (): Promise<Scribe> => new Scribe(store, await lead(store));
    /** A deposed and an elected leadership, each with the door it came by. */
    const twoTerms = async (): Promise<{ deposed: Scribe; elected: Scribe }> => {
      const deposed = await scribe();
      await deposed.write([put("lrp/a/0", "first")]);
      await fixture.depose("bbs", deposed.leadership);
      const other = fixture.shared ? await open() : store;
      return { deposed, elected: new Scribe(other, await lead(other), deposed.head) };
    };

    beforeEach(async () => {
      fixture = await create();
      doors = [];
      store = await open();
    });
    afterEach(async () => {
      for (const door of doors) await door[Symbol.asyncDispose]();
      await fixture[Symbol.asyncDispose]();
    });

    describe("order", () => {
      it("an empty store has neither head nor records", async () => {
        await lead(store);
        expect(await store.readHead(never)).toBeUndefined();
        expect(await recordsOf(store)).toEqual({ head: undefined, records: [] });
      });

      it("the last write of a key is what is loaded, with the last head", async () => {
        const bbs = await scribe();
        await bbs.write([put("a", "1"), put("b", "1")]);
        await bbs.write([put("a", "2"), put("c", "2")]);
        await bbs.write([del("b"), put("a", "3"), del("never-there")]);
        expect(await recordsOf(store)).toEqual({
          head: bbs.head,
          records: [
            ["a", "3"],
            ["c", "2"],
          ],
        });
        expect(await store.readHead(never)).toEqual(bbs.head);
      });

      it("records come in the order of their keys' UTF-8 bytes, and values come back to the byte", async () => {
        const bbs = await scribe();
        const keys = ["z", "a/b", "a", "a0", "é", "\u{ff5e}", "\u{1f600}", "a/", "k".repeat(maxKeyBytes), "\u0000"];
        const value = (key: string): Buffer => Buffer.from([0, 255, 128, ...Buffer.from(key), 0]);
        await bbs.write([...keys.map((key) => ({ key, value: value(key) })), { key: "empty", value: new Uint8Array(0) }]);
        const loaded: string[] = [];
        for await (const record of (await store.load(never)).records) {
          loaded.push(record.key);
          expect(Buffer.from(record.value)).toEqual(record.key === "empty" ? Buffer.alloc(0) : value(record.key));
        }
        expect(loaded).toEqual([...keys, "empty"].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
      });

      it("a batch whose head has moved on is fenced and writes nothing", async () => {
        const bbs = await scribe();
        const stale = bbs.batch([put("a", "stale")]);
        await bbs.write([put("a", "1")]);
        expect(await bbs.send(stale)).toEqual({ ok: false, why: "fenced" });
        expect((await recordsOf(store)).records).toEqual([["a", "1"]]);
      });

      it("a first commit is taken by an empty store only", async () => {
        const bbs = await scribe();
        const another = bbs.batch([put("a", "another")]);
        await bbs.write([put("a", "1")]);
        expect(await bbs.send(another)).toEqual({ ok: false, why: "fenced" });
        const unborn = bbs.batch([put("a", "unborn")]);
        await using empty = await create();
        await using door = await empty.open();
        const term = await door.campaign("bbs", "x", empty.ttlMs, never);
        expect(await door.commit(unborn, term)).toEqual({ ok: false, why: "fenced" });
        expect(await door.readHead(never)).toBeUndefined();
      });

      it("any row of batches leaves what a map would hold", async () => {
        const key = fc.constantFrom("a", "b", "c", "d/1", "d/2", "é");
        const write = fc.record({ key, value: fc.option(fc.uint8Array({ maxLength: 20 }), { nil: undefined }) });
        const batches = fc.array(fc.uniqueArray(write, { selector: ({ key }) => key, maxLength: 5 }), { maxLength: 8 });
        const bbs = await scribe();
        const model = new Map<string, string>();
        await fc.assert(
          fc.asyncProperty(batches, async (rows) => {
            for (const writes of rows) {
              await bbs.write(writes);
              for (const { key, value } of writes) value === undefined ? model.delete(key) : model.set(key, text(value));
            }
            const { head, records } = await recordsOf(store);
            expect(head ?? bbs.head).toEqual(bbs.head);
            expect(new Map(records)).toEqual(model);
          }),
          { numRuns: 25 },
        );
      });
    });

    describe("atomicity", () => {
      it("a load never sees half a batch, and holds its one revision while commits go on", async () => {
        const bbs = await scribe();
        const both = (n: number): StoreWrite[] => [put("a", `${n}`), ...filler(60, n), put("z", `${n}`)];
        await bbs.write(both(1));
        const loads: Promise<void>[] = [];
        for (let n = 2; n <= 40; n += 1) {
          const writing = bbs.write(both(n));
          if (n % 4 === 0) loads.push(expectWhole(store));
          await writing;
        }
        await Promise.all(loads);
      });

      it("a load under way stays at its revision", async () => {
        const bbs = await scribe();
        await bbs.write(filler(50, 1));
        const head = bbs.head;
        const load = await store.load(never);
        const seen: string[] = [];
        for await (const { value } of load.records) {
          if (seen.length === 0) await bbs.write([...filler(50, 2), put("later", "2")]);
          seen.push(text(value));
        }
        expect(load.head).toEqual(head);
        expect(new Set(seen)).toEqual(new Set(["1"]));
        expect(seen).toHaveLength(50);
      });

      it("a load can be left early, called off, and repeated", async () => {
        const bbs = await scribe();
        await bbs.write(filler(20, 1));
        for await (const _record of (await store.load(never)).records) break;
        const stop = new AbortController();
        const called = await store.load(stop.signal);
        const cut = async (): Promise<void> => {
          for await (const _record of called.records) stop.abort(new Error("called off"));
        };
        await expect(cut()).rejects.toThrow("called off");
        await expect(store.load(stop.signal)).rejects.toThrow("called off");
        await bbs.write([put("after", "2")]);
        expect((await recordsOf(store)).records).toHaveLength(21);
      });

      it("a batch without writes moves the head alone", async () => {
        const bbs = await scribe();
        await bbs.write([put("a", "1")]);
        await bbs.write([]);
        expect(await recordsOf(store)).toEqual({ head: bbs.head, records: [["a", "1"]] });
        expect(bbs.head?.sequence).toBe(2n);
      });
    });

    describe("limits", () => {
      const atLimit = (): StoreWrite[] => {
        const { maxBatchWrites } = store;
        expect(maxBatchWrites).toBeGreaterThanOrEqual(takenByEvery);
        const keys = Array.from({ length: maxBatchWrites }, (_, i) => `${i}`.padStart(maxKeyBytes, "k"));
        const bytes = Math.floor((maxBatchBytes - maxBatchWrites * maxKeyBytes) / maxBatchWrites);
        const rest = maxBatchBytes - maxBatchWrites * (maxKeyBytes + bytes);
        return keys.map((key, i) => ({ key, value: Buffer.alloc(bytes + (i === 0 ? rest : 0), i) }));
      };

      it("a batch at all of its limits is taken", async () => {
        const bbs = await scribe();
        const writes = atLimit();
        expect(writes.reduce((sum, { key, value }) => sum + key.length + (value?.length ?? 0), 0)).toBe(maxBatchBytes);
        await bbs.write(writes);
        expect((await recordsOf(store)).records).toHaveLength(store.maxBatchWrites);
      });

      it.each([
        {
          what: "a write",
          writes: () => Array.from({ length: store.maxBatchWrites + 1 }, (_, i) => put(`k${i}`, "1")),
        },
        { what: "a byte", writes: () => [{ key: "k", value: Buffer.alloc(maxBatchBytes) }] },
        { what: "a byte of a key", writes: () => [put("k".repeat(maxKeyBytes + 1), "1")] },
      ])("a batch with $what too many is refused, writes nothing, and stands in nobody's way", async ({ writes }) => {
        const bbs = await scribe();
        await bbs.write([put("a", "1")]);
        expect(await bbs.send(bbs.batch(writes()))).toMatchObject({ ok: false, why: "refused", reason: "too-large" });
        expect(await recordsOf(store)).toEqual({ head: bbs.head, records: [["a", "1"]] });
        await bbs.write([put("a", "2")]);
      });
    });

    describe("leadership", () => {
      it("a deposed leader writes nothing and confirms nothing, and learns that it is deposed", async () => {
        const { deposed, elected } = await twoTerms();
        const late = deposed.batch([put("lrp/a/0", "old"), put("lrp/b/0", "old")]);
        expect(await deposed.send(late)).toEqual({ ok: false, why: "fenced" });
        expect(await deposed.driver.confirm(deposed.leadership)).toBe(false);
        expect(deposed.leadership.lost.aborted).toBe(true);
        await elected.write([put("lrp/a/0", "new")]);
        expect(await elected.driver.confirm(elected.leadership)).toBe(true);
        expect(await deposed.send(late)).toEqual({ ok: false, why: "fenced" });
        expect((await recordsOf(elected.driver)).records).toEqual([["lrp/a/0", "new"]]);
      });

      it("asking alone tells a deposed leader that it is deposed", async () => {
        const bbs = await scribe();
        expect(await store.confirm(bbs.leadership)).toBe(true);
        await fixture.depose("bbs", bbs.leadership);
        expect(await store.confirm(bbs.leadership)).toBe(false);
        expect(bbs.leadership.lost.aborted).toBe(true);
      });

      it("one leads at a time; the next is elected when the first resigns, long before the TTL", async () => {
        const first = await lead(store);
        const other = fixture.shared ? await open() : store;
        let electedSoFar = false;
        const next = lead(other).then((term) => {
          electedSoFar = true;
          return term;
        });
        expect(await store.confirm(first)).toBe(true);
        expect(electedSoFar).toBe(false);
        const resignedAt = performance.now();
        await first.resign();
        await first.resign();
        expect(first.lost.aborted).toBe(true);
        const second = await next;
        expect(performance.now() - resignedAt).toBeLessThan(fixture.ttlMs / 2);
        expect(second.token).not.toBe(first.token);
        expect(await other.confirm(second)).toBe(true);
        expect(await store.confirm(first)).toBe(false);
      });

      it("a campaign is called off by its signal and leaves nothing behind", async () => {
        const first = await lead(store);
        const other = fixture.shared ? await open() : store;
        const tired = new AbortController();
        const second = lead(other, tired.signal);
        tired.abort(new Error("called off"));
        await expect(second).rejects.toThrow("called off");
        await expect(lead(other, tired.signal)).rejects.toThrow("called off");
        await first.resign();
        expect(await store.confirm(await lead(store))).toBe(true);
      });

      it("leaderships of different names do not touch each other", async () => {
        const bbs = await scribe();
        const other = await store.campaign("other", "x", fixture.ttlMs, never);
        await other.resign();
        await bbs.write([put("a", "1")]);
        expect(await store.confirm(bbs.leadership)).toBe(true);
      });

      it("a driver that is disposed of gives up its leadership", async () => {
        const bbs = await scribe();
        await bbs.write([put("a", "1")]);
        await store[Symbol.asyncDispose]();
        expect(bbs.leadership.lost.aborted).toBe(true);
        const next = await open();
        const successor = new Scribe(next, await lead(next), await next.readHead(never));
        expect(successor.head).toEqual(bbs.head);
        await successor.write([put("a", "2")]);
        expect(await recordsOf(next)).toEqual({ head: successor.head, records: [["a", "2"]] });
      });
    });

    describe("resends", () => {
      it("a batch that has arrived is ok when sent again, and is not applied twice", async () => {
        const bbs = await scribe();
        await bbs.write([put("a", "1")]);
        const batch = bbs.batch([put("a", "2"), del("b")]);
        expect(await bbs.send(batch)).toEqual({ ok: true });
        expect(await bbs.send(batch)).toEqual({ ok: true });
        bbs.settle(batch);
        expect(await recordsOf(store)).toEqual({ head: batch.to, records: [["a", "2"]] });
        await bbs.write([put("a", "3")]);
        expect(await bbs.send(batch)).toEqual({ ok: false, why: "fenced" });
        expect((await recordsOf(store)).records).toEqual([["a", "3"]]);
      });
    });

    describe("size", () => {
      it("usage grows with what is stored", async () => {
        const bbs = await scribe();
        const before = await store.usage(never);
        for (let n = 0; n < 4; n += 1) await bbs.write([{ key: `k${n}`, value: Buffer.alloc(1_000_000, n) }]);
        // etcd counts what its backend has written, a tenth of a second behind.
        const used = async (): Promise<number> => (await store.usage(never)).usedBytes;
        await expect.poll(used, { timeout: 5_000 }).toBeGreaterThanOrEqual(before.usedBytes + 3_000_000);
        const { usedBytes, allowedBytes } = await store.usage(never);
        expect(allowedBytes ?? Number.POSITIVE_INFINITY).toBeGreaterThan(usedBytes);
      });

      it("100,000 records of mixed sizes come back whole and in order", async () => {
        const bbs = await scribe();
        const large = new Map([5, 6, 7, 50_000, 99_999].map((i) => [i, 1_400_000] as const));
        const key = (i: number): string => `r/${`${i}`.padStart(6, "0")}`;
        const bytesOf = (i: number): number => large.get(i) ?? (i % 10 === 0 ? 900 : 200);
        let writes: StoreWrite[] = [];
        let bytes = 0;
        for (let i = 0; i < 100_000; i += 1) {
          if (writes.length === takenByEvery || bytes + bytesOf(i) + 8 > maxBatchBytes) {
            await bbs.write(writes);
            writes = [];
            bytes = 0;
          }
          writes.push({ key: key(i), value: Buffer.alloc(bytesOf(i), i) });
          bytes += bytesOf(i) + 8;
        }
        await bbs.write(writes);
        const { head, records } = await store.load(never);
        expect(head).toEqual(bbs.head);
        let count = 0;
        for await (const record of records) {
          const right = record.key === key(count) && record.value.length === bytesOf(count) && record.value[7] === count % 256;
          if (!right) expect.fail(`record ${count} came back as ${record.key} with ${record.value.length} bytes`);
          count += 1;
        }
        expect(count).toBe(100_000);
      });
    });
  });
}

const filler = (count: number, n: number): StoreWrite[] =>
  Array.from({ length: count }, (_, i) => put(`m/${`${i}`.padStart(3, "0")}`, `${n}`));

/** Every record of a load carries the number of the batch, which is the head's sequence. */
async function expectWhole(store: StoreDriver): Promise<void> {
  const { head, records } = await recordsOf(store);
  expect(new Set(records.map(([, value]) => value))).toEqual(new Set([`${head?.sequence}`]));
}
