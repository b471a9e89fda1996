// The feed: what a filter lets through, what leaves it, who is told when, and who is cut.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { fakeClock } from "@muster/shared/clock";
import { encodeRecord } from "@muster/shared/codec";
import { type ActualLRP, asCellId, type CellId, type Change, rowKeyOf } from "@muster/shared/model";
import { actualLRP, desiredLRP } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import type { CommittedBatch } from "../journal/options.js";
import type { WatchFilter } from "./entry.js";
import { Feed } from "./feed.js";
import { maxGatherMs } from "./pace.js";
import type { Watcher } from "./watcher.js";

const one = asCellId("one");
const two = asCellId("two");
const everything: WatchFilter = { name: "/", kinds: new Set(), cellId: undefined };
const byCell = (cellId: CellId): WatchFilter => ({ name: `rows/${cellId}`, kinds: new Set(["actualLRP"]), cellId });

const on = (cellId: CellId | undefined): ActualLRP =>
  actualLRP(cellId === undefined ? {} : { state: "CLAIMED", instanceKey: { instanceGuid: "i" as never, cellId } });
const moved = (before: ActualLRP | undefined, after: ActualLRP | undefined): Change => ({
  kind: "actualLRP",
  key: rowKeyOf((after ?? before) as ActualLRP),
  before,
  after,
});
const batch = (sequence: number, ...changes: Change[]): CommittedBatch =>
  ({
    head: { sequence: BigInt(sequence) },
    changes: changes.map((change) => ({
      change,
      encoded: { value: change.after === undefined ? undefined : encodeRecord(change.kind, change.after as never) },
    })),
  }) as unknown as CommittedBatch;

/** Everything a watcher has to say now: sequence, and for each change whether the record is there. */
function said(watcher: Watcher): [number, boolean[]][] {
  const all: [number, boolean[]][] = [];
  for (let delivery = watcher.take(); delivery !== undefined; delivery = watcher.take())
    all.push([Number(delivery.sequence), delivery.changes.map(({ record }) => record !== undefined)]);
  return all;
}

describe("a filter by cell", () => {
  it.each([
    { what: "a row comes", before: on(undefined), after: on(one), there: [true] },
    { what: "a row that it has changes", before: on(one), after: on(one), there: [true] },
    { what: "a row leaves for another cell", before: on(one), after: on(two), there: [false] },
    { what: "a row leaves for no cell", before: on(one), after: on(undefined), there: [false] },
    { what: "a row is deleted", before: on(one), after: undefined, there: [false] },
  ])("$what", ({ before, after, there }) => {
    const feed = new Feed(0n, 0n, fakeClock());
    const watcher = feed.join(byCell(one), "follower");
    feed.publish(batch(1, moved(before, after)));
    expect(said(watcher)).toEqual([[1, there]]);
  });

  it("sees nothing of other cells' rows, nor of records without a cell", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    const watcher = feed.join(byCell(one), "follower");
    const desired: Change = { kind: "desiredLRP", key: "p", before: undefined, after: desiredLRP() };
    feed.publish(batch(1, moved(on(undefined), on(two)), desired));
    expect(said(watcher)).toEqual([]);
  });

  it("resumed from history sees the same", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    feed.publish(batch(1, moved(undefined, on(one))));
    feed.publish(batch(2, moved(on(one), on(two))));
    feed.publish(batch(3, moved(on(two), undefined)));
    const watcher = feed.resume(byCell(one), "follower", 1n);
    expect(watcher === undefined ? undefined : said(watcher)).toEqual([[2, [false]]]);
  });
});

