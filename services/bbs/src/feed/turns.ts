// Long answers are made piece by piece, one piece in a turn of the event loop, however many of them are being made.
class Turns {
  readonly #waiting: (() => void)[] = [];

  /** Resolves in a turn that no other piece has; whoever waits longest comes first. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#waiting.length === 1) setImmediate(() => this.#give());
    });
  }

  #give(): void {
    this.#waiting.shift()?.();
    if (this.#waiting.length > 0) setImmediate(() => this.#give());
  }
}

/** One for the process, as the event loop is. */
export const turns = new Turns();
