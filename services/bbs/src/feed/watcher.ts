// One watcher's queue: bounded, and cut when it is full.
import { type Delivery, deliveryOf, type FeedEntry, type WatchFilter } from "./entry.js";

/** Bounds of what one watcher may have waiting before it counts as slow. */
const maxPendingCommits = 4_096;
const maxPendingBytes = 16 * 1024 * 1024;

/** What a watcher that resumed reads until it has caught up: it may be further behind than may wait for it. */
export interface History {
  readonly lastSequence: bigint;
  /** The commit after this one; `undefined` after the last, "lost" when it is no longer kept. */
  after(sequence: bigint): FeedEntry | "lost" | undefined;
  /** Nothing that it has read will be offered any more. */
  tell(): void;
}

/** One watcher's queue. `next` gives what came, waits for more, and ends with `undefined` when it was cut. */
export class Watcher {
  readonly filter: WatchFilter;
  /** Where it stands in history; absent once it is offered commits as they come. */
  #behind: { readonly history: History; sequence: bigint } | undefined;
  readonly #pending: Delivery[] = [];
  #pendingCommits = 0;
  #pendingBytes = 0;
  #cut: "slow" | "closed" | undefined;
  #wake: (() => void) | undefined;
  #whenCut: (why: "slow" | "closed") => void = () => undefined;

  constructor(filter: WatchFilter, behind?: { readonly history: History; readonly sequence: bigint }) {
    this.filter = filter;
    this.#behind = behind === undefined ? undefined : { ...behind };
  }

  get cut(): "slow" | "closed" | undefined {
    return this.#cut;
  }

  offer(entry: FeedEntry): void {
    // History has it for one who still reads there.
    if (this.#cut !== undefined || this.#behind !== undefined) return;
    const delivery = deliveryOf(entry, this.filter);
    if (delivery === undefined) return;
    if (this.#pendingCommits >= maxPendingCommits || this.#pendingBytes + delivery.bytes > maxPendingBytes) {
      this.end("slow");
      return;
    }
    this.#pending.push(delivery);
    this.#pendingCommits += delivery.commits;
    this.#pendingBytes += delivery.bytes;
    this.#wake?.();
  }

  /** Commits that wait to be taken. */
  get lag(): number {
    return this.#behind === undefined ? this.#pendingCommits : Number(this.#behind.history.lastSequence - this.#behind.sequence);
  }

  /** Calls `tell` once it is cut: whoever waits for a consumer that takes nothing would not look. */
  whenCut(tell: (why: "slow" | "closed") => void): void {
    this.#whenCut = tell;
    if (this.#cut !== undefined) tell(this.#cut);
  }

  /** What is pending is dropped: the consumer resumes with the last token it was given. */
  end(cut: "slow" | "closed"): void {
    if (this.#cut !== undefined) return;
    this.#cut = cut;
    this.#pending.length = 0;
    this.#pendingCommits = 0;
    this.#pendingBytes = 0;
    this.#wake?.();
    this.#whenCut(cut);
  }

  /** Whether everything offered was taken. */
  get idle(): boolean {
    return this.#pending.length === 0 && this.#cut === undefined && this.#behind === undefined;
  }

  take(): Delivery | undefined {
    const past = this.#fromHistory();
    if (past !== undefined) return past;
    const delivery = this.#cut === undefined ? this.#pending.shift() : undefined;
    if (delivery === undefined) return undefined;
    this.#pendingCommits -= delivery.commits;
    this.#pendingBytes -= delivery.bytes;
    return delivery;
  }

  /** The next commit of history that it sees; `undefined` once it has caught up. */
  #fromHistory(): Delivery | undefined {
    const behind = this.#behind;
    while (behind !== undefined && this.#cut === undefined) {
      const entry = behind.history.after(behind.sequence);
      if (entry === "lost") this.end("slow");
      else if (entry === undefined) {
        behind.history.tell();
        this.#behind = undefined;
        return undefined;
      } else {
        behind.sequence = entry.sequence;
        const delivery = deliveryOf(entry, this.filter);
        entry.deliveries.clear();
        if (delivery !== undefined) return delivery;
      }
    }
    return undefined;
  }

  /** Resolves when there is something to take, when cut, or when woken. */
  async more(): Promise<void> {
    if (this.#pending.length > 0 || this.#cut !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  /** Ends a wait for more. */
  wake(): void {
    this.#wake?.();
  }
}
