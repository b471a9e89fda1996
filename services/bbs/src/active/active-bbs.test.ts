// The active BBS on the memory store: replies wait for durability, a deposed leader answers nothing, watches miss nothing.
import { DesiredLRP as WireDesiredLRP } from "@muster/proto/models/desired_lrp";
import type { ReportResponse } from "@muster/proto/muster/v1/report";
import { ContainerState, ReportItem } from "@muster/proto/muster/v1/report";
import type { WatchResponse } from "@muster/proto/muster/v1/watch";
import { type FakeClock, fakeClock, seededEntropy } from "@muster/shared/clock";
import { isBbsError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { Mirror } from "@muster/shared/mirror";
import { asCellId, asProcessGuid } from "@muster/shared/model";
import { type MemoryFaults, type MemoryStore, memoryStore, openMemoryStore } from "@muster/store/memory";
import { afterEach, describe, expect, it } from "vitest";
import { OwnCalls } from "../api/own-calls.js";
import { desireLRP, removeDesiredLRP } from "../core/desired-lrp.js";
import { upsertDomain } from "../core/small-commands.js";
import { watch } from "../feed/watch.js";
import { ActiveBbs } from "./active-bbs.js";

const plain = { seal: (bytes: Uint8Array) => bytes, open: (bytes: Uint8Array) => bytes };
const message = (processGuid: string, instances = 1): WireDesiredLRP =>
  WireDesiredLRP.fromPartial({ processGuid, domain: "d", rootFs: "preloaded:busybox", instances });

interface Started {
  readonly active: ActiveBbs;
  readonly lost: () => string | undefined;
}

const opened: ActiveBbs[] = [];
afterEach(() => {
  for (const active of opened.splice(0)) active.close(new Error("test over") as never);
});

async function lead(world: MemoryStore, clock: FakeClock, faults: MemoryFaults = {}, seed = "one"): Promise<Started> {
  const store = await openMemoryStore(world, { clock, faults });
  const leadership = await store.campaign("bbs", seed, 10_000, new AbortController().signal);
  let lost: string | undefined;
  const active = await ActiveBbs.start({
    store,
    leadership,
    clock,
    entropy: seededEntropy(seed),
    log: silentLog(),
    secrets: plain,
    metrics: { committed: () => undefined, resent: () => undefined },
    presenceTtlMs: 5_000,
    onLost: (cause) => {
      lost = cause.message;
    },
  });
  opened.push(active);
  return { active, lost: () => lost };
}

const outcome = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
    return "ok";
  } catch (error) {
    return isBbsError(error) ? error.code : String(error);
  }
};

