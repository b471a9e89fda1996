// Replies that wait until the next commit is on its way: in order, none forgotten.
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { type MemoryFaults, memoryStore, openMemoryStore } from "@muster/store/memory";
import { describe, expect, it } from "vitest";
import { ActiveBbs } from "../active/active-bbs.js";
import { setFeatureFlag } from "../core/small-commands.js";

const plain = { seal: (bytes: Uint8Array) => bytes, open: (bytes: Uint8Array) => bytes };

/** A BBS whose store takes 10 ms a commit, and the releases that wait. */
async function lead() {
  const clock = fakeClock();
  const faults: MemoryFaults = {};
  const store = await openMemoryStore(memoryStore(clock), { clock, faults });
  const waiting: (() => void)[] = [];
  const active = await ActiveBbs.start({
    store,
    leadership: await store.campaign("bbs", "one", 10_000, new AbortController().signal),
    clock,
    entropy: seededEntropy("release"),
    log: silentLog(),
    secrets: plain,
    metrics: { committed: () => undefined, resent: () => undefined },
    whenSent: (run) => waiting.push(run),
    presenceTtlMs: 5_000,
    onLost: () => undefined,
  });
  faults.latencyMs = 10;
  const said: string[] = [];
  let enabled = false;
  const write = (name: string): void => {
    enabled = !enabled;
    active.journal.submit(setFeatureFlag({ name: "diego_docker", enabled })).then(
      () => said.push(name),
      (error: unknown) => said.push(`${name}: ${String(error)}`),
    );
  };
  /** First goes into the commit now under way, the later ones into the next. */
  const twoCommits = async (): Promise<void> => {
    write("first");
    await clock.advance(1);
    write("second");
    write("third");
  };
  return { active, clock, faults, write, waiting, said, twoCommits };
}

describe("replies of a commit that another one follows", () => {
  it("wait until that is on its way, then go out", async () => {
    const { active, clock, waiting, said, twoCommits } = await lead();
    await twoCommits();
    await clock.advance(11);
    expect({ said, waiting: waiting.length }).toEqual({ said: [], waiting: 1 });
    for (const run of waiting.splice(0)) run();
    await clock.advance(0);
    expect(said).toEqual(["first"]);
    // Nothing follows the second commit: its replies wait for nothing.
    await clock.advance(10);
    expect({ said, waiting: waiting.length }).toEqual({ said: ["first", "second", "third"], waiting: 0 });
    await active.drain();
  });

  it("go out before those of the next, even if nobody came to release them", async () => {
    const { active, clock, said, twoCommits } = await lead();
    await twoCommits();
    await clock.advance(30);
    expect(said).toEqual(["first", "second", "third"]);
    await active.drain();
  });

  it("go out when the term ends: they are committed", async () => {
    const { active, clock, said, twoCommits } = await lead();
    await twoCommits();
    await clock.advance(11);
    active.close(new BbsError("Unavailable", "over"));
    await clock.advance(0);
    expect(said).toContain("first");
    expect(said.filter((one) => one.includes("unknown"))).toHaveLength(2);
  });
});

describe("a store that takes a second", () => {
  it("is given the time in which its answer is read, should this process be the one that is late", async () => {
    const { active, clock, faults, write, said } = await lead();
    faults.latencyMs = 1_020;
    write("first");
    await clock.advance(1_010);
    expect({ said, stalled: active.journal.stalled }).toEqual({ said: [], stalled: false });
    await clock.advance(20);
    expect(said).toEqual(["first"]);
  });

  it("and longer counts as away, until it answers", async () => {
    const { active, clock, faults, write, said } = await lead();
    faults.latencyMs = 1_200;
    write("first");
    await clock.advance(1_060);
    expect({ said, stalled: active.journal.stalled }).toEqual({
      said: ["first: BbsError: the store does not answer; outcome unknown"],
      stalled: true,
    });
    await clock.advance(200);
    expect(active.journal.stalled).toBe(false);
  });
});
