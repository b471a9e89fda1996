// The active BBS inside the bench's own process: core and journal on a real store, no gRPC.
import { ActiveBbs, createSealer, whenSent } from "@muster/bbs";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { type StoreHome, sealingKeys } from "../support/bbs.js";

/** Wins the leadership and serves this process; throws out of the event loop when it is lost. */
export async function startActive(store: Awaited<ReturnType<StoreHome["open"]>>): Promise<ActiveBbs> {
  const leadership = await store.campaign("bbs", "bench", 10_000, new AbortController().signal);
  return ActiveBbs.start({
    store,
    leadership,
    clock: systemClock,
    entropy: systemEntropy,
    log: silentLog(),
    secrets: createSealer(sealingKeys),
    metrics: { committed: () => undefined, resent: () => undefined },
    whenSent,
    presenceTtlMs: 5_000,
    onLost: (cause) => {
      throw cause;
    },
  });
}
