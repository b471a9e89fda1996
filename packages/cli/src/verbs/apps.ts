// Verbs that look at apps and move them: apps, app, scale, stop, start, restart, restart-app-instance, delete.

import { appsDomain } from "../apps/annotation.js";
import { requireDocker } from "../apps/docker-flag.js";
import { annotate, type FoundApp, findApp, readSettledApps } from "../apps/records.js";
import { type AppListShape, type AppShape, appListShape, appShape, countRunning } from "../apps/shapes.js";
import { isOver, tasksOfApp } from "../apps/tasks.js";
import { byName, currentVersion, isUpdating } from "../apps/versions.js";
import { waitGone, waitRunning } from "../apps/wait.js";
import { parseInstances } from "../apps/wishes.js";
import type { Platform } from "../client/platform.js";
import { confirm } from "../confirm.js";
import { type Context, openSession, type Session } from "../context.js";
import { RefusedError, UsageError, WaitedInVainError } from "../exit.js";
import { parseCount } from "../flags.js";
import type { Output } from "../output.js";

/** A graceful stop takes 10 s at most; a report has to come back after it. */
const stopWaitMs = 30_000;
const startWaitMs = 180_000;

export async function apps(context: Context): Promise<void> {
  using session = openSession(context);
  const view = await readSettledApps(session.platform);
  const list: AppListShape[] = [];
  for (const versions of byName(view.versions).values()) {
    const current = currentVersion(versions, view.clusterTimeMs);
    if (current === undefined) continue;
    const wanted = current.annotation.requested_state === "STARTED" ? current.instances : 0;
    list.push(appListShape(current, countRunning(view.rows.get(current.processGuid) ?? [], wanted)));
  }
  const { out } = context;
  out.show(list, () => {
    if (list.length === 0) out.line("no apps yet; push one with: muster push NAME --docker-image REF");
    else out.table(["NAME", "STATE", "INSTANCES", "IMAGE"], list.map(listRow));
  });
}

const listRow = (app: AppListShape): string[] => [
  app.name,
  app.requested_state.toLowerCase(),
  `${app.instances_running}/${app.instances_wanted}`,
  app.docker_image,
];

export async function app(context: Context, name: string): Promise<void> {
  using session = openSession(context);
  await showApp(context, session, name);
}

/** Prints the app as it is now; the end of every verb that changed one. */
export async function showApp(context: Context, session: Session, name: string): Promise<void> {
  const { platform } = session;
  const [found, cells] = await Promise.all([findApp(platform, name), platform.cells()]);
  const rows = found.view.rows.get(found.current.processGuid) ?? [];
  const shape = appShape(found.current, rows, new Map(cells.map((cell) => [cell.cellId, cell.zone])));
  context.out.show(shape, () => printApp(context.out, shape, found));
}

function printApp(out: Output, shape: AppShape, { current, versions }: FoundApp): void {
  const fact = (name: string, value: string): void => out.line(`${`${name}:`.padEnd(18)}${value}`);
  fact("name", out.paint("bold", shape.name));
  fact("requested state", shape.requested_state.toLowerCase());
  fact("instances", `${shape.instances.filter((each) => each.state === "RUNNING").length}/${shape.instances_wanted}`);
  fact("memory, disk", `${current.memoryMb}M, ${current.diskMb}M each`);
  fact("docker image", shape.docker_image);
  fact("digest", shape.docker_digest);
  fact("process guid", shape.process_guid);
  if (versions.length > 1) fact("update", "a new version is being brought up beside this one");
  if (shape.instances.length === 0) return;
  out.line();
  out.table(
    ["INDEX", "STATE", "CELL", "ZONE", "ADDRESS", "SINCE", "CRASHES", "DETAILS"],
    shape.instances.map((each) => [
      `#${each.index}`,
      each.presence === "ORDINARY" ? each.state.toLowerCase() : `${each.state.toLowerCase()} (${each.presence.toLowerCase()})`,
      each.cell_id || "-",
      each.zone || "-",
      each.ports.map((port) => `${each.address}:${port.host_port}→${port.container_port}`).join(" ") || "-",
      each.since,
      String(each.crash_count),
      each.placement_error || (each.state === "RUNNING" ? "" : each.crash_reason),
    ]),
  );
}

/** Finds an app that no push is working on, since both would write its annotation. */
async function findQuietApp(platform: Platform, name: string): Promise<FoundApp> {
  const found = await findApp(platform, name);
  if (found.versions.some((version) => isUpdating(version, found.view.clusterTimeMs))) {
    throw new RefusedError(`a push of ${name} is at work`, "wait until it is done, or for 30 s if it was interrupted");
  }
  return found;
}

