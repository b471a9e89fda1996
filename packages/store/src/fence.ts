// The one rule of every commit, as the drivers that hold the data themselves apply it. The etcd driver states the same rule
// as a transaction (etcd/requests.ts).
import type { Head, StoreBatch } from "./driver.js";
import { sameHead } from "./head.js";

/** `arrived`: an earlier send of this very batch was written. */
export type Verdict = "write" | "arrived" | "fenced";

/** Judges a batch by the head as it stands (`undefined` before the first commit) and by whether its term still leads. */
export function judge(batch: StoreBatch, head: Head | undefined, leads: boolean): Verdict {
  if (head !== undefined && sameHead(head, batch.to)) return "arrived";
  if (!leads) return "fenced";
  const fresh = head === undefined && batch.from.sequence === 0n;
  return fresh || (head !== undefined && sameHead(head, batch.from)) ? "write" : "fenced";
}
