// The auctioneer's link to one live cell: its state stream, held open; and its work, handed over one request at a time.
import type { PerformResponse } from "@muster/proto/muster/v1/rep";
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { Cell } from "@muster/shared/model";
import { isTransient } from "@muster/shared/rpc";
import type { CellState, CellStatus, Work } from "../plan/index.js";
import { CellPicture } from "./cell-picture.js";
import type { CellIO } from "./io.js";
import { performRequest } from "./requests.js";

export interface CellLinkOptions {
  readonly presence: Cell;
  readonly io: CellIO;
  readonly clock: Clock;
  readonly log: Log;
  /** A request to take work is given up after this. */
  readonly performDeadlineMs: number;
  /** Whether the auctioneer may act: asked before every request. */
  readonly mayAct: () => boolean;
  /** Whether this work is still in flight to this cell, in this attempt. */
  readonly stillAsked: (work: Work) => boolean;
  /** The first state of a stream arrived, `openedMs` after it was opened. */
  readonly onJoined: (openedMs: number) => void;
  /** The cell may take what it could not take before. */
  readonly onRoom: () => void;
  /** The stream broke: what was in flight is lost. */
  readonly onLost: () => void;
  /** The cell answered for this work; `undefined`: it took it. */
  readonly onAnswer: (work: Work, refusal: string | undefined) => void;
  readonly onPerformed: (durationMs: number, ok: boolean) => void;
}

/** Between attempts at a stream or a request, doubling. */
const firstRetryMs = 100;
const longestRetryMs = 1_000;
/** Work in one request: some 300 kB, far below the message limit. */
const maxWorkPerRequest = 500;
/** The sweep looks four times a second, so this is one second of silence; a stall of our own counts as one look only. */
const silentLooks = 4;

export class CellLink {
  readonly picture = new CellPicture();
  readonly openedAtMs: number;
  readonly #options: CellLinkOptions;
  readonly #closed = new AbortController();
  readonly #queue: Work[] = [];
  #presence: Cell;
  #sending = false;
  #performFails = false;
  #looksWithoutWord = 0;
  /** Why there is no state, while there is none. */
  #trouble = "not heard from yet";
  #heard = false;

  constructor(options: CellLinkOptions) {
    this.#options = options;
    this.#presence = options.presence;
    this.openedAtMs = options.clock.elapsedMs();
  }

  /** Whether the cell has ever told its state. */
  get heard(): boolean {
    return this.#heard;
  }

  /** The presence changed, and the address did not. */
  set presence(presence: Cell) {
    this.#presence = presence;
  }

  get presence(): Cell {
    return this.#presence;
  }

