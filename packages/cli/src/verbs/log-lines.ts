// Lines of instances and tasks as cells tell them: their shape, how they are read, and how a reading is taken up again.
import type { LogsResponse } from "@muster/proto/muster/v1/rep";
import { serverStream } from "@muster/shared/rpc";
import { dialRep, repAddressOf } from "../client/peers.js";
import type { Platform } from "../client/platform.js";
import type { Context } from "../context.js";

/** A cell that does not tell its kept lines in this time is left out, with a note. */
const recentMs = 10_000;
/** LOG_STREAM_STDERR of rep.proto. */
const stderrStream = 2;

export interface LogLine {
  readonly time: string;
  readonly time_ns: string;
  readonly source: string;
  readonly index: number;
  readonly instance_guid: string;
  readonly stream: "stdout" | "stderr";
  readonly line: string;
}

/** Pure. */
export const logLine = (message: LogsResponse): LogLine => ({
  time: new Date(Number(message.timeNs / 1_000_000n)).toISOString(),
  time_ns: message.timeNs.toString(),
  source: message.source,
  index: message.index,
  instance_guid: message.instanceGuid,
  stream: message.stream === stderrStream ? "stderr" : "stdout",
  line: Buffer.from(message.line)
    .toString("utf8")
    .replace(/\r?\n$/, ""),
});

/** As cf prints it: time, source with index, which output, text. Pure. */
export const formatLogLine = (line: LogLine): string =>
  `${line.time} [${line.source}/${line.index}] ${line.stream === "stderr" ? "ERR" : "OUT"} ${line.line}`;

export const print = ({ out }: Context, line: LogLine): void => {
  if (out.json) out.event(line);
  else out.raw(`${formatLogLine(line)}\n`);
};

export interface Source {
  readonly cellId: string;
  readonly address: string;
}

export const sourcesOf = async (platform: Platform): Promise<Source[]> =>
  (await platform.cells()).map((cell) => ({ cellId: cell.cellId, address: repAddressOf(cell) }));

/** The kept lines of a process from all cells, oldest first. Cells that do not tell are noted. */
export async function recentLines({ out }: Context, platform: Platform, processGuid: string): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  await Promise.all(
    (await sourcesOf(platform)).map(async (source) => {
      try {
        const bounds = { deadlineMs: recentMs, signal: platform.signal };
        for await (const line of linesOf(platform, source, processGuid, false, bounds)) lines.push(line);
      } catch (error) {
        platform.signal.throwIfAborted();
        out.note(`muster: ${source.cellId} does not tell its logs: ${error instanceof Error ? error.message : String(error)}`);
      }
    }),
  );
  return lines.sort(compareTimes);
}

/** The kept lines of one instance from its cell; none where the cell does not tell. */
export async function linesOfInstance(
  platform: Platform,
  source: Source,
  wanted: { readonly processGuid: string; readonly instanceGuid: string },
): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  try {
    const bounds = { deadlineMs: recentMs, signal: platform.signal };
    for await (const line of linesOf(platform, source, wanted.processGuid, false, bounds)) {
      if (wanted.instanceGuid === "" || line.instance_guid === wanted.instanceGuid) lines.push(line);
    }
  } catch {
    platform.signal.throwIfAborted();
  }
  return lines.sort(compareTimes);
}

/** How much of a failed start's output is worth showing. */
const lastWords = 12;

/** The last lines of a process that did not start, on stderr. */
export async function showLastWords(context: Context, platform: Platform, processGuid: string): Promise<void> {
  for (const line of (await recentLines(context, platform, processGuid)).slice(-lastWords))
    context.out.note(`  ${formatLogLine(line)}`);
}

const compareTimes = (a: LogLine, b: LogLine): number => {
  const difference = BigInt(a.time_ns) - BigInt(b.time_ns);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
};

export async function* linesOf(
  platform: Platform,
  source: Source,
  processGuid: string,
  followOn: boolean,
  bounds: { readonly deadlineMs?: number; readonly signal: AbortSignal },
): AsyncGenerator<LogLine, void, undefined> {
  const rep = dialRep(platform, source);
  try {
    const request = { instanceGuid: "", processGuid, follow: followOn };
    for await (const message of serverStream(rep.logs.bind(rep), request, bounds)) yield logLine(message);
  } finally {
    rep.close();
  }
}

/**
 * Tells new lines from those that were printed already, when lines are read again: a cell's connection broke, or a last look is taken.
 * Lines of one instance come in one order; several may have one time.
 */
export class Printed {
  readonly #last = new Map<string, { readonly ns: bigint; readonly count: number }>();

  /** Begins a reading, from the first line a cell keeps. The result says of each line in turn whether it is new, and remembers it. */
  reading(): (line: Pick<LogLine, "instance_guid" | "time_ns">) => boolean {
    const before = new Map(this.#last);
    const seen = new Map<string, number>();
    return ({ instance_guid: guid, time_ns }) => {
      const ns = BigInt(time_ns);
      const mark = before.get(guid);
      if (mark !== undefined && ns < mark.ns) return false;
      if (mark?.ns === ns) {
        const count = (seen.get(guid) ?? 0) + 1;
        seen.set(guid, count);
        if (count <= mark.count) return false;
      }
      const last = this.#last.get(guid);
      if (last === undefined || ns > last.ns) this.#last.set(guid, { ns, count: 1 });
      else if (ns === last.ns) this.#last.set(guid, { ns, count: last.count + 1 });
      return true;
    };
  }
}
