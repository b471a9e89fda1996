// Is a history linearizable? A search in the manner of Wing and Gong, with Lowe's memory of what was tried: it looks for one order of
// the calls that keeps to real time and in which every answer is what the model says. Pure.
import type { Call, History } from "./history.js";

/** What a thing does when it is asked one call after the other. Results are text, so that they compare by value. */
export interface Model<State, Op> {
  readonly initial: State;
  step(state: State, op: Op): { readonly state: State; readonly result: string };
  /** Equal states have equal names. */
  nameOf(state: State): string;
}

export type Verdict<Op> =
  | { readonly linearizable: true; readonly steps: number }
  /** `stuck`: how far the best order came, and the calls none of which could be next. */
  | { readonly linearizable: false; readonly steps: number; readonly ordered: number; readonly stuck: History<Op> }
  /** The bound was reached: nobody knows. */
  | { readonly linearizable: undefined; readonly steps: number };

/** So many configurations are looked at; about 200 bytes each. */
export const defaultMaxSteps = 1_000_000;

/** A point of the search: answered calls before `frontier` and those in `beyond` are ordered, and so are the unknown ones in `taken`. */
interface Point<State> {
  readonly state: State;
  readonly frontier: number;
  readonly beyond: ReadonlySet<number>;
  readonly taken: ReadonlySet<number>;
}

/** Looks for an order of all answered calls and any of the unanswered ones. Shape: exponential only in what really overlaps. */
export function checkHistory<State, Op>(
  model: Model<State, Op>,
  history: History<Op>,
  maxSteps: number = defaultMaxSteps,
): Verdict<Op> {
  const answered = history.filter((call) => call.answer !== undefined);
  const unknown = history.filter((call) => call.answer === undefined);
  const seen = new Set<string>();
  const open: Point<State>[] = [{ state: model.initial, frontier: 0, beyond: new Set(), taken: new Set() }];
  let best: { readonly ordered: number; readonly point: Point<State> | undefined } = { ordered: -1, point: undefined };
  for (let steps = 0; ; steps += 1) {
    const point = open.pop();
    if (point === undefined) {
      return {
        linearizable: false,
        steps,
        ordered: best.ordered,
        stuck: best.point === undefined ? [] : next(answered, best.point),
      };
    }
    if (point.frontier === answered.length) return { linearizable: true, steps };
    if (steps >= maxSteps) return { linearizable: undefined, steps };
    const name = nameOf(model, point);
    if (seen.has(name)) continue;
    seen.add(name);
    const ordered = point.frontier + point.beyond.size;
    if (ordered > best.ordered) best = { ordered, point };
    // What is pushed last is tried first: answered calls before unknown ones, in the order of their answers.
    open.push(...withUnknown(model, unknown, answered, point), ...withAnswered(model, answered, point));
  }
}

const nameOf = <State, Op>(model: Model<State, Op>, { state, frontier, beyond, taken }: Point<State>): string =>
  `${frontier}|${[...beyond].sort(ascending).join()}|${[...taken].sort(ascending).join()}|${model.nameOf(state)}`;

const ascending = (a: number, b: number): number => a - b;

const answeredAt = <Op>(call: Call<Op> | undefined): number => call?.answer?.atMs ?? Number.POSITIVE_INFINITY;

/** Nothing may be put in front of a call that was over before it began: the first answer that is still to come bounds all invocations. */
function boundOf<State, Op>(answered: History<Op>, { frontier, beyond }: Point<State>): number {
  let bound = Number.POSITIVE_INFINITY;
  for (let at = frontier; at < answered.length; at += 1) {
    const call = answered[at];
    if (call === undefined || call.invokedMs > bound) break;
    if (!beyond.has(at)) bound = Math.min(bound, answeredAt(call));
  }
  return bound;
}

/** The indexes of the answered calls that may come next. */
function candidates<State, Op>(answered: History<Op>, point: Point<State>): number[] {
  const bound = boundOf(answered, point);
  const found: number[] = [];
  for (let at = point.frontier; at < answered.length; at += 1) {
    const call = answered[at];
    if (call === undefined || call.invokedMs > bound) break;
    if (!point.beyond.has(at)) found.push(at);
  }
  return found;
}

const next = <State, Op>(answered: History<Op>, point: Point<State>): History<Op> =>
  candidates(answered, point).flatMap((at) => answered[at] ?? []);

function withAnswered<State, Op>(model: Model<State, Op>, answered: History<Op>, point: Point<State>): Point<State>[] {
  const points: Point<State>[] = [];
  const latestFirst = candidates(answered, point).sort((a, b) => answeredAt(answered[b]) - answeredAt(answered[a]));
  for (const at of latestFirst) {
    const call = answered[at];
    if (call === undefined) continue;
    const { state, result } = model.step(point.state, call.op);
    if (result === call.answer?.result) points.push({ ...point, state, ...advanced(point, at) });
  }
  return points;
}

function advanced<State>({ frontier, beyond }: Point<State>, at: number): Pick<Point<State>, "frontier" | "beyond"> {
  const rest = new Set(beyond).add(at);
  let first = frontier;
  for (; rest.has(first); first += 1) rest.delete(first);
  return { frontier: first, beyond: rest };
}

/** An unknown call that would change nothing here need not be put here. */
function withUnknown<State, Op>(
  model: Model<State, Op>,
  unknown: History<Op>,
  answered: History<Op>,
  point: Point<State>,
): Point<State>[] {
  const bound = boundOf(answered, point);
  const before = model.nameOf(point.state);
  const points: Point<State>[] = [];
  unknown.forEach((call, at) => {
    if (call.invokedMs > bound || point.taken.has(at)) return;
    const { state } = model.step(point.state, call.op);
    if (model.nameOf(state) !== before) points.push({ ...point, state, taken: new Set(point.taken).add(at) });
  });
  return points;
}
