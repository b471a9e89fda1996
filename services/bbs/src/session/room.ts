// How much of what cells report is being decided at once, over all sessions. After a failover every cell shows its inventory within
// the same moment: without a bound the journal's queue overflows, sessions are cut and come back, and one tick takes most of a second.

/** Places for so many items; who finds none waits, in the order of coming. */
export class Room {
  readonly #capacity: number;
  #free: number;
  readonly #waiting: { readonly items: number; readonly enter: () => void }[] = [];

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#free = capacity;
  }

  /** Runs `work` once there is room for `items`; more than the capacity wait until they have the room for themselves. */
  async within<Result>(items: number, work: () => Promise<Result>): Promise<Result> {
    const places = Math.min(items, this.#capacity);
    if (this.#waiting.length === 0 && places <= this.#free) this.#free -= places;
    else await new Promise<void>((enter) => this.#waiting.push({ items: places, enter }));
    try {
      return await work();
    } finally {
      this.#free += places;
      this.#admit();
    }
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined && next.items <= this.#free; next = this.#waiting[0]) {
      this.#free -= next.items;
      this.#waiting.shift();
      next.enter();
    }
  }
}
