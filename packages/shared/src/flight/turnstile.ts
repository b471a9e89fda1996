// Work that waits its turn: at most so many pieces at once, or those of one key one after another.

type Urgency = "urgent" | "usual";

/** At most `limit` at once; the others wait their turn, first come first served: those that are "urgent" among themselves, and before all others. */
export class Turnstile {
  readonly #waiting: Record<Urgency, (() => void)[]> = { urgent: [], usual: [] };
  #free: number;

  constructor(limit: number) {
    this.#free = limit;
  }

  async run<Result>(signal: AbortSignal, work: () => Promise<Result>, urgency: Urgency = "usual"): Promise<Result> {
    await this.#enter(signal, this.#waiting[urgency]);
    try {
      return await work();
    } finally {
      const next = this.#waiting.urgent.shift() ?? this.#waiting.usual.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  async #enter(signal: AbortSignal, queue: (() => void)[]): Promise<void> {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      };
      const onAbort = (): void => {
        const place = queue.indexOf(go);
        if (place >= 0) queue.splice(place, 1);
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      queue.push(go);
    });
  }
}

/** Runs work of one key one after another. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();

  async run<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const mine = (this.#last.get(key) ?? Promise.resolve()).then(work, work);
    this.#last.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(key) === mine) this.#last.delete(key);
    }
  }
}
