// How much an instance may say (cell.md section 11): a token bucket of bytes, and a second of silence for whoever exceeds it.

/** What becomes of a line: it passes, is dropped, or is replaced by the one line that says why the following ones are missing. */
export type LineFate = "pass" | "drop" | "announce";

const mutedMs = 1_000;

export class LogLimiter {
  readonly #bytesPerSecond: number;
  #tokens: number;
  #atMs = Number.NEGATIVE_INFINITY;
  #mutedUntilMs = Number.NEGATIVE_INFINITY;

  /** Below 0: unlimited; 0: nothing passes. The bucket holds one second's worth, so a longer line never passes. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#tokens = bytesPerSecond;
  }

  /** `atMs`: when the line was written, so that lines given again after a restart are judged as they were then. */
  take(bytes: number, atMs: number): LineFate {
    if (this.#bytesPerSecond < 0) return "pass";
    if (this.#bytesPerSecond === 0 || atMs < this.#mutedUntilMs) return "drop";
    const passedMs = Math.max(0, atMs - this.#atMs);
    this.#atMs = Math.max(this.#atMs, atMs);
    this.#tokens = Math.min(this.#bytesPerSecond, this.#tokens + (passedMs / 1_000) * this.#bytesPerSecond);
    if (bytes <= this.#tokens) {
      this.#tokens -= bytes;
      return "pass";
    }
    this.#mutedUntilMs = atMs + mutedMs;
    return "announce";
  }
}

export const exceededText = (bytesPerSecond: number): string =>
  `app instance exceeded log rate limit (${bytesPerSecond} bytes/sec)`;
