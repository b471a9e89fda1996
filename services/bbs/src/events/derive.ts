// Diego's events, derived from what one command changed (bbs-semantics.md 4.5, 5, 6, 7). Pure: the same note, the same events, in order.
import {
  type ActualLRP,
  type ActualLRPInstanceKey,
  type DesiredLRP,
  type InstanceRows,
  sameInstance,
  type Task,
} from "@muster/shared/model";
import { aloneInGroup, type Group, groupOf, resolved } from "./group.js";
import type { BeforeAfter, CommandHints, CommandNote, Sealed } from "./note.js";
import { sameButPresence, sameOnWire, sameTaskOnWire } from "./same.js";

type RowBeforeAfter = BeforeAfter<ActualLRP>;

export type CrashedEvent = { readonly kind: "crashed" } & RowBeforeAfter;

export type InstanceEvent =
  | { readonly kind: "created" | "removed"; readonly row: ActualLRP; readonly traceId: string }
  | ({ readonly kind: "changed"; readonly traceId: string } & RowBeforeAfter)
  | CrashedEvent;

export type GroupEvent =
  | { readonly kind: "created" | "removed"; readonly group: Group }
  | ({ readonly kind: "changed" } & BeforeAfter<Group>)
  | CrashedEvent;

export type DesiredEvent =
  | { readonly kind: "created" | "removed"; readonly desired: Sealed<DesiredLRP>; readonly traceId: string }
  | ({ readonly kind: "changed"; readonly traceId: string } & BeforeAfter<Sealed<DesiredLRP>>);

export type TaskEvent =
  | { readonly kind: "created" | "removed"; readonly task: Sealed<Task> }
  | ({ readonly kind: "changed" } & BeforeAfter<Sealed<Task>>);

// --- instance stream

/**
 * Rows before and after that are one instance's: first by instance key, which outlives a change of presence; then by place, where the
 * row before went nowhere else: there an instance comes or goes.
 */
function pairs(before: InstanceRows, after: InstanceRows): (readonly [ActualLRP | undefined, ActualLRP | undefined])[] {
  const gone = rowsOf(before);
  const come = rowsOf(after);
  const paired: (ActualLRP | undefined)[] = come.map(() => undefined);
  const join = (fits: (was: ActualLRP, is: ActualLRP) => boolean): void => {
    for (const [at, is] of come.entries()) {
      const found = paired[at] === undefined ? gone.findIndex((was) => fits(was, is)) : -1;
      if (found >= 0) [paired[at]] = gone.splice(found, 1);
    }
  };
  join((was, is) => sameInstance(was.instanceKey, is.instanceKey));
  join((was, is) => was.presence === is.presence);
  // An instance that changed its place comes before whoever took that place: a lost one is suspect, and only then has a replacement.
  const moved = ([was, is]: readonly [ActualLRP | undefined, ActualLRP]): boolean =>
    was !== undefined && was.presence !== is.presence;
  const found = come.map((is, at) => [paired[at], is] as const);
  found.sort((one, other) => Number(moved(other)) - Number(moved(one)));
  return [...found, ...gone.map((was) => [was, undefined] as const)];
}

function rowsOf({ ORDINARY, EVACUATING, SUSPECT }: InstanceRows): ActualLRP[] {
  const rows: ActualLRP[] = [];
  if (ORDINARY !== undefined) rows.push(ORDINARY);
  if (EVACUATING !== undefined) rows.push(EVACUATING);
  if (SUSPECT !== undefined) rows.push(SUSPECT);
  return rows;
}

function instanceEvents(before: InstanceRows, after: InstanceRows, { traceId, crashed }: CommandHints): InstanceEvent[] {
  return byScore(
    pairs(before, after).flatMap(([was, is]): InstanceEvent[] => {
      if (is === undefined) return was === undefined ? [] : [{ kind: "removed", row: was, traceId }];
      if (was === undefined) return [{ kind: "created", row: is, traceId }];
      if (sameOnWire(was, is)) return [];
      const told: InstanceEvent[] = crashesBetween(was, is, crashed) ? [{ kind: "crashed", before: was, after: is }] : [];
      return [...told, ...instanceChange(was, is, traceId)];
    }),
    resultOfInstanceEvent,
  );
}

function instanceChange(before: ActualLRP, after: ActualLRP, traceId: string): InstanceEvent[] {
  const created: InstanceEvent = { kind: "created", row: after, traceId };
  const removed: InstanceEvent = { kind: "removed", row: before, traceId };
  const replaced = before.modificationTag.epoch !== after.modificationTag.epoch;
  // Neither row has an instance: their readers tell them apart by nothing, so the new one must come last.
  if (replaced && before.instanceKey === undefined && after.instanceKey === undefined) return [removed, created];
  if (after.state === "UNCLAIMED" && before.state !== "UNCLAIMED") return [created, removed];
  return [{ kind: "changed", before, after, traceId }];
}

/** The row lost its instance by crashing: it says so itself, or it came with a crash report. */
const crashesBetween = (before: ActualLRP, after: ActualLRP, crashReported: boolean): boolean =>
  after.instanceKey === undefined && (after.state === "CRASHED" ? before.state !== "CRASHED" : crashReported);

const resultOfInstanceEvent = (event: InstanceEvent): ActualLRP | undefined =>
  event.kind === "created" ? event.row : event.kind === "changed" ? event.after : undefined;

// --- group stream

