// Renewals of locks and presences: kept in memory only, on elapsed time. What expires is handed on once, for the core to decide.
import type { Clock } from "@muster/shared/clock";

export interface Lease {
  readonly kind: "lock" | "presence";
  readonly key: string;
  readonly owner: string;
  readonly ttlMs: number;
}

interface Held extends Lease {
  expiresMs: number;
}

/** How often expiry is looked for; a sweep that runs late extends every lease by its lateness (design section 3). */
export const sweepMs = 100;

export class Leases {
  readonly #held = new Map<string, Held>();
  readonly #clock: Clock;
  #lastSweepMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#lastSweepMs = clock.elapsedMs();
  }

  /** Takes up or renews a lease; `atLeastMs` is for those a new leader inherits. */
  renew(lease: Lease, atLeastMs = 0): void {
    this.#held.set(`${lease.kind}/${lease.key}`, {
      ...lease,
      expiresMs: this.#clock.elapsedMs() + Math.max(lease.ttlMs, atLeastMs),
    });
  }

  /** Takes up again a lease whose end could not be written, to be looked at by the next sweep; a newer one stands. */
  restore(lease: Lease): void {
    if (!this.#held.has(`${lease.kind}/${lease.key}`)) this.renew({ ...lease, ttlMs: 0 });
  }

  /** Whether this owner's lease is known; a heartbeat for an unknown one must not revive it. */
  holds(kind: Lease["kind"], key: string, owner: string): boolean {
    return this.#held.get(`${kind}/${key}`)?.owner === owner;
  }

  drop(kind: Lease["kind"], key: string, owner: string): void {
    if (this.holds(kind, key, owner)) this.#held.delete(`${kind}/${key}`);
  }

  /** Takes out and returns what has expired. */
  sweep(): Lease[] {
    const nowMs = this.#clock.elapsedMs();
    const lateMs = nowMs - this.#lastSweepMs - sweepMs;
    this.#lastSweepMs = nowMs;
    // We were not there to hear renewals: a frozen process must not expire its whole fleet on thawing.
    if (lateMs > sweepMs) for (const held of this.#held.values()) held.expiresMs += lateMs;
    const expired = [...this.#held.values()].filter((held) => held.expiresMs <= nowMs);
    for (const lease of expired) this.#held.delete(`${lease.kind}/${lease.key}`);
    return expired;
  }
}
