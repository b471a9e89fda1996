// One entry of a table: what is given, the call, and what must follow; and how it is played.
import { expect } from "vitest";
import type { Reply } from "../../support/diego-client.js";
import type { Message } from "../../support/diego-codec.js";
import type { StreamEvent } from "../../support/diego-events.js";
import { Stage } from "./stage.js";
import { eventText, guidOf, overHttp, replyText, rowText, taskText } from "./texts.js";
import type { Streams, Transport, World } from "./world.js";

/** A state of the records, and the real calls that lead to it. */
export interface Given {
  readonly name: string;
  readonly reach: (stage: Stage) => Promise<void>;
}

export interface Call {
  readonly name: string;
  readonly make: (stage: Stage) => Promise<Reply>;
  /** Over HTTP alone: the deprecated versions. */
  readonly httpOnly?: boolean;
}

export interface Expected {
  readonly reply: string;
  /** All rows of the process guid, ordered by index and presence, as `rowText` says them. */
  readonly rows?: readonly string[];
  /** As `taskText`; `gone` for no task. */
  readonly task?: string;
  /** Every event of the call on that stream, in order; not looked at when absent. Those of desired LRPs are of a hub of their own. */
  readonly desired?: readonly string[];
  readonly instance?: readonly string[];
  readonly group?: readonly string[];
  readonly tasks?: readonly string[];
  /** Anything else that must hold afterwards; `before` are the rows before the call. */
  readonly after?: (stage: Stage, reply: Reply, before: readonly Message[]) => Promise<void> | void;
}

export interface Entry extends Expected {
  readonly given: Given;
  readonly call: Call;
}

export const entryName = ({ given, call }: Entry): string => `${given.name}; ${call.name}`;

const streamOf = { desired: "instance", instance: "instance", group: "group", tasks: "task" } as const;
const ofDesired = (event: StreamEvent): boolean => event.name.startsWith("desired_lrp_");

/** Plays an entry and compares everything it names in one picture. */
export async function play(world: World, transport: Transport, entry: Entry): Promise<void> {
  const stage = new Stage(world, transport);
  await entry.given.reach(stage);
  const before = await stage.rows();
  const listening = (Object.keys(streamOf) as (keyof typeof streamOf)[]).filter((name) => entry[name] !== undefined);
  const opened = await mark(stage, "open", listening);
  const reply = await entry.call.make(stage);
  const closed = await mark(stage, "close", listening);
  const seen: Record<string, unknown> = { reply: replyText(reply) };
  if (entry.rows !== undefined) seen.rows = (await stage.rows()).map((row) => rowText(row, before));
  if (entry.task !== undefined)
    seen.task = await stage.taskRecord().then((task) => (task === undefined ? "gone" : taskText(task)));
  for (const name of listening) {
    const { events } = world.streams[streamOf[name]];
    const between = events.slice((opened[name] ?? 0) + 1, closed[name]);
    seen[name] = between
      .filter((event) => guidOf(event) === stage.guid && ofDesired(event) === (name === "desired"))
      .map(eventText);
  }
  const { given: _given, call: _call, after: _after, ...expected } = entry;
  expect(seen).toEqual({ ...expected, reply: transport === "http" ? overHttp(entry.reply) : entry.reply });
  await entry.after?.(stage, reply, before);
}

/**
 * Puts a mark on the streams: a record of its own, committed now. Streams follow the order of commits, so what comes between two
 * marks is what was committed between them. Answers where the mark stands in each stream.
 */
async function mark(stage: Stage, name: string, listening: readonly (keyof typeof streamOf)[]): Promise<Record<string, number>> {
  const guid = `${stage.guid}-${name}`;
  if (listening.some((one) => one !== "tasks")) {
    await stage.ok("controller", "DesireDesiredLRP", { desired_lrp: stage.desired({ process_guid: guid, instances: 0 }) });
  }
  if (listening.includes("tasks")) await stage.ok("controller", "DesireTask", { ...stage.task(), task_guid: guid });
  const found: Record<string, number> = {};
  for (const one of listening) found[one] = await standsAt(stage.world.streams, streamOf[one], guid);
  return found;
}

/** Streams are long: a mark is looked for from the end. */
async function standsAt(streams: Streams, name: keyof Streams, guid: string): Promise<number> {
  const { events } = streams[name];
  const at = events.findLastIndex((event) => guidOf(event) === guid);
  return at >= 0 ? at : streams[name].until(`${guid} on the ${name} stream`, (event) => guidOf(event) === guid, events.length);
}
