// The cell's one session with the BBS: presence, heartbeats, inventory, then reports and their answers (races.md R1, R6, C4).
// It carries messages and keeps time; what is reported is its owner's part.
import type { CellPresence } from "@muster/proto/models/cells";
import type {
  ContainerReport,
  ReportItem,
  ReportReply,
  ReportRequest,
  ReportResponse,
  Welcome,
} from "@muster/proto/muster/v1/report";
import type { Clock, Entropy } from "@muster/shared/clock";
import { BbsError, isBbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";

/** One open stream. `messages` ends or throws when it breaks. */
export interface ReportConnection {
  send(message: ReportRequest): void;
  readonly messages: AsyncIterable<ReportResponse>;
  /** Lets go of the stream; idempotent. */
  close(): void;
}

export interface Hello {
  readonly presence: CellPresence;
  readonly evacuating: boolean;
}

export interface SessionOwner {
  hello(): Hello;
  /** Resolves when the cell knows what it holds (adoption is over). */
  inventory(): Promise<readonly ContainerReport[]>;
  /** The inventory was decided: reports may be sent from now on. */
  onDecided(): void;
  onReply(item: ReportItem, reply: ReportReply): void;
  /** What was sent and not answered is dropped (R1). */
  onClosed(): void;
}

export interface SessionOptions {
  readonly open: (signal: AbortSignal) => ReportConnection;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Log;
  readonly owner: string;
  readonly ttlMs: number;
  readonly handler: SessionOwner;
}

/** Bounds of the protocol: items in a message, items unanswered, containers in one part of the inventory. */
const itemsPerMessage = 100;
const maxUnanswered = 1_000;
const containersPerPart = 500;
const retryMs = { first: 50, max: 1_000, denied: 5_000 };

export type SessionPhase = "closed" | "opening" | "inventory" | "decided";

export class ReportSession {
  readonly #options: SessionOptions;
  readonly #unanswered = new Map<bigint, ReportItem>();
  #phase: SessionPhase = "closed";
  #connection: ReportConnection | undefined;
  #nextId = 1n;
  #heartbeats = 0n;
  #heardAtMs = 0;
  #leader: { readonly incarnation: string; readonly epoch: bigint } | undefined;
  #lastError: string | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  get phase(): SessionPhase {
    return this.#phase;
  }

  /** Why there is no session now; `undefined` when there is, or none was tried. */
  get trouble(): string | undefined {
    return this.#phase === "decided" ? undefined : this.#lastError;
  }

  /** How many more items may be sent. */
  get room(): number {
    return this.#phase === "decided" ? maxUnanswered - this.#unanswered.size : 0;
  }

  /** Sends items, at most `room` of them; each is answered by `onReply` or dropped by `onClosed`. */
  send(items: readonly Omit<ReportItem, "id">[]): void {
    const numbered = items.slice(0, this.room).map((item) => ({ ...item, id: this.#nextId++ }));
    for (let at = 0; at < numbered.length; at += itemsPerMessage) {
      const part = numbered.slice(at, at + itemsPerMessage);
      for (const item of part) this.#unanswered.set(item.id, item);
      this.#connection?.send({ message: { $case: "batch", value: { items: part } } });
    }
  }

  /** Tells the BBS at once that the presence's content changed. */
  refreshPresence(): void {
    if (this.#phase === "decided" || this.#phase === "inventory") this.#heartbeat(true);
  }

  /** Keeps a session until the signal aborts; never gives up. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, ttlMs, entropy } = this.#options;
    let waitMs = retryMs.first;
    while (!signal.aborted) {
      const error = await this.#once(signal);
      if (signal.aborted) return;
      const reached = this.#phase === "decided";
      this.#close();
      if (reached) waitMs = retryMs.first;
      const collides = isBbsError(error, "LockCollision");
      const pauseMs = collides
        ? ttlMs / 5
        : isBbsError(error, "PermissionDenied")
          ? retryMs.denied
          : waitMs + entropy.below(waitMs);
      const text = error instanceof Error ? error.message : String(error);
      // Said once for each new reason: a BBS that is away for an hour is one line.
      if (text !== this.#lastError) log.warn({ reason: text, retry_ms: pauseMs }, "session with the bbs lost");
      this.#lastError = text;
      waitMs = Math.min(retryMs.max, waitMs * 2);
      await clock.sleep(pauseMs, signal).catch(() => undefined);
    }
    this.#close();
  }

  #close(): void {
    const wasOpen = this.#phase !== "closed";
    this.#phase = "closed";
    this.#connection = undefined;
    this.#unanswered.clear();
    if (wasOpen) this.#options.handler.onClosed();
  }

  /** One session from hello to its end; returns why it ended and leaves the phase it had reached. */
  async #once(signal: AbortSignal): Promise<unknown> {
    const { open, clock, owner, ttlMs, handler } = this.#options;
    const cut = new AbortController();
    const either = AbortSignal.any([signal, cut.signal]);
    const aborted = new Promise<never>((_, reject) => {
      either.addEventListener("abort", () => reject(either.reason), { once: true });
    });
    aborted.catch(() => undefined);
    let connection: ReportConnection | undefined;
    this.#phase = "opening";
    try {
      connection = open(either);
      this.#connection = connection;
      this.#heardAtMs = clock.elapsedMs();
      const { presence, evacuating } = handler.hello();
      connection.send({ message: { $case: "hello", value: { presence, owner, ttlMs, evacuating } } });
      void this.#beat(either, cut);
      const messages = connection.messages[Symbol.asyncIterator]();
      while (true) {
        const next = await Promise.race([messages.next(), aborted]);
        if (next.done === true) return new BbsError("Unavailable", "the BBS ended the session");
        this.#take(next.value, connection, cut);
      }
    } catch (error) {
      return error;
    } finally {
      cut.abort(new BbsError("Unavailable", "the session is over"));
      connection?.close();
    }
  }

  /** A heartbeat every fifth of the TTL; a session without an answer for a whole TTL is cut. */
  async #beat(signal: AbortSignal, cut: AbortController): Promise<void> {
    const { clock, ttlMs } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(ttlMs / 5, signal).catch(() => undefined);
      if (signal.aborted) return;
      if (clock.elapsedMs() - this.#heardAtMs > ttlMs) {
        cut.abort(new BbsError("Timeout", "the BBS did not answer within the presence's TTL"));
        return;
      }
      if (this.#phase !== "opening") this.#heartbeat(false);
    }
  }

  #heartbeat(withPresence: boolean): void {
    this.#heartbeats += 1n;
    const { presence, evacuating } = this.#options.handler.hello();
    // Whether it evacuates is said every time: it may have begun, or been taken back, while the session was being opened.
    const value = { number: this.#heartbeats, presence: withPresence ? presence : undefined, evacuating };
    this.#connection?.send({ message: { $case: "heartbeat", value } });
  }

  #take(response: ReportResponse, connection: ReportConnection, cut: AbortController): void {
    const { clock, handler, log } = this.#options;
    const { message } = response;
    switch (message?.$case) {
      case "welcome":
        this.#checkLeader(message.value);
        this.#heardAtMs = clock.elapsedMs();
        this.#phase = "inventory";
        this.#lastError = undefined;
        log.info({ revision: message.value.leaderEpoch.toString() }, "session with the bbs opened");
        this.#sendInventory(connection, cut);
        return;
      case "heartbeat":
        this.#heardAtMs = clock.elapsedMs();
        return;
      case "inventoryDecided":
        if (this.#phase !== "inventory") return;
        this.#phase = "decided";
        handler.onDecided();
        return;
      case "replies":
        for (const reply of message.value.replies) this.#answered(reply);
        return;
      default:
    }
  }

  #answered(reply: ReportReply): void {
    const item = this.#unanswered.get(reply.id);
    // A reply that came twice is told once.
    if (item === undefined) return;
    this.#unanswered.delete(reply.id);
    this.#options.handler.onReply(item, reply);
  }

  #sendInventory(connection: ReportConnection, cut: AbortController): void {
    const send = (containers: readonly ContainerReport[]): void => {
      if (this.#connection !== connection || cut.signal.aborted) return;
      for (let at = 0; at === 0 || at < containers.length; at += containersPerPart) {
        const part = containers.slice(at, at + containersPerPart);
        const last = at + containersPerPart >= containers.length;
        connection.send({ message: { $case: "inventory", value: { containers: part, last } } });
      }
    };
    this.#options.handler.inventory().then(send, (error: unknown) => cut.abort(error));
  }

  /** Rule T2. @throws BbsError for a leader older than one already seen. */
  #checkLeader(welcome: Welcome): void {
    const { incarnation, leaderEpoch: epoch } = welcome;
    const known = this.#leader;
    if (known !== undefined && known.incarnation === incarnation && epoch < known.epoch) {
      throw new BbsError("Unavailable", "an older leader of the BBS answered");
    }
    this.#leader = { incarnation, epoch };
  }
}
