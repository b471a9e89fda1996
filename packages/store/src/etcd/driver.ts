// The etcd driver. Every commit is one transaction that compares the leadership key's create revision and the head; what that
// upholds, and why outcomes may be unknown, is in docs/decisions/0002-store-fencing.md.
import type { Clock } from "@muster/shared/clock";
import { invariant } from "@muster/shared/errors";
import { type Log, silentLog } from "@muster/shared/log";
import type { CommitResult, Head, Leadership, StoreBatch, StoreDriver, StoredRecord, StoreUsage } from "../driver.js";
import { sameHead } from "../head.js";
import { maxBatchWrites, refuseOversize } from "../limits.js";
import { termOf } from "../term.js";
import { EtcdClient } from "./client.js";
import { keepCompacted } from "./compaction.js";
import { campaign } from "./election.js";
import { refusalOf } from "./errors.js";
import { checkOptions, defaultQuotaBytes, type EtcdStoreOptions, type EtcdTiming, timingOf } from "./options.js";
import { pages } from "./pages.js";
import { commitRequest, EtcdKeys, headOf, type Standing, standingOf } from "./requests.js";
import { EtcdTerm } from "./term.js";

const minTtlMs = 1_000;
/** From this share of the quota on, history is the first thing to go; a load must be done within what stays of it. */
const crowdedShare = 0.7;
const crowdedHistoryMs = 60_000;
const advice =
  "defragment every member (etcdctl defrag), or raise its --quota-backend-bytes and the BBS's quota_mb with it; then etcdctl alarm disarm";

class EtcdDriver implements StoreDriver {
  readonly maxBatchWrites = maxBatchWrites;
  readonly #client: EtcdClient;
  readonly #keys: EtcdKeys;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #timing: EtcdTiming;
  readonly #quotaBytes: number;
  readonly #terms = new Set<EtcdTerm>();
  readonly #closing = new AbortController();
  readonly #compactions = { done: 0, failed: 0 };
  /** As of the last look at the usage. */
  #crowded = false;
  /** The bytes of a head that another build wrote: encoded by this build they might differ. */
  #storedFrom: { readonly head: Head; readonly bytes: Buffer } | undefined;

  constructor(options: EtcdStoreOptions) {
    this.#timing = timingOf(options.timing);
    this.#client = new EtcdClient(options, this.#timing);
    this.#keys = new EtcdKeys(options.prefix);
    this.#clock = options.clock;
    this.#log = options.log ?? silentLog();
    this.#quotaBytes = options.quotaBytes ?? defaultQuotaBytes;
  }

