// The step tree: what an action becomes when it is carried out (cell.md section 6).

import type { GardenProcess, OutputSink } from "@muster/garden";
import type { Action, DownloadAction, RunAction, UploadAction } from "@muster/proto/models/actions";
import type { Clock } from "@muster/shared/clock";
import type { LogStreamName } from "../logs/hub.js";
import { byteText, durationText, errorLine, exitText, LineSplitter, unsupportedAction } from "../plan/index.js";

/** How a step ended; a success may say how. `quiet` results add no text to a joined message (a step that was told to stop). */
export type StepResult =
  | { readonly ok: true; readonly text?: string }
  | { readonly ok: false; readonly text: string; readonly quiet?: boolean };

export interface StepHandle {
  /** Settles when the step is ready: its process exists. Never settles for a step that ends before. */
  readonly ready: Promise<void>;
  readonly done: Promise<StepResult>;
  /** Asks the step to end; processes get SIGTERM, then SIGKILL. */
  stop(): void;
}

/** What steps need of the container they run in. */
export interface StepHost {
  readonly clock: Clock;
  /** Between SIGTERM and SIGKILL. */
  readonly gracefulMs: number;
  /** Starts the process, or finds it again after a restart of the rep. */
  startProcess(processId: string, action: RunAction, output: OutputSink): Promise<GardenProcess>;
  log(source: string, stream: LogStreamName, line: Uint8Array, writtenAtMs?: number): void;
  /** A process had to be killed. */
  exceededGraceful(): void;
  /** Fetches and unpacks; resolves with the size, or `undefined` from the cache. Rejects with words for the app, or once aborted. */
  download(action: DownloadAction, signal: AbortSignal): Promise<number | undefined>;
  /** Sends one file; resolves with its size. Rejects as `download` does. */
  upload(action: UploadAction, signal: AbortSignal): Promise<number>;
  /** What became of a step without a process before the rep was restarted; `undefined` when this rep is the first. */
  before(stepId: string): "done" | "unknown" | undefined;
  /** Such a step has ended well. */
  markDone(stepId: string): void;
}

interface Place {
  readonly host: StepHost;
  /** Unique within the container and the same after a restart: the path through the tree. */
  readonly id: string;
  readonly source: string;
}

/** After SIGKILL a process gets this long. Source: cell.md section 8. */
const killedMs = 1_000;
const notExited: StepResult = { ok: false, text: "process did not exit" };
const cancelled: StepResult = { ok: false, text: "cancelled", quiet: true };
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

interface Deferred<Value> {
  readonly promise: Promise<Value>;
  resolve(value: Value): void;
}
function deferred<Value>(): Deferred<Value> {
  let settle: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((resolve) => {
    settle = resolve;
  });
  return { promise, resolve: settle };
}

function say(place: Place, source: string, stream: LogStreamName, text: string): void {
  place.host.log(source, stream, Buffer.from(text));
}

/** Output of a process as log lines; `flush` gives the unfinished ones. */
function lineOutput(host: StepHost, source: string, suppress: boolean): { readonly sink: OutputSink; flush(): void } {
  if (suppress) return { sink: () => undefined, flush: () => undefined };
  let atMs: number | undefined;
  const splitters = {
    stdout: new LineSplitter((line) => host.log(source, "stdout", line, atMs)),
    stderr: new LineSplitter((line) => host.log(source, "stderr", line, atMs)),
  };
  return {
    sink: (stream, chunk, writtenAtMs) => {
      atMs = writtenAtMs;
      splitters[stream].write(chunk);
    },
    flush: () => {
      splitters.stdout.flush();
      splitters.stderr.flush();
    },
  };
}

/** SIGTERM, SIGKILL when that was not enough, and no waiting beyond. Resolves when the process should be gone. */
async function terminate(host: StepHost, process: GardenProcess, onKill: () => void): Promise<void> {
  const gone = process.exited.then(() => true as const);
  const late = (ms: number): { readonly wait: Promise<boolean>; cancel(): void } => {
    const over = deferred<boolean>();
    const cancel = host.clock.after(ms, () => over.resolve(false));
    return { wait: Promise.race([gone, over.promise]), cancel };
  };
  await process.signal("SIGTERM").catch(() => undefined);
  const graceful = late(host.gracefulMs);
  const ended = await graceful.wait;
  graceful.cancel();
  if (ended) return;
  onKill();
  await process.signal("SIGKILL").catch(() => undefined);
  const killed = late(killedMs);
  await killed.wait;
  killed.cancel();
}

