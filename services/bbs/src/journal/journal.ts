// The journal: decides one command at a time in memory, commits in groups, and releases every reply only when what it rests on is
// durable and the leadership was seen to hold after the request arrived (design section 3).
import { BbsError, invariant } from "@muster/shared/errors";
import { asEpochMs, type EpochMs } from "@muster/shared/model";
import type { Head, StoreBatch } from "@muster/store";
import { type Command, type CoreState, type Decision, type DecisionContext, maxCommandRecords } from "../core/decision.js";
import { Batch, encodeWrite, requireCommandSize, type Waiter } from "./batch.js";
import type { CommandOrigin, JournalOptions } from "./options.js";

/** Unsettled for longer than this, the store counts as away. */
const stalledMs = 1_000;
/** After that time what has been received is read first: this process may be the one that is late, not the store. */
const readFirstMs = 50;
/** A confirmation usually takes a few milliseconds; at most a dozen that are late may overlap before the first is given up. */
const lateConfirmationMs = 100;
/** Bounds of what may wait: commands beyond it are refused before they are decided, and reads before they hold anything. */
const maxWaiting = 20_000;
const maxWaitingBytes = 64 * 1024 * 1024;
/** Between resends of a batch of unknown outcome. */
const resendMs = { first: 20, most: 500 };

const storeAway = (): BbsError => new BbsError("Unavailable", "the store does not answer; nothing was admitted");
const loadingAnew = (): BbsError =>
  new BbsError("Unavailable", "the store refused a write, and the records are being loaded anew; try again");
const unsettled = (): BbsError => new BbsError("OutcomeUnknown", "the store does not answer; outcome unknown");

