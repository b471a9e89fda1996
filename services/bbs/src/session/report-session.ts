// One cell's session: hello, inventory, batches, heartbeats (races.md R1, R3, C4, C5). Every decision is the core's; this file orders them.
import type {
  ContainerReport,
  ReportItem,
  ReportReply,
  ReportRequest,
  ReportResponse,
  Started,
} from "@muster/proto/muster/v1/report";
import { ContainerState } from "@muster/proto/muster/v1/report";
import { actualLRPKeyFromWire, cellPresenceFromWire, instanceKeyFromWire, netInfoFromWire } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import { type ActualLRPInstanceKey, type ActualLRPKey, asCellId, type CellId, type ProcessGuid } from "@muster/shared/model";
import { claimActualLRP, crashActualLRP, reportRemoved, type StartRequest, startActualLRP } from "../core/actual-lrp.js";
import { losePresence, registerPresence } from "../core/cells.js";
import type { Command, CoreState } from "../core/decision.js";
import { decideInventoryKey, type InventoryContainer } from "../core/inventory.js";
import type { Journal } from "../journal/journal.js";
import type { Leases } from "./leases.js";
import type { Room } from "./room.js";

export interface SessionHost {
  readonly journal: Journal;
  readonly leases: Leases;
  readonly log: Log;
  /** Shared by all sessions: what they report is decided within it. */
  readonly room: Room;
  /** Makes this the cell's one session: the older one is cut before its queue is decided. */
  adopt(cellId: CellId, session: ReportSession): void;
}

/** Bounds: what a session may have undecided, and how much an inventory may hold. */
const maxUnanswered = 4_000;
const maxInventory = 20_000;
/** So many keys of an inventory are decided in one tick. */
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
    const read = (): Promise<Map<string, Keyed>> => journal.read((state) => inventoryKeys(state, cellId, containers));
    const keys = [...(await room.within(inventorySlice, read)).values()];
    for (let at = 0; at < keys.length && !this.#ended; at += inventorySlice) {
      const slice = keys.slice(at, at + inventorySlice);
      await room.within(slice.length, () => Promise.all(slice.map((key) => journal.submit(decideInventoryKey(key)))));
    }
  }

  /** All items are decided in one tick, in order; the replies go out together once committed. */
  async #batch(items: readonly ReportItem[]): Promise<void> {
    this.#unanswered += items.length;
    await this.#deciding;
    const replies = await this.#host.room.within(
      items.length,
      async (): Promise<(ReportReply | undefined)[]> => (this.#ended ? [] : Promise.all(items.map((item) => this.#decide(item)))),
    );
    this.#unanswered -= items.length;
    if (this.#ended) return;
    // Of what nobody can say whether it happened, nothing is said: the rep keeps it and reports again.
    const settled = replies.filter((reply) => reply !== undefined);
    this.#send({ message: { $case: "replies", value: { replies: settled } } });
    if (settled.length < replies.length)
      this.cut("store away", new BbsError("Unavailable", "the store does not answer; report again"));
  }

  async #decide(item: ReportItem): Promise<ReportReply | undefined> {
    const reply: ReportReply = { id: item.id, errorType: "", errorMessage: "", keepContainer: false, shouldStart: false };
    try {
      await this.#host.journal.submit(this.#commandOf(item));
      return reply;
    } catch (error) {
      if (!(error instanceof BbsError)) throw error;
      if (error.code === "Unavailable" || error.code === "OutcomeUnknown" || error.code === "ResourceExhausted") return undefined;
      return { ...reply, errorType: error.code, errorMessage: error.message };
    }
  }

  #commandOf(item: ReportItem): Command<void> {
    const { key, instanceKey } = this.#keysOf(item);
    const { report } = item;
    switch (report?.$case) {
      case "claimed":
        return claimActualLRP({ processGuid: key.processGuid, index: key.index, instanceKey });
      case "started":
        return startActualLRP(startRequestOf(key, instanceKey, report.value));
      case "crashed":
        return crashActualLRP({ key, instanceKey, reason: report.value.errorMessage });
      case "removed":
        return reportRemoved({ processGuid: key.processGuid, index: key.index, instanceKey });
      default:
        throw new BbsError("Unimplemented", `a report of kind ${report?.$case ?? "none"} is not served yet`);
    }
  }

  /** A cell speaks in its own name only. */
  #keysOf(item: ReportItem): { readonly key: ActualLRPKey; readonly instanceKey: ActualLRPInstanceKey } {
    const instanceKey = instanceKeyFromWire(item.actualLrpInstanceKey);
    const named = item.actualLrpKey !== undefined && item.actualLrpKey.processGuid !== "" && item.actualLrpKey.index >= 0;
    if (item.actualLrpKey === undefined || !named || instanceKey === undefined)
      throw new BbsError("InvalidRequest", "Invalid field: actual_lrp_key");
    if (instanceKey.cellId !== this.#cellId)
      throw new BbsError("PermissionDenied", `a report of cell ${this.#cellId} names cell ${instanceKey.cellId}`);
    return { key: actualLRPKeyFromWire(item.actualLrpKey), instanceKey };
  }
}

