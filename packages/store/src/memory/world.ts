// The store itself, as several memory drivers share it: records, head and leaderships. It judges as etcd does.
import type { Clock } from "@muster/shared/clock";
import { type CommitResult, type Head, noCompactions, type StoreBatch, type StoredRecord, type StoreUsage } from "../driver.js";
import { judge } from "../fence.js";

export interface MemoryStoreLimits {
  /** Bytes of keys and values the store takes before it answers `no-space`; without it there is no bound. */
  readonly capacityBytes?: number;
}

/** Who leads under a name: a term's number stands for etcd's create revision and is never given twice. */
interface Seat {
  readonly term: number;
  readonly value: string;
  readonly ttlMs: number;
  renewedAtMs: number;
  stopTimer: () => void;
}

interface Waiter {
  readonly value: string;
  readonly ttlMs: number;
  readonly elected: (term: number) => void;
}

/** What is stored and who leads. Create one with `memoryStore`, give it to as many `openMemoryStore` as compete for it. */
export class MemoryStore {
  readonly #clock: Clock;
  readonly #seats = new Map<string, Seat>();
  readonly #waiters = new Map<string, Waiter[]>();
  #records = new Map<string, Uint8Array>();
  #head: Head | undefined;
  #terms = 0;
  #usedBytes = 0;
  capacityBytes: number | undefined;

  constructor(clock: Clock, limits: MemoryStoreLimits = {}) {
    this.#clock = clock;
    this.capacityBytes = limits.capacityBytes;
  }

  get clock(): Clock {
    return this.#clock;
  }

  get head(): Head | undefined {
    return this.#head;
  }

  get usage(): StoreUsage {
    const usedBytes = this.#usedBytes;
    const advice = "remove records";
    return {
      usedBytes,
      fileBytes: usedBytes,
      allowedBytes: this.capacityBytes,
      closed: false,
      advice,
      compactions: noCompactions,
    };
  }

  /** The value of the present holder, if any. */
  leaderOf(name: string): string | undefined {
    return this.#seats.get(name)?.value;
  }

  /** Takes the leadership from its holder, as an operator deleting etcd's key would: he learns of it when he next asks. */
  depose(name: string): void {
    const seat = this.#seats.get(name);
    if (seat === undefined) return;
    seat.stopTimer();
    this.#seats.delete(name);
    const next = this.#waiters.get(name)?.shift();
    if (next !== undefined) this.#seat(name, next);
  }

  /** Calls `elected` with the term's number, at once or when the seat becomes free; the returned function takes the wish back. */
  stand(name: string, waiter: Waiter): () => void {
    if (!this.#seats.has(name)) {
      this.#seat(name, waiter);
      return () => undefined;
    }
    const queue = this.#waiters.get(name) ?? [];
    this.#waiters.set(name, queue);
    queue.push(waiter);
    return () => {
      const at = queue.indexOf(waiter);
      if (at >= 0) queue.splice(at, 1);
    };
  }

  /** False once the term is over. */
  renew(name: string, term: number): boolean {
    const seat = this.#seats.get(name);
    if (seat?.term !== term) return false;
    seat.renewedAtMs = this.#clock.elapsedMs();
    this.#watch(name, seat);
    return true;
  }

  leads(name: string, term: number): boolean {
    return this.#seats.get(name)?.term === term;
  }

  release(name: string, term: number): void {
    if (this.leads(name, term)) this.depose(name);
  }

  /** Applies the batch whole or not at all. */
  apply(batch: StoreBatch, name: string, term: number): CommitResult {
    const verdict = judge(batch, this.#head, this.leads(name, term));
    if (verdict === "arrived") return { ok: true };
    if (verdict === "fenced") return { ok: false, why: "fenced" };
    const growth = this.#growth(batch);
    if (this.capacityBytes !== undefined && growth > 0 && this.#usedBytes + growth > this.capacityBytes) {
      return { ok: false, why: "refused", reason: "no-space", cause: new Error(`${this.capacityBytes} bytes are allowed`) };
    }
    for (const { key, value } of batch.writes) {
      if (value === undefined) this.#records.delete(key);
      else this.#records.set(key, new Uint8Array(value)); // a Buffer's slice would share memory
    }
    this.#usedBytes += growth;
    this.#head = batch.to;
    return { ok: true };
  }

  /** A copy, in the order of the keys' bytes. */
  snapshot(): StoredRecord[] {
    return [...this.#records]
      .map(([key, value]) => ({ key, value: new Uint8Array(value), bytes: Buffer.from(key) }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
      .map(({ key, value }) => ({ key, value }));
  }

  #growth(batch: StoreBatch): number {
    let growth = 0;
    for (const { key, value } of batch.writes) {
      const old = this.#records.get(key);
      if (old !== undefined) growth -= Buffer.byteLength(key) + old.byteLength;
      if (value !== undefined) growth += Buffer.byteLength(key) + value.byteLength;
    }
    return growth;
  }

  #seat(name: string, waiter: Waiter): void {
    this.#terms += 1;
    const seat: Seat = {
      term: this.#terms,
      value: waiter.value,
      ttlMs: waiter.ttlMs,
      renewedAtMs: this.#clock.elapsedMs(),
      stopTimer: () => undefined,
    };
    this.#seats.set(name, seat);
    this.#watch(name, seat);
    waiter.elected(seat.term);
  }

  /** Frees the seat when its TTL has passed without a renewal. */
  #watch(name: string, seat: Seat): void {
    seat.stopTimer();
    seat.stopTimer = this.#clock.after(seat.renewedAtMs + seat.ttlMs - this.#clock.elapsedMs(), () => {
      if (this.leads(name, seat.term)) this.depose(name);
    });
  }
}

/** An empty store in memory. `clock` is what its TTLs pass on. */
export const memoryStore = (clock: Clock, limits?: MemoryStoreLimits): MemoryStore => new MemoryStore(clock, limits);
