// The hubs: who gets what, in which order, and what a slow reader costs the others: nothing.
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { asDomainName, asProcessGuid, put } from "@muster/shared/model";
import { actualLRP, desiredLRP } from "@muster/shared/testing";
import { type MemoryStore, memoryStore, openMemoryStore } from "@muster/store/memory";
import { afterEach, describe, expect, it } from "vitest";
import { ActiveBbs } from "../active/active-bbs.js";
import { maxGatherMs } from "../feed/pace.js";
import { bufferedBytes, bufferedEvents, EventHubs, type HubEvent, type Subscription } from "./hub.js";
import type { Showing } from "./message.js";
import type { CommandNote } from "./note.js";

const hubs = (clock = fakeClock()): EventHubs => new EventHubs({ open: (sealed) => sealed, log: silentLog(), clock });
const nothing = { ORDINARY: undefined, EVACUATING: undefined, SUSPECT: undefined };
const note = (fields: Partial<CommandNote>): CommandNote => ({
  traceId: "",
  crashed: false,
  desired: [],
  instances: [],
  tasks: [],
  ...fields,
});
const created = (index: number) =>
  note({ instances: [{ before: nothing, after: { ...nothing, ORDINARY: actualLRP({ index }) } }] });
const desiredNote = (sealedBytes = 0) =>
  note({ desired: [{ before: undefined, after: { record: desiredLRP(), sealed: new Uint8Array(sealedBytes) } }] });

function all(subscription: Subscription): HubEvent[] {
  const events: HubEvent[] = [];
  for (let event = subscription.take(); event !== undefined; event = subscription.take()) events.push(event);
  return events;
}

describe("a subscription", () => {
  it("gets the events of its hubs, in order, from when it came", () => {
    const world = hubs();
    world.publish([created(0)]);
    const lrps = world.subscribe(["desired", "instance"]);
    const groups = world.subscribe(["group"]);
    world.publish([desiredNote(), created(1), created(2)]);
    expect(all(lrps).map(({ derived }) => derived.hub)).toEqual(["desired", "instance", "instance"]);
    expect(all(groups)).toHaveLength(2);
  });

  it("that is full delivers what it has and then ends; others never notice", async () => {
    const world = hubs();
    const slow = world.subscribe(["instance"]);
    const quick = world.subscribe(["instance"]);
    let taken = 0;
    for (let index = 0; index <= bufferedEvents; index += 1) {
      world.publish([created(index)]);
      taken += all(quick).length;
    }
    expect(slow.over).toBe("slow");
    expect(all(slow)).toHaveLength(bufferedEvents);
    expect(await slow.more()).toBe(false);
    expect([taken, quick.over]).toEqual([bufferedEvents + 1, undefined]);
    expect(world.subscriptions).toBe(1);
  });

  it("counts each hub's events for themselves", () => {
    const world = hubs();
    const both = world.subscribe(["desired", "instance"]);
    for (let index = 0; index < bufferedEvents; index += 1) world.publish([created(index), desiredNote()]);
    expect(both.over).toBeUndefined();
    world.publish([desiredNote()]);
    expect(both.over).toBe("slow");
  });

  it("holds a bounded number of bytes, however large the definitions", () => {
    const world = hubs();
    const slow = world.subscribe(["desired"]);
    let published = 0;
    while (slow.over === undefined && published < bufferedEvents) {
      world.publish([desiredNote(1024 * 1024)]);
      published += 1;
    }
    expect(slow.over).toBe("slow");
    expect(published).toBeLessThanOrEqual(bufferedBytes / (1024 * 1024));
  });

  it("wakes who waits for more, and says when there will never be any", async () => {
    const world = hubs();
    const waiting = world.subscribe(["instance"]);
    const more = waiting.more();
    world.publish([created(0)]);
    expect(await more).toBe(true);
    all(waiting);
    const never = waiting.more();
    world.close();
    expect(await never).toBe(false);
    expect(() => world.subscribe(["instance"])).toThrow("closed");
  });

  it("that comes while a burst is being told gets what came after it", async () => {
    const world = hubs();
    const first = world.subscribe(["instance"]);
    world.publish(Array.from({ length: 1_000 }, (_, index) => created(index)));
    const late = world.subscribe(["instance"]);
    world.publish([created(1_000)]);
    let taken = 0;
    while (taken < 1_001 && (await first.more())) taken += all(first).length;
    expect([taken, all(late).length, first.over]).toEqual([1_001, 1, undefined]);
  });

  it("ends when far too much is told at once, and the next one starts anew", () => {
    const world = hubs();
    const flooded = world.subscribe(["instance"]);
    world.publish(Array.from({ length: 60_000 }, (_, index) => created(index)));
    expect(flooded.over).toBe("slow");
    const next = world.subscribe(["instance"]);
    world.publish([created(0)]);
    expect(all(next)).toHaveLength(1);
  });

  it("among many hears of several commits at a time, all of them and in order, and of a lone one at once", async () => {
    const clock = fakeClock();
    const world = hubs(clock);
    const [one] = Array.from({ length: 200 }, () => world.subscribe(["instance"])) as [Subscription];
    for (let index = 0; index < 3; index += 1) world.publish([created(index)]);
    const first = all(one);
    await clock.advance(maxGatherMs);
    const second = all(one);
    await clock.advance(maxGatherMs);
    world.publish([created(3)]);
    const indices = (events: HubEvent[]): unknown[] =>
      events.map(({ derived }) => (derived.hub === "instance" && "row" in derived.event ? derived.event.row.index : undefined));
    expect([first, second, all(one)].map(indices)).toEqual([[0], [1, 2], [3]]);
  });

  it("among many gets what was told of the end of the term, too", () => {
    const world = hubs();
    const [one] = Array.from({ length: 200 }, () => world.subscribe(["instance"])) as [Subscription];
    for (let index = 0; index < 3; index += 1) world.publish([created(index)]);
    world.close();
    expect(all(one)).toHaveLength(3);
    expect(world.subscriptions).toBe(0);
  });

  it("of one cell gets what concerns it, and every desire", () => {
    const world = hubs();
    const mine = world.subscribe(["desired", "instance"], "cell-1");
    world.publish([created(0), desiredNote()]);
    expect(all(mine).map(({ derived }) => derived.hub)).toEqual(["desired"]);
  });
});

