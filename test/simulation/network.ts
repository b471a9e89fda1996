// The network between simulated processes: calls that may be lost or doubled, streams that may stall or break, machines cut off.
// A stream keeps its order and loses nothing but itself, as gRPC's do.
import { setMaxListeners } from "node:events";
import type { FakeClock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { FaultDice } from "./faults.js";
import type { SimProcess } from "./process.js";
import type { Trace } from "./trace.js";

/** Longest way of a message: shorter than every deadline, so that a call given up is not on its way any more. */
const longestWayMs = 1_000;
const longestStallMs = 4_000;
/** A peer that says nothing at all is given up after this (as the clients' keepalive does). */
const keepaliveMs = 3_000;

const unavailable = (what: string): BbsError => new BbsError("Unavailable", what);

export interface NetworkOptions {
  readonly clock: FakeClock;
  readonly dice: FaultDice;
  readonly trace: Trace;
}

export interface CallOptions {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

export class SimNetwork {
  readonly #options: NetworkOptions;
  readonly #cut = new Set<string>();
  readonly #links = new Set<Link>();
  /** Signals that may end many calls at once. */
  readonly #busySignals = new WeakSet<AbortSignal>();

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  /** Cuts a machine off from all others until `join`. */
  cut(machine: string): void {
    this.#cut.add(machine);
    for (const link of this.#links) if (link.touches(machine)) link.darken();
  }

  join(machine: string): void {
    this.#cut.delete(machine);
  }

  /** A process that stands still answers no keepalive: its peers give it up. */
  freeze(process: SimProcess): void {
    process.freeze();
    for (const link of this.#links) if (link.joins(process)) link.darken();
  }

  isCut(machine: string): boolean {
    return this.#cut.has(machine);
  }

  reaches(a: SimProcess, b: SimProcess): boolean {
    return a.machine === b.machine || !(this.#cut.has(a.machine) || this.#cut.has(b.machine));
  }

  /** Gives the way of one message its time. */
  way(): number {
    const { dice } = this.#options;
    return 1 + dice.stream("way").below(Math.min(longestWayMs, dice.faults.delayMs));
  }

  /** One call of `from` to `to`, settled for `from` exactly once: with the answer, or with why there is none. */
  call<Answer>(
    from: SimProcess,
    to: SimProcess | undefined,
    name: string,
    handle: () => Promise<Answer>,
    { deadlineMs, signal }: CallOptions,
  ): Promise<Answer> {
    const { clock, dice, trace } = this.#options;
    return new Promise((resolve, reject) => {
      let over = false;
      const finish = (settle: () => void): void => {
        if (over) return;
        over = true;
        cancelDeadline();
        forgetPeer();
        signal?.removeEventListener("abort", onAbort);
        settle();
      };
      let forgetPeer = (): void => undefined;
      const onAbort = (): void => finish(() => reject(signal?.reason));
      const cancelDeadline = from.clock.after(deadlineMs, () =>
        finish(() => reject(new BbsError("Timeout", `${name} was not answered in time`))),
      );
      if (signal?.aborted) {
        onAbort();
        return;
      }
      // Many calls may be under way that one signal ends; each lets go of it.
      if (signal !== undefined && !this.#busySignals.has(signal)) {
        this.#busySignals.add(signal);
        setMaxListeners(0, signal);
      }
      signal?.addEventListener("abort", onAbort, { once: true });
      const back = (settle: () => void): void => {
        clock.after(this.way(), () => {
          if (to !== undefined && !this.reaches(from, to)) return;
          from.enter(() => finish(settle));
        });
      };
      const refuse = (why: string): void => back(() => reject(unavailable(why)));
      if (to === undefined) {
        refuse("nobody answers there");
        return;
      }
      const serve = (): void => {
        // A call that was given up is not carried out any more: its cancelling travels with it.
        if (over) return;
        const answered = handle();
        trace.say("call", `${from.name} ${to.name} ${name}`, true);
        const lost = dice.strikes("dropMessage");
        answered.then(
          (answer) => to.enter(() => (lost ? undefined : back(() => resolve(answer)))),
          (error: unknown) => to.enter(() => (lost ? undefined : back(() => reject(error)))),
        );
        forgetPeer = to.onDeath((death) => (death === "killed" ? refuse("the connection was reset") : undefined));
      };
      if (dice.strikes("dropMessage")) return;
      const twice = dice.falls("duplicateMessage");
      clock.after(this.way(), () => {
        if (!this.reaches(from, to)) return;
        if (!to.alive) {
          refuse("connection refused");
          return;
        }
        to.enter(() => {
          serve();
          if (!twice || over) return;
          dice.count("duplicateMessage");
          handle().catch(() => undefined);
        });
      });
    });
  }

  /** Connects two processes. Messages given to either end come out at the other, late but in order, until the link breaks. */
  link(from: SimProcess, to: SimProcess): Link {
    const link = new Link(this, this.#options, from, to, () => this.#links.delete(link));
    this.#links.add(link);
    if (!this.reaches(from, to) || to.frozen) link.darken();
    return link;
  }

  /** A server's stream: what `serve` yields at `to` comes out at `from`. */
  stream<Message>(
    from: SimProcess,
    to: SimProcess | undefined,
    serve: (signal: AbortSignal) => AsyncIterable<Message>,
    signal: AbortSignal,
  ): AsyncIterable<Message> {
    const inbox = new Inbox<Message>();
    if (to === undefined || !to.alive) {
      this.#options.clock.after(this.way(), () => from.enter(() => inbox.fail(unavailable("nobody answers there"))));
      return inbox;
    }
    const link = this.link(from, to);
    const stop = new AbortController();
    const leave = (): void => link.close();
    link.onBreak(from, (why) => {
      signal.removeEventListener("abort", leave);
      inbox.fail(why);
    });
    link.onBreak(to, (why) => stop.abort(why));
    signal.addEventListener("abort", leave, { once: true });
    if (signal.aborted) leave();
    inbox.onLeft = leave;
    link.send(from, () => {
      void pump(serve(stop.signal), stop.signal, {
        take: (message) => link.send(to, () => inbox.take(message)),
        end: (error) =>
          link.send(to, () => {
            inbox.fail(error);
            link.close();
          }),
      });
    });
    return inbox;
  }
}

/** Carries one stream's messages to the link, until it ends, breaks or is cancelled. */
async function pump<Message>(
  messages: AsyncIterable<Message>,
  signal: AbortSignal,
  out: { take(message: Message): void; end(error: unknown): void },
): Promise<void> {
  try {
    for await (const message of messages) {
      if (signal.aborted) return;
      out.take(message);
    }
    out.end(undefined);
  } catch (error) {
    out.end(error);
  }
}

export class Link {
  readonly #network: SimNetwork;
  readonly #options: NetworkOptions;
  readonly #ends: readonly [SimProcess, SimProcess];
  readonly #done: () => void;
  readonly #breaks = new Map<SimProcess, ((why: BbsError) => void)[]>();
  readonly #forget: (() => void)[] = [];
  readonly #free = new Map<SimProcess, number>();
  #broken = false;
  #dark = false;

  constructor(network: SimNetwork, options: NetworkOptions, from: SimProcess, to: SimProcess, done: () => void) {
    this.#network = network;
    this.#options = options;
    this.#ends = [from, to];
    this.#done = done;
    for (const end of this.#ends) {
      this.#forget.push(end.onDeath((death) => (death === "killed" ? this.#break("the connection was reset") : this.darken())));
    }
  }

  touches(machine: string): boolean {
    return this.#ends.some((end) => end.machine === machine) && this.#ends[0].machine !== this.#ends[1].machine;
  }

  joins(process: SimProcess): boolean {
    return this.#ends.includes(process);
  }

  onBreak(end: SimProcess, listener: (why: BbsError) => void): void {
    const listeners = this.#breaks.get(end) ?? [];
    this.#breaks.set(end, [...listeners, listener]);
  }

  /** Nothing goes through any more; each end learns of it when its keepalive is not answered. */
  darken(): void {
    if (this.#dark || this.#broken) return;
    this.#dark = true;
    this.#options.clock.after(keepaliveMs, () => this.#break("the peer does not answer"));
  }

  /** Sends from one end: `arrive` runs as the other process's own. */
  send(from: SimProcess, arrive: () => void): void {
    const { clock, dice } = this.#options;
    if (this.#broken || !from.alive) return;
    if (this.#dark) return;
    if (dice.strikes("cutStream")) {
      this.#break("the connection broke");
      return;
    }
    const to = this.#ends[0] === from ? this.#ends[1] : this.#ends[0];
    const stallMs = dice.strikes("stallStream") ? dice.stream("stall").below(longestStallMs) : 0;
    const atMs = Math.max(clock.elapsedMs() + this.#network.way() + stallMs, this.#free.get(to) ?? 0);
    this.#free.set(to, atMs);
    clock.after(atMs - clock.elapsedMs(), () => {
      if (!this.#broken && !this.#dark) to.enter(() => (this.#broken ? undefined : arrive()));
    });
  }

  /** An end lets go; the other learns of it after what was sent before. */
  close(): void {
    this.#break("the peer has gone");
  }

  #break(why: string): void {
    if (this.#broken) return;
    const { clock } = this.#options;
    this.#broken = true;
    this.#done();
    for (const forget of this.#forget) forget();
    for (const end of this.#ends) {
      for (const tell of this.#breaks.get(end) ?? []) {
        clock.after(this.#network.way(), () => end.enter(() => tell(unavailable(why))));
      }
    }
  }
}

/** What has arrived of a stream, for one reader. */
export class Inbox<Message> implements AsyncIterableIterator<Message> {
  readonly #waiting: Message[] = [];
  #over: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  onLeft: () => void = () => undefined;

  take(message: Message): void {
    if (this.#over !== undefined) return;
    this.#waiting.push(message);
    this.#wake?.();
  }

  /** Nothing more comes: the end of the stream, or what broke it. */
  fail(error?: unknown): void {
    this.#over ??= { error };
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<Message, undefined>> {
    while (this.#waiting.length === 0 && this.#over === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const [value] = this.#waiting.splice(0, 1);
    if (value !== undefined) return { value, done: false };
    if (this.#over?.error !== undefined) throw this.#over.error;
    return { value: undefined, done: true };
  }

  async return(): Promise<IteratorResult<Message, undefined>> {
    this.onLeft();
    this.fail(undefined);
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
