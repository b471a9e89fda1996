// Holding a lock of the BBS's Locket service: taking it, renewing it, and knowing when it can no longer be vouched for.
import type { Clock } from "../clock/index.js";
import { BbsError, isBbsError } from "../errors/index.js";
import { LostLeadershipError } from "../lifecycle/index.js";
import type { Log } from "../log/index.js";

export interface LockAsk {
  readonly key: string;
  /** A random id of this process. */
  readonly owner: string;
  /** What others read: the holder's address. */
  readonly value: string;
  readonly ttlMs: number;
}

/** The two calls of Locket that a holder makes; both must end soon after the signal aborts. */
export interface LocketIO {
  /** Takes or renews. @throws BbsError LockCollision when somebody else holds it. */
  lock(ask: LockAsk, signal: AbortSignal): Promise<void>;
  release(ask: Pick<LockAsk, "key" | "owner">, signal: AbortSignal): Promise<void>;
}

export interface HoldLockOptions extends LockAsk {
  readonly io: LocketIO;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the wait for the lock. Once it is held, the holder ends its work first and then calls `release`. */
  readonly signal: AbortSignal;
}

export interface HeldLock {
  /** Aborts with a LostLeadershipError the moment the lock can no longer be vouched for. Never aborts after `release`. */
  readonly lost: AbortSignal;
  /** Whether it can be vouched for now, by elapsed time: a process that was frozen knows before its timers have run. */
  held(): boolean;
  /** Stops renewing and gives the lock back, at the latest after two attempts' time. Never throws: a lock not given back expires. */
  release(): Promise<void>;
}

/** Renewed five times within its TTL; a call gets a fifth of it too, so one lost call never costs the lock. */
const renewalsPerTtl = 5;
/** But a call gets this long at least, however short the TTL: on a busy machine a new connection takes half of it. */
const leastAttemptMs = 1_000;

/**
 * Waits until the lock is held, then renews it every TTL/5. A holder gives up when its TTL has passed on elapsed time without a
 * renewal, counted from the sending of the last one that was answered, or when it is refused; never at one failed call.
 * Units: `ttlMs` milliseconds. Throws: the signal's reason when it aborts before the lock is held.
 */
export async function holdLock(options: HoldLockOptions): Promise<HeldLock> {
  const { clock, log, key, signal } = options;
  const everyMs = options.ttlMs / renewalsPerTtl;
  let said = "";
  for (;;) {
    signal.throwIfAborted();
    const sentAtMs = clock.elapsedMs();
    try {
      await attempt(options, signal, (until) => options.io.lock(options, until));
      log.info({ step: key }, "lock taken");
      return new Holder(options, sentAtMs);
    } catch (err) {
      if (signal.aborted) {
        await giveBack(options);
        throw signal.reason;
      }
      said = sayOnce(options, err, said);
    }
    await clock.sleep(everyMs, signal);
  }
}

/** Logs why the lock is not ours, once for each reason: the wait of a standby may last for weeks. */
function sayOnce({ log, key }: HoldLockOptions, err: unknown, said: string): string {
  const reason = isBbsError(err) ? err.code : "UnknownError";
  if (reason === said) return said;
  if (reason === "LockCollision") log.info({ step: key, reason }, "waiting for the lock");
  else log.warn({ step: key, reason, err }, "lock not taken");
  return reason;
}

class Holder implements HeldLock {
  readonly #options: HoldLockOptions;
  readonly #lost = new AbortController();
  readonly #released = new AbortController();
  /** Made once: each would stay with its sources for as long as the lock is held. */
  readonly #ended = AbortSignal.any([this.#lost.signal, this.#released.signal]);
  readonly #renewing: Promise<void>;
  #vouchedUntilMs: number;
  #disarm: () => void = () => undefined;

  constructor(options: HoldLockOptions, sentAtMs: number) {
    this.#options = options;
    this.#vouchedUntilMs = sentAtMs + options.ttlMs;
    this.#arm();
    this.#renewing = this.#renew();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  held(): boolean {
    return !this.#over && this.#options.clock.elapsedMs() < this.#vouchedUntilMs;
  }

  async release(): Promise<void> {
    if (this.#released.signal.aborted) return;
    this.#released.abort();
    this.#disarm();
    // A renewal still on its way would take the lock again after it was given back.
    await this.#renewing;
    if (!this.#lost.signal.aborted) await giveBack(this.#options);
  }

  get #over(): boolean {
    return this.#ended.aborted;
  }

  #arm(): void {
    this.#disarm();
    const leftMs = this.#vouchedUntilMs - this.#options.clock.elapsedMs();
    this.#disarm = this.#options.clock.after(leftMs, () => this.#lose("not renewed within its time to live"));
  }

  async #renew(): Promise<void> {
    const { clock, ttlMs, io } = this.#options;
    for (;;) {
      await clock.sleep(ttlMs / renewalsPerTtl, this.#ended).catch(() => undefined);
      if (this.#over) return;
      // After a freeze this timer may run before the one that gives up: a renewal now would take back an expired lock and die with it.
      if (!this.held()) {
        this.#lose("not renewed within its time to live");
        return;
      }
      const sentAtMs = clock.elapsedMs();
      try {
        await attempt(this.#options, this.#lost.signal, (until) => io.lock(this.#options, until));
        if (this.#over) return;
        this.#vouchedUntilMs = sentAtMs + ttlMs;
        this.#arm();
      } catch (err) {
        this.#judge(err);
      }
    }
  }

  #judge(err: unknown): void {
    if (this.#over) return;
    if (isBbsError(err, "LockCollision")) this.#lose("somebody else holds it");
    else if (!this.held()) this.#lose("not renewed within its time to live");
    else this.#options.log.warn({ err, step: this.#options.key }, "lock not renewed");
  }

  #lose(reason: string): void {
    if (this.#over) return;
    this.#disarm();
    this.#options.log.warn({ step: this.#options.key, reason }, "lock lost");
    this.#lost.abort(new LostLeadershipError(`the lock ${this.#options.key} was lost: ${reason}`));
  }
}

/** One call, given up after TTL/5 (at least 1 s) or with the signal, even when the call itself heeds neither. */
async function attempt(
  { clock, ttlMs }: HoldLockOptions,
  signal: AbortSignal | undefined,
  call: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const until = new AbortController();
  const abort = (): void => until.abort(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  const disarm = clock.after(Math.max(ttlMs / renewalsPerTtl, leastAttemptMs), () => until.abort(new BbsError("Timeout")));
  try {
    await Promise.race([call(until.signal), aborted(until.signal)]);
  } finally {
    disarm();
    signal?.removeEventListener("abort", abort);
  }
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

async function giveBack(options: HoldLockOptions): Promise<void> {
  try {
    await attempt(options, undefined, (until) => options.io.release(options, until));
  } catch (err) {
    options.log.debug({ err, step: options.key }, "lock not given back, it will expire");
  }
}
