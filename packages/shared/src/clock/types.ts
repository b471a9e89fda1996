// What time and chance look like to those who use them.
import type { EpochMs } from "../model/ids.js";

export interface Clock {
  /** Cluster time in the BBS and from its watch; elsewhere for log lines only. */
  nowMs(): EpochMs;
  /** Monotonic, for durations and deadlines. */
  elapsedMs(): number;
  /** Rejects with the signal's reason once it is aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `run` once after `ms`; the returned function takes it back. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void;
}

export interface Entropy {
  /** A random UUID version 4. */
  guid(): string;
  /** An integer of 0 … limit-1. */
  below(limit: number): number;
}
