// Diego's four event hubs (bbs-semantics.md section 9): what is committed goes to every subscription, nobody waits for a slow one, and
// nothing is derived while nobody listens.
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { Change, SealedBytes, Tables } from "@muster/shared/model";
import { Pace } from "../feed/pace.js";
import { concernsCell, type DerivedEvent, deriveEvents } from "./derive.js";
import { eventMessage, type Showing } from "./message.js";
import { type CommandHints, type CommandNote, takeNote } from "./note.js";

export type HubName = DerivedEvent["hub"];

/** An event as it leaves: its name, and its message in base64. */
export interface EventText {
  readonly name: string;
  readonly data: string;
}

/** So many events of one hub may wait in a subscription; one more and it is slow. Diego's number. */
export const bufferedEvents = 1_024;
/** Definitions of up to 1.4 MiB wait in events too: a subscription that holds on to more than this is slow as well. */
export const bufferedBytes = 64 * 1024 * 1024;

/**
 * So many events are told before readers get a turn: one commit may hold more than a subscription, and who reads must not be cut for
 * that. The rest waits, in order.
 */
const eventsPerTurn = 256;
/** More than this waits when everything is told too fast for any reader: then all of them are slow. */
const maxWaitingEvents = 50_000;
const maxWaitingBytes = 4 * bufferedBytes;

/** One event for all subscriptions; made a message once for each way of showing it, and only when somebody takes it. */
export class HubEvent {
  readonly derived: DerivedEvent;
  /** Its place among all events; a subscription gets those after it came. */
  readonly place: number;
  /** Roughly what it holds in memory, its message included. */
  readonly weight: number;
  readonly #log: Log;
  readonly #messages = new Map<Showing | undefined, EventText | undefined>();

  constructor(derived: DerivedEvent, place: number, log: Log) {
    this.derived = derived;
    this.place = place;
    this.weight = weightOf(derived);
    this.#log = log;
  }

  /** `undefined` for one that cannot be shown: its definition cannot be opened. */
  message(showing: Showing): EventText | undefined {
    const { hub } = this.derived;
    // Rows look the same however definitions are shown.
    const shownAs = hub === "desired" || hub === "task" ? showing : undefined;
    if (this.#messages.has(shownAs)) return this.#messages.get(shownAs);
    const message = this.#made(showing);
    this.#messages.set(shownAs, message);
    return message;
  }

  #made(showing: Showing): EventText | undefined {
    try {
      const { name, bytes } = eventMessage(this.derived, showing);
      return { name, data: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64") };
    } catch (err) {
      this.#log.error({ err, step: this.derived.hub }, "event cannot be shown, left out");
      return undefined;
    }
  }
}

function weightOf({ hub, event }: DerivedEvent): number {
  const rowsBytes = 2 * 1024;
  if (hub === "group" || hub === "instance") return rowsBytes;
  const held = hub === "desired" ? (event.kind === "changed" ? [event.before, event.after] : [event.desired]) : [];
  const tasks = hub === "task" ? (event.kind === "changed" ? [event.before, event.after] : [event.task]) : [];
  // The sealed bytes themselves, and the same again as base64.
  return [...held, ...tasks].reduce((sum, { sealed }) => sum + rowsBytes + 3 * (sealed?.byteLength ?? 0), 0);
}

/** One stream's share of some hubs, in the order of the commits. */
export class Subscription {
  readonly hubs: readonly HubName[];
  readonly #cellId: string;
  readonly #after: number;
  readonly #leave: () => void;
  readonly #pending: HubEvent[] = [];
  readonly #pendingOf: Record<HubName, number> = { desired: 0, group: 0, instance: 0, task: 0 };
  #pendingBytes = 0;
  #over: "slow" | "closed" | undefined;
  #wake: (() => void) | undefined;
  #whenOver: (() => void) | undefined;

  /** `cellId` empty: not filtered. `after`: the place of the last event before it came. */
  constructor(hubs: readonly HubName[], cellId: string, after: number, leave: () => void) {
    this.hubs = hubs;
    this.#cellId = cellId;
    this.#after = after;
    this.#leave = leave;
  }

  /** Why nothing new comes any more; what is pending still does. */
  get over(): "slow" | "closed" | undefined {
    return this.#over;
  }

