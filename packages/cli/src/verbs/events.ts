// `events`: what happened to an app, newest first. The BBS tells what it remembers; the last lines of what crashed are asked of the cells,
// which keep them for 15 minutes.
import type { HistoryEvent } from "@muster/proto/muster/v1/history";
import { findApp } from "../apps/records.js";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";
import { parseCount } from "../flags.js";
import { type LogLine, linesOfInstance, sourcesOf } from "./log-lines.js";

export interface EventsOptions {
  readonly limit?: string;
}

/** As `--json` shows it. */
export interface EventShape {
  readonly time: string;
  readonly event: string;
  readonly process_guid: string;
  readonly index: number;
  /** Set instead of process guid and index for a task. */
  readonly task_guid: string;
  readonly instance_guid: string;
  readonly cell_id: string;
  readonly crash_count: number;
  /** What the process ended with; null where it did not end by itself. */
  readonly exit_status: number | null;
  readonly reason: string;
  /** Of what crashed or failed lately, while its cell still has them. */
  readonly last_lines: readonly string[];
}

/** Pure. The exit status is in the reason's text, which is Diego's. */
export const exitStatusOf = (reason: string): number | null => {
  const match = /Exited with status (\d{1,10})/.exec(reason);
  return match === null ? null : Number(match[1]);
};

/** Pure. */
export const eventShape = (event: HistoryEvent, lastLines: readonly string[]): EventShape => ({
  time: new Date(Number(event.atMs)).toISOString(),
  event: event.kind,
  process_guid: event.processGuid,
  index: event.index,
  task_guid: event.taskGuid,
  instance_guid: event.instanceGuid,
  cell_id: event.cellId,
  crash_count: event.crashCount,
  exit_status: exitStatusOf(event.reason),
  reason: event.reason,
  last_lines: lastLines,
});

const at = (cellId: string): string => (cellId === "" ? "" : ` on ${cellId}`);
const because = (reason: string): string => (reason === "" ? "" : `: ${reason}`);

/** Pure: an event in words. A kind this program does not know is shown as it is. */
export function eventText({ event, cell_id, crash_count, reason }: EventShape): string {
  switch (event) {
    case "waiting":
      return "waits for a place";
    case "not-placed":
    case "task-rejected":
      return `has no place${because(reason)}`;
    case "claimed":
      return `is placed${at(cell_id)}`;
    case "started":
      return `runs${at(cell_id)}`;
    case "crashed":
      return `crashed${at(cell_id)} (crash ${crash_count})${because(reason)}`;
    case "stopping":
      return `is told to stop${at(cell_id)}`;
    case "evacuating":
      return `stays${at(cell_id)}, which is being emptied, until its replacement runs`;
    case "suspect":
      return `may be lost: nobody hears of ${cell_id}; a replacement is asked for`;
    case "returned":
      return `is back${at(cell_id)}: its cell returned, or the evacuation was taken back`;
    case "removed":
      return cell_id === "" ? "is not wanted any more" : `is gone from ${cell_id}`;
    case "task-created":
      return "is asked for";
    case "task-started":
      return `runs${at(cell_id)}`;
    case "task-completed":
      return `ended well${at(cell_id)}`;
    case "task-failed":
      return `failed${at(cell_id)}${because(reason)}`;
    case "task-removed":
      return "is removed from the records";
    default:
      return `${event}${at(cell_id)}${because(reason)}`;
  }
}

/** So many of the newest crashes and failures are shown with so many of their last lines. */
const mostWithLines = 5;
const lastLines = 5;

const withLines: ReadonlySet<string> = new Set(["crashed", "task-failed"]);

/** What the app itself said, not what its cell said about it. Pure. */
export const lastWordsOf = (lines: readonly LogLine[]): string[] =>
  lines
    .filter(({ source }) => source.startsWith("APP"))
    .slice(-lastLines)
    .map(({ line }) => line);

async function linesFor(platform: Platform, events: readonly HistoryEvent[]): Promise<ReadonlyMap<HistoryEvent, string[]>> {
  const told = new Map<HistoryEvent, string[]>();
  const asked = events.filter(({ kind, cellId }) => withLines.has(kind) && cellId !== "").slice(0, mostWithLines);
  if (asked.length === 0) return told;
  const cells = new Map((await sourcesOf(platform)).map((source) => [source.cellId, source]));
  await Promise.all(
    asked.map(async (event) => {
      const source = cells.get(event.cellId);
      if (source === undefined) return;
      // A task's lines are found by its guid in the place of a process guid.
      const wanted = { processGuid: event.processGuid || event.taskGuid, instanceGuid: event.instanceGuid };
      told.set(event, lastWordsOf(await linesOfInstance(platform, source, wanted)));
    }),
  );
  return told;
}

const defaultLimit = "50";
const maxLimit = 1_000;

export async function events(context: Context, name: string, options: EventsOptions): Promise<void> {
  const limit = parseCount(options.limit ?? defaultLimit, "--limit", { min: 1, max: maxLimit });
  using session = openSession(context);
  const { platform } = session;
  const { current } = await findApp(platform, name);
  const appGuid = current.annotation.app_guid;
  const history = await platform.history({ guidPrefix: `${appGuid}-`, limit });
  const lines = await linesFor(platform, history.events);
  const shapes = history.events.map((event) => eventShape(event, lines.get(event) ?? []));
  const { out } = context;
  const since = new Date(Number(history.completeSinceMs)).toISOString();
  out.show(shapes, () => {
    for (const shape of shapes) {
      out.line(`${shape.time}  ${subjectOf(shape, appGuid).padEnd(14)}${eventText(shape)}`);
      for (const line of shape.last_lines) out.line(out.paint("dim", `    ${line}`));
    }
  });
  // Beside a script's array, so that nobody takes silence for peace.
  out.note(
    history.more
      ? `muster: the newest ${shapes.length} events; more with --limit`
      : `muster: the BBS knows what happened since ${since}, and nothing from before`,
  );
}

const shortGuid = 8;
const subjectOf = ({ task_guid, index }: EventShape, appGuid: string): string =>
  task_guid === "" ? `#${index}` : `task ${task_guid.slice(appGuid.length + 1).slice(0, shortGuid)}`;
