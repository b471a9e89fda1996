// When many are told of what is committed: at once while it is quiet or they are few, else several commits at a time.
import type { Clock } from "@muster/shared/clock";

/**
 * Messages per millisecond to all of them. Each costs the service 20 to 30 µs however short it is (measured: streams, HTTP/2 and TLS
 * in Node), so that 200 who were told of a thousand commits a second one by one would take all of five cores.
 */
const messagesPerMs = 2;
/** So many hear of everything at once. */
const few = 4;
/** What is told later because the event loop was late last time, for each millisecond of it: a loop that is late has much to do. */
const forEachLateMs = 4;
/** Nothing waits for longer, whatever their number; but for a loop that is late. */
export const maxGatherMs = 100;

export class Pace {
  readonly #clock: Clock;
  readonly #tell: () => void;
  #toldAtMs = Number.NEGATIVE_INFINITY;
  #lateMs = 0;
  #cancel: (() => void) | undefined;

  /** `tell` tells what waits, and says so with `told`. */
  constructor(clock: Clock, tell: () => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  /** Something waits for so many listeners. It is told now if the pace allows, or if it is `full`; else as soon as the pace allows. */
  push(listeners: number, full: boolean): void {
    if (full) {
      this.#tell();
      return;
    }
    if (this.#cancel !== undefined) return;
    const dueMs = this.#toldAtMs + this.#windowMs(listeners);
    const inMs = dueMs - this.#clock.elapsedMs();
    if (inMs <= 0) {
      this.#lateMs = 0;
      this.#tell();
      return;
    }
    this.#cancel = this.#clock.after(inMs, () => {
      this.#lateMs = this.#clock.elapsedMs() - dueMs;
      this.#tell();
    });
  }

  #windowMs(listeners: number): number {
    if (listeners <= few) return 0;
    return Math.min(maxGatherMs, Math.floor(listeners / messagesPerMs + this.#lateMs * forEachLateMs));
  }

  /** Nothing waits any more. */
  told(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#toldAtMs = this.#clock.elapsedMs();
  }

  /** Nothing waits, and nobody was told. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
