// Follows the log conmon writes of a process (k8s-file: `<time> <stream> <F|P> <text>`), through its rotations, from its start or on.
// conmon bounds the file: when it is full, a new one takes its place. What a follower has open is read to its end first.
import { type FileHandle, open, stat } from "node:fs/promises";
import type { Clock } from "@muster/shared/clock";
import type { OutputSink, OutputStream } from "../garden.js";

const newline = 0x0a;
const space = 0x20;
/** Read at a time; between two, other work has its turn. */
const chunkBytes = 262_144;
/** conmon writes at most 8 KiB of text a line; one far longer is not its own. */
const longestLine = 1_048_576;

export interface LogLine {
  readonly stream: OutputStream;
  readonly writtenAtMs: number;
  /** With its newline, unless the process itself wrote none there. */
  readonly chunk: Uint8Array;
}

/** One line of the file, without its newline; `undefined` when it is not of this form. */
export function parseLogLine(line: Buffer, time: (text: string) => number = Date.parse): LogLine | undefined {
  const first = line.indexOf(space);
  const second = line.indexOf(space, first + 1);
  const third = line.indexOf(space, second + 1);
  if (first < 0 || second < 0 || third !== second + 2) return undefined;
  const stream = line.toString("latin1", first + 1, second);
  const tag = line.toString("latin1", second + 1, third);
  // Nanoseconds are more than Date reads.
  const writtenAtMs = time(line.toString("latin1", 0, first).replace(/\.(\d{3})\d*/, ".$1"));
  if ((stream !== "stdout" && stream !== "stderr") || (tag !== "F" && tag !== "P") || Number.isNaN(writtenAtMs)) return undefined;
  const text = line.subarray(third + 1);
  return { stream, writtenAtMs, chunk: tag === "P" ? text : Buffer.concat([text, Buffer.from("\n")]) };
}

/**
 * Read at once, and then each second: an app that writes more is heard in part, since conmon's file has gone round before the rest is read.
 * Otherwise one loud container would cost the cell a core.
 */
const burstBytes = 8 * 1_048_576;
const bytesPerSecond = 4 * 1_048_576;

export class LogFollower {
  readonly #clock: Clock;
  readonly #file: string;
  readonly #sink: OutputSink;
  /** What may be read at this moment, as of `#filledAtMs`. */
  #allowance = burstBytes;
  #filledAtMs: number;
  /** Of the last line: lines of one moment have the same. */
  #timeText = "";
  #timeMs = 0;
  #handle: FileHandle | undefined;
  #inode = 0n;
  #offset = 0;
  #rest: Buffer = Buffer.alloc(0);
  #reading: Promise<void> = Promise.resolve();
  #closed = false;
  readonly #rush = new AbortController();

  constructor(clock: Clock, file: string, sink: OutputSink) {
    this.#clock = clock;
    this.#file = file;
    this.#sink = sink;
    this.#filledAtMs = clock.elapsedMs();
  }

  /** Hands on everything written until now. Calls queue up behind each other. */
  drain(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#drain()).catch(() => {});
    return this.#reading;
  }

  /** What is left is not much, and is wanted now. */
  rush(): void {
    this.#rush.abort();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.rush();
    await this.#reading;
    await this.#handle?.close().catch(() => {});
    this.#handle = undefined;
  }

  async #drain(): Promise<void> {
    for (let rotated = true; rotated && !this.#closed; ) {
      await this.#readToEnd();
      rotated = await this.#reopen();
    }
  }

  /** Opens the file that is there now. @returns whether it is another than the one that was read. */
  async #reopen(): Promise<boolean> {
    const seen = await stat(this.#file, { bigint: true }).catch(() => undefined);
    if (seen === undefined || seen.ino === this.#inode) return false;
    // What was written to the old one between its end and now.
    await this.#readToEnd();
    await this.#handle?.close().catch(() => {});
    this.#handle = await open(this.#file, "r").catch(() => undefined);
    if (this.#handle === undefined) return false;
    this.#inode = (await this.#handle.stat({ bigint: true })).ino;
    this.#offset = 0;
    this.#rest = Buffer.alloc(0);
    return true;
  }

  async #readToEnd(): Promise<void> {
    const buffer = Buffer.alloc(chunkBytes);
    while (this.#handle !== undefined && !this.#closed) {
      const { bytesRead } = await this.#handle.read(buffer, 0, chunkBytes, this.#offset);
      if (bytesRead === 0) return;
      this.#offset += bytesRead;
      await this.#pace(bytesRead);
      this.#take(buffer.subarray(0, bytesRead));
    }
  }

  async #pace(bytes: number): Promise<void> {
    const now = this.#clock.elapsedMs();
    this.#allowance = Math.min(burstBytes, this.#allowance + ((now - this.#filledAtMs) * bytesPerSecond) / 1_000) - bytes;
    this.#filledAtMs = now;
    if (this.#allowance >= 0 || this.#rush.signal.aborted) return;
    await this.#clock.sleep((-this.#allowance * 1_000) / bytesPerSecond, this.#rush.signal).catch(() => {});
  }

  /** Hands on whole lines; those of one stream and one moment together. */
  #take(chunk: Buffer): void {
    const all = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let from = 0;
    let held: LogLine[] = [];
    const give = (): void => {
      const first = held[0];
      if (first !== undefined)
        this.#sink(first.stream, new Uint8Array(Buffer.concat(held.map((line) => line.chunk))), first.writtenAtMs);
      held = [];
    };
    for (let end = all.indexOf(newline, from); end >= 0; end = all.indexOf(newline, from)) {
      const line = parseLogLine(all.subarray(from, end), (text) => this.#time(text));
      from = end + 1;
      if (line === undefined) continue;
      const last = held.at(-1);
      if (last !== undefined && (last.stream !== line.stream || last.writtenAtMs !== line.writtenAtMs)) give();
      held.push(line);
    }
    give();
    const rest = all.subarray(from);
    this.#rest = rest.length > longestLine ? Buffer.alloc(0) : Buffer.from(rest);
  }

  #time(text: string): number {
    if (text !== this.#timeText) {
      this.#timeText = text;
      this.#timeMs = Date.parse(text);
    }
    return this.#timeMs;
  }
}
