// The only place that asks the machine for the time or for chance.
import { randomInt, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { asEpochMs } from "../model/ids.js";
import type { Clock, Entropy } from "./types.js";

export const systemClock: Clock = {
  nowMs: () => asEpochMs(Date.now()),
  elapsedMs: () => performance.now(),
  sleep: async (ms, signal) => {
    try {
      await sleep(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      // Node wraps the reason; ours is to be told by it why it was woken.
      throw signal?.aborted ? signal.reason : error;
    }
  },
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

export const systemEntropy: Entropy = {
  guid: () => randomUUID(),
  below: (limit) => (limit <= 1 ? 0 : randomInt(limit)),
};
