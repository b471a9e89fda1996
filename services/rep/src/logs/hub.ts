// What instances say: a bounded ring for each, kept a while after the instance is gone, and followers with bounded queues.
import type { Clock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import type { ActualLRPKey, InstanceGuid } from "@muster/shared/model";

export type LogStreamName = "stdout" | "stderr";

export interface LogLine {
  readonly processGuid: string;
  readonly index: number;
  readonly instanceGuid: string;
  /** Wall clock, Unix nanoseconds. */
  readonly timeNs: bigint;
  readonly source: string;
  readonly stream: LogStreamName;
  readonly line: Uint8Array;
}

export interface LogBounds {
  readonly linesPerInstance: number;
  readonly bytesPerInstance: number;
  /** Instances that are gone and whose lines are kept. */
  readonly goneInstances: number;
  readonly goneMs: number;
  /** A follower that lags by more is cut. */
  readonly followerLines: number;
  readonly followerBytes: number;
  readonly followers: number;
}

/** A thousand lines tell a crash; a megabyte of them for each of 250 instances stays well below what a cell has. */
export const defaultLogBounds: LogBounds = {
  linesPerInstance: 1_000,
  bytesPerInstance: 1_048_576,
  goneInstances: 100,
  goneMs: 15 * 60_000,
  followerLines: 5_000,
  followerBytes: 8 * 1_048_576,
  followers: 256,
};

export interface LogFilter {
  /** Empty: every instance of the process. */
  readonly instanceGuid: string;
  readonly processGuid: string;
}

interface Ring {
  readonly key: ActualLRPKey;
  readonly instanceGuid: InstanceGuid;
  readonly lines: LogLine[];
  bytes: number;
  goneAtMs: number | undefined;
}

const matches = (filter: LogFilter, line: Pick<LogLine, "instanceGuid" | "processGuid">): boolean =>
  (filter.instanceGuid === "" || filter.instanceGuid === line.instanceGuid) &&
  (filter.processGuid === "" || filter.processGuid === line.processGuid);

/** One reader's queue; iterate it for lines. */
class Follower implements AsyncIterable<LogLine> {
  readonly filter: LogFilter;
  readonly #bounds: LogBounds;
  readonly #queue: LogLine[] = [];
  #bytes = 0;
  #wake: (() => void) | undefined;
  #closed = false;
  #lagged = false;

  constructor(filter: LogFilter, bounds: LogBounds) {
    this.filter = filter;
    this.#bounds = bounds;
  }

  offer(line: LogLine): void {
    if (this.#closed || this.#lagged) return;
    if (this.#queue.length >= this.#bounds.followerLines || this.#bytes + line.line.length > this.#bounds.followerBytes) {
      this.#lagged = true;
    } else {
      this.#queue.push(line);
      this.#bytes += line.line.length;
    }
    this.#wake?.();
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  /** @throws BbsError ResourceExhausted once the reader was too slow. */
  async *[Symbol.asyncIterator](): AsyncGenerator<LogLine, void, undefined> {
    while (true) {
      for (let line = this.#queue.shift(); line !== undefined; line = this.#queue.shift()) {
        this.#bytes -= line.line.length;
        yield line;
      }
      if (this.#lagged) throw new BbsError("ResourceExhausted", "the reader is slower than the logs; follow again");
      if (this.#closed) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

export class LogHub {
  readonly #clock: Clock;
  readonly #bounds: LogBounds;
  readonly #rings = new Map<InstanceGuid, Ring>();
  readonly #followers = new Set<Follower>();

  constructor(clock: Clock, bounds: LogBounds = defaultLogBounds) {
    this.#clock = clock;
    this.#bounds = bounds;
  }

  /** Adds a line of an instance. `atMs`: when it was written, epoch milliseconds; now when left out. */
  append(
    key: ActualLRPKey,
    instanceGuid: InstanceGuid,
    source: string,
    stream: LogStreamName,
    line: Uint8Array,
    atMs?: number,
  ): void {
    if (line.length === 0) return;
    const timeNs = BigInt(Math.round((atMs ?? this.#clock.nowMs()) * 1_000)) * 1_000n;
    const entry: LogLine = { processGuid: key.processGuid, index: key.index, instanceGuid, timeNs, source, stream, line };
    const ring = this.#ringOf(key, instanceGuid);
    ring.lines.push(entry);
    ring.bytes += line.length;
    while (ring.lines.length > this.#bounds.linesPerInstance || ring.bytes > this.#bounds.bytesPerInstance) {
      ring.bytes -= ring.lines.shift()?.line.length ?? 0;
    }
    for (const follower of this.#followers) if (matches(follower.filter, entry)) follower.offer(entry);
  }

  say(key: ActualLRPKey, instanceGuid: InstanceGuid, source: string, text: string, stream: LogStreamName = "stdout"): void {
    this.append(key, instanceGuid, source, stream, Buffer.from(text));
  }

  /** Starts the time after which the lines of a destroyed instance are dropped. */
  gone(instanceGuid: InstanceGuid): void {
    const ring = this.#rings.get(instanceGuid);
    if (ring !== undefined) ring.goneAtMs = this.#clock.elapsedMs();
    this.#dropOld();
  }

  /** The lines kept, oldest first. */
  recent(filter: LogFilter): LogLine[] {
    this.#dropOld();
    const lines = [...this.#rings.values()]
      .filter((ring) => matches(filter, { instanceGuid: ring.instanceGuid, processGuid: ring.key.processGuid }))
      .flatMap((ring) => ring.lines);
    return lines.sort((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0));
  }

  /** The lines kept, then new ones until the signal aborts. @throws BbsError ResourceExhausted for a slow reader, or one too many. */
  async *follow(filter: LogFilter, signal: AbortSignal): AsyncGenerator<LogLine, void, undefined> {
    if (this.#followers.size >= this.#bounds.followers)
      throw new BbsError("ResourceExhausted", "too many readers follow this cell's logs");
    const follower = new Follower(filter, this.#bounds);
    const stop = (): void => follower.close();
    signal.addEventListener("abort", stop, { once: true });
    // Both in one tick: no line is missed and none is given twice.
    const kept = this.recent(filter);
    this.#followers.add(follower);
    if (signal.aborted) stop();
    try {
      yield* kept;
      yield* follower;
    } finally {
      signal.removeEventListener("abort", stop);
      this.#followers.delete(follower);
    }
  }

  #ringOf(key: ActualLRPKey, instanceGuid: InstanceGuid): Ring {
    const known = this.#rings.get(instanceGuid);
    if (known !== undefined) return known;
    const ring: Ring = { key, instanceGuid, lines: [], bytes: 0, goneAtMs: undefined };
    this.#rings.set(instanceGuid, ring);
    return ring;
  }

  #dropOld(): void {
    const nowMs = this.#clock.elapsedMs();
    const gone = [...this.#rings.values()].filter((ring) => ring.goneAtMs !== undefined);
    gone.sort((a, b) => (b.goneAtMs ?? 0) - (a.goneAtMs ?? 0));
    for (const [at, ring] of gone.entries()) {
      const tooOld = nowMs - (ring.goneAtMs ?? 0) > this.#bounds.goneMs;
      if (at >= this.#bounds.goneInstances || tooOld) this.#rings.delete(ring.instanceGuid);
    }
  }
}