/** @throws BbsError InvalidRequest without an address. */
export function startRequestOf(key: ActualLRPKey, instanceKey: ActualLRPInstanceKey, started: Started): StartRequest {
  const netInfo = netInfoFromWire(started.actualLrpNetInfo);
  if (netInfo === undefined) throw new BbsError("InvalidRequest", "Invalid field: actual_lrp_net_info");
  return {
    key,
    instanceKey,
    netInfo,
    internalRoutes: started.actualLrpInternalRoutes.map((route) => route.hostname),
    metricTags: new Map(Object.entries(started.metricTags)),
    routable: started.routable,
    availabilityZone: started.availabilityZone,
  };
}

const stateOf = {
  [ContainerState.CONTAINER_STATE_CLAIMED]: "CLAIMED",
  [ContainerState.CONTAINER_STATE_RUNNING]: "RUNNING",
} as const;

type Keyed = Parameters<typeof decideInventoryKey>[0];

/** Every key that a row of this cell or a container of the inventory names. */
function inventoryKeys(state: CoreState, cellId: CellId, containers: readonly ContainerReport[]): Map<string, Keyed> {
  const keys = new Map<string, Keyed & { containers: InventoryContainer[] }>();
  const at = (processGuid: ProcessGuid, index: number): { containers: InventoryContainer[] } => {
    const name = `${processGuid}/${index}`;
    const known = keys.get(name) ?? { cellId, processGuid, index, containers: [] };
    keys.set(name, known);
    return known;
  };
  for (const row of state.tables.rowsOnCell(cellId)) at(row.processGuid, row.index);
  for (const report of containers) {
    const instanceKey = instanceKeyFromWire(report.actualLrpInstanceKey);
    if (report.actualLrpKey === undefined || instanceKey?.cellId !== cellId) continue;
    const key = actualLRPKeyFromWire(report.actualLrpKey);
    at(key.processGuid, key.index).containers.push(inventoryContainer(key, instanceKey, report, state));
  }
  return keys;
}

function inventoryContainer(
  key: ActualLRPKey,
  instanceKey: ActualLRPInstanceKey,
  report: ContainerReport,
  state: CoreState,
): InventoryContainer {
  const containerState = stateOf[report.state as keyof typeof stateOf] ?? "COMPLETED";
  const netInfo = netInfoFromWire(report.actualLrpNetInfo);
  const zone = state.tables.cell(instanceKey.cellId)?.zone ?? "";
  const started: StartRequest | undefined =
    containerState === "RUNNING" && netInfo !== undefined
      ? {
          key,
          instanceKey,
          netInfo,
          internalRoutes: [],
          metricTags: new Map(),
          routable: report.routable,
          availabilityZone: zone,
        }
      : undefined;
  return { instanceGuid: instanceKey.instanceGuid, state: containerState, started };
}