function runStep(action: RunAction, place: Place): StepHandle {
  const { host } = place;
  const source = action.logSource || place.source;
  const ready = deferred<void>();
  const stopping = deferred<void>();
  let stopAsked = false;
  let exceededMs: number | undefined;
  const output = lineOutput(host, source, action.suppressLogOutput);
  const killed = (): void => {
    exceededMs = host.gracefulMs;
    host.exceededGraceful();
  };
  const run = async (): Promise<StepResult> => {
    let process: GardenProcess;
    try {
      process = await host.startProcess(place.id, action, output.sink);
    } catch (error) {
      if (stopAsked) return cancelled;
      if (!action.suppressLogOutput) say(place, source, "stdout", `failed-creating-process: ${messageOf(error)}`);
      return { ok: false, text: messageOf(error) };
    }
    ready.resolve();
    const stopped = stopping.promise.then(() => terminate(host, process, killed)).then(() => undefined);
    const exit = await Promise.race([process.exited, stopped]);
    output.flush();
    if (exit === undefined) {
      const last = await Promise.race([process.exited, Promise.resolve(undefined)]);
      if (last === undefined) return notExited;
    }
    const { exitStatus, outOfMemory } = exit ?? (await process.exited);
    const ended = { exitStatus, outOfMemory };
    if (!action.suppressLogOutput) say(place, source, "stdout", `Exit status ${exitText(ended, exceededMs)}`);
    if (stopAsked) return { ...cancelled, text: exceededMs === undefined ? "cancelled" : "exceeded graceful shutdown interval" };
    return { ok: exitStatus === 0, text: `${source}: Exited with status ${exitText(ended)}` };
  };
  return {
    ready: ready.promise,
    done: run(),
    stop: () => {
      stopAsked = true;
      stopping.resolve();
    },
  };
}

const childPlace = (place: Place, at: number, source: string): Place => ({
  host: place.host,
  id: `${place.id}.${at}`,
  source: source || place.source,
});

const nothing: StepHandle = { ready: Promise.resolve(), done: Promise.resolve({ ok: true }), stop: () => undefined };

/** Joins failures as Diego does: quiet ones add no text, and a joined message without text is no failure. */
function joined(results: readonly StepResult[]): StepResult {
  const failures = results.filter((result) => !result.ok);
  const loud = failures.filter((result) => result.quiet !== true).map((result) => result.text);
  if (loud.length > 0) return { ok: false, text: loud.join("; ") };
  return failures[0] ?? { ok: true };
}

function serialStep(actions: readonly Action[], place: Place, source: string): StepHandle {
  const ready = deferred<void>();
  let stopped = false;
  let current: StepHandle = nothing;
  const run = async (): Promise<StepResult> => {
    let result: StepResult = { ok: true };
    for (const [at, action] of actions.entries()) {
      if (stopped) return cancelled;
      current = startStep(action, childPlace(place, at, source));
      if (at === actions.length - 1) void current.ready.then(ready.resolve);
      result = await current.done;
      if (!result.ok) return result;
    }
    return result;
  };
  const done = run();
  return {
    ready: ready.promise,
    done,
    stop: () => {
      stopped = true;
      current.stop();
    },
  };
}

/** Parallel waits for all; codependent ends them all with the first, and calls every end an error. */
function groupStep(actions: readonly Action[], place: Place, source: string, codependent: boolean): StepHandle {
  const steps = actions.map((action, at) => startStep(action, childPlace(place, at, source)));
  const stop = (): void => {
    for (const step of steps) step.stop();
  };
  /** In the order of their ends: what came first is the cause of the rest. */
  const ended: StepResult[] = [];
  const ends = steps.map(async (step): Promise<StepResult> => {
    const result = await step.done;
    if (!codependent) return result;
    ended.push(result.ok ? { ok: false, text: "Codependent step exited" } : result);
    stop();
    return result;
  });
  return {
    ready: Promise.all(steps.map((step) => step.ready)).then(() => undefined),
    done: Promise.all(ends).then((results) => joined(codependent ? ended : results)),
    stop,
  };
}

function timeoutStep(action: Action, timeoutMs: number, place: Place, source: string): StepHandle {
  const step = startStep(action, childPlace(place, 0, source));
  let exceeded = false;
  const cancel = place.host.clock.after(timeoutMs, () => {
    exceeded = true;
    step.stop();
  });
  const done = step.done.then((result): StepResult => {
    cancel();
    if (!exceeded) return result;
    // That no signal ended it is no failure of its own.
    const detail = result.ok || result.quiet === true || result === notExited ? "" : `; ${result.text}`;
    return { ok: false, text: `exceeded ${durationText(timeoutMs)} timeout${detail}` };
  });
  return { ready: step.ready, done, stop: step.stop };
}