it("an event whose definition cannot be opened is left out, the rest goes on", () => {
  const world = new EventHubs({
    open: () => {
      throw new Error("no such key");
    },
    log: silentLog(),
    clock: fakeClock(),
  });
  const subscription = world.subscribe(["desired", "instance"]);
  world.publish([desiredNote(1), created(0)]);
  const showing: Showing = { open: world.open, desired: (same) => same, task: (same) => same };
  expect(all(subscription).map((event) => event.message(showing)?.name)).toEqual([undefined, "actual_lrp_instance_created"]);
});

it("what cannot be derived costs its events alone: the journal goes on", () => {
  const world = hubs();
  const subscription = world.subscribe(["instance"]);
  world.publish([note({ instances: [undefined as never] }), created(0)]);
  expect(all(subscription)).toHaveLength(1);
});

describe("behind the journal", () => {
  let active: ActiveBbs | undefined;
  afterEach(() => active?.drain());

  async function start(): Promise<{ bbs: ActiveBbs; world: MemoryStore }> {
    const clock = fakeClock();
    const world = memoryStore(clock);
    const store = await openMemoryStore(world, { clock });
    active = await ActiveBbs.start({
      store,
      leadership: await store.campaign("bbs", "one", 10_000, new AbortController().signal),
      clock,
      entropy: seededEntropy("hub"),
      log: silentLog(),
      secrets: { seal: (bytes) => bytes, open: (bytes) => bytes },
      metrics: { committed: () => undefined, resent: () => undefined },
      presenceTtlMs: 5_000,
      onLost: () => undefined,
    });
    return { bbs: active, world };
  }

  const desire = (guid: string) => () => ({
    writes: [
      put("desiredLRP", desiredLRP({ processGuid: asProcessGuid(guid), domain: asDomainName("d") })),
      put("runInfo", { processGuid: asProcessGuid(guid), sealed: Uint8Array.of() }),
    ],
    reply: undefined,
  });
  const guidOf = ({ derived }: HubEvent): string =>
    derived.hub === "desired" && derived.event.kind !== "changed" ? derived.event.desired.record.processGuid : "";

  it("tells nothing before it is stored, everything before the reply, in the order of the commands", async () => {
    const { bbs } = await start();
    const subscription = bbs.events.subscribe(["desired"]);
    const replies = ["a", "b", "c"].map((guid) => bbs.journal.submit(desire(guid), { traceId: guid }));
    expect(subscription.take()).toBeUndefined();
    await replies[0];
    const told = all(subscription);
    expect(told.map(guidOf)).toEqual(["a", "b", "c"]);
    expect(told.map(({ derived }) => "traceId" in derived.event && derived.event.traceId)).toEqual(["a", "b", "c"]);
    await Promise.all(replies);
  });

  it("tells nothing of what the store refused", async () => {
    const { bbs, world } = await start();
    const subscription = bbs.events.subscribe(["desired"]);
    world.capacityBytes = world.usage.usedBytes;
    await expect(bbs.journal.submit(desire("a"))).rejects.toThrow("the store takes no writes");
    expect(subscription.take()).toBeUndefined();
    expect(subscription.over).toBeUndefined();
  });

  it("ends its streams with the term", async () => {
    const { bbs } = await start();
    const subscription = bbs.events.subscribe(["instance"]);
    await bbs.drain();
    expect(subscription.over).toBe("closed");
  });
});
