// `run-task`, `tasks`, `terminate-task`, `all-tasks`: one-off containers of an app's image.
import { requireDocker } from "../apps/docker-flag.js";
import { findApp } from "../apps/records.js";
import {
  findTask,
  isOver,
  parseTaskName,
  sortTasks,
  type TaskFacts,
  taskDefinitionOf,
  taskGuidOf,
  taskName,
  taskShape,
  tasksOfApp,
} from "../apps/tasks.js";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";
import { RefusedError, TaskFailedError, UsageError, WaitedInVainError } from "../exit.js";
import { parseCount, parseSizeMb } from "../flags.js";
import type { Output } from "../output.js";
import { showLastWords } from "./log-lines.js";

export interface RunTaskOptions {
  readonly command?: string;
  readonly name?: string;
  readonly memory?: string;
  readonly disk?: string;
  readonly resultFile?: string;
  readonly wait?: boolean;
  readonly timeout?: string;
}

const pollMs = 200;
const defaultWaitSeconds = "3600";
const maxWaitSeconds = 86_400;

export async function runTask(context: Context, appName: string, options: RunTaskOptions): Promise<void> {
  const { command } = options;
  if (command === undefined || command === "")
    throw new UsageError("which command? Give it with --command CMD", `as in: muster run-task ${appName} --command "./migrate"`);
  const wish = {
    command,
    name: parseTaskName(options.name ?? context.entropy.guid().slice(0, 8)),
    memoryMb: options.memory === undefined ? undefined : parseSizeMb(options.memory, "-m"),
    diskMb: options.disk === undefined ? undefined : parseSizeMb(options.disk, "-k"),
    resultFile: options.resultFile,
  };
  const waitMs = 1_000 * parseCount(options.timeout ?? defaultWaitSeconds, "-t", { min: 1, max: maxWaitSeconds });
  using session = openSession(context);
  const { platform } = session;
  await requireDocker(platform);
  const { current } = await findApp(platform, appName);
  const desired = await platform.desiredLRP(current.processGuid);
  if (desired === undefined) throw new RefusedError(`app ${appName} was deleted meanwhile`);
  const taskGuid = taskGuidOf(current.annotation.app_guid, context.entropy.guid());
  await platform.desireTask({ taskGuid, domain: desired.domain, taskDefinition: taskDefinitionOf(desired, current, wish) });
  if (options.wait === true) await seeThrough(context, platform, taskGuid, waitMs);
  else show(context.out, await requireTask(platform, taskGuid));
}

async function requireTask(platform: Platform, taskGuid: string): Promise<TaskFacts> {
  const task = await platform.task(taskGuid);
  if (task === undefined) throw new RefusedError(`task ${taskGuid} was deleted meanwhile`);
  return task;
}

function show(out: Output, task: TaskFacts): void {
  const shape = taskShape(task);
  out.show(shape, () => {
    out.line(`task ${shape.name} (${shape.task_guid}) is ${shape.state.toLowerCase()}${shape.failed ? ", failed" : ""}`);
    if (shape.failure_reason !== "") out.line(shape.failure_reason);
    if (shape.result !== "") out.raw(shape.result.endsWith("\n") ? shape.result : `${shape.result}\n`);
  });
}

/** Waits for the end of a task, shows it, and fails as it failed. It stays in `tasks` for two minutes. */
async function seeThrough(context: Context, platform: Platform, taskGuid: string, waitMs: number): Promise<void> {
  const task = await waitCompleted(context, platform, taskGuid, waitMs);
  if (task.failed) await showLastWords(context, platform, taskGuid);
  show(context.out, task);
  if (task.failed) throw new TaskFailedError(`task ${taskName(task)} failed: ${task.failureReason}`);
}

async function waitCompleted({ out }: Context, platform: Platform, taskGuid: string, waitMs: number): Promise<TaskFacts> {
  const deadlineMs = platform.clock.elapsedMs() + waitMs;
  let told = "";
  for (;;) {
    const task = await platform.task(taskGuid);
    if (task === undefined) throw new WaitedInVainError(`task ${taskGuid} is gone; how it ended is not known`);
    if (isOver(task)) return task;
    const text = progressOf(task);
    if (text !== told) out.progress(text);
    told = text;
    if (platform.clock.elapsedMs() >= deadlineMs)
      throw new WaitedInVainError(
        `task ${taskName(task)} has not ended after ${waitMs / 1_000} s: ${text}`,
        "it goes on; see `muster tasks`",
      );
    await platform.clock.sleep(pollMs, platform.signal);
  }
}

const progressOf = ({ state, cellId, rejectionReason }: TaskFacts): string => {
  if (state === "RUNNING") return `running on ${cellId ?? ""}`;
  return rejectionReason === "" ? "waiting for a place" : `waiting for a place: ${rejectionReason}`;
};

const header = ["TASK", "NAME", "STATE", "FAILED", "CELL", "CREATED", "DETAILS"];
const row = (task: TaskFacts): string[] => {
  const shape = taskShape(task);
  const waits = task.state === "PENDING" ? task.rejectionReason : "";
  return [
    shape.task_guid,
    shape.name || "-",
    shape.state.toLowerCase(),
    shape.failed ? "yes" : "no",
    shape.cell_id || "-",
    shape.created_at,
    shape.failure_reason || waits || firstLine(shape.result),
  ];
};

const mostOfResult = 60;
const firstLine = (text: string): string => (text.split("\n")[0] ?? "").slice(0, mostOfResult);

/** Finished ones too, until convergence removes them: two minutes after their end. */
export async function tasks(context: Context, appName: string): Promise<void> {
  using session = openSession(context);
  const { platform } = session;
  const { current } = await findApp(platform, appName);
  const { tables } = await platform.snapshot(["task"]);
  const own = tasksOfApp(tables.tasks.values(), current.annotation.app_guid);
  context.out.show(own.map(taskShape), () => {
    if (own.length === 0) context.out.line(`no tasks; run one with: muster run-task ${appName} --command CMD`);
    else context.out.table(header, own.map(row));
  });
}

export async function allTasks(context: Context): Promise<void> {
  using session = openSession(context);
  const { tables } = await session.platform.snapshot(["task"]);
  const all = sortTasks(tables.tasks.values());
  context.out.show(
    all.map((task) => ({ domain: task.domain, ...taskShape(task) })),
    () =>
      context.out.table(
        ["DOMAIN", ...header],
        all.map((task) => [task.domain, ...row(task)]),
      ),
  );
}

export async function terminateTask(context: Context, appName: string, id: string): Promise<void> {
  using session = openSession(context);
  const { platform } = session;
  const { current } = await findApp(platform, appName);
  const appGuid = current.annotation.app_guid;
  const { tables } = await platform.snapshot(["task"]);
  const task = findTask(tasksOfApp(tables.tasks.values(), appGuid), appGuid, id);
  const name = taskName(task);
  if (isOver(task)) throw new RefusedError(`task ${name} (${task.taskGuid}) is over already`, "see `muster tasks`");
  await platform.cancelTask(task.taskGuid);
  context.out.show({ task_guid: task.taskGuid, name, terminated: true }, () =>
    context.out.line(`task ${name} (${task.taskGuid}) is terminated; its container gets 10 s to end`),
  );
}