function groupEvents(before: InstanceRows, after: InstanceRows, { crashed }: CommandHints): GroupEvent[] {
  const was = groupOf(before);
  const is = groupOf(after);
  // A crash report's change shows the groups whole, every other one only the row.
  const whole = crashed ? { before: was, after: is } : undefined;
  return byScore(
    [
      ...placeEvents(was.instance, is.instance, whole),
      ...placeEvents(was.evacuating, is.evacuating, whole),
      ...supersededReplacement(before, after),
    ],
    resultOfGroupEvent,
  );
}

/** What became of one of a group's two places. */
function placeEvents(
  before: ActualLRP | undefined,
  after: ActualLRP | undefined,
  whole: BeforeAfter<Group> | undefined,
): GroupEvent[] {
  if (before === undefined) return after === undefined ? [] : [{ kind: "created", group: aloneInGroup(after) }];
  if (after === undefined) return [{ kind: "removed", group: aloneInGroup(before) }];
  // A lost cell, or one that is back, is told on the instance stream alone.
  if (sameButPresence(before, after)) return [];
  const anotherInstance = after.instanceKey !== undefined && !sameInstance(before.instanceKey, after.instanceKey);
  if (before.instanceKey !== undefined && anotherInstance) {
    return [
      { kind: "created", group: aloneInGroup(after) },
      { kind: "removed", group: aloneInGroup(before) },
    ];
  }
  const crash = crashesBetween(before, after, whole !== undefined);
  return [
    ...(crash ? [{ kind: "crashed", before, after } as const] : []),
    { kind: "changed", ...(whole ?? { before: aloneInGroup(before), after: aloneInGroup(after) }) },
  ];
}

/** A Suspect instance whose cell is back takes its place again: its replacement is told as removed, though it never stood for the group. */
function supersededReplacement(before: InstanceRows, after: InstanceRows): GroupEvent[] {
  const { ORDINARY: replacement, SUSPECT: suspect } = before;
  if (replacement === undefined || groupOf(before).instance === replacement) return [];
  const reinstated = after.SUSPECT === undefined && sameInstance(suspect?.instanceKey, after.ORDINARY?.instanceKey);
  return reinstated ? [{ kind: "removed", group: aloneInGroup(replacement) }] : [];
}

function resultOfGroupEvent(event: GroupEvent): ActualLRP | undefined {
  if (event.kind === "created") return resolved(event.group);
  return event.kind === "changed" ? resolved(event.after) : undefined;
}

/** Crashes first, then what ends RUNNING, then the rest: who follows never loses an instance before he knows its successor. */
function byScore<Event extends { readonly kind: string }>(
  events: readonly Event[],
  result: (event: Event) => ActualLRP | undefined,
): Event[] {
  if (events.length < 2) return [...events];
  const score = (event: Event): number => (event.kind === "crashed" ? 2 : result(event)?.state === "RUNNING" ? 1 : 0);
  return [...events].sort((a, b) => score(b) - score(a));
}

// --- desired LRPs and tasks

function desiredEvent({ before, after }: CommandNote["desired"][number], traceId: string): DesiredEvent[] {
  if (after === undefined) return before === undefined ? [] : [{ kind: "removed", desired: before, traceId }];
  if (before === undefined) return [{ kind: "created", desired: after, traceId }];
  return [{ kind: "changed", before, after, traceId }];
}

function taskEvent({ before, after }: CommandNote["tasks"][number]): TaskEvent[] {
  if (after === undefined) return before === undefined ? [] : [{ kind: "removed", task: before }];
  if (before === undefined) return [{ kind: "created", task: after }];
  return sameTaskOnWire(before.record, after.record) ? [] : [{ kind: "changed", before, after }];
}

/** One event, and the hub that carries it. */
export type DerivedEvent =
  | { readonly hub: "desired"; readonly event: DesiredEvent }
  | { readonly hub: "group"; readonly event: GroupEvent }
  | { readonly hub: "instance"; readonly event: InstanceEvent }
  | { readonly hub: "task"; readonly event: TaskEvent };

/** All events of one command, in the order they are to be told. */
export function deriveEvents(note: CommandNote): DerivedEvent[] {
  const events: DerivedEvent[] = [];
  for (const span of note.desired) for (const event of desiredEvent(span, note.traceId)) events.push({ hub: "desired", event });
  for (const { before, after } of note.instances) {
    for (const event of groupEvents(before, after, note)) events.push({ hub: "group", event });
    for (const event of instanceEvents(before, after, note)) events.push({ hub: "instance", event });
  }
  for (const span of note.tasks) for (const event of taskEvent(span)) events.push({ hub: "task", event });
  return events;
}

// --- who is concerned

/** A changed event names one instance: the one after, or the one before where there is none any more. */
export const keyOfChange = ({ before, after }: RowBeforeAfter): ActualLRPInstanceKey | undefined =>
  after.instanceKey ?? before.instanceKey;

/** Whether a stream that is filtered by this cell carries the event. Desired LRPs and tasks are never filtered. */
export function concernsCell(derived: DerivedEvent, cellId: string): boolean {
  switch (derived.hub) {
    case "instance":
      return keyOfInstanceEvent(derived.event)?.cellId === cellId;
    case "group":
      return rowsOfGroupEvent(derived.event).some((row) => row?.instanceKey?.cellId === cellId);
    default:
      return true;
  }
}

function keyOfInstanceEvent(event: InstanceEvent): ActualLRPInstanceKey | undefined {
  if (event.kind === "changed") return keyOfChange(event);
  return (event.kind === "crashed" ? event.before : event.row).instanceKey;
}

function rowsOfGroupEvent(event: GroupEvent): (ActualLRP | undefined)[] {
  if (event.kind === "crashed") return [event.before];
  return event.kind === "changed" ? [resolved(event.before), resolved(event.after)] : [resolved(event.group)];
}
