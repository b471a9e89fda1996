// One cell's state as its stream tells it, with what is in flight to it laid on top: the picture an auction starts from.
import type { LRPState, StateResponse, TaskState } from "@muster/proto/muster/v1/rep";
import type { Cell } from "@muster/shared/model";
import { type Amount, type CellState, type CellStatus, lrpWorkKey, taskWorkKey, type Work } from "../plan/index.js";
import { sameList } from "./requests.js";

type RootFSProvider = StateResponse["rootFsProviders"][number];

const none: Amount = { memoryMb: 0, diskMb: 0, containers: 0 };

export class CellPicture {
  readonly #lrps = new Map<string, LRPState>();
  readonly #tasks = new Map<string, TaskState>();
  /** Instances by process, those in flight included. Handed to the auction as it is, which changes nothing. */
  readonly #lrpsByProcess = new Map<string, number>();
  /** Handed over and not yet in the cell's own state; reserved until then, or until `untilMs`. */
  readonly #pending = new Map<string, { readonly work: Work; readonly untilMs: number }>();
  #last: StateResponse | undefined;

  /** Whether the stream has told a whole state since the picture was cleared. */
  get complete(): boolean {
    return this.#last !== undefined;
  }

  get lrpCount(): number {
    return this.#lrps.size;
  }

  get taskCount(): number {
    return this.#tasks.size;
  }

  /** The latest message; its lists are only what changed. */
  get last(): StateResponse | undefined {
    return this.#last;
  }

  /** Takes in one message. Says whether the cell can now take what it could not before. */
  take(message: StateResponse): boolean {
    if (message.full) this.#clearContents();
    else if (this.#last === undefined) return false;
    const before = this.#last;
    const pendingBefore = this.#pending.size;
    for (const guid of message.removedLrps) this.#removeLRP(guid);
    for (const lrp of message.lrps) this.#putLRP(lrp);
    for (const guid of message.removedTasks) this.#tasks.delete(guid);
    for (const task of message.tasks) {
      this.#tasks.set(task.taskGuid, task);
      this.dropPending(taskWorkKey(task.taskGuid));
    }
    this.#last = message;
    if (before === undefined) return true;
    // What is in flight counts as starting; a container may have started before the cell's state ever said that it was starting.
    const starting = message.startingContainerCount + this.#pending.size;
    return starting < before.startingContainerCount + pendingBefore || grew(before, message);
  }

  /** Forgets what the stream told; reservations are the book's to end. */
  clear(): void {
    this.#clearContents();
    this.#last = undefined;
  }

  /** Reserves what is handed over until the cell's own state shows it, or the attempt ends. */
  addPending(work: Work): void {
    this.dropPending(work.key);
    this.#pending.set(work.key, { work, untilMs: Number.POSITIVE_INFINITY });
    if (work.kind === "lrp") this.#count(work.processGuid, 1);
  }

  /** Keeps a reservation until `untilMs` at the most: the row is claimed, and the cell's state must show it any moment. */
  endPending(key: string, untilMs: number): void {
    const pending = this.#pending.get(key);
    if (pending !== undefined) this.#pending.set(key, { ...pending, untilMs });
  }

  /** Drops the reservations whose time is over; says whether there were any. */
  sweep(nowMs: number): boolean {
    const before = this.#pending.size;
    for (const [key, { untilMs }] of this.#pending) if (nowMs >= untilMs) this.dropPending(key);
    return this.#pending.size < before;
  }

  dropPending(key: string): void {
    const work = this.#pending.get(key)?.work;
    if (work === undefined) return;
    this.#pending.delete(key);
    if (work.kind === "lrp") this.#count(work.processGuid, -1);
  }

  /** The state for an auction. `presence` speaks for a cell that has not spoken itself. */
  state(presence: Cell, status: CellStatus, statusReason: string): CellState {
    const last = this.#last;
    if (last === undefined) return this.#unheard(presence, status, statusReason);
    const proxyMemoryMb = last.proxyMemoryAllocationMb;
    const { available = none, total = none } = last;
    let { memoryMb, diskMb, containers } = available;
    let pendingTasks = 0;
    for (const { work } of this.#pending.values()) {
      const { kind, ask } = work;
      memoryMb -= kind === "lrp" ? ask.memoryMb + proxyMemoryMb : ask.memoryMb;
      diskMb -= ask.diskMb;
      containers -= 1;
      if (kind === "task") pendingTasks += 1;
    }
    // Written out, since spreading would be the dearest step of a small auction over a large fleet.
    return {
      cellId: presence.cellId,
      status,
      statusReason,
      zone: last.zone,
      cellIndex: last.cellIndex,
      total,
      available: { memoryMb, diskMb, containers },
      startingContainerCount: last.startingContainerCount + this.#pending.size,
      rootFSProviders: last.rootFsProviders,
      volumeDrivers: last.volumeDrivers,
      placementTags: last.placementTags,
      optionalPlacementTags: last.optionalPlacementTags,
      proxyMemoryMb,
      lrpsByProcess: this.#lrpsByProcess,
      taskCount: this.#tasks.size + pendingTasks,
    };
  }

  #unheard(presence: Cell, status: CellStatus, statusReason: string): CellState {
    return {
      ...offerOf(presence),
      cellId: presence.cellId,
      status,
      statusReason,
      lrpsByProcess: this.#lrpsByProcess,
      taskCount: 0,
    };
  }

  #putLRP(lrp: LRPState): void {
    const known = this.#lrps.get(lrp.instanceGuid);
    if (known === undefined) this.#count(lrp.processGuid, 1);
    this.#lrps.set(lrp.instanceGuid, lrp);
    // A completed container of the same index is an older one: it says nothing of what was handed over.
    if (lrp.state === "CLAIMED" || lrp.state === "RUNNING") this.dropPending(lrpWorkKey(lrp.processGuid, lrp.index));
  }

