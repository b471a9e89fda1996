// Room for snapshots: a few are under way at once, some wait a moment, the rest is told to come again.
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";

/** Design section 3: each holds references to every record, and the line. */
export const maxSnapshots = 4;
/** After an election every cell asks at once; most snapshots are small, so a short wait saves a round of refusals. */
const maxWaiting = 2_000;
const waitMs = 1_000;

const tooMany = (): BbsError => new BbsError("ResourceExhausted", "too many snapshots are under way; try again");

export class SnapshotSlots {
  #taken = 0;
  readonly #waiting = new Set<(error?: BbsError) => void>();

  get taken(): number {
    return this.#taken;
  }

  /** Resolves with a slot, to be given back. @throws BbsError ResourceExhausted when none came free in time. */
  async take(clock: Clock, signal: AbortSignal): Promise<void> {
    if (this.#taken < maxSnapshots) {
      this.#taken += 1;
      return;
    }
    if (this.#waiting.size >= maxWaiting) throw tooMany();
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: BbsError): void => {
        this.#waiting.delete(settle);
        cancel();
        signal.removeEventListener("abort", gone);
        if (error === undefined) resolve();
        else reject(error);
      };
      const gone = (): void => settle(new BbsError("Timeout", "the caller went away"));
      const cancel = clock.after(waitMs, () => settle(tooMany()));
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
}
