// Commits of an offline writer (a migration, a restore): one after the other under the fence, each settled before the next.
import type { Clock, Entropy } from "@muster/shared/clock";
import { BbsError, OperatorError } from "@muster/shared/errors";
import type { Head, Leadership, StoreBatch, StoreDriver, StoreWrite } from "@muster/store";
import { maxBatchBytes } from "../journal/batch.js";

export interface CommitTools {
  readonly store: StoreDriver;
  readonly leadership: Leadership;
  readonly clock: Clock;
  readonly entropy: Entropy;
}

/** Between resends of a batch of unknown outcome. */
const resendMs = 100;

/**
 * Sends the very same batch until its outcome is known.
 * @throws BbsError Unavailable once the leadership is lost; OperatorError when the store takes no writes.
 */
export async function settle({ store, leadership, clock }: CommitTools, batch: StoreBatch): Promise<void> {
  for (;;) {
    const result = await store.commit(batch, leadership);
    if (result.ok) return;
    if (result.why === "fenced") throw new BbsError("Unavailable", "another leads the store now");
    if (result.why === "refused") {
      throw new OperatorError(
        `the store takes no writes (${result.reason})`,
        "make room in the store, then start again",
        result.cause,
      );
    }
    await clock.sleep(resendMs, leadership.lost);
  }
}

/** Moves the head on, one bounded batch at a time. */
export class CommitChain {
  readonly #tools: CommitTools;
  #head: Head;
  #writes: StoreWrite[] = [];
  #bytes = 0;

  constructor(tools: CommitTools, head: Head) {
    this.#tools = tools;
    this.#head = head;
  }

  get head(): Head {
    return this.#head;
  }

  /** Whether nothing is gathered. */
  get empty(): boolean {
    return this.#writes.length === 0;
  }

  /** Whether these writes, and `spare` more small ones, still fit into the commit that is being gathered. */
  fits(writes: readonly StoreWrite[], spare = 0): boolean {
    return (
      this.#writes.length + writes.length + spare <= this.#tools.store.maxBatchWrites &&
      this.#bytes + sizeOf(writes) <= maxBatchBytes
    );
  }

  gather(writes: readonly StoreWrite[]): void {
    this.#writes.push(...writes);
    this.#bytes += sizeOf(writes);
  }

  /** Commits what was gathered and `more`, with `fields` of the head changed. */
  async commit(more: readonly StoreWrite[] = [], fields: Partial<Head> = {}): Promise<void> {
    const { clock, entropy } = this.#tools;
    const to: Head = {
      ...this.#head,
      clusterTimeMs: Math.max(this.#head.clusterTimeMs, clock.nowMs()),
      ...fields,
      sequence: this.#head.sequence + 1n,
      batchId: entropy.guid(),
    };
    await settle(this.#tools, { writes: [...this.#writes, ...more], from: this.#head, to });
    this.#head = to;
    this.#writes = [];
    this.#bytes = 0;
  }
}

const sizeOf = (writes: readonly StoreWrite[]): number => {
  let bytes = 0;
  for (const { key, value } of writes) bytes += Buffer.byteLength(key) + (value?.byteLength ?? 0);
  return bytes;
};