export class Journal {
  readonly #options: JournalOptions;
  readonly #queue: Batch[] = [];
  #head: Head;
  /** The batch being committed, if any. */
  #inFlight: Batch | undefined;
  #inFlightSinceMs = 0;
  #pumping = false;
  /** Committed, their replies not yet released. */
  readonly #unreleased: Batch[] = [];
  #closed: BbsError | undefined;
  /** Set once this BBS is stopping: what was admitted is still committed and answered. */
  #stopping: BbsError | undefined;
  /** Set from a definite refusal of the store until a probe write succeeds: no command is decided. */
  #readOnly: BbsError | undefined;
  /** True while the tables are being loaded anew: nothing is read either. */
  #reloading = false;
  #probing = false;
  #waiting = 0;
  #waitingBytes = 0;
  /** A confirmation is under way, and not late. */
  #confirming = false;
  #confirmWaiters: Waiter[] = [];
  readonly #startedAtMs: number;
  readonly #startTimeMs: number;
  #cancelStallTimer: (() => void) | undefined;
  /** The batch that the store has not settled in time, for as long as it is in flight. */
  #stalled: Batch | undefined;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#head = options.head;
    this.#startedAtMs = options.clock.elapsedMs();
    // T1: cluster time starts at max(persisted, wall clock) and moves by monotonic time only.
    this.#startTimeMs = Math.max(options.head.clusterTimeMs, options.clock.nowMs());
    options.leadership.lost.addEventListener("abort", () => this.#fence(new BbsError("Unavailable", "the leadership was lost")), {
      once: true,
    });
  }

  nowMs(): EpochMs {
    return asEpochMs(this.#startTimeMs + (this.#options.clock.elapsedMs() - this.#startedAtMs));
  }

  /** The last committed head. */
  get head(): Head {
    return this.#head;
  }

  /** Whether the store has been answering. */
  get stalled(): boolean {
    return this.#stalled !== undefined && this.#stalled === this.#inFlight;
  }

  /** Why nothing is written at present, if so. */
  get readOnlyBecause(): BbsError | undefined {
    return this.#readOnly;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** Decides `command` now and resolves with its reply once that is safe. @throws BbsError, the command's refusal included */
  submit<Reply>(command: Command<Reply>, origin: CommandOrigin = {}): Promise<Reply> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    let reply: Reply;
    try {
      const decision = command(this.#options.state, this.#context());
      if (decision.writes.length > 0) {
        this.#options.admit?.(this.#options.state.tables, decision.writes);
        return this.#append(decision, origin);
      }
      reply = decision.reply;
    } catch (error) {
      // A refusal is a reply like any other: it may rest on what is not durable yet.
      return this.#released(() => {
        throw error;
      });
    }
    return this.#released(() => reply);
  }

  /** Reads at one instant; resolves once what was read is durable and the leadership confirmed. */
  read<Reply>(read: (state: CoreState, nowMs: EpochMs) => Reply): Promise<Reply> {
    const refusal = this.#noReading() ?? this.#full();
    if (refusal !== undefined) return Promise.reject(refusal);
    let reply: Reply;
    try {
      reply = read(this.#options.state, this.nowMs());
    } catch (error) {
      return this.#released(() => {
        throw error;
      });
    }
    return this.#released(() => reply);
  }

  /**
   * Reads at one instant that is exactly the end of a commit: what is decided later goes into later commits. For snapshots.
   * Resolves with the sequence of that commit.
   */
  readSealed<Reply>(read: (state: CoreState) => Reply): Promise<{ readonly reply: Reply; readonly sequence: bigint }> {
    const refusal = this.#noReading();
    if (refusal !== undefined) return Promise.reject(refusal);
    for (const batch of this.#queue) batch.sealed = true;
    const ahead = BigInt(this.#queue.length + (this.#unsettled === undefined ? 0 : 1));
    const sequence = this.#head.sequence + ahead;
    const reply = read(this.#options.state);
    return this.#released(() => ({ reply, sequence }));
  }

  /** Ends the journal: what waits fails with `cause`, what is being committed has an unknown outcome. */
  close(cause: BbsError): void {
    if (this.#closed !== undefined) return;
    this.#closed = cause;
    this.#cancelStallTimer?.();
    this.#release();
    for (const batch of this.#queue.splice(0)) batch.settle(cause);
    this.#inFlight?.settle(unsettled());
    for (const waiter of this.#confirmWaiters.splice(0)) waiter(cause);
  }

  /** Refuses everything that comes from now on with `cause`; else an orderly end might wait for ever under load. */
  stopAdmitting(cause: BbsError): void {
    this.#stopping ??= cause;
  }

  /** Resolves when nothing waits to be committed; for an orderly end. */
  async drained(): Promise<void> {
    while (this.#closed === undefined && (this.#queue.length > 0 || this.#inFlight !== undefined)) {
      const last = this.#queue.at(-1) ?? this.#inFlight;
      await new Promise<void>((resolve) => last?.waiters.push(() => resolve()));
    }
  }

  #noReading(): BbsError | undefined {
    const over = this.#closed ?? this.#stopping;
    if (over !== undefined) return over;
    if (this.#reloading) return loadingAnew();
    return this.stalled ? storeAway() : undefined;
  }

  #refusal(): BbsError | undefined {
    return this.#noReading() ?? this.#readOnly ?? this.#full();
  }

  #full(): BbsError | undefined {
    if (this.#waiting < maxWaiting && this.#waitingBytes < maxWaitingBytes) return undefined;
    return new BbsError("ResourceExhausted", "too many calls wait for the store; try again later", { waiting: this.#waiting });
  }

  /** What is being committed that a reply may rest on: a probe holds nothing, and reads go on whatever becomes of it. */
  get #unsettled(): Batch | undefined {
    return this.#probing ? undefined : this.#inFlight;
  }

  #context(): DecisionContext {
    return {
      nowMs: this.nowMs(),
      sequence: this.#gathering(),
      guid: () => this.#options.entropy.guid(),
      ...this.#options.secrets,
    };
  }

  /** Sequence of the commit that what is decided now joins, if it has room. */
  #gathering(): bigint {
    const last = this.#queue.at(-1);
    const ahead = this.#queue.length + (this.#inFlight === undefined ? 0 : 1) + (last === undefined || last.sealed ? 1 : 0);
    return this.#head.sequence + BigInt(ahead);
  }

  #append<Reply>({ writes, reply, crashed }: Decision<Reply>, { traceId }: CommandOrigin): Promise<Reply> {
    invariant(writes.length <= maxCommandRecords, "a command wrote more than 100 records");
    const encoded = writes.map(encodeWrite);
    let bytes: number;
    try {
      bytes = requireCommandSize(encoded);
    } catch (error) {
      return Promise.reject(error);
    }
    const batch = this.#batchFor(encoded.length, bytes);
    const changes = writes.map((write) => this.#options.state.tables.apply(write));
    changes.forEach((change, at) => {
      const bytesOf = encoded[at];
      if (bytesOf !== undefined) batch.add(change, bytesOf);
    });
    const note = this.#options.note?.(changes, { traceId: traceId ?? "", crashed: crashed === true });
    if (note !== undefined) batch.notes.push(note);
    this.#waitingBytes += bytes;
    const released = this.#waitFor(
      batch,
      () => reply,
      () => {
        this.#waitingBytes -= bytes;
      },
    );
    void this.#pump();
    return released;
  }

  #batchFor(writes: number, bytes: number): Batch {
    const last = this.#queue.at(-1);
    if (last?.hasRoom(writes, bytes)) return last;
    const batch = new Batch(this.#options.store.maxBatchWrites);
    this.#queue.push(batch);
    return batch;
  }

  #waitFor<Reply>(target: Batch, make: () => Reply, settled: () => void = () => undefined): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.#waiting += 1;
      target.waiters.push((error) => {
        this.#waiting -= 1;
        settled();
        if (error !== undefined) reject(error);
        else {
          try {
            resolve(make());
          } catch (refusal) {
            reject(refusal);
          }
        }
      });
    });
  }

  /** Releases a reply that writes nothing: with a batch not yet sent, else after a confirmation that starts now or later. */
  #released<Reply>(make: () => Reply): Promise<Reply> {
    const gathering = this.#queue.at(-1);
    if (gathering !== undefined) return this.#waitFor(gathering, make);
    return new Promise((resolve, reject) => {
      this.#waiting += 1;
      this.#confirmWaiters.push((error) => {
        this.#waiting -= 1;
        if (error !== undefined) {
          reject(error);
          return;
        }
        try {
          resolve(make());
        } catch (refusal) {
          reject(refusal);
        }
      });
      this.#confirm();
    });
  }

  /**
   * A confirmation is shared by all who waited when it started. Whoever comes later waits for the next one, which starts when this one
   * has come back, or when it is late: a read must not wait for a confirmation that hangs and then for its own.
   */
  #confirm(): void {
    if (this.#confirming) return;
    this.#confirming = true;
    let over = false;
    const next = (): void => {
      if (over) return;
      over = true;
      cancel();
      this.#confirming = false;
      if (this.#confirmWaiters.length > 0 && this.#closed === undefined) this.#confirm();
    };
    const cancel = this.#options.clock.after(lateConfirmationMs, next);
    void this.#confirmOnce(next);
  }

  /** `cameBack` is called when the store has answered or is given up: the commit in flight holds up nobody who comes now. */
  async #confirmOnce(cameBack: () => void): Promise<void> {
    // Those who come in this same tick share the confirmation.
    await Promise.resolve();
    const rest = this.#unsettled;
    const waiters = this.#confirmWaiters.splice(0);
    const settle = (error: BbsError | undefined): void => {
      for (const waiter of waiters.splice(0)) waiter(error);
    };
    // Whoever waited for a stalled commit was told; nobody would tell those who join it now.
    if (rest !== undefined && rest === this.#stalled) {
      settle(storeAway());
      cameBack();
      return;
    }
    const committed = rest === undefined ? undefined : new Promise<BbsError | undefined>((resolve) => rest.waiters.push(resolve));
    // What they rest on is lost or unknown, whatever the store says of the leadership.
    void committed?.then((error) => {
      if (error !== undefined) settle(error);
    });
    try {
      const holds = await this.#bounded(this.#options.store.confirm(this.#options.leadership));
      if (!holds) this.#fence(new BbsError("Unavailable", "the leadership was lost"));
      cameBack();
      settle(holds ? await committed : this.#closed);
    } catch (cause) {
      settle(this.#closed ?? new BbsError("Unavailable", "the store does not answer", {}, cause));
      cameBack();
    }
  }

  /** A confirmation that takes longer than the stall bound is given up; reads cost nothing to repeat. */
  #bounded(confirmed: Promise<boolean>): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const cancel = this.#afterStall(() => reject(new BbsError("Timeout", "confirmation timed out")));
      confirmed.then(
        (holds) => {
          cancel();
          resolve(holds);
        },
        (error: unknown) => {
          cancel();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    // Commands decided in this same tick share the commit.
    await Promise.resolve();
    for (let batch = this.#queue.shift(); batch; batch = this.#queue.shift()) {
      await this.#commit(batch);
      if (this.#closed !== undefined) break;
    }
    this.#pumping = false;
  }

  async #commit(batch: Batch): Promise<void> {
    const { clock, entropy, metrics } = this.#options;
    this.#inFlight = batch;
    this.#inFlightSinceMs = clock.elapsedMs();
    this.#watchStall(batch);
    const storeBatch: StoreBatch = {
      writes: [...batch.writes.values()].map(({ key, value }) => ({ key, value })),
      from: this.#head,
      to: {
        ...this.#head,
        sequence: this.#head.sequence + 1n,
        batchId: entropy.guid(),
        clusterTimeMs: Math.max(this.#head.clusterTimeMs, this.nowMs()),
      },
    };
    const outcome = await this.#settleCommit(storeBatch);
    this.#cancelStallTimer?.();
    this.#inFlight = undefined;
    if (outcome !== "committed") {
      batch.settle(outcome);
      return;
    }
    this.#head = storeBatch.to;
    metrics.committed(storeBatch.writes.length, clock.elapsedMs() - this.#inFlightSinceMs);
    this.#options.onCommitted({ head: storeBatch.to, changes: batch.changes, notes: batch.notes });
    this.#unreleased.push(batch);
    const { whenSent } = this.#options;
    if (whenSent === undefined || this.#queue.length === 0) this.#release();
    else whenSent(() => this.#release());
  }

  /** Replies go out in the order of their commits. */
  #release(): void {
    for (const batch of this.#unreleased.splice(0)) batch.settle(undefined);
  }

  /** Resends the very same bytes until the head shows them, the fence is lost, or the store refuses. */
  async #settleCommit(storeBatch: StoreBatch): Promise<"committed" | BbsError> {
    const { store, leadership, clock, log, metrics } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      if (this.#closed !== undefined) return unsettled();
      const result = await store.commit(storeBatch, leadership);
      if (result.ok) return "committed";
      if (result.why === "fenced") {
        const cause = new BbsError("Unavailable", "another BBS leads now; outcome unknown");
        this.#fence(cause);
        return unsettled();
      }
      if (result.why === "refused") {
        const cause = new BbsError(
          "Unavailable",
          `the store takes no writes (${result.reason}); reads go on`,
          { reason: result.reason },
          result.cause,
        );
        if (!this.#probing) this.#refuse(cause);
        // An earlier send of it may still arrive.
        return attempt === 1 ? cause : unsettled();
      }
      const retryMs = Math.min(resendMs.most, resendMs.first * 2 ** Math.min(attempt - 1, 8));
      log.warn({ err: result.cause, attempt, retry_ms: retryMs }, "commit outcome unknown, resending");
      metrics.resent();
      await clock.sleep(retryMs, leadership.lost).catch(() => undefined);
    }
  }

  /** After 1 s those who wait are told that the outcome is unknown; the batch itself goes on. */
  #watchStall(batch: Batch): void {
    this.#cancelStallTimer = this.#afterStall(() => {
      this.#stalled = batch;
      batch.settle(unsettled());
      for (const waiting of this.#queue) waiting.settle(unsettled());
    });
  }

  /** Runs once the store has had its time to answer, and its answer, had there been one, would have been read. */
  #afterStall(run: () => void): () => void {
    const { clock } = this.#options;
    let cancel = clock.after(stalledMs + 1, () => {
      cancel = clock.after(readFirstMs, run);
    });
    return () => cancel();
  }

  #fence(cause: BbsError): void {
    if (this.#closed !== undefined) return;
    this.close(cause);
    this.#options.onFenced(cause);
  }

  /** Nothing of this batch, nor of those decided after it, is stored: all of them fail, and the tables are no longer the truth. */
  #refuse(cause: BbsError): void {
    if (this.#closed !== undefined) return;
    this.#readOnly = cause;
    this.#reloading = true;
    for (const batch of this.#queue.splice(0)) batch.settle(cause);
    for (const waiter of this.#confirmWaiters.splice(0)) waiter(cause);
    this.#options.onRefused(cause);
  }

  /** The tables hold the committed records again. */
  resumeReading(): void {
    this.#reloading = false;
  }

  /** Tries an empty commit; commands are decided again once it succeeded. Resolves with whether it did. */
  async probe(): Promise<boolean> {
    if (this.#closed !== undefined || this.#readOnly === undefined || this.#reloading || this.#pumping) return false;
    this.#pumping = true;
    const probed = new Batch(this.#options.store.maxBatchWrites);
    let refused: BbsError | undefined;
    probed.waiters.push((error) => {
      refused = error;
    });
    this.#probing = true;
    await this.#commit(probed);
    this.#probing = false;
    this.#pumping = false;
    if (refused !== undefined || this.#closed !== undefined) return false;
    this.#readOnly = undefined;
    void this.#pump();
    return true;
  }
}
