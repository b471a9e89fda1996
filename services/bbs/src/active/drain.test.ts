// An orderly end while callers keep coming: it is over soon, what was admitted is committed and answered, the rest is refused.
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { type MemoryFaults, memoryStore, openMemoryStore } from "@muster/store/memory";
import { expect, it } from "vitest";
import { upsertDomain } from "../core/small-commands.js";
import { ActiveBbs } from "./active-bbs.js";

const plain = { seal: (bytes: Uint8Array) => bytes, open: (bytes: Uint8Array) => bytes };

it("an end under load waits for what was admitted and for nothing else", async () => {
  const clock = fakeClock();
  const faults: MemoryFaults = {};
  const store = await openMemoryStore(memoryStore(clock), { clock, faults });
  const active = await ActiveBbs.start({
    store,
    leadership: await store.campaign("bbs", "one", 60_000, new AbortController().signal),
    clock,
    entropy: seededEntropy("drain"),
    log: silentLog(),
    secrets: plain,
    metrics: { committed: () => undefined, resent: () => undefined },
    presenceTtlMs: 5_000,
    onLost: () => undefined,
  });
  // A commit takes 10 ms, callers come every 2 ms: without an end to admission the queue is never empty.
  faults.latencyMs = 10;
  const answers = new Map<number, string>();
  const call = (number: number): void => {
    active.journal.submit(upsertDomain(`d-${number}`, 0)).then(
      () => answers.set(number, "done"),
      (error: unknown) => answers.set(number, error instanceof BbsError ? `${error.code}: ${error.message}` : String(error)),
    );
  };
  for (let number = 0; number < 10; number += 1) {
    call(number);
    await clock.advance(2);
  }
  expect(active.serving).toBe(true);
  let drained = false;
  void active.drain().then(() => {
    drained = true;
  });
  expect(active.serving).toBe(false);
  for (let number = 10; number < 40; number += 1) {
    call(number);
    await clock.advance(2);
  }
  expect(drained).toBe(true);
  for (let number = 0; number < 40; number += 1) {
    expect(answers.get(number)).toBe(number < 10 ? "done" : "Unavailable: this BBS is stopping");
  }
  expect(active.state.tables.domains.size).toBe(10);
});