export interface ScaleOptions {
  readonly instances?: string;
}

export async function scale(context: Context, name: string, options: ScaleOptions): Promise<void> {
  if (options.instances === undefined) throw new UsageError("how many? Give -i N", `as in: muster scale ${name} -i 3`);
  const wanted = parseInstances(options.instances);
  using session = openSession(context);
  const found = await findQuietApp(session.platform, name);
  for (const version of found.versions) {
    const started = version.annotation.requested_state === "STARTED";
    await annotate(session.platform, version, { wanted }, started ? wanted : 0);
  }
  await showApp(context, session, name);
}

export async function stop(context: Context, name: string): Promise<void> {
  using session = openSession(context);
  await stopApp(session.platform, await findQuietApp(session.platform, name));
  await showApp(context, session, name);
}

async function stopApp(platform: Platform, { versions }: FoundApp): Promise<void> {
  for (const version of versions) {
    const wanted = version.annotation.requested_state === "STARTED" ? version.instances : version.annotation.wanted;
    await annotate(platform, version, { requested_state: "STOPPED", wanted }, 0);
  }
}

export async function start(context: Context, name: string): Promise<void> {
  using session = openSession(context);
  await startApp(context, session, name);
}

async function startApp(context: Context, session: Session, name: string): Promise<void> {
  const { platform } = session;
  await requireDocker(platform);
  const found = await findQuietApp(platform, name);
  for (const version of found.versions) {
    if (version.annotation.requested_state === "STARTED") continue;
    await annotate(platform, version, { requested_state: "STARTED" }, version.annotation.wanted);
  }
  await waitStarted(context, platform, await findApp(platform, name));
  await showApp(context, session, name);
}

async function waitStarted({ out }: Context, platform: Platform, { current }: FoundApp): Promise<void> {
  const outcome = await waitRunning(platform, {
    processGuid: current.processGuid,
    instances: current.instances,
    timeoutMs: startWaitMs,
    onChange: (text) => out.progress(text),
  });
  if (outcome.ok) return;
  const { name } = current.annotation;
  throw new WaitedInVainError(`app ${name} did not start: ${outcome.why}`, `see \`muster logs ${name} --recent\``);
}

/** Fresh containers under the same process guid. */
export async function restart(context: Context, name: string): Promise<void> {
  using session = openSession(context);
  const { platform } = session;
  await requireDocker(platform);
  const found = await findQuietApp(platform, name);
  await stopApp(platform, found);
  context.out.progress(`stopping ${name} …`);
  for (const version of found.versions) {
    if (!(await waitGone(platform, version.processGuid, stopWaitMs))) {
      throw new WaitedInVainError(
        `app ${name} did not stop within ${stopWaitMs / 1_000} s`,
        "see `muster cells`; then `muster start` it",
      );
    }
  }
  await startApp(context, session, name);
}

export async function restartInstance(context: Context, name: string, indexText: string): Promise<void> {
  const index = parseCount(indexText, "INDEX", { min: 0, max: 1_000_000 });
  using session = openSession(context);
  const { current, view } = await findApp(session.platform, name);
  const rows = view.rows.get(current.processGuid) ?? [];
  if (!rows.some((row) => row.actualLrpKey?.index === index)) throw new RefusedError(`app ${name} has no instance ${index}`);
  await session.platform.retire({ processGuid: current.processGuid, index, domain: appsDomain });
  context.out.show({ name, index, restarting: true }, () => context.out.line(`instance ${index} of ${name} is being restarted`));
}

export async function remove(context: Context, name: string, options: { readonly force?: boolean }): Promise<void> {
  using session = openSession(context);
  const { versions } = await findApp(session.platform, name);
  if (options.force !== true && !(await confirm(`Really delete the app ${name}?`))) throw new RefusedError("not deleted");
  for (const version of versions) await session.platform.remove(version.processGuid);
  await cancelTasks(session.platform, versions);
  context.out.show({ name, deleted: true }, () => context.out.line(`app ${name} is deleted`));
}

/** As in Cloud Foundry, an app takes its tasks with it. */
async function cancelTasks(platform: Platform, versions: FoundApp["versions"]): Promise<void> {
  const { tables } = await platform.snapshot(["task"]);
  for (const appGuid of new Set(versions.map(({ annotation }) => annotation.app_guid))) {
    for (const task of tasksOfApp(tables.tasks.values(), appGuid)) {
      if (!isOver(task)) await platform.cancelTask(task.taskGuid);
    }
  }
}
