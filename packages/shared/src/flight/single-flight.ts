// One piece of work shared by all who want it: joined by key, and given up only when nobody waits for it any more.

interface Flight<Result> {
  readonly result: Promise<Result>;
  readonly abort: AbortController;
  waiters: number;
}

export class SingleFlight<Result> {
  readonly #flights = new Map<string, Flight<Result>>();

  /** Joins the flight of this key, or starts it. Rejects with the signal's reason when that is aborted; others fly on. */
  async join(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    signal.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.waiters += 1;
    let onAbort = (): void => {};
    try {
      return await Promise.race([
        flight.result,
        new Promise<never>((_resolve, reject) => {
          onAbort = () => reject(signal.reason);
          signal.addEventListener("abort", onAbort, { once: true });
        }),
      ]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      flight.waiters -= 1;
      if (flight.waiters === 0) {
        // A flight that has landed takes no notice; one given up must not be joined again.
        flight.abort.abort(new Error("nobody waits for this any more"));
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      }
    }
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<Result>): Flight<Result> {
    const abort = new AbortController();
    const result = work(abort.signal);
    const flight: Flight<Result> = { result, abort, waiters: 0 };
    this.#flights.set(key, flight);
    const landed = (): void => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    result.then(landed, landed);
    return flight;
  }
}