/** Starts to carry an action out. An action this cell does not know ends at once, with a reason. */
export function startStep(action: Action, place: Place): StepHandle {
  const { runAction, serialAction, parallelAction, codependentAction, timeoutAction, tryAction, emitProgressAction } = action;
  if (runAction !== undefined) return runStep(runAction, place);
  const { downloadAction, uploadAction } = action;
  if (downloadAction !== undefined) {
    const words = { artifact: downloadAction.artifact, begin: "Downloading", end: "Downloaded" };
    const source = downloadAction.logSource || place.source;
    return transferStep(place, source, words, (signal) => place.host.download(downloadAction, signal));
  }
  if (uploadAction !== undefined) {
    const words = { artifact: uploadAction.artifact, begin: "Uploading", end: "Uploaded" };
    const source = uploadAction.logSource || place.source;
    return transferStep(place, source, words, (signal) => place.host.upload(uploadAction, signal));
  }
  if (serialAction !== undefined) return serialStep(serialAction.actions, place, serialAction.logSource);
  if (parallelAction !== undefined) return groupStep(parallelAction.actions, place, parallelAction.logSource, false);
  if (codependentAction !== undefined) return groupStep(codependentAction.actions, place, codependentAction.logSource, true);
  if (timeoutAction?.action !== undefined) {
    return timeoutStep(timeoutAction.action, Number(timeoutAction.timeoutMs), place, timeoutAction.logSource);
  }
  if (tryAction?.action !== undefined) {
    const step = startStep(tryAction.action, childPlace(place, 0, tryAction.logSource));
    return { ...step, done: step.done.then((): StepResult => ({ ok: true })) };
  }
  if (emitProgressAction?.action !== undefined) return progressStep(emitProgressAction, emitProgressAction.action, place);
  const text = unsupportedAction(action) ?? "this cell cannot carry out the action";
  return { ready: new Promise(() => undefined), done: Promise.resolve({ ok: false, text }), stop: () => undefined };
}

/** Source: Diego's words and order; without an artifact's name nothing is said but failures. */
interface TransferWords {
  readonly artifact: string;
  readonly begin: string;
  readonly end: string;
}

/** A download or an upload: no process, ready from the start, and gone at once when it is told to stop. */
function transferStep(place: Place, source: string, words: TransferWords, work: Transfer): StepHandle {
  const { host, id } = place;
  const abort = new AbortController();
  const run = async (): Promise<StepResult> => {
    const before = host.before(id);
    if (before === "done") return { ok: true };
    if (before === "unknown") return { ok: false, text: "the cell was restarted before the step had ended" };
    const { artifact, begin, end } = words;
    if (artifact !== "") say(place, source, "stdout", `${begin} ${artifact}...`);
    try {
      const bytes = await work(abort.signal);
      if (artifact !== "")
        say(place, source, "stdout", `${end} ${artifact}${bytes === undefined ? "" : ` (${byteText(bytes)})`}`);
      host.markDone(id);
      return { ok: true };
    } catch (error) {
      if (abort.signal.aborted) return cancelled;
      const text = messageOf(error);
      say(place, source, "stderr", errorLine(text));
      return { ok: false, text };
    }
  };
  return { ready: Promise.resolve(), done: run(), stop: () => abort.abort(new Error("cancelled")) };
}

type Transfer = (signal: AbortSignal) => Promise<number | undefined>;

type EmitProgress = NonNullable<Action["emitProgressAction"]>;

function progressStep(progress: EmitProgress, inner: Action, place: Place): StepHandle {
  const source = progress.logSource || place.source;
  if (progress.startMessage !== "") say(place, source, "stdout", progress.startMessage);
  const step = startStep(inner, childPlace(place, 0, source));
  const done = step.done.then((result) => {
    if (result.ok) {
      if (progress.successMessage !== "") say(place, source, "stdout", progress.successMessage);
    } else if (progress.failureMessagePrefix !== "") {
      const detail = result.quiet === true ? "" : `: ${result.text}`;
      say(place, source, "stderr", progress.failureMessagePrefix + detail);
    }
    return result;
  });
  return { ready: step.ready, done, stop: step.stop };
}
