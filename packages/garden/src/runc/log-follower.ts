// Follows the log conmon writes of a process (k8s-file: `<time> <stream> <F|P> <text>`), through its rotations, from its start or on.
// conmon bounds the file: when it is full, a new one takes its place. What a follower has open is read to its end first.
import { type FileHandle, open, stat } from "node:fs/promises";
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
export function parseLogLine(line: Buffer): LogLine | undefined {
  const first = line.indexOf(space);
  const second = line.indexOf(space, first + 1);
  const third = line.indexOf(space, second + 1);
  if (first < 0 || second < 0 || third !== second + 2) return undefined;
  const stream = line.toString("latin1", first + 1, second);
  const tag = line.toString("latin1", second + 1, third);
  // Nanoseconds are more than Date reads.
  const writtenAtMs = Date.parse(line.toString("latin1", 0, first).replace(/\.(\d{3})\d*/, ".$1"));
  if ((stream !== "stdout" && stream !== "stderr") || (tag !== "F" && tag !== "P") || Number.isNaN(writtenAtMs)) return undefined;
  const text = line.subarray(third + 1);
  return { stream, writtenAtMs, chunk: tag === "P" ? text : Buffer.concat([text, Buffer.from("\n")]) };
}

export class LogFollower {
  readonly #file: string;
  readonly #sink: OutputSink;
  #handle: FileHandle | undefined;
  #inode = 0n;
  #offset = 0;
  #rest: Buffer = Buffer.alloc(0);
  #reading: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(file: string, sink: OutputSink) {
    this.#file = file;
    this.#sink = sink;
  }

  /** Hands on everything written until now. Calls queue up behind each other. */
  drain(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#drain()).catch(() => {});
    return this.#reading;
  }

  async close(): Promise<void> {
    this.#closed = true;
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
      this.#take(buffer.subarray(0, bytesRead));
    }
  }

  #take(chunk: Buffer): void {
    const all = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let from = 0;
    for (let end = all.indexOf(newline, from); end >= 0; end = all.indexOf(newline, from)) {
      const line = parseLogLine(all.subarray(from, end));
      if (line !== undefined) this.#sink(line.stream, new Uint8Array(line.chunk), line.writtenAtMs);
      from = end + 1;
    }
    const rest = all.subarray(from);
    this.#rest = rest.length > longestLine ? Buffer.alloc(0) : Buffer.from(rest);
  }
}