describe("a watcher that resumes", () => {
  it("takes its time over a history longer than may wait for anybody, and gets each commit once", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    for (let sequence = 1; sequence <= 10_000; sequence += 1) feed.publish(batch(sequence, moved(on(one), on(one))));
    const watcher = feed.resume(everything, "follower", 0n) as Watcher;
    expect(feed.lag).toBe(10_000);
    const taken: number[] = [];
    for (let sequence = 10_001; sequence <= 10_100; sequence += 1) {
      taken.push(Number(watcher.take()?.sequence));
      feed.publish(batch(sequence, moved(on(one), on(one))));
    }
    taken.push(...said(watcher).map(([sequence]) => sequence));
    expect(watcher.idle).toBe(true);
    feed.publish(batch(10_101, moved(on(one), on(one))));
    taken.push(...said(watcher).map(([sequence]) => sequence));
    expect(taken).toEqual(Array.from({ length: 10_101 }, (_, at) => at + 1));
  });

  it("from the end of the last term has missed nothing: the commit that began this one is in no history", () => {
    const feed = new Feed(5n, 4n, fakeClock());
    const early = feed.resume(byCell(one), "follower", 4n) as Watcher;
    expect(said(early)).toEqual([]);
    feed.publish(batch(6, moved(undefined, on(one))));
    const late = feed.resume(byCell(one), "follower", 4n) as Watcher;
    for (const watcher of [early, late]) expect(said(watcher)).toEqual([[6, [true]]]);
    expect(feed.resume(byCell(one), "follower", 3n)).toBeUndefined();
  });

  it("is cut when history goes faster than it reads, and not told to resume where nothing is", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    for (let sequence = 1; sequence <= 10; sequence += 1) feed.publish(batch(sequence, moved(on(one), on(one))));
    const watcher = feed.resume(everything, "follower", 0n) as Watcher;
    expect(Number(watcher.take()?.sequence)).toBe(1);
    for (let sequence = 11; sequence <= 30_000; sequence += 1) feed.publish(batch(sequence, moved(on(one), on(one))));
    expect(watcher.take()).toBeUndefined();
    expect(watcher.cut).toBe("slow");
    expect(feed.resume(everything, "follower", 1n)).toBeUndefined();
    expect(feed.resume(everything, "follower", 30_001n)).toBeUndefined();
  });
});

describe("history", () => {
  /** What V8 has, and hides from programs that do not ask. */
  const collectGarbage = (): void => {
    setFlagsFromString("--expose-gc");
    runInNewContext("gc")();
  };

  it("lets go of what is beyond its bytes, however few commits that are", async () => {
    const feed = new Feed(0n, 0n, fakeClock());
    const mebibyte = 1024 ** 2;
    const values: WeakRef<ArrayBuffer>[] = [];
    for (let sequence = 1; sequence <= 200; sequence += 1) {
      const value = new Uint8Array(mebibyte);
      values.push(new WeakRef(value.buffer));
      const change = { change: moved(on(one), on(one)), encoded: { value } };
      feed.publish({ head: { sequence: BigInt(sequence) }, changes: [change], notes: [] } as unknown as CommittedBatch);
    }
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    const held = values.filter((value) => value.deref() !== undefined).length;
    expect(feed.resume(everything, "follower", 150n)).toBeDefined();
    expect(held).toBeGreaterThanOrEqual(50);
    expect(held).toBeLessThanOrEqual(65);
  });
});

const commits = (feed: Feed, from: number, to: number): void => {
  for (let sequence = from; sequence <= to; sequence += 1) feed.publish(batch(sequence, moved(undefined, on(one))));
};
const followers = (feed: Feed, count: number): Watcher[] =>
  Array.from({ length: count }, () => feed.join(everything, "follower"));

