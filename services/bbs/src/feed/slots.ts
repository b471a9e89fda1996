// Room for long answers: a few are under way at once, some wait a moment, the rest is told to come again.
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";

export interface SlotBounds {
  readonly atOnce: number;
  /** So many wait, each for so long. */
  readonly maxWaiting: number;
  readonly waitMs: number;
  /** What they are, for the refusal. */
  readonly what: string;
}

/** Design section 3: each holds references to every record, and the line. */
export const maxSnapshots = 4;
/** After an election every cell asks at once; most snapshots are small, so a short wait saves a round of refusals. */
export const snapshotBounds: SlotBounds = { atOnce: maxSnapshots, maxWaiting: 2_000, waitMs: 1_000, what: "snapshots" };

/** Each holds references to its records and, if its reader is slow, a megabyte on its way. */
export const maxLongLists = 32;
/** A list of all rows takes seconds, most lists take milliseconds. */
export const listBounds: SlotBounds = { atOnce: maxLongLists, maxWaiting: 1_000, waitMs: 2_000, what: "long lists" };

export class Slots {
  readonly #bounds: SlotBounds;
  #taken = 0;
  readonly #waiting = new Set<(error?: BbsError) => void>();

  constructor(bounds: SlotBounds) {
    this.#bounds = bounds;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Resolves with a slot, to be given back. @throws BbsError ResourceExhausted when none came free in time. */
  async take(clock: Clock, signal: AbortSignal): Promise<void> {
    const { atOnce, maxWaiting, waitMs } = this.#bounds;
    if (this.#taken < atOnce) {
      this.#taken += 1;
      return;
    }
    if (this.#waiting.size >= maxWaiting) throw this.#tooMany();
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: BbsError): void => {
        this.#waiting.delete(settle);
        cancel();
        signal.removeEventListener("abort", gone);
        if (error === undefined) resolve();
        else reject(error);
      };
      const gone = (): void => settle(new BbsError("Timeout", "the caller went away"));
      const cancel = clock.after(waitMs, () => settle(this.#tooMany()));
      this.#waiting.add(settle);
      signal.addEventListener("abort", gone, { once: true });
      if (signal.aborted) gone();
    });
  }

  /** Gives a slot back: to whoever waits longest, if anybody does. */
  give(): void {
    const [next] = this.#waiting;
    if (next === undefined) this.#taken -= 1;
    else next();
  }

  #tooMany(): BbsError {
    return new BbsError("ResourceExhausted", `too many ${this.#bounds.what} are under way; try again`);
  }
}
