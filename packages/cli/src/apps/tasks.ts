// Tasks of an app: what `run-task` desires, how the tasks of an app are found again, and the shapes of `tasks` and `all-tasks`. Pure.
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { TaskDefinition } from "@muster/proto/models/task";
import { epochNsToMs, type Task } from "@muster/shared/model";
import { z } from "zod";
import { RefusedError, UsageError } from "../exit.js";
import { appsDomain } from "./annotation.js";
import { identityOf } from "./desired.js";
import { cpuWeightOf, environmentOf, ownEnvironmentOf } from "./plan.js";
import type { AppVersion } from "./versions.js";

export interface TaskWish {
  readonly name: string;
  readonly command: string;
  /** MiB; the app's own when absent. */
  readonly memoryMb: number | undefined;
  readonly diskMb: number | undefined;
  /** A file of the container that becomes the result. Naming one that is not there when the task ends fails it, as in Diego. */
  readonly resultFile: string | undefined;
}

/** Kept in the task's annotation, which is no place for secrets: the command is not in it. */
const annotationSchema = z.object({ name: z.string(), app_guid: z.string() });

/** A task's guid begins with its app's, as a version's process guid does: that, and the domain, is how it is found. */
export const taskGuidOf = (appGuid: string, guid: string): string => `${appGuid}-${guid}`;

/**
 * A task of the app's image at its digest, with the app's own variables and credentials, as the image's user, in `/`, its command run by
 * the image's shell. Source: docker-app.md sections 8 and 11.
 */
export function taskDefinitionOf(desired: DesiredLRP, { annotation, processGuid }: AppVersion, wish: TaskWish): TaskDefinition {
  const appGuid = annotation.app_guid;
  const run = desired.action?.runAction;
  const memoryMb = wish.memoryMb ?? desired.memoryMb;
  const diskMb = wish.diskMb ?? desired.diskMb;
  return TaskDefinition.fromPartial({
    rootFs: desired.rootFs,
    action: {
      runAction: {
        path: "/bin/sh",
        args: ["-c", wish.command],
        dir: "/",
        user: run?.user ?? "root",
        // No port is opened: a task is not called, it calls.
        env: environmentOf({
          name: annotation.name,
          appGuid,
          versionGuid: processGuid.slice(appGuid.length + 1),
          ports: [],
          memoryMb,
          diskMb,
          own: ownEnvironmentOf(run?.env ?? []),
        }),
        logSource: `APP/TASK/${wish.name}`,
      },
    },
    memoryMb,
    diskMb,
    cpuWeight: cpuWeightOf(memoryMb),
    maxPids: desired.maxPids,
    logGuid: appGuid,
    // The cell's own words about it, apart from what the task says.
    logSource: "CELL",
    resultFile: wish.resultFile ?? "",
    annotation: JSON.stringify({ name: wish.name, app_guid: appGuid }),
    ...identityOf(appGuid),
    egressRules: desired.egressRules,
    placementTags: desired.PlacementTags,
    metricTags: {
      source_id: { static: appGuid },
      app_id: { static: appGuid },
      app_name: { static: annotation.name },
    },
    imageUsername: desired.imageUsername,
    imagePassword: desired.imagePassword,
  });
}

/** What a name may be made of: it is part of a log line's source. @throws UsageError */
export function parseTaskName(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text)) return text;
  throw new UsageError(`--name: "${text}" is no name for a task`, "use 1 to 63 letters, digits, dots, dashes and underscores");
}

/** What people are told of a task; what is secret is in its definition, which is not read. */
export type TaskFacts = Pick<
  Task,
  | "taskGuid"
  | "domain"
  | "state"
  | "failed"
  | "failureReason"
  | "rejectionReason"
  | "result"
  | "cellId"
  | "createdAtNs"
  | "annotation"
>;

export const isOver = ({ state }: Pick<Task, "state">): boolean => state === "COMPLETED" || state === "RESOLVING";

export interface TaskShape {
  readonly task_guid: string;
  readonly name: string;
  readonly state: string;
  readonly failed: boolean;
  readonly failure_reason: string;
  readonly result: string;
  readonly cell_id: string;
  readonly created_at: string;
}

/** Empty for a task that the command line did not make. */
export function taskName({ annotation }: Pick<Task, "annotation">): string {
  try {
    return annotationSchema.safeParse(JSON.parse(annotation)).data?.name ?? "";
  } catch {
    return "";
  }
}

export const taskShape = (task: TaskFacts): TaskShape => ({
  task_guid: task.taskGuid,
  name: taskName(task),
  state: task.state,
  failed: task.failed,
  failure_reason: task.failureReason,
  result: task.result,
  cell_id: task.cellId ?? "",
  created_at: new Date(epochNsToMs(task.createdAtNs)).toISOString(),
});

const newestFirst = (a: Task, b: Task): number =>
  a.createdAtNs === b.createdAtNs ? (a.taskGuid < b.taskGuid ? -1 : 1) : a.createdAtNs > b.createdAtNs ? -1 : 1;

export const sortTasks = (tasks: Iterable<Task>): Task[] => [...tasks].sort(newestFirst);

/** The tasks of an app, newest first. */
export const tasksOfApp = (tasks: Iterable<Task>, appGuid: string): Task[] =>
  sortTasks(tasks).filter((task) => task.domain === appsDomain && task.taskGuid.startsWith(`${appGuid}-`));

/** Fewer letters of a guid name too many tasks. */
const shortestId = 4;

/** The task that `id` means: its guid, the beginning of the guid's own part, or a name that only one task has. @throws RefusedError */
export function findTask(tasks: readonly Task[], appGuid: string, id: string): Task {
  const own = (task: Task): string => task.taskGuid.slice(appGuid.length + 1);
  const exact = tasks.find((task) => task.taskGuid === id);
  const found =
    exact === undefined
      ? tasks.filter((task) => taskName(task) === id || (id.length >= shortestId && own(task).startsWith(id)))
      : [exact];
  const [task] = found;
  if (task === undefined)
    throw new RefusedError(`there is no task ${id}`, "see `muster tasks NAME`; finished ones go after 2 minutes");
  if (found.length > 1)
    throw new RefusedError(`${id} names ${found.length} tasks`, "give the task guid: see `muster tasks NAME`");
  return task;
}