  offer(event: HubEvent): void {
    const { derived, weight, place } = event;
    if (this.#over !== undefined || place <= this.#after) return;
    if (this.#cellId !== "" && !concernsCell(derived, this.#cellId)) return;
    if (this.#pendingOf[derived.hub] >= bufferedEvents || this.#pendingBytes + weight > bufferedBytes) {
      this.end("slow");
      return;
    }
    this.#pending.push(event);
    this.#pendingOf[derived.hub] += 1;
    this.#pendingBytes += weight;
    this.#wake?.();
  }

  take(): HubEvent | undefined {
    const event = this.#pending.shift();
    if (event === undefined) return undefined;
    this.#pendingOf[event.derived.hub] -= 1;
    this.#pendingBytes -= event.weight;
    return event;
  }

  /** Resolves with true once there is something to take, with false when there never will be. */
  async more(): Promise<boolean> {
    if (this.#pending.length === 0 && this.#over === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    return this.#pending.length > 0;
  }

  /** Calls `run` when the subscription is over; at once if it is. */
  whenOver(run: () => void): void {
    if (this.#over === undefined) this.#whenOver = run;
    else run();
  }

  end(why: "slow" | "closed"): void {
    if (this.#over !== undefined) return;
    this.#over = why;
    this.#leave();
    this.#wake?.();
    this.#whenOver?.();
  }
}

export interface EventHubsOptions {
  /** Opens sealed definitions, for events that somebody takes. */
  readonly open: (sealed: SealedBytes) => Uint8Array;
  readonly log: Log;
  readonly clock: Clock;
}

export class EventHubs {
  readonly open: EventHubsOptions["open"];
  readonly #log: Log;
  readonly #members: Record<HubName, Set<Subscription>> = {
    desired: new Set(),
    group: new Set(),
    instance: new Set(),
    task: new Set(),
  };
  /** Committed, in order, not yet told. */
  #waiting: HubEvent[] = [];
  #waitingBytes = 0;
  #turnIsDue = false;
  #lastPlace = 0;
  #subscriptions = 0;
  readonly #pace: Pace;
  #closed = false;

  constructor({ open, log, clock }: EventHubsOptions) {
    this.open = open;
    this.#log = log;
    this.#pace = new Pace(clock, () => this.#tell());
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Open subscriptions. */
  get subscriptions(): number {
    return this.#subscriptions;
  }

  /** The journal's hook: what to keep of a command until it is committed. `undefined` while nobody listens. */
  note(tables: Pick<Tables, "rows" | "runInfos" | "taskDefinitions">, changes: readonly Change[], hints: CommandHints) {
    const { desired, group, instance, task } = this.#members;
    const wanted = { desired: desired.size > 0, instances: group.size + instance.size > 0, tasks: task.size > 0 };
    if (!wanted.desired && !wanted.instances && !wanted.tasks) return undefined;
    return this.#guarded(() => takeNote(tables, changes, hints, wanted));
  }

  /** Tells what was committed: at once while it is quiet or few listen, else several commits at a time. Never waits, never fails. */
  publish(notes: readonly CommandNote[]): void {
    for (const note of notes) {
      for (const derived of this.#guarded(() => deriveEvents(note)) ?? []) {
        if (this.#members[derived.hub].size === 0) continue;
        this.#lastPlace += 1;
        const event = new HubEvent(derived, this.#lastPlace, this.#log);
        this.#waiting.push(event);
        this.#waitingBytes += event.weight;
      }
    }
    if (this.#waiting.length > maxWaitingEvents || this.#waitingBytes > maxWaitingBytes) {
      this.#log.warn({ events: this.#waiting.length }, "too many events wait, all event streams end");
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.#endAll("slow");
    }
    if (this.#turnIsDue || this.#waiting.length === 0) return;
    this.#pace.push(this.#subscriptions, this.#waiting.length >= eventsPerTurn);
  }

  /** The journal calls in the middle of its work, and event streams must never be what ends it. */
  #guarded<Made>(make: () => Made): Made | undefined {
    try {
      return make();
    } catch (err) {
      this.#log.error({ err }, "events of a command are lost");
      return undefined;
    }
  }

  #tell(): void {
    this.#pace.told();
    const told = this.#waiting.splice(0, eventsPerTurn);
    for (const event of told) {
      this.#waitingBytes -= event.weight;
      for (const member of [...this.#members[event.derived.hub]]) member.offer(event);
    }
    this.#turnIsDue = this.#waiting.length > 0;
    if (this.#turnIsDue) setImmediate(() => this.#tell());
  }

  /** Follows some hubs from now on; `cellId` empty: of all cells. @throws BbsError Unavailable once the hubs are closed. */
  subscribe(hubs: readonly HubName[], cellId = ""): Subscription {
    if (this.#closed) throw new BbsError("Unavailable", "the event hubs are closed");
    const subscription: Subscription = new Subscription(hubs, cellId, this.#lastPlace, () => {
      this.#subscriptions -= 1;
      for (const hub of hubs) this.#members[hub].delete(subscription);
    });
    this.#subscriptions += 1;
    for (const hub of hubs) this.#members[hub].add(subscription);
    return subscription;
  }

  /** Ends every stream, after all that was committed. */
  close(): void {
    this.#closed = true;
    while (this.#waiting.length > 0) this.#tell();
    this.#pace.stop();
    this.#endAll("closed");
  }

  #endAll(why: "slow" | "closed"): void {
    for (const members of Object.values(this.#members)) for (const member of [...members]) member.end(why);
  }
}
