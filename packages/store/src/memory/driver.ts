// One BBS's door to a MemoryStore, with faults on demand.
import type { Clock } from "@muster/shared/clock";
import type { CommitResult, Head, Leadership, StoreBatch, StoreDriver, StoredRecord, StoreUsage } from "../driver.js";
import { maxBatchWrites, refuseOversize } from "../limits.js";
import { Term, termOf } from "../term.js";
import type { MemoryStore } from "./world.js";

/** What befalls one commit. */
export type CommitFault =
  /** The answer is lost; the batch arrives now, never, or after so many milliseconds (then perhaps behind its own resend). */
  | { readonly kind: "unknown"; readonly arrives: "now" | "never" | { readonly afterMs: number } }
  | { readonly kind: "refused"; readonly reason: "no-space" | "other" };

/** Faults, apart from the options that every user sets. All members may be changed while the driver runs. */
export interface MemoryFaults {
  /** Asked for each commit in its order; `undefined` lets it pass. */
  onCommit?: (batch: StoreBatch) => CommitFault | undefined;
  /** While true nothing reaches the store and nothing comes back: commits are unknown and do not arrive, TTLs run out. */
  cutOff?: boolean;
  /** How long the store takes for each call; 0 when absent. */
  latencyMs?: number;
}

export interface MemoryStoreOptions {
  /** The driver's own clock; the store's when absent. */
  readonly clock?: Clock;
  readonly faults?: MemoryFaults;
}

class MemoryTerm extends Term {
  readonly leader: string;
  readonly number: number;
  readonly #end: () => void;

  constructor(leader: string, number: number, end: () => void) {
    super(`${leader}/${number}`);
    this.leader = leader;
    this.number = number;
    this.#end = end;
  }

  override async resign(): Promise<void> {
    this.lose("resigned");
    this.#end();
  }
}

class MemoryDriver implements StoreDriver {
  readonly maxBatchWrites = maxBatchWrites;
  readonly #store: MemoryStore;
  readonly #clock: Clock;
  readonly #faults: MemoryFaults;
  readonly #terms = new Set<MemoryTerm>();

  constructor(store: MemoryStore, options: MemoryStoreOptions) {
    this.#store = store;
    this.#clock = options.clock ?? store.clock;
    this.#faults = options.faults ?? {};
  }

  async campaign(name: string, value: string, ttlMs: number, signal: AbortSignal): Promise<Leadership> {
    for (;;) {
      const number = await this.#stand(name, value, ttlMs, signal);
      if (signal.aborted) this.#store.release(name, number);
      signal.throwIfAborted();
      if (!this.#faults.cutOff) return this.#serve(name, number, ttlMs);
      // Elected while cut off: this driver never learns of it, and the seat runs out.
      await this.#clock.sleep(ttlMs, signal);
    }
  }

  async readHead(signal: AbortSignal): Promise<Head | undefined> {
    await this.#reach(signal);
    return this.#store.head;
  }

  async load(signal: AbortSignal): Promise<{ head: Head | undefined; records: AsyncIterable<StoredRecord> }> {
    await this.#reach(signal);
    return { head: this.#store.head, records: stream(this.#store.snapshot(), signal) };
  }

  async commit(batch: StoreBatch, leadership: Leadership): Promise<CommitResult> {
    const refusal = refuseOversize(batch, this.maxBatchWrites);
    if (refusal !== undefined) return refusal;
    const term = termOf(MemoryTerm, leadership);
    if (!term.open) return { ok: false, why: "fenced" };
    const fault = this.#faults.onCommit?.(batch);
    await this.#pause();
    if (this.#faults.cutOff) return unknown("the store is out of reach");
    if (fault?.kind === "refused") {
      return { ok: false, why: "refused", reason: fault.reason, cause: new Error("injected refusal") };
    }
    if (fault?.kind === "unknown") {
      this.#arrive(batch, term, fault.arrives);
      return unknown("injected unknown outcome");
    }
    const result = this.#store.apply(batch, term.leader, term.number);
    if (!result.ok && result.why === "fenced") this.#look(term);
    return result;
  }

  async confirm(leadership: Leadership): Promise<boolean> {
    const term = termOf(MemoryTerm, leadership);
    if (!term.open) return false;
    await this.#reach();
    this.#look(term);
    return term.open;
  }

  async usage(signal: AbortSignal): Promise<StoreUsage> {
    await this.#reach(signal);
    return this.#store.usage;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const term of this.#terms) await term.resign();
  }

  #stand(name: string, value: string, ttlMs: number, signal: AbortSignal): Promise<number> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      let withdraw = (): void => undefined;
      const onAbort = (): void => {
        withdraw();
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      const elected = (term: number): void => {
        signal.removeEventListener("abort", onAbort);
        resolve(term);
      };
      withdraw = this.#store.stand(name, { value, ttlMs, elected });
    });
  }

  /** Renews every fifth of the TTL and gives up once a TTL has passed since the last renewal. */
  #serve(name: string, number: number, ttlMs: number): MemoryTerm {
    let renewedAtMs = this.#clock.elapsedMs();
    let stopBeat = (): void => undefined;
    const term = new MemoryTerm(name, number, () => {
      stopBeat();
      this.#terms.delete(term);
      if (!this.#faults.cutOff) this.#store.release(name, number);
    });
    const beat = (): void => {
      if (!term.open) return;
      if (!this.#faults.cutOff) {
        renewedAtMs = this.#clock.elapsedMs();
        if (!this.#store.renew(name, number)) term.lose("the leadership is somebody else's");
      } else if (this.#clock.elapsedMs() - renewedAtMs >= ttlMs) term.lose("the TTL has passed without a renewal");
      stopBeat = this.#clock.after(ttlMs / 5, beat);
    };
    stopBeat = this.#clock.after(ttlMs / 5, beat);
    this.#terms.add(term);
    return term;
  }

  #arrive(batch: StoreBatch, term: MemoryTerm, arrives: "now" | "never" | { readonly afterMs: number }): void {
    if (arrives === "never") return;
    const apply = (): void => {
      this.#store.apply(batch, term.leader, term.number);
    };
    if (arrives === "now") apply();
    else this.#clock.after(arrives.afterMs, apply);
  }

  /** Notices at the store that the term is over. */
  #look(term: MemoryTerm): void {
    if (!this.#store.leads(term.leader, term.number)) term.lose("the leadership is somebody else's");
  }

  async #reach(signal?: AbortSignal): Promise<void> {
    await this.#pause(signal);
    if (this.#faults.cutOff) throw new Error("the store is out of reach");
  }

  async #pause(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const latencyMs = this.#faults.latencyMs ?? 0;
    if (latencyMs > 0) await this.#clock.sleep(latencyMs, signal);
    else await Promise.resolve();
  }
}

const unknown = (what: string): CommitResult => ({ ok: false, why: "unknown", cause: new Error(what) });

async function* stream(records: readonly StoredRecord[], signal: AbortSignal): AsyncGenerator<StoredRecord> {
  for (const record of records) {
    signal.throwIfAborted();
    yield record;
  }
}

/**
 * Opens a door to `store`; several may be open at once and compete. Deterministic: it draws no chance of its own and all that
 * it waits for passes on the clock. To let its owner die, set `faults.cutOff` and forget it.
 */
export async function openMemoryStore(store: MemoryStore, options: MemoryStoreOptions = {}): Promise<StoreDriver> {
  return new MemoryDriver(store, options);
}
