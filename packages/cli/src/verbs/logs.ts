// `logs`: the lines of all instances of an app, from every cell that may hold some, kept ones first and then as they come.
import type { LogsResponse } from "@muster/proto/muster/v1/rep";
import { serverStream } from "@muster/shared/rpc";
import { findApp } from "../apps/records.js";
import { dialRep, repAddressOf } from "../client/peers.js";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";
import { RefusedError } from "../exit.js";
import { parseCount } from "../flags.js";

export interface LogsOptions {
  readonly recent?: boolean;
  readonly instance?: string;
}

/** How often a follower looks for cells that have joined, and for a new version of the app. */
const lookMs = 1_000;
/** A cell that does not tell its kept lines in this time is left out of --recent, with a note. */
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

export async function logs(context: Context, name: string, options: LogsOptions): Promise<void> {
  const index =
    options.instance === undefined ? undefined : parseCount(options.instance, "--instance", { min: 0, max: 1_000_000 });
  using session = openSession(context);
  const wanted = (line: LogLine): boolean => index === undefined || line.index === index;
  if (options.recent === true) await printRecent(context, session.platform, name, wanted);
  else await follow(context, session.platform, name, wanted);
}

const print = ({ out }: Context, line: LogLine): void => {
  if (out.json) out.event(line);
  else out.raw(`${formatLogLine(line)}\n`);
};

export interface Source {
  readonly cellId: string;
  readonly address: string;
}

export const sourcesOf = async (platform: Platform): Promise<Source[]> =>
  (await platform.cells()).map((cell) => ({ cellId: cell.cellId, address: repAddressOf(cell) }));

async function printRecent(
  context: Context,
  platform: Platform,
  name: string,
  wanted: (line: LogLine) => boolean,
): Promise<void> {
  const { current } = await findApp(platform, name);
  for (const line of await recentLines(context, platform, current.processGuid)) if (wanted(line)) print(context, line);
}

/** The kept lines of a process from all cells, oldest first. Cells that do not tell are noted. */
async function recentLines({ out }: Context, platform: Platform, processGuid: string): Promise<LogLine[]> {
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

async function* linesOf(
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

/** Follows every cell until interrupted or until the app is gone; a stream that breaks is opened again without repeating lines. */
async function follow(context: Context, platform: Platform, name: string, wanted: (line: LogLine) => boolean): Promise<void> {
  const done = new AbortController();
  const signal = AbortSignal.any([platform.signal, done.signal]);
  const open = new Set<string>();
  const printedUpTo = new Map<string, bigint>();
  const tail = async (source: Source, processGuid: string, key: string): Promise<void> => {
    try {
      for await (const line of linesOf(platform, source, processGuid, true, { signal })) {
        const ns = BigInt(line.time_ns);
        const mark = `${key}/${line.instance_guid}`;
        if (ns <= (printedUpTo.get(`${mark}/before`) ?? -1n)) continue;
        printedUpTo.set(mark, ns);
        if (wanted(line)) print(context, line);
      }
    } catch {
      // The next look opens it again.
    } finally {
      for (const [mark, ns] of [...printedUpTo]) {
        if (mark.startsWith(`${key}/`) && !mark.endsWith("/before")) printedUpTo.set(`${mark}/before`, ns);
      }
      open.delete(key);
    }
  };
  try {
    for (;;) {
      const { current } = await findApp(platform, name);
      for (const source of await sourcesOf(platform)) {
        const key = `${source.cellId}/${current.processGuid}`;
        if (open.has(key)) continue;
        open.add(key);
        void tail(source, current.processGuid, key);
      }
      await platform.clock.sleep(lookMs, platform.signal);
    }
  } catch (error) {
    if (!platform.signal.aborted) throw error instanceof RefusedError ? new RefusedError(`app ${name} is gone`) : error;
  } finally {
    done.abort();
  }
}
