// Tells the BBS what could not be placed: a bounded number of calls at a time, each checked again right before it is made.
import type { Clock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { AuctioneerIO } from "./io.js";
import { judgedOf } from "./requests.js";
import type { Entry, WaitingBook } from "./waiting-book.js";

export interface FailureWriterOptions {
  readonly io: Pick<AuctioneerIO, "failActualLRP" | "rejectTask">;
  readonly book: WaitingBook;
  readonly clock: Clock;
  readonly log: Log;
  readonly callsInFlight: number;
  readonly mayAct: () => boolean;
  readonly signal: AbortSignal;
}

/** A call and its way back end within this; then the entry is auctioned again whatever became of it. */
const callMs = 12_000;

export class FailureWriter {
  readonly #options: FailureWriterOptions;
  /** What to write for each entry, oldest first; at most one for each. */
  readonly #queue = new Map<string, { readonly entry: Entry; readonly auctionId: string; readonly error: string }>();
  readonly #calls = new Set<Promise<void>>();

  constructor(options: FailureWriterOptions) {
    this.#options = options;
  }

  get queued(): number {
    return this.#queue.size + this.#calls.size;
  }

  write(entry: Entry, error: string): void {
    this.#queue.set(entry.key, { entry, auctionId: entry.work.auctionId, error });
    this.#pump();
  }

  /** Waits for the calls under way. */
  async settled(): Promise<void> {
    while (this.#calls.size > 0) await Promise.all(this.#calls);
  }

  #pump(): void {
    const { callsInFlight, signal, mayAct } = this.#options;
    for (const [key, item] of this.#queue) {
      if (this.#calls.size >= callsInFlight || signal.aborted) return;
      this.#queue.delete(key);
      const stands = item.entry.phase === "held" && item.entry.work.auctionId === item.auctionId;
      if (!stands || !mayAct()) continue;
      const call = this.#call(item.entry, item.error).finally(() => {
        this.#calls.delete(call);
        this.#pump();
      });
      this.#calls.add(call);
    }
  }

  async #call(entry: Entry, error: string): Promise<void> {
    const { io, book, clock, log, signal } = this.#options;
    const { work } = entry;
    book.writing(entry, clock.elapsedMs() + callMs);
    try {
      if (work.kind === "lrp") {
        const { processGuid, index, domain } = work;
        await io.failActualLRP({ key: { processGuid, index, domain }, judgedTag: judgedOf(work), error }, signal);
      } else await io.rejectTask({ taskGuid: work.taskGuid, judgedSequence: judgedOf(work), reason: error }, signal);
      book.written(entry, true, clock.elapsedMs());
    } catch (err) {
      book.written(entry, false, clock.elapsedMs());
      // Not repeated here: the next try fails the same way and is written then.
      if (!signal.aborted) log.warn({ err, reason: error, step: work.key }, "placement failure not written");
    }
  }
}
