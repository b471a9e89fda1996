// Reads and the confirmation of the leadership: each has one that began after it came, and none waits for another's that hangs.
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import type { StoreDriver } from "@muster/store";
import { type MemoryFaults, memoryStore, openMemoryStore } from "@muster/store/memory";
import { afterEach, describe, expect, it } from "vitest";
import { ActiveBbs } from "../active/active-bbs.js";
import { setFeatureFlag } from "../core/small-commands.js";

const plain = { seal: (bytes: Uint8Array) => bytes, open: (bytes: Uint8Array) => bytes };

let active: ActiveBbs | undefined;
afterEach(() => active?.drain());

/** A BBS on a store whose confirmations are answered by this test. */
async function lead() {
  const clock = fakeClock();
  const faults: MemoryFaults = {};
  const memory = await openMemoryStore(memoryStore(clock), { clock, faults });
  let held = false;
  const answers: ((holds: boolean) => void)[] = [];
  const store: StoreDriver = new Proxy(memory, {
    get: (target, name) => {
      if (name === "confirm" && held) return () => new Promise<boolean>((resolve) => answers.push(resolve));
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const bbs = await ActiveBbs.start({
    store,
    leadership: await memory.campaign("bbs", "one", 10_000, new AbortController().signal),
    clock,
    entropy: seededEntropy("confirm"),
    log: silentLog(),
    secrets: plain,
    metrics: { committed: () => undefined, resent: () => undefined },
    presenceTtlMs: 5_000,
    onLost: () => undefined,
  });
  active = bbs;
  const said: string[] = [];
  const read = (name: string): void => {
    bbs.journal
      .read(() => undefined)
      .then(
        () => said.push(name),
        (error: Error) => said.push(`${name}: ${error.message}`),
      );
  };
  return {
    bbs,
    clock,
    faults,
    answers,
    said,
    read,
    hold: () => {
      held = true;
    },
    release: () => {
      held = false;
    },
  };
}

describe("a read that comes while a confirmation is under way", () => {
  it("is not answered by it: it began too early", async () => {
    const { clock, answers, said, read, hold } = await lead();
    hold();
    read("first");
    await clock.advance(1);
    read("second");
    await clock.advance(1);
    expect(answers).toHaveLength(1);
    answers[0]?.(true);
    await clock.advance(1);
    expect([said, answers.length]).toEqual([["first"], 2]);
    answers[1]?.(true);
    await clock.advance(1);
    expect(said).toEqual(["first", "second"]);
  });

  it("does not wait until one that hangs is given up", async () => {
    const { clock, said, read, hold, release } = await lead();
    hold();
    read("first");
    await clock.advance(1);
    release();
    read("second");
    await clock.advance(110);
    expect(said).toEqual(["second"]);
    await clock.advance(1_000);
    expect(said).toEqual(["second", "first: the store does not answer"]);
  });

  it("shares the next with all who come meanwhile, and a bounded number hangs", async () => {
    const { clock, answers, said, read, hold } = await lead();
    hold();
    for (let ms = 0; ms < 3_000; ms += 1) {
      read(`${ms}`);
      await clock.advance(1);
    }
    expect(answers.length).toBeLessThanOrEqual(31);
    // Each is told within its bound: 100 ms for another's that is late, then its own.
    expect(said.length).toBeGreaterThanOrEqual(3_000 - 1_200);
    await clock.advance(1_200);
    expect(said).toHaveLength(3_000);
  });
});

describe("a read beside a commit", () => {
  it("that hangs is told when the commit is given up, also if its turn to be confirmed comes only then", async () => {
    const { bbs, clock, faults, said, read, hold, release } = await lead();
    faults.latencyMs = 10_000;
    bbs.journal.submit(setFeatureFlag({ name: "diego_docker", enabled: true })).catch(() => said.push("write"));
    await clock.advance(960);
    hold();
    read("first");
    await clock.advance(40);
    read("second");
    // From now on the store confirms at once; the commit goes on hanging.
    release();
    faults.latencyMs = 0;
    await clock.advance(120);
    expect(said).toEqual([
      "write",
      "first: the store does not answer; outcome unknown",
      "second: the store does not answer; nothing was admitted",
    ]);
    await clock.advance(10_000);
  });

  it("does not hold up who comes later and rests on nothing of it", async () => {
    const { bbs, clock, faults, said, read } = await lead();
    faults.latencyMs = 50;
    const written = bbs.journal.submit(setFeatureFlag({ name: "diego_docker", enabled: true })).then(() => said.push("write"));
    await clock.advance(1);
    read("beside");
    await clock.advance(60);
    await written;
    await clock.advance(60);
    read("after");
    await clock.advance(60);
    expect(said).toEqual(["write", "beside", "after"]);
  });
});
