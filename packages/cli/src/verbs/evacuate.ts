// `evacuate`: empties a cell for maintenance, tells what it still waits for, and takes it back.
import type { EvacuateRequest, EvacuateResponse, EvacuationBlocker } from "@muster/proto/muster/v1/rep";
import { isTransient, unary } from "@muster/shared/rpc";
import { dialCell, type RepClient } from "../client/peers.js";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";
import { RefusedError, UsageError, WaitedInVainError } from "../exit.js";

export interface EvacuateOptions {
  readonly cancel?: boolean;
  readonly wait?: boolean;
}

export interface BlockerShape {
  readonly process_guid: string;
  readonly index: number;
  readonly task_guid: string;
  readonly instance_guid: string;
  readonly state: string;
  readonly waiting_for: string;
}

export interface EvacuationShape {
  readonly cell_id: string;
  readonly evacuating: boolean;
  /** It evacuates, and nothing is left on it. */
  readonly complete: boolean;
  /** Its time is over: what is left is being stopped. */
  readonly timed_out: boolean;
  readonly elapsed_ms: number;
  readonly remaining: readonly BlockerShape[];
}

/** Pure. */
export const evacuationShape = (cellId: string, response: EvacuateResponse): EvacuationShape => ({
  cell_id: cellId,
  evacuating: response.evacuating,
  complete: response.evacuating && response.remaining.length === 0,
  timed_out: response.timedOut,
  elapsed_ms: Number(response.elapsedMs),
  remaining: response.remaining.map(blockerShape),
});

const blockerShape = (blocker: EvacuationBlocker): BlockerShape => ({
  process_guid: blocker.processGuid,
  index: blocker.index,
  task_guid: blocker.taskGuid,
  instance_guid: blocker.instanceGuid,
  state: blocker.state,
  waiting_for: blocker.waitingFor,
});

/** So many things that are waited for are named in one line; the rest is a number. */
const mostNamed = 3;

/** Pure: what is left on a cell, by what it waits for, the most frequent first. */
export function remainingText(remaining: readonly Pick<BlockerShape, "waiting_for">[]): string {
  const counts = new Map<string, number>();
  for (const { waiting_for } of remaining) counts.set(waiting_for, (counts.get(waiting_for) ?? 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const named = sorted.slice(0, mostNamed).map(([what, count]) => `${count} for ${what}`);
  if (sorted.length > mostNamed) named.push("…");
  return `${remaining.length} left, waiting: ${named.join("; ")}`;
}

const askMs = 5_000;
const lookMs = 500;
/** A cell's own bound for an evacuation is 10 minutes as it is set usually; then it stops what is left, which takes a moment. */
const longestMs = 900_000;
/** A rep that is being restarted answers again within this. */
const silentMs = 30_000;

export async function evacuate(context: Context, cellId: string, options: EvacuateOptions): Promise<void> {
  const { cancel = false, wait = false } = options;
  if (cancel && wait) throw new UsageError("--cancel takes an evacuation back at once", "leave --wait out");
  using session = openSession(context);
  const { platform } = session;
  const rep = await dialCell(platform, cellId);
  try {
    const asked = evacuationShape(cellId, await ask(platform, rep, { cancel, progressOnly: false }));
    const shape = wait ? await waitEmpty(context, platform, rep, cellId) : asked;
    context.out.show(shape, () => {
      for (const line of evacuationLines(shape)) context.out.line(line);
    });
  } finally {
    rep.close();
  }
}

const ask = (platform: Platform, rep: RepClient, request: EvacuateRequest): Promise<EvacuateResponse> =>
  unary(rep.evacuate.bind(rep), request, { deadlineMs: askMs, signal: platform.signal });

/** Pure: the end of the verb, for people. */
export function evacuationLines(shape: EvacuationShape): string[] {
  const { cell_id, evacuating, complete, timed_out, remaining } = shape;
  if (!evacuating) return [`${cell_id} takes work again`];
  if (complete) return [`${cell_id} is empty and takes no work; take that back with: muster evacuate ${cell_id} --cancel`];
  return [
    `${cell_id} is evacuating and takes no new work: ${remainingText(remaining)}`,
    ...(timed_out ? ["its time is over: what is left is being stopped"] : []),
  ];
}

/** @throws WaitedInVainError with what was left; RefusedError when somebody took it back meanwhile. */
async function waitEmpty({ out }: Context, platform: Platform, rep: RepClient, cellId: string): Promise<EvacuationShape> {
  const { clock, signal } = platform;
  const deadlineMs = clock.elapsedMs() + longestMs;
  let answeredAtMs = clock.elapsedMs();
  let told = "";
  for (;;) {
    let text = told;
    try {
      const shape = evacuationShape(cellId, await ask(platform, rep, { cancel: false, progressOnly: true }));
      answeredAtMs = clock.elapsedMs();
      if (!shape.evacuating) throw new RefusedError(`the evacuation of ${cellId} was taken back`);
      if (shape.complete) return shape;
      text = remainingText(shape.remaining);
    } catch (error) {
      if (!isTransient(error)) throw error;
      if (clock.elapsedMs() - answeredAtMs >= silentMs) throw error;
      text = `${cellId} does not answer`;
    }
    if (text !== told) out.progress(text);
    told = text;
    if (clock.elapsedMs() >= deadlineMs)
      throw new WaitedInVainError(`${cellId} is not empty after ${longestMs / 1_000} s: ${text}`, "it goes on evacuating");
    await clock.sleep(lookMs, signal);
  }
}
