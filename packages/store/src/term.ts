// What the leaderships of all drivers have in common: a name for the term and a signal that goes off once.
import { invariant } from "@muster/shared/errors";
import type { Leadership } from "./driver.js";

/** Why a leadership ended, as the reason of its `lost` signal. */
export class LeadershipLost extends Error {
  override readonly name = "LeadershipLost";
}

export abstract class Term implements Leadership {
  readonly token: string;
  readonly #lost = new AbortController();

  constructor(token: string) {
    this.token = token;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether nothing has spoken against this term so far; only the store itself can say that it holds. */
  get open(): boolean {
    return !this.#lost.signal.aborted;
  }

  /** Sets off `lost`, once. */
  lose(why: string, cause?: unknown): void {
    if (this.open) this.#lost.abort(new LeadershipLost(why, cause === undefined ? undefined : { cause }));
  }

  abstract resign(): Promise<void>;
}

/** The driver's own term behind a leadership. @throws InvariantError for a leadership that another kind of driver gave. */
export function termOf<T extends Term>(kind: abstract new (...args: never[]) => T, leadership: Leadership): T {
  invariant(leadership instanceof kind, "a leadership is good for the driver that won it");
  return leadership;
}