describe("those who watch everything", () => {
  it("are told of each commit at once while they are few", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    const watcher = feed.join(everything, "follower");
    commits(feed, 1, 3);
    expect(said(watcher)).toEqual([
      [1, [true]],
      [2, [true]],
      [3, [true]],
    ]);
  });

  it("hear of several at once when they are many: all of them, in order, soon, and in one object for all", async () => {
    const clock = fakeClock();
    const feed = new Feed(0n, 0n, clock);
    const watchers = followers(feed, 200);
    commits(feed, 1, 3);
    const [first, second] = watchers as [Watcher, Watcher];
    expect(said(first)).toEqual([[1, [true]]]);
    second.take();
    await clock.advance(maxGatherMs);
    expect(first.take()).toBe(second.take());
    expect(feed.lag).toBe(3);
    expect(watchers.slice(2).map(said)).toEqual(
      Array(198).fill([
        [1, [true]],
        [3, [true, true]],
      ]),
    );
  });

  it("hear of a lone change at once, however many they are", async () => {
    const clock = fakeClock();
    const feed = new Feed(0n, 0n, clock);
    const [watcher] = followers(feed, 1_000) as [Watcher];
    for (let sequence = 1; sequence <= 3; sequence += 1) {
      commits(feed, sequence, sequence);
      expect(said(watcher)).toEqual([[sequence, [true]]]);
      await clock.advance(maxGatherMs);
    }
  });

  it("hear of each commit at once whoever else watches, when they schedule", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    followers(feed, 1_000);
    const scheduler = feed.join(everything, "scheduler");
    const resumed = feed.resume(everything, "scheduler", 0n) as Watcher;
    commits(feed, 1, 3);
    const each = [
      [1, [true]],
      [2, [true]],
      [3, [true]],
    ];
    expect([said(scheduler), said(resumed)]).toEqual([each, each]);
  });

  it("lose nothing and get nothing twice under load, and no message of theirs is endless", async () => {
    const clock = fakeClock();
    const feed = new Feed(0n, 0n, clock);
    const [watcher] = followers(feed, 200) as [Watcher];
    const told: number[] = [];
    const each: number[] = [];
    for (let sequence = 1; sequence <= 3_000; sequence += 1) {
      commits(feed, sequence, sequence);
      // Now and then a second of it in one tick, else one in a millisecond.
      if (sequence % 1_000 > 600) continue;
      await clock.advance(1);
      for (const [last, records] of said(watcher)) {
        told.push(last);
        each.push(records.length);
      }
    }
    await clock.advance(maxGatherMs);
    for (const [last, records] of said(watcher)) {
      told.push(last);
      each.push(records.length);
    }
    // One record a commit: the sequences told are the running sums.
    let sum = 0;
    expect(told).toEqual(each.map((count) => (sum += count)));
    expect(sum).toBe(3_000);
    expect(Math.max(...each)).toBeLessThanOrEqual(256);
    expect(told.length).toBeLessThan(100);
  });

  it("that join in between get no commit twice, and nothing is kept back from a resumed one", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    const early = followers(feed, 200);
    commits(feed, 1, 3);
    const late = feed.join(everything, "follower");
    const resumed = feed.resume(everything, "follower", 2n) as Watcher;
    feed.tell();
    expect(said(late)).toEqual([]);
    expect(said(resumed)).toEqual([[3, [true]]]);
    expect(said(early[0] as Watcher)).toEqual([
      [1, [true]],
      [3, [true, true]],
    ]);
  });
});

describe("a watcher that takes nothing", () => {
  it("is cut when it falls behind, hears of it at once, and holds nothing any more", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    const watcher = feed.join(byCell(one), "follower");
    const heard: string[] = [];
    watcher.whenCut((why) => heard.push(why));
    for (let sequence = 1; sequence <= 5_000; sequence += 1) feed.publish(batch(sequence, moved(on(one), on(one))));
    expect(heard).toEqual(["slow"]);
    expect(watcher.cut).toBe("slow");
    expect(watcher.lag).toBe(0);
    expect(watcher.take()).toBeUndefined();
  });

  it("is cut for as many commits when it is told of several at a time", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    const [watcher] = followers(feed, 200) as [Watcher];
    commits(feed, 1, 4_000);
    expect([watcher.cut, feed.lag > 3_500]).toEqual([undefined, true]);
    commits(feed, 4_001, 5_000);
    expect([watcher.cut, watcher.lag]).toEqual(["slow", 0]);
  });

  it("leaves the others alone", () => {
    const feed = new Feed(0n, 0n, fakeClock());
    feed.join(everything, "follower");
    const other = feed.join(everything, "follower");
    let taken = 0;
    for (let sequence = 1; sequence <= 5_000; sequence += 1) {
      feed.publish(batch(sequence, moved(on(one), on(one))));
      taken += said(other).length;
    }
    expect(taken).toBe(5_000);
    expect(other.cut).toBeUndefined();
  });
});