/** Whether a promise has settled by now. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  promise.then(
    () => {
      done = true;
    },
    () => {
      done = true;
    },
  );
  await new Promise((resolve) => setImmediate(resolve));
  return done;
}

describe("replies", () => {
  it("a reply waits for the commit, and a read waits for what it saw", async () => {
    const clock = fakeClock();
    const faults: MemoryFaults = {};
    const { active } = await lead(memoryStore(clock), clock, faults);
    faults.latencyMs = 50;
    const written = active.journal.submit(desireLRP(message("p")));
    const read = active.journal.read((state) => state.tables.desiredLRPs.size);
    const repeated = outcome(active.journal.submit(desireLRP(message("p"))));
    expect([await settled(written), await settled(read), await settled(repeated)]).toEqual([false, false, false]);
    await clock.advance(200);
    expect(await read).toBe(1);
    expect(await repeated).toBe("ResourceExists");
    await written;
  });

  it("reads that wait are bounded as commands are: each holds on to what it has read", async () => {
    const clock = fakeClock();
    const faults: MemoryFaults = {};
    const { active } = await lead(memoryStore(clock), clock, faults);
    faults.latencyMs = 50;
    const reads = Array.from({ length: 20_001 }, (_, at) => outcome(active.journal.read(() => at)));
    await clock.advance(200);
    const refused = (await Promise.all(reads)).flatMap((end, at) => (end === "ok" ? [] : [`${at}: ${end}`]));
    expect(refused).toEqual(["20000: ResourceExhausted"]);
    faults.latencyMs = 0;
    expect(await outcome(active.journal.read(() => undefined))).toBe("ok");
  });

  it("an unknown outcome is settled by resending, and written once", async () => {
    const clock = fakeClock();
    const world = memoryStore(clock);
    const faults: MemoryFaults = {};
    const { active } = await lead(world, clock, faults);
    let asked = 0;
    faults.onCommit = () => {
      asked += 1;
      return asked === 1 ? { kind: "unknown", arrives: "now" } : asked === 2 ? { kind: "unknown", arrives: "never" } : undefined;
    };
    const before = active.journal.head.sequence;
    const written = outcome(active.journal.submit(desireLRP(message("p"))));
    await clock.advance(500);
    expect(await written).toBe("ok");
    expect(active.journal.head.sequence).toBe(before + 1n);
  });

  it("a store that is away: admitted calls end as outcome unknown, later ones are not admitted, and what was admitted still lands", async () => {
    const clock = fakeClock();
    const world = memoryStore(clock);
    const faults: MemoryFaults = {};
    const { active } = await lead(world, clock, faults);
    faults.onCommit = () => ({ kind: "unknown", arrives: "never" });
    const admitted = outcome(active.journal.submit(desireLRP(message("early"))));
    await clock.advance(1_100);
    expect(await admitted).toBe("OutcomeUnknown");
    expect(await outcome(active.journal.submit(desireLRP(message("late"))))).toBe("Unavailable");
    delete faults.onCommit;
    await clock.advance(1_000);
    expect(await active.journal.read((state) => [...state.tables.desiredLRPs.keys()])).toEqual(["early"]);
  });

  it("a deposed leader answers nothing and ends", async () => {
    const clock = fakeClock();
    const world = memoryStore(clock);
    const faults: MemoryFaults = {};
    const first = await lead(world, clock, faults);
    await first.active.journal.submit(desireLRP(message("p")));
    faults.cutOff = true;
    const read = outcome(first.active.journal.read((state) => state.tables.desiredLRPs.size));
    const election = lead(world, clock, {}, "two");
    await clock.advance(11_000);
    const second = await election;
    expect(await second.active.journal.read((state) => [...state.tables.desiredLRPs.keys()])).toEqual(["p"]);
    expect(await read).toBe("Unavailable");
    faults.cutOff = false;
    expect(await outcome(first.active.journal.submit(removeDesiredLRP(asProcessGuid("p"))))).not.toBe("ok");
    await clock.advance(2_000);
    expect(first.lost()).toBeDefined();
    expect(await second.active.journal.read((state) => state.tables.desiredLRPs.size)).toBe(1);
  });

  it("a store that is full: what it refused never was, reads go on, and writes come back with the room", async () => {
    const clock = fakeClock();
    const world = memoryStore(clock);
    const faults: MemoryFaults = {};
    const { active, lost } = await lead(world, clock, faults);
    await active.journal.submit(desireLRP(message("before")));
    faults.onCommit = () => ({ kind: "refused", reason: "no-space" });
    const refused = outcome(active.journal.submit(desireLRP(message("refused"))));
    await clock.advance(100);
    expect(await refused).toBe("Unavailable");
    expect(await active.journal.read((state) => [...state.tables.desiredLRPs.keys()])).toEqual(["before"]);
    expect(await outcome(active.journal.submit(desireLRP(message("later"))))).toBe("Unavailable");
    expect(active.journal.readOnlyBecause?.message).toMatch(/no-space/);
    await clock.advance(3_000);
    expect(await outcome(active.journal.submit(desireLRP(message("later"))))).toBe("Unavailable");
    delete faults.onCommit;
    await clock.advance(1_500);
    expect(await outcome(active.journal.submit(desireLRP(message("after"))))).toBe("ok");
    expect(await active.journal.read((state) => [...state.tables.desiredLRPs.keys()])).toEqual(["before", "after"]);
    expect(lost()).toBeUndefined();
  });

  it("a store that refuses what it may have had before: whether that was written nobody can say", async () => {
    const clock = fakeClock();
    const faults: MemoryFaults = {};
    const { active } = await lead(memoryStore(clock), clock, faults);
    let sent = 0;
    faults.onCommit = () => {
      sent += 1;
      return sent === 1 ? { kind: "unknown", arrives: { afterMs: 500 } } : { kind: "refused", reason: "no-space" };
    };
    const written = outcome(active.journal.submit(desireLRP(message("p"))));
    await clock.advance(400);
    expect(await written).toBe("OutcomeUnknown");
    expect(active.journal.readOnlyBecause?.message).toMatch(/no-space/);
  });

  it("a store that is full: reads and snapshots go on also while it refuses a probe", async () => {
    const clock = fakeClock();
    const faults: MemoryFaults = {};
    const { active } = await lead(memoryStore(clock), clock, faults);
    faults.onCommit = () => ({ kind: "refused", reason: "no-space" });
    const refused = outcome(active.journal.submit(desireLRP(message("refused"))));
    await clock.advance(100);
    expect(await refused).toBe("Unavailable");
    // A probe a second, each under way for 50 ms.
    faults.latencyMs = 50;
    const reads: Promise<string>[] = [];
    for (let n = 0; n < 80; n += 1) {
      reads.push(outcome(active.journal.read(() => undefined)), outcome(active.journal.readSealed(() => undefined)));
      await clock.advance(25);
    }
    await clock.advance(200);
    expect(new Set(await Promise.all(reads))).toEqual(new Set(["ok"]));
  });

  it("a name that no store takes is refused to the one who asked, and nobody else notices", async () => {
    const clock = fakeClock();
    const { active } = await lead(memoryStore(clock), clock);
    // Diego's 255 characters, of four bytes each.
    const named = outcome(active.journal.submit(upsertDomain("\u{1f600}".repeat(255), 0)));
    const beside = outcome(active.journal.submit(desireLRP(message("p"))));
    await clock.advance(10);
    expect([await named, await beside]).toEqual(["InvalidRequest", "ok"]);
    expect(active.journal.readOnlyBecause).toBeUndefined();
  });

  it("a damaged store is not served: the record that cannot be read is named, with what to do", async () => {
    const clock = fakeClock(1_000_000);
    const world = memoryStore(clock);
    const store = await openMemoryStore(world, { clock });
    const leadership = await store.campaign("bbs", "vandal", 10_000, new AbortController().signal);
    const from = { incarnation: "i", sequence: 0n, leaderEpoch: 0n, batchId: "", clusterTimeMs: 0, schemaVersion: 1 };
    const writes = [{ key: "actual/p/0/ORDINARY", value: Buffer.from("0affff", "hex") }];
    await store.commit({ writes, from, to: { ...from, sequence: 1n, batchId: "vandal" } }, leadership);
    await leadership.resign();
    await expect(lead(world, clock, {}, "two")).rejects.toThrow("the stored record actual/p/0/ORDINARY cannot be read");
  });

  it("a new leader goes on with a continuation, and cluster time never goes back", async () => {
    const clock = fakeClock();
    const world = memoryStore(clock);
    const faults: MemoryFaults = {};
    const first = await lead(world, clock, faults);
    const desired = first.active.journal.submit(desireLRP(message("p", 1_000)));
    await desired;
    const before = first.active.journal.nowMs();
    clock.jumpWall(-3_600_000);
    faults.cutOff = true;
    const election = lead(world, clock, {}, "two");
    await clock.advance(11_000);
    const second = await election;
    expect(second.active.journal.nowMs()).toBeGreaterThanOrEqual(before);
    await clock.advance(1_000);
    expect(await second.active.journal.read((state) => state.tables.actualLRPs.size)).toBe(1_000);
  });
});

describe("locks and presences", () => {
  it("one whose taker never heard that he has it expires all the same", async () => {
    const clock = fakeClock();
    const faults: MemoryFaults = {};
    const { active } = await lead(memoryStore(clock), clock, faults);
    const own = new OwnCalls(active);
    const ask = (owner: string) => outcome(own.lock({ key: "auctioneer", owner, value: "", type: "lock", typeCode: 1 }, 10n));
    faults.onCommit = () => ({ kind: "unknown", arrives: "never" });
    const dead = ask("dead");
    await clock.advance(1_100);
    expect(await dead).toBe("OutcomeUnknown");
    delete faults.onCommit;
    await clock.advance(1_000);
    const early = ask("next");
    await clock.advance(10);
    expect(await early).toBe("LockCollision");
    await clock.advance(10_000);
    const late = ask("next");
    await clock.advance(10);
    expect(await late).toBe("ok");
  });
});

describe("watch", () => {
  const follow = (mirror: Mirror, signal: AbortSignal): Promise<void> => mirror.run(signal).catch(() => undefined);

  it("a snapshot and what follows miss nothing, while writes go on", async () => {
    const clock = fakeClock();
    const { active } = await lead(memoryStore(clock), clock);
    await active.journal.submit(desireLRP(message("before", 3)));
    const stop = new AbortController();
    const mirror = new Mirror({
      open: (request, signal) => watch(active, request, { audience: "scheduler", signal }),
      kinds: ["desiredLRP", "actualLRP"],
      clock,
      log: silentLog(),
    });
    const under = active.journal.submit(desireLRP(message("under-way", 2)));
    const running = follow(mirror, stop.signal);
    await clock.advance(10);
    await under;
    await active.journal.submit(desireLRP(message("after", 150)));
    await active.journal.submit(removeDesiredLRP(asProcessGuid("before")));
    await clock.advance(100);
    const truth = await active.journal.read((state) => [...state.tables.actualLRPs.keys()].sort());
    expect(mirror.synced).toBe(true);
    expect([...mirror.tables.actualLRPs.keys()].sort()).toEqual(truth);
    expect(truth).toHaveLength(152);
    stop.abort();
    await clock.advance(10);
    await running;
  });

  it("a token resumes where it left; one of another store, or of the future, gets a reset and a snapshot", async () => {
    const clock = fakeClock();
    const { active } = await lead(memoryStore(clock), clock);
    await active.journal.submit(desireLRP(message("one")));
    const token = { incarnation: active.journal.head.incarnation, sequence: active.journal.head.sequence };
    await active.journal.submit(desireLRP(message("two")));
    const kindsOf = async (after: typeof token, count: number): Promise<string[]> => {
      const stop = new AbortController();
      const said: WatchResponse[] = [];
      for await (const response of watch(
        active,
        { after, kinds: [], cellId: "" },
        { audience: "follower", signal: stop.signal },
      )) {
        said.push(response);
        if (said.length === count) break;
      }
      return said.map((response) => response.message?.$case ?? "none");
    };
    expect(await kindsOf(token, 2)).toEqual(["progress", "commit"]);
    expect(await kindsOf({ ...token, incarnation: "other" }, 3)).toEqual(["reset", "snapshot", "synced"]);
    expect(await kindsOf({ ...token, sequence: token.sequence + 99n }, 3)).toEqual(["reset", "snapshot", "synced"]);
  });
});

describe("failover", () => {
  it("a watcher that stands at the loaded head resumes at the new leader; one that stands earlier starts anew", async () => {
    const clock = fakeClock();
    const world = memoryStore(clock);
    const faults: MemoryFaults = {};
    const first = await lead(world, clock, faults);
    await first.active.journal.submit(desireLRP(message("one")));
    const earlier = { incarnation: first.active.journal.head.incarnation, sequence: first.active.journal.head.sequence };
    await first.active.journal.submit(desireLRP(message("two")));
    const latest = { ...earlier, sequence: first.active.journal.head.sequence };
    faults.cutOff = true;
    const election = lead(world, clock, {}, "two");
    await clock.advance(11_000);
    const second = await election;
    const firstWord = async (after: typeof latest): Promise<string> => {
      for await (const response of watch(
        second.active,
        { after, kinds: [], cellId: "" },
        { audience: "follower", signal: new AbortController().signal },
      )) {
        return response.message?.$case ?? "none";
      }
      return "nothing";
    };
    expect(await firstWord(latest)).toBe("progress");
    expect(await firstWord(earlier)).toBe("reset");
  });
});

describe("a cell's session", () => {
  const presence = {
    cellId: "cell-1",
    repAddress: "127.0.0.1:1801",
    zone: "z1",
    capacity: { memoryMb: 1024, diskMb: 1024, containers: 10 },
    rootfsProviders: [],
    placementTags: [],
    optionalPlacementTags: [],
    repUrl: "",
    annotations: {},
  };
  const hello = (owner: string) => ({
    message: { $case: "hello" as const, value: { presence, owner, ttlMs: 5_000, evacuating: false } },
  });

  function session(active: ActiveBbs, cell = "cell-1") {
    const said: ReportResponse[] = [];
    const ends: string[] = [];
    const opened = active.openSession(
      asCellId(cell),
      (response) => said.push(response),
      (end) => ends.push(end.error?.code ?? end.reason),
    );
    return { opened, ends, words: () => said.map((response) => response.message?.$case) };
  }

  it("a silent cell loses its presence after the TTL, and a heartbeat keeps it", async () => {
    const clock = fakeClock();
    const { active } = await lead(memoryStore(clock), clock);
    const { opened: one, ends, words } = session(active);
    await one.receive(hello("owner"));
    await clock.advance(4_000);
    await one.receive({ message: { $case: "heartbeat", value: { number: 1n, presence: undefined, evacuating: undefined } } });
    await clock.advance(4_000);
    expect(active.state.tables.cell(asCellId("cell-1"))?.lostAtMs).toBeUndefined();
    await clock.advance(2_000);
    expect(active.state.tables.cell(asCellId("cell-1"))?.lostAtMs).toBeDefined();
    expect(words()).toEqual(["welcome", "heartbeat"]);
    expect(ends).toEqual(["Unavailable"]);
  });

  it("the newest session wins, another owner collides, a foreign certificate is refused", async () => {
    const clock = fakeClock();
    const { active } = await lead(memoryStore(clock), clock);
    const first = session(active);
    await first.opened.receive(hello("owner"));
    const second = session(active);
    await second.opened.receive(hello("owner"));
    expect(first.ends).toEqual(["a newer session of the same cell"]);
    const thief = session(active);
    await thief.opened.receive(hello("thief"));
    expect(thief.ends).toEqual(["LockCollision"]);
    const foreign = session(active, "cell-9");
    await foreign.opened.receive(hello("owner"));
    expect(foreign.ends).toEqual(["PermissionDenied"]);
    expect(second.ends).toEqual([]);
  });

  it("a batch of more than a session may have undecided ends it: all of a batch is decided in one tick", async () => {
    const clock = fakeClock();
    const { active } = await lead(memoryStore(clock), clock);
    const { opened: one, ends, words } = session(active);
    await one.receive(hello("owner"));
    const items = Array.from({ length: 4_001 }, (_, at) => ReportItem.fromPartial({ id: BigInt(at) }));
    await one.receive({ message: { $case: "batch", value: { items } } });
    expect({ ends, words: words() }).toEqual({ ends: ["InvalidRequest"], words: ["welcome"] });
  });

  it("of an inventory that waits for room nothing is decided once a newer session is there (R1)", async () => {
    const clock = fakeClock();
    const { active } = await lead(memoryStore(clock), clock);
    await active.journal.submit(desireLRP(message("p")));
    const one = session(active);
    await one.opened.receive(hello("owner"));
    const empty = { message: { $case: "inventory" as const, value: { containers: [], last: true } } };
    await one.opened.receive(empty);
    const claim = {
      id: 1n,
      actualLrpKey: { processGuid: "p", index: 0, domain: "d" },
      actualLrpInstanceKey: { instanceGuid: "i", cellId: "cell-1" },
      report: { $case: "claimed" as const, value: {} },
    };
    await one.opened.receive({ message: { $case: "batch", value: { items: [claim] } } });
    const outrun = one.opened.receive(empty);
    // All the room there is, from when the inventory was compared with the rows until a newer session has come.
    let leave = (): void => undefined;
    const others = active.room.within(Number.POSITIVE_INFINITY, () => new Promise<void>((resolve) => (leave = resolve)));
    await clock.advance(10);
    await session(active).opened.receive(hello("owner"));
    leave();
    await Promise.all([outrun, others]);
    expect(active.state.tables.rows(asProcessGuid("p"), 0).ORDINARY?.state).toBe("CLAIMED");
  });

  it("the inventory confirms what runs and gives back what is gone", async () => {
    const clock = fakeClock();
    const { active } = await lead(memoryStore(clock), clock);
    await active.journal.submit(desireLRP(message("p", 2)));
    const one = session(active);
    await one.opened.receive(hello("owner"));
    const keys = (index: number) => ({
      actualLrpKey: { processGuid: "p", index, domain: "d" },
      actualLrpInstanceKey: { instanceGuid: `i${index}`, cellId: "cell-1" },
    });
    const item = (id: bigint, index: number) => ({ id, ...keys(index), report: { $case: "claimed" as const, value: {} } });
    await one.opened.receive({ message: { $case: "inventory", value: { containers: [], last: true } } });
    await one.opened.receive({ message: { $case: "batch", value: { items: [item(1n, 0), item(2n, 1)] } } });
    const again = session(active);
    await again.opened.receive(hello("owner"));
    const container = {
      ...keys(0),
      state: ContainerState.CONTAINER_STATE_CLAIMED,
      actualLrpNetInfo: undefined,
      routable: false,
      taskGuid: "",
      actualLrpInternalRoutes: [],
      metricTags: {},
    };
    await again.opened.receive({ message: { $case: "inventory", value: { containers: [container], last: true } } });
    expect(again.words()).toEqual(["welcome", "inventoryDecided"]);
    const states = [0, 1].map((index) => active.state.tables.rows(asProcessGuid("p"), index).ORDINARY?.state);
    expect(states).toEqual(["CLAIMED", "UNCLAIMED"]);
  });
});
