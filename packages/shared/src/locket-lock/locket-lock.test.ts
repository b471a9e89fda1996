// A holder against a scripted Locket, on a clock that moves only when told.
import { describe, expect, it } from "vitest";
import { fakeClock } from "../clock/index.js";
import { BbsError } from "../errors/index.js";
import { LostLeadershipError } from "../lifecycle/index.js";
import { silentLog } from "../log/index.js";
import { type HeldLock, holdLock, type LockAsk, type LocketIO } from "./index.js";

type Answer = "ok" | "collision" | "unavailable" | "hang";

/** Answers what `answer` says at each call, and keeps what was asked. */
function scriptedLocket() {
  const calls: string[] = [];
  let answer: Answer = "ok";
  const io: LocketIO = {
    lock: async ({ key, owner }: LockAsk) => {
      calls.push(`lock ${key} ${owner}`);
      if (answer === "collision") throw new BbsError("LockCollision");
      if (answer === "unavailable") throw new BbsError("Unavailable");
      if (answer === "hang") await new Promise(() => undefined);
    },
    release: async ({ key, owner }) => {
      calls.push(`release ${key} ${owner}`);
      if (answer === "hang") await new Promise(() => undefined);
    },
  };
  return {
    io,
    calls,
    say: (next: Answer): void => {
      answer = next;
    },
  };
}

function setUp() {
  const locket = scriptedLocket();
  const fake = fakeClock();
  let frozenMs = 0;
  const clock = {
    ...fake,
    elapsedMs: () => fake.elapsedMs() + frozenMs,
    /** Time passes, and no timer runs. */
    freeze: (ms: number): void => {
      frozenMs += ms;
    },
  };
  const stop = new AbortController();
  const hold = (): Promise<HeldLock> =>
    holdLock({
      io: locket.io,
      key: "converger",
      owner: "me",
      value: "127.0.0.1:1",
      ttlMs: 10_000,
      clock,
      log: silentLog(),
      signal: stop.signal,
    });
  return { locket, clock, stop, hold };
}

describe("taking the lock", () => {
  it("takes a free lock at once and renews it every fifth of its TTL", async () => {
    const { locket, clock, hold } = setUp();
    const held = await hold();
    await clock.advance(6_000);
    expect(locket.calls).toEqual(["lock converger me", "lock converger me", "lock converger me", "lock converger me"]);
    expect(held.held()).toBe(true);
    expect(held.lost.aborted).toBe(false);
  });

  it.each(["collision", "unavailable", "hang"] as const)(
    "waits while the answer is %s and takes it within TTL/5 of being free",
    async (answer) => {
      const { locket, clock, hold } = setUp();
      locket.say(answer);
      let taken = false;
      void hold().then(() => {
        taken = true;
      });
      await clock.advance(30_000);
      expect(taken).toBe(false);
      locket.say("ok");
      await clock.advance(answer === "hang" ? 4_000 : 2_000);
      expect(taken).toBe(true);
    },
  );

  it("stops waiting when told to, and takes back a call whose answer it does not know", async () => {
    const { locket, clock, stop, hold } = setUp();
    locket.say("hang");
    const waiting = hold();
    const refused = expect(waiting).rejects.toBe("SIGTERM");
    await clock.advance(100);
    stop.abort("SIGTERM");
    await clock.advance(2_000);
    await refused;
    expect(locket.calls).toEqual(["lock converger me", "release converger me"]);
  });
});

describe("losing the lock", () => {
  it("survives failed renewals for less than a TTL", async () => {
    const { locket, clock, hold } = setUp();
    const held = await hold();
    locket.say("unavailable");
    await clock.advance(9_900);
    expect(held.held()).toBe(true);
    locket.say("ok");
    // The next renewal would be at 10,000 ms, when it is too late: the last chance was at 8,000 ms.
    await clock.advance(200);
    expect(held.lost.aborted).toBe(true);
  });

  it.each(["unavailable", "hang"] as const)("gives up one TTL after the last renewal was sent when calls %s", async (answer) => {
    const { locket, clock, hold } = setUp();
    const held = await hold();
    await clock.advance(4_000);
    locket.say(answer);
    await clock.advance(9_999);
    expect(held.lost.aborted).toBe(false);
    await clock.advance(1);
    expect(held.lost.aborted).toBe(true);
    expect(held.lost.reason).toBeInstanceOf(LostLeadershipError);
    expect(held.held()).toBe(false);
    expect(locket.calls.at(-1)).toBe("lock converger me");
  });

  it("asks for nothing more after a freeze that outlasted the TTL, whichever timer runs first", async () => {
    const { locket, clock, hold } = setUp();
    const held = await hold();
    await clock.advance(1_000);
    clock.freeze(60_000);
    await clock.advance(1_000);
    expect(held.lost.aborted).toBe(true);
    expect(locket.calls).toEqual(["lock converger me"]);
  });

  it("goes on after a renewal that came in time again", async () => {
    const { locket, clock, hold } = setUp();
    const held = await hold();
    locket.say("unavailable");
    await clock.advance(7_000);
    locket.say("ok");
    await clock.advance(20_000);
    expect(held.held()).toBe(true);
  });

  it("gives up at once when refused, and gives nothing back", async () => {
    const { locket, clock, hold } = setUp();
    const held = await hold();
    locket.say("collision");
    await clock.advance(2_000);
    expect(held.lost.aborted).toBe(true);
    const asked = locket.calls.length;
    await clock.advance(30_000);
    await held.release();
    expect(locket.calls).toHaveLength(asked);
  });
});

describe("giving the lock back", () => {
  it("stops renewing and releases once", async () => {
    const { locket, clock, hold } = setUp();
    const held = await hold();
    await Promise.all([held.release(), held.release()]);
    await clock.advance(30_000);
    expect(locket.calls).toEqual(["lock converger me", "release converger me"]);
    expect(held.held()).toBe(false);
    expect(held.lost.aborted).toBe(false);
  });

  it("ends although Locket never answers", async () => {
    const { locket, clock, hold } = setUp();
    const held = await hold();
    locket.say("hang");
    await clock.advance(2_000);
    let released = false;
    void held.release().then(() => {
      released = true;
    });
    await clock.advance(4_000);
    expect(released).toBe(true);
  });
});
