// What happened, as a hash and as its last lines: two runs of one seed must agree to the byte.
import { createHash } from "node:crypto";
import type { FakeClock } from "@muster/shared/clock";

const keptLines = 400;

export class Trace {
  readonly #hash = createHash("sha256");
  readonly #clock: FakeClock;
  readonly #echo: ((line: string) => void) | undefined;
  #last: string[] = [];
  #lines = 0;

  constructor(clock: FakeClock, echo?: (line: string) => void) {
    this.#clock = clock;
    this.#echo = echo;
  }

  /** `detail` goes into the hash and, unless `quiet`, among the lines kept for people. */
  say(what: string, detail = "", quiet = false): void {
    const line = `${(this.#clock.elapsedMs() / 1_000).toFixed(3)} ${what} ${detail}`;
    this.#hash.update(`${line}\n`);
    this.#lines += 1;
    if (quiet) return;
    this.#echo?.(line);
    this.#last.push(line);
    if (this.#last.length > 2 * keptLines) this.#last = this.#last.slice(-keptLines);
  }

  get lines(): number {
    return this.#lines;
  }

  /** The hash of everything said so far. */
  digest(): string {
    return this.#hash.copy().digest("hex");
  }

  tail(lines = 60): string {
    return this.#last.slice(-lines).join("\n");
  }
}
