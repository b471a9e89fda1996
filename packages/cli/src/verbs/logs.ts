// `logs`: the lines of all instances of an app, or of one task, from every cell that may hold some, kept ones first and then as they come.
import { findApp } from "../apps/records.js";
import { findTask, isOver, taskName, tasksOfApp } from "../apps/tasks.js";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";
import { RefusedError, UsageError } from "../exit.js";
import { parseCount } from "../flags.js";
import { type LogLine, linesOf, Printed, print, recentLines, type Source, sourcesOf } from "./log-lines.js";

export interface LogsOptions {
  readonly recent?: boolean;
  readonly instance?: string;
  /** A task of the app: its guid, the beginning of the guid's own part, or its name. */
  readonly task?: string;
}

/** How often a follower looks for cells that have joined, for a new version of the app, and whether a task is over. */
const lookMs = 1_000;

/** `name`: an app's, or the guid of a task, whoever made it. @throws RefusedError when there is neither. */
export async function logs(context: Context, name: string, options: LogsOptions): Promise<void> {
  const index =
    options.instance === undefined ? undefined : parseCount(options.instance, "--instance", { min: 0, max: 1_000_000 });
  if (index !== undefined && options.task !== undefined)
    throw new UsageError("--instance and --task do not go together", "a task has one container at a time");
  using session = openSession(context);
  const { platform } = session;
  const taskGuid = options.task === undefined ? undefined : await taskOfApp(platform, name, options.task);
  const app = taskGuid === undefined ? await processOf(platform, name) : undefined;
  if (app === undefined) await taskLogs(context, platform, taskGuid ?? name, options.recent === true);
  else {
    const wanted = (line: LogLine): boolean => index === undefined || line.index === index;
    if (options.recent === true) await printRecent(context, platform, app, wanted);
    else await follow(context, platform, name, wanted);
  }
}

/** The process guid people see of an app; `undefined` when no app has this name. */
async function processOf(platform: Platform, name: string): Promise<string | undefined> {
  try {
    return (await findApp(platform, name)).current.processGuid;
  } catch (error) {
    if (error instanceof RefusedError) return undefined;
    throw error;
  }
}

async function taskOfApp(platform: Platform, appName: string, id: string): Promise<string> {
  const appGuid = (await findApp(platform, appName)).current.annotation.app_guid;
  const { tables } = await platform.snapshot(["task"]);
  return findTask(tasksOfApp(tables.tasks.values(), appGuid), appGuid, id).taskGuid;
}

async function printRecent(
  context: Context,
  platform: Platform,
  processGuid: string,
  wanted: (line: LogLine) => boolean,
): Promise<void> {
  for (const line of await recentLines(context, platform, processGuid)) if (wanted(line)) print(context, line);
}

/** One reading of each cell at a time; one that broke is taken up at the next look, without repeating lines. */
class Tails {
  readonly #context: Context;
  readonly #platform: Platform;
  readonly #wanted: (line: LogLine) => boolean;
  readonly #open = new Set<string>();
  readonly #printed = new Printed();
  readonly #done = new AbortController();

  constructor(context: Context, platform: Platform, wanted: (line: LogLine) => boolean) {
    this.#context = context;
    this.#platform = platform;
    this.#wanted = wanted;
  }

  /** Opens what is not open. @throws what the platform throws */
  async look(guid: string): Promise<void> {
    for (const source of await sourcesOf(this.#platform)) {
      const key = `${source.cellId}/${guid}`;
      if (this.#open.has(key)) continue;
      this.#open.add(key);
      void this.#tail(source, guid).finally(() => this.#open.delete(key));
    }
  }

  /** Lets the cells go, and prints what they still have to say. */
  async finish(guid: string): Promise<void> {
    this.#done.abort();
    const isNew = this.#printed.reading();
    for (const line of await recentLines(this.#context, this.#platform, guid)) if (isNew(line)) print(this.#context, line);
  }

  close(): void {
    this.#done.abort();
  }

  async #tail(source: Source, guid: string): Promise<void> {
    const signal = AbortSignal.any([this.#platform.signal, this.#done.signal]);
    const isNew = this.#printed.reading();
    try {
      for await (const line of linesOf(this.#platform, source, guid, true, { signal })) {
        if (signal.aborted) return;
        if (isNew(line) && this.#wanted(line)) print(this.#context, line);
      }
    } catch {
      // The next look opens it again.
    }
  }
}

/** Follows every cell until interrupted or until the app is gone. */
async function follow(context: Context, platform: Platform, name: string, wanted: (line: LogLine) => boolean): Promise<void> {
  const tails = new Tails(context, platform, wanted);
  try {
    for (;;) {
      await tails.look((await findApp(platform, name)).current.processGuid);
      await platform.clock.sleep(lookMs, platform.signal);
    }
  } catch (error) {
    if (!platform.signal.aborted) throw error instanceof RefusedError ? new RefusedError(`app ${name} is gone`) : error;
  } finally {
    tails.close();
  }
}

/** A task's lines are found by its guid in the place of a process guid. Follows until it is over. */
async function taskLogs(context: Context, platform: Platform, taskGuid: string, recent: boolean): Promise<void> {
  const task = await platform.task(taskGuid);
  if (recent || task === undefined) {
    // Cells keep lines for longer than the BBS keeps a task that is over.
    const lines = await recentLines(context, platform, taskGuid);
    if (task === undefined && lines.length === 0)
      throw new RefusedError(`there is neither an app nor a task ${taskGuid}`, "see `muster apps` and `muster tasks NAME`");
    for (const line of lines) print(context, line);
    return;
  }
  const tails = new Tails(context, platform, () => true);
  try {
    for (let now: typeof task | undefined = task; ; now = await platform.task(taskGuid)) {
      const over = now === undefined || isOver(now);
      if (!over) await tails.look(taskGuid);
      else {
        await tails.finish(taskGuid);
        const how = now === undefined ? "is gone" : now.failed ? `failed: ${now.failureReason}` : "ended well";
        return context.out.note(`muster: task ${taskName(task) || taskGuid} ${how}`);
      }
      await platform.clock.sleep(lookMs, platform.signal);
    }
  } catch (error) {
    if (!platform.signal.aborted) throw error;
  } finally {
    tails.close();
  }
}