  async campaign(name: string, value: string, ttlMs: number, signal: AbortSignal): Promise<Leadership> {
    invariant(ttlMs >= minTtlMs, `etcd leases last ${minTtlMs} ms at least`);
    const tools = { client: this.#client, keys: this.#keys, clock: this.#clock, log: this.#log };
    const term = await campaign(tools, { name, value, ttlMs }, AbortSignal.any([signal, this.#closing.signal]));
    this.#terms.add(term);
    term.lost.addEventListener("abort", () => this.#terms.delete(term), { once: true });
    const keepHistoryMs = (): number =>
      this.#crowded ? Math.min(this.#timing.keepHistoryMs, crowdedHistoryMs) : this.#timing.keepHistoryMs;
    const everyMs = this.#timing.compactEveryMs;
    void keepCompacted({ ...tools, everyMs, keepHistoryMs, counts: this.#compactions }, term.lost);
    return term;
  }

  async readHead(signal: AbortSignal): Promise<Head | undefined> {
    return (await this.#readHead(signal)).head;
  }

  async load(signal: AbortSignal): Promise<{ head: Head | undefined; records: AsyncIterable<StoredRecord> }> {
    const { head, revision } = await this.#readHead(signal);
    return { head, records: this.#records(revision, signal) };
  }

  async commit(batch: StoreBatch, leadership: Leadership): Promise<CommitResult> {
    const refusal = refuseOversize(batch, this.maxBatchWrites);
    if (refusal !== undefined) return refusal;
    const term = termOf(EtcdTerm, leadership);
    if (!term.open) return { ok: false, why: "fenced" };
    const known = this.#storedFrom;
    const from = known !== undefined && sameHead(known.head, batch.from) ? known.bytes : undefined;
    const request = commitRequest(batch, term, this.#keys, from);
    try {
      const response = await this.#client.once((options) => this.#client.kv.txn(request, options), this.#timing.commitMs);
      return response.succeeded ? { ok: true } : this.#refused(batch, term, standingOf(batch, term, response));
    } catch (cause) {
      const reason = refusalOf(cause);
      return reason === undefined ? { ok: false, why: "unknown", cause } : await this.#settle(batch, reason, cause);
    }
  }

  async confirm(leadership: Leadership): Promise<boolean> {
    const term = termOf(EtcdTerm, leadership);
    const untilMs = this.#clock.elapsedMs() + this.#timing.commitMs * 2;
    for (;;) {
      if (!term.open) return false;
      try {
        return await term.look(this.#timing.commitMs);
      } catch (error) {
        if (this.#clock.elapsedMs() >= untilMs || refusalOf(error) !== undefined) throw error;
        await this.#clock.sleep(25);
      }
    }
  }

  async usage(signal: AbortSignal): Promise<StoreUsage> {
    const status = await this.#client.databaseStatus(signal);
    this.#crowded = status.usedBytes >= crowdedShare * this.#quotaBytes;
    return { ...status, allowedBytes: this.#quotaBytes, advice, compactions: { ...this.#compactions } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new Error("the store was closed"));
    await Promise.all([...this.#terms].map((term) => term.resign()));
    this.#client.close();
  }

  async #readHead(signal: AbortSignal): Promise<{ head: Head | undefined; revision: string }> {
    const range = await this.#client.persist((options) => this.#client.kv.range({ key: this.#keys.head }, options), signal);
    return { head: headOf(range.kvs[0]), revision: range.header.revision };
  }

  async *#records(revision: string, signal: AbortSignal): AsyncGenerator<StoredRecord> {
    const range = { start: this.#keys.recordsStart, end: this.#keys.recordsEnd, revision };
    for await (const page of pages(this.#client, range, signal)) {
      for (const { key, value } of page) {
        signal.throwIfAborted();
        yield { key: this.#keys.recordOf(key), value };
      }
    }
  }

  /** The transaction's comparisons failed: by what stands instead, it had arrived before, or it is fenced. */
  #refused(batch: StoreBatch, term: EtcdTerm, { verdict, leads, storedHead }: Standing): CommitResult {
    if (verdict === "arrived") return { ok: true };
    if (!leads) term.lose("the leadership key is gone or somebody else's");
    if (verdict === "fenced" || storedHead === undefined) return { ok: false, why: "fenced" };
    // The head is `from` but for its bytes: another build wrote it. Its resend compares them as they are.
    this.#storedFrom = { head: batch.from, bytes: storedHead };
    return { ok: false, why: "unknown", cause: new Error("the head was written by another version: send the batch again") };
  }

  /**
   * A refusal that sounds final is believed once the head has been seen: near its quota etcd can write a transaction and answer
   * `database space exceeded` all the same.
   */
  async #settle(batch: StoreBatch, reason: "no-space" | "too-large" | "other", cause: unknown): Promise<CommitResult> {
    try {
      const { head } = await this.#readHead(this.#closing.signal);
      if (head !== undefined && sameHead(head, batch.to)) return { ok: true };
      const unmoved = head === undefined ? batch.from.sequence === 0n : sameHead(head, batch.from);
      return unmoved ? { ok: false, why: "refused", reason, cause } : { ok: false, why: "fenced" };
    } catch {
      return { ok: false, why: "unknown", cause };
    }
  }
}

/**
 * Opens a door to etcd. It connects when first asked something, so it may be opened before etcd runs: `campaign` waits for it.
 * @throws OperatorError for options that cannot work.
 */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<StoreDriver> {
  checkOptions(options);
  return new EtcdDriver(options);
}
