// One cell's session: hello, inventory, batches, heartbeats (races.md R1, R3, C4, C5). Every decision is the core's; this file orders them.
import type { ContainerReport, ReportItem, ReportReply, ReportRequest, ReportResponse } from "@muster/proto/muster/v1/report";
import { cellPresenceFromWire } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import { asCellId, type CellId } from "@muster/shared/model";
import { losePresence, registerPresence } from "../core/cells.js";
import type { Command } from "../core/decision.js";
import type { Journal } from "../journal/journal.js";
import { inventoryCommands } from "./inventory-report.js";
import type { Leases } from "./leases.js";
import { keepsUndecided, reportCommand } from "./report-items.js";
import type { Room } from "./room.js";
import { maxRunInformationBytes, type RunInformation, type ToRun } from "./run-information.js";

export interface SessionHost {
  readonly journal: Journal;
  readonly leases: Leases;
  readonly log: Log;
  /** Shared by all sessions: what they report is decided within it. */
  readonly room: Room;
  readonly runInformation: RunInformation;
  readonly maxTaskRetries: number;
  /** Makes this the cell's one session: the older one is cut before its queue is decided. */
  adopt(cellId: CellId, session: ReportSession): void;
}

/** Bounds: what a session may have undecided, and how much an inventory may hold. */
const maxUnanswered = 4_000;
const maxInventory = 20_000;
/** So many keys and tasks of an inventory are decided in one tick. */
const inventorySlice = 100;
/** C4: an inventory that has not come by then costs the cell its presence. */
export const inventoryDueMs = 60_000;

export type SessionEnd = { readonly reason: string; readonly error: BbsError | undefined };

export class ReportSession {
  readonly #host: SessionHost;
  readonly #send: (response: ReportResponse) => void;
  readonly #end: (end: SessionEnd) => void;
  /** The cell its certificate names; it speaks for no other. */
  readonly #certifiedCell: CellId | undefined;
  #cellId: CellId | undefined;
  #owner = "";
  #ttlMs = 0;
  #ended = false;
  #unanswered = 0;
  #inventory: ContainerReport[] = [];
  #inventoryDone = false;
  /** The inventory being decided: what the rep reports after it is decided after it. */
  #deciding: Promise<void> = Promise.resolve();
  #evacuating = false;
  #presence: ReturnType<typeof cellPresenceFromWire> | undefined;

  constructor(
    host: SessionHost,
    certifiedCell: CellId | undefined,
    send: (response: ReportResponse) => void,
    end: (end: SessionEnd) => void,
  ) {
    this.#host = host;
    this.#certifiedCell = certifiedCell;
    this.#send = send;
    this.#end = end;
  }

  get cellId(): CellId | undefined {
    return this.#cellId;
  }

  get owner(): string {
    return this.#owner;
  }

  get inventoryDone(): boolean {
    return this.#inventoryDone;
  }

  /** Whether the sender should hold back: too much is undecided. */
  get full(): boolean {
    return this.#unanswered >= maxUnanswered;
  }

  /** Cuts the session: nothing it still sends is decided. */
  cut(reason: string, error?: BbsError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#end({ reason, error });
  }