  /** Follows the cell's state until `close`. */
  async run(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#closed;
    let retryMs = firstRetryMs;
    while (!signal.aborted) {
      const joined = await this.#follow(signal);
      if (signal.aborted) return;
      retryMs = joined ? firstRetryMs : Math.min(longestRetryMs, retryMs * 2);
      log.debug({ cell_id: this.#presence.cellId, reason: this.#trouble, retry_ms: retryMs }, "cell state stream broke");
      await clock.sleep(retryMs, signal).catch(() => undefined);
    }
  }

  /** Ends stream and requests. What was queued is the caller's to place elsewhere. */
  close(): void {
    this.#queue.length = 0;
    this.#closed.abort(new BbsError("Unavailable", "the cell is gone"));
    this.#options.io.close();
  }

  /** Called by the sweep: a cell from which nothing was heard for a second is left out. Says whether it just fell silent. */
  look(): boolean {
    this.#looksWithoutWord += 1;
    return this.picture.complete && this.#looksWithoutWord === silentLooks;
  }

  state(): CellState {
    const [status, reason] = this.#status();
    return this.picture.state(this.#presence, status, reason);
  }

  /** Queues work; what is already under way goes first. */
  hand(works: readonly Work[]): void {
    for (const work of works) this.picture.addPending(work);
    this.#queue.push(...works);
    if (this.#sending || works.length === 0) return;
    this.#sending = true;
    this.#send().catch((err: unknown) =>
      this.#options.log.error({ err, cell_id: this.#presence.cellId }, "work not handed over"),
    );
  }

  #status(): [CellStatus, string] {
    const { last } = this.picture;
    if (last === undefined) return ["silent", this.#trouble];
    if (this.#looksWithoutWord >= silentLooks) return ["silent", "no state for 1 s"];
    if (this.#performFails) return ["silent", "does not answer requests to take work"];
    if (last.evacuating || this.#presence.evacuating) return ["evacuating", "it is being evacuated"];
    if (!last.healthy) return ["unhealthy", last.unhealthyReason || "it reports itself unhealthy"];
    return ["healthy", ""];
  }

  /** One stream, from opening to its end. Says whether it told anything. */
  async #follow(signal: AbortSignal): Promise<boolean> {
    const { clock, io } = this.#options;
    const openedMs = clock.elapsedMs();
    try {
      for await (const message of io.state(signal)) {
        if (signal.aborted) break;
        const first = !this.picture.complete;
        if (message.cellId !== this.#presence.cellId) {
          this.#trouble = `its address is answered by cell ${message.cellId || "(unnamed)"}`;
          break;
        }
        const wasSilent = this.#looksWithoutWord >= silentLooks;
        this.#looksWithoutWord = 0;
        const room = this.picture.take(message);
        if (!this.picture.complete) continue;
        this.#heard = true;
        if (first) this.#options.onJoined(clock.elapsedMs() - openedMs);
        else if (room || wasSilent) this.#options.onRoom();
      }
      if (this.picture.complete) this.#trouble = "its state stream ended";
    } catch (err) {
      this.#trouble = `its state stream broke: ${err instanceof Error ? err.message : String(err)}`;
    }
    const joined = this.picture.complete;
    this.picture.clear();
    if (joined && !signal.aborted) this.#options.onLost();
    return joined;
  }

  /** Hands over what is queued, batch by batch. A batch nobody answered for is repeated: the same ids get their first answer (P1). */
  async #send(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#closed;
    let retryMs = firstRetryMs;
    try {
      while (this.#queue.length > 0 && !signal.aborted) {
        const batch = this.#queue.splice(0, maxWorkPerRequest).filter((work) => this.#options.stillAsked(work));
        if (batch.length === 0) continue;
        if (await this.#perform(batch)) {
          retryMs = firstRetryMs;
          continue;
        }
        this.#queue.unshift(...batch);
        await clock.sleep(retryMs, signal).catch(() => undefined);
        retryMs = Math.min(longestRetryMs, retryMs * 2);
      }
    } finally {
      // In the same tick as the last look at the queue: whatever is handed over next starts a sender of its own.
      this.#sending = false;
    }
    this.#setPerformFails(false);
  }

  /** Says whether the batch is settled: answered, or refused as a whole. */
  async #perform(batch: readonly Work[]): Promise<boolean> {
    const { clock, io, log, performDeadlineMs, mayAct } = this.#options;
    const { cellId } = this.#presence;
    if (!mayAct()) return false;
    const sentAtMs = clock.elapsedMs();
    try {
      const response = await this.#bounded((signal) => io.perform(performRequest(cellId, batch), performDeadlineMs, signal));
      this.#options.onPerformed(clock.elapsedMs() - sentAtMs, true);
      this.#setPerformFails(false);
      this.#answer(batch, response);
      return true;
    } catch (err) {
      if (this.#closed.signal.aborted) return false;
      this.#options.onPerformed(clock.elapsedMs() - sentAtMs, false);
      const repeat = isTransient(err);
      log.warn({ err, cell_id: cellId, step: repeat ? "again" : "refused" }, "cell did not take work");
      this.#setPerformFails(repeat);
      const reason = `cell ${cellId} refused the request: ${err instanceof Error ? err.message : String(err)}`;
      if (!repeat) for (const work of batch) this.#options.onAnswer(work, reason);
      return !repeat;
    }
  }

  #answer(batch: readonly Work[], response: PerformResponse): void {
    const refused = new Map(response.refused.map(({ auctionId, reason }) => [auctionId, reason]));
    for (const work of batch) {
      const reason = refused.get(work.auctionId);
      this.#options.onAnswer(work, reason === "" ? `cell ${this.#presence.cellId} refused without a reason` : reason);
    }
  }

  #setPerformFails(fails: boolean): void {
    const mended = this.#performFails && !fails;
    this.#performFails = fails;
    if (mended && !this.#closed.signal.aborted) this.#options.onRoom();
  }

  /** The deadline holds even when the call heeds neither deadline nor signal. */
  async #bounded<Result>(call: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const { clock, performDeadlineMs } = this.#options;
    const { signal } = this.#closed;
    const over = new AbortController();
    const late = new Promise<never>((_, reject) => {
      over.signal.addEventListener("abort", () => reject(over.signal.reason), { once: true });
    });
    const disarm = clock.after(performDeadlineMs, () => over.abort(new BbsError("Timeout", "no answer in time")));
    const closed = (): void => over.abort(signal.reason);
    signal.addEventListener("abort", closed, { once: true });
    if (signal.aborted) closed();
    try {
      return await Promise.race([call(over.signal), late]);
    } finally {
      disarm();
      signal.removeEventListener("abort", closed);
    }
  }
}