  #removeLRP(instanceGuid: string): void {
    const known = this.#lrps.get(instanceGuid);
    if (known === undefined) return;
    this.#lrps.delete(instanceGuid);
    this.#count(known.processGuid, -1);
  }

  #clearContents(): void {
    for (const guid of [...this.#lrps.keys()]) this.#removeLRP(guid);
    this.#tasks.clear();
  }

  #count(processGuid: string, change: number): void {
    const count = (this.#lrpsByProcess.get(processGuid) ?? 0) + change;
    if (count === 0) this.#lrpsByProcess.delete(processGuid);
    else this.#lrpsByProcess.set(processGuid, count);
  }
}

function offerOf(presence: Cell) {
  const total: Amount = { memoryMb: presence.memoryMb, diskMb: presence.diskMb, containers: presence.containers };
  return {
    zone: presence.zone,
    cellIndex: 0,
    total,
    available: none,
    startingContainerCount: 0,
    rootFSProviders: presence.rootfsProviders.map(({ name, properties }) => ({
      scheme: name,
      fixedSet: properties.length > 0,
      names: properties,
    })),
    volumeDrivers: [],
    placementTags: presence.placementTags,
    optionalPlacementTags: presence.optionalPlacementTags,
    proxyMemoryMb: 0,
  };
}

/** Whether work refused before might be taken now: more room, open again, or another offer. */
function grew(before: StateResponse, after: StateResponse): boolean {
  const { available: had = none } = before;
  const { available: has = none } = after;
  const more = has.memoryMb > had.memoryMb || has.diskMb > had.diskMb || has.containers > had.containers;
  const opened = (before.evacuating && !after.evacuating) || (!before.healthy && after.healthy);
  return more || opened || !sameOffer(before, after);
}

/** Compared at every message of every cell: without making anything. */
const sameOffer = (a: StateResponse, b: StateResponse): boolean =>
  a.zone === b.zone &&
  sameList(a.placementTags, b.placementTags) &&
  sameList(a.optionalPlacementTags, b.optionalPlacementTags) &&
  sameList(a.volumeDrivers, b.volumeDrivers) &&
  a.rootFsProviders.length === b.rootFsProviders.length &&
  a.rootFsProviders.every((one, at) => sameProvider(one, b.rootFsProviders[at]));

const sameProvider = (a: RootFSProvider, b: RootFSProvider | undefined): boolean =>
  a.scheme === b?.scheme && a.fixedSet === b.fixedSet && sameList(a.names, b.names);
