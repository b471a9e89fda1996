// Repairs that will hold at a known time, earliest first. Entries are hints: each is judged again when its time has come.
import type { EpochMs } from "@muster/shared/model";
import type { Repair } from "@muster/shared/rules";

export const repairKey = ({ rule, processGuid, index, presence, name }: Repair): string =>
  `${rule}/${processGuid}/${index}/${presence}/${name}`;

interface Entry {
  readonly key: string;
  readonly repair: Repair;
  readonly dueAtMs: EpochMs;
}

/** A binary heap that knows each key's latest time; older entries of a key are passed over when they surface. */
export class DueQueue {
  #heap: Entry[] = [];
  readonly #dueAt = new Map<string, EpochMs>();

  get size(): number {
    return this.#dueAt.size;
  }

  /** Notes or moves the time of a repair. */
  add(repair: Repair, dueAtMs: EpochMs): void {
    const key = repairKey(repair);
    if (this.#dueAt.get(key) === dueAtMs) return;
    this.#dueAt.set(key, dueAtMs);
    this.#push({ key, repair, dueAtMs });
    // Keys that move often leave old entries behind; rebuilt before they outnumber the live ones.
    if (this.#heap.length > 64 && this.#heap.length > 2 * this.#dueAt.size) this.#rebuild();
  }

  /** The earliest time, or `undefined` when nothing waits. */
  nextMs(): EpochMs | undefined {
    this.#dropOld();
    return this.#heap[0]?.dueAtMs;
  }

  /** Takes out everything due by `nowMs`. */
  takeDue(nowMs: EpochMs): Repair[] {
    const due: Repair[] = [];
    for (let next = this.nextMs(); next !== undefined && next <= nowMs; next = this.nextMs()) {
      const entry = this.#pop();
      if (entry === undefined) break;
      this.#dueAt.delete(entry.key);
      due.push(entry.repair);
    }
    return due;
  }

  clear(): void {
    this.#heap = [];
    this.#dueAt.clear();
  }

  #isLive = (entry: Entry): boolean => this.#dueAt.get(entry.key) === entry.dueAtMs;

  #dropOld(): void {
    for (let top = this.#heap[0]; top !== undefined && !this.#isLive(top); top = this.#heap[0]) this.#pop();
  }

  #rebuild(): void {
    // An array in ascending order is a heap.
    this.#heap = this.#heap.filter(this.#isLive).sort((a, b) => a.dueAtMs - b.dueAtMs);
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Entry;
      if (above.dueAtMs <= entry.dueAtMs) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): Entry | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && right.dueAtMs < left.dueAtMs) child += 1;
      const below = heap[child] as Entry;
      if (below.dueAtMs >= last.dueAtMs) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}