  /** Takes one message. Never throws: a fault ends the session with its error. */
  async receive(request: ReportRequest): Promise<void> {
    if (this.#ended) return;
    try {
      await this.#take(request);
    } catch (error) {
      this.cut("refused", error instanceof BbsError ? error : new BbsError("UnknownError", undefined, {}, error));
    }
  }

  async #take({ message }: ReportRequest): Promise<void> {
    if (message === undefined) return;
    if (message.$case === "hello") return this.#hello(message.value);
    if (this.#cellId === undefined) throw new BbsError("InvalidRequest", "the first message of a session must be hello");
    switch (message.$case) {
      case "heartbeat":
        return this.#heartbeat(message.value);
      case "inventory":
        return this.#takeInventory(message.value);
      case "batch":
        return this.#batch(message.value.items);
      case "goodbye":
        await this.#host.journal.submit(losePresence(this.#cellId, this.#owner));
        this.#host.leases.drop("presence", this.#cellId, this.#owner);
        this.cut("goodbye");
        return;
      default:
    }
  }

  async #hello(hello: Extract<NonNullable<ReportRequest["message"]>, { $case: "hello" }>["value"]): Promise<void> {
    const cellId = asCellId(hello.presence?.cellId ?? "");
    if (hello.presence === undefined || cellId === "" || hello.owner === "")
      throw new BbsError("InvalidRequest", "Invalid field: presence");
    if (hello.ttlMs < 500 || hello.ttlMs > 600_000) throw new BbsError("InvalidRequest", "Invalid field: ttl_ms");
    if (this.#certifiedCell !== undefined && this.#certifiedCell !== cellId) {
      throw new BbsError("PermissionDenied", `this certificate may not report for cell ${cellId}`, { cell_id: cellId });
    }
    const { journal, leases } = this.#host;
    this.#presence = cellPresenceFromWire(hello.presence);
    this.#owner = hello.owner;
    this.#ttlMs = hello.ttlMs;
    this.#evacuating = hello.evacuating;
    await journal.submit(
      registerPresence({ content: this.#presence, owner: hello.owner, ttlMs: hello.ttlMs, evacuating: hello.evacuating }),
    );
    if (this.#ended) return;
    this.#cellId = cellId;
    leases.renew({ kind: "presence", key: cellId, owner: hello.owner, ttlMs: hello.ttlMs });
    this.#host.adopt(cellId, this);
    const { head } = journal;
    const welcome = {
      leaderEpoch: head.leaderEpoch,
      incarnation: head.incarnation,
      clusterTimeMs: BigInt(Math.round(journal.nowMs())),
    };
    this.#send({ message: { $case: "welcome", value: welcome } });
  }

  /** The lease is renewed on receipt, before any commit. */
  async #heartbeat(beat: Extract<NonNullable<ReportRequest["message"]>, { $case: "heartbeat" }>["value"]): Promise<void> {
    const cellId = this.#cellId;
    if (cellId === undefined) return;
    const { leases, journal } = this.#host;
    if (!leases.holds("presence", cellId, this.#owner)) {
      this.cut("presence expired", new BbsError("LockCollision", "the presence expired; say hello anew"));
      return;
    }
    leases.renew({ kind: "presence", key: cellId, owner: this.#owner, ttlMs: this.#ttlMs });
    const changed = beat.presence !== undefined || (beat.evacuating !== undefined && beat.evacuating !== this.#evacuating);
    if (changed && this.#presence !== undefined) {
      this.#presence = beat.presence === undefined ? this.#presence : cellPresenceFromWire(beat.presence);
      this.#evacuating = beat.evacuating ?? this.#evacuating;
      const request = { content: this.#presence, owner: this.#owner, ttlMs: this.#ttlMs, evacuating: this.#evacuating };
      await journal.submit(registerPresence({ ...request, content: { ...request.content, cellId } }));
    }
    if (!this.#ended) this.#send({ message: { $case: "heartbeat", value: { number: beat.number } } });
  }

  async #takeInventory(part: { readonly containers: ContainerReport[]; readonly last: boolean }): Promise<void> {
    if (this.#inventory.length + part.containers.length > maxInventory)
      throw new BbsError("ResourceExhausted", "the inventory is too large");
    this.#inventory.push(...part.containers);
    if (!part.last || this.#cellId === undefined) return;
    const containers = this.#inventory;
    this.#inventory = [];
    this.#deciding = this.#decideInventory(this.#cellId, containers);
    await this.#deciding;
    if (this.#ended) return;
    this.#inventoryDone = true;
    this.#send({ message: { $case: "inventoryDecided", value: {} } });
  }

  async #decideInventory(cellId: CellId, containers: readonly ContainerReport[]): Promise<void> {
    const { journal, room } = this.#host;
    const read = (): Promise<Command<void>[]> => journal.read((state) => inventoryCommands(state, cellId, containers));
    const commands = await room.within(inventorySlice, read);
    for (let at = 0; at < commands.length && !this.#ended; at += inventorySlice) {
      const slice = commands.slice(at, at + inventorySlice);
      // Who waited for room may have been cut for a newer session, which knows better what the cell holds (rule R1).
      const decide = async () => (this.#ended ? [] : Promise.all(slice.map((command) => journal.submit(command))));
      await room.within(slice.length, decide);
    }
  }

  /** All items are decided in one tick, in order; the replies go out together once committed. */
  async #batch(items: readonly ReportItem[]): Promise<void> {
    if (items.length > maxUnanswered)
      throw new BbsError("InvalidRequest", `at most ${maxUnanswered} items a batch, got ${items.length}`);
    this.#unanswered += items.length;
    await this.#deciding;
    const replies = await this.#host.room.within(
      items.length,
      async (): Promise<(Answer | undefined)[]> => (this.#ended ? [] : Promise.all(items.map((item) => this.#decide(item)))),
    );
    this.#unanswered -= items.length;
    if (this.#ended) return;
    // Of what nobody can say whether it happened, nothing is said: the rep keeps it and reports again.
    const settled = replies.filter((reply) => reply !== undefined);
    this.#send({ message: { $case: "replies", value: { replies: this.#withRunInformation(settled) } } });
    if (settled.length < replies.length)
      this.cut("store away", new BbsError("Unavailable", "the store does not answer; report again"));
  }

  async #decide(item: ReportItem): Promise<Answer | undefined> {
    const { id } = item;
    try {
      if (this.#cellId === undefined) throw new BbsError("InvalidRequest");
      const { journal, maxTaskRetries } = this.#host;
      const command = reportCommand(item, { cellId: this.#cellId, maxTaskRetries });
      const { refusal, toRun, keepContainer = false, shouldStart = false } = await journal.submit(command);
      const [errorType, errorMessage] = refusal === undefined ? ["", ""] : [refusal.code, refusal.message];
      return { toRun, reply: { id, errorType, errorMessage, keepContainer, shouldStart, desiredLrp: nothing } };
    } catch (error) {
      if (!(error instanceof BbsError)) throw error;
      const { code, message } = error;
      if (code === "Unavailable" || code === "OutcomeUnknown" || code === "ResourceExhausted") return undefined;
      const keepContainer = keepsUndecided(item);
      const reply = { id, errorType: code, errorMessage: message, keepContainer, shouldStart: false, desiredLrp: nothing };
      return { toRun: undefined, reply };
    }
  }

  /** What finds no room in the message is asked for by the rep. */
  #withRunInformation(answers: readonly Answer[]): ReportReply[] {
    let room = maxRunInformationBytes;
    return answers.map(({ toRun, reply }) => {
      if (toRun === undefined || toRun.sealed.byteLength > room) return reply;
      const desiredLrp = this.#host.runInformation.encoded(toRun);
      if (desiredLrp.byteLength > room) return reply;
      room -= desiredLrp.byteLength;
      return { ...reply, desiredLrp };
    });
  }
}

/** An item's reply, and what it is to be told beside it. */
interface Answer {
  readonly reply: ReportReply;
  readonly toRun: ToRun | undefined;
}

const nothing = Buffer.alloc(0);
