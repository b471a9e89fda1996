// `push`, and its relatives that make a new version of an app: `restage`, `set-env`, `unset-env`.
import { readFileSync } from "node:fs";
import { displayImage } from "@muster/garden/image-ref";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import type { AppAnnotation } from "../apps/annotation.js";
import { deploy } from "../apps/deploy.js";
import { type AppSettings, defaultSettings, desiredOf, settingsOf, successorOf } from "../apps/desired.js";
import { requireDocker } from "../apps/docker-flag.js";
import { type ManifestApp, readManifest } from "../apps/manifest.js";
import { type Environment, environmentFault, ownEnvironmentOf } from "../apps/plan.js";
import { type FoundApp, findApp, readSettledApps } from "../apps/records.js";
import { byName, currentVersion } from "../apps/versions.js";
import { mergeSettings, type PushFlags } from "../apps/wishes.js";
import { type Context, openSession, type Session } from "../context.js";
import { RefusedError, UsageError } from "../exit.js";
import { parseAppName } from "../flags.js";
import { inspectorFor, readReference } from "../image/inspect.js";
import { showApp } from "./apps.js";
import { showLastWords } from "./log-lines.js";

export interface PushOptions extends PushFlags {
  readonly file?: string;
  /** commander's spelling of --no-start and --no-wait. */
  readonly start?: boolean;
  readonly wait?: boolean;
}

export async function push(context: Context, nameGiven: string | undefined, options: PushOptions): Promise<void> {
  const manifest = options.file === undefined ? undefined : readManifestFile(options.file, nameGiven);
  const name = parseAppName(nameGiven ?? manifest?.name ?? missingName());
  using session = openSession(context);
  const existing = await existingApp(session, name);
  const base = existing === undefined ? undefined : await session.platform.desiredLRP(existing.current.processGuid);
  const before = base === undefined ? defaultSettings : settingsOf(base);
  const settings = mergeSettings(before, options, manifest, process.env.CF_DOCKER_PASSWORD);
  const image = options.dockerImage ?? manifest?.docker?.image ?? existing?.current.annotation.image;
  if (image === undefined)
    throw new UsageError("which image? Give it with --docker-image REF", "as in: muster push web --docker-image nginx");
  await makeVersion(context, session, {
    name,
    image,
    settings,
    existing,
    start: options.start ?? true,
    wait: options.wait ?? true,
  });
  await showApp(context, session, name);
}

const missingName = (): never => {
  throw new UsageError("which app? Give its name: muster push NAME --docker-image REF");
};

function readManifestFile(file: string, name: string | undefined): ManifestApp {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    throw new UsageError(`${file} cannot be read`);
  }
  return readManifest(text, file, name);
}

async function existingApp(session: Session, name: string): Promise<FoundApp | undefined> {
  const view = await readSettledApps(session.platform);
  const versions = byName(view.versions).get(name) ?? [];
  const current = currentVersion(versions, view.clusterTimeMs);
  return current === undefined ? undefined : { current, versions, view };
}

export interface NewVersion {
  readonly name: string;
  readonly image: string;
  readonly settings: AppSettings;
  readonly existing: FoundApp | undefined;
  readonly start: boolean;
  readonly wait: boolean;
}

/** Looks the image up, pins it to its digest, brings the version up and puts it in the place of those before it. */
export async function makeVersion(context: Context, session: Session, wanted: NewVersion): Promise<void> {
  const { out, clock, entropy, signal } = context;
  const { platform, settings: client } = session;
  const reference = readReference(wanted.image);
  await requireDocker(platform);
  out.progress(`staging ${displayImage(reference)} …`);
  const image = await inspectorFor(client, clock)(reference, wanted.settings.credentials, signal);
  out.progress(`staged as ${image.digest}`);
  const annotation = nextAnnotation(wanted, entropy.guid(), {
    image: displayImage(reference),
    digest: image.digest,
    requested_state: wanted.start ? "STARTED" : "STOPPED",
    wanted: wanted.settings.instances,
    own_command: wanted.settings.command !== undefined,
  });
  const desired = desiredOf({ annotation, versionGuid: entropy.guid(), settings: wanted.settings, image, reference });
  await deploy(platform, {
    desired,
    annotation,
    clusterTimeMs: await platform.clusterTimeMs(),
    before: wanted.existing?.versions ?? [],
    wait: wanted.wait,
    onProgress: (text) => out.progress(text),
    onFailed: (processGuid) => showLastWords(context, platform, processGuid),
  });
}

type Varying = Pick<AppAnnotation, "image" | "digest" | "requested_state" | "wanted" | "own_command">;

const nextAnnotation = (
  { name, existing }: Pick<NewVersion, "name" | "existing">,
  freshGuid: string,
  varying: Varying,
): AppAnnotation => ({
  name,
  app_guid: existing?.current.annotation.app_guid ?? freshGuid,
  version: Math.max(0, ...(existing?.versions ?? []).map((version) => version.annotation.version)) + 1,
  replaces: [],
  updating_until_ms: 0,
  ...varying,
});

export async function restage(context: Context, name: string): Promise<void> {
  using session = openSession(context);
  const existing = await findApp(session.platform, name);
  const base = await requireDesired(session, existing);
  const { annotation } = existing.current;
  await makeVersion(context, session, {
    name,
    image: annotation.image,
    settings: settingsOf(base),
    existing,
    start: annotation.requested_state === "STARTED",
    wait: true,
  });
  await showApp(context, session, name);
}

async function requireDesired({ platform }: Session, { current }: FoundApp): Promise<DesiredLRP> {
  const desired = await platform.desiredLRP(current.processGuid);
  if (desired === undefined) throw new RefusedError(`app ${current.annotation.name} was deleted meanwhile`);
  return desired;
}

export async function env(context: Context, name: string): Promise<void> {
  using session = openSession(context);
  const desired = await requireDesired(session, await findApp(session.platform, name));
  const variables = desired.action?.runAction?.env ?? [];
  const own = ownEnvironmentOf(variables);
  const platform = variables.filter((variable) => !Object.hasOwn(own, variable.name));
  context.out.show({ user: own, system: Object.fromEntries(platform.map(({ name: key, value }) => [key, value])) }, () => {
    context.out.table(
      ["NAME", "VALUE"],
      [...Object.entries(own), ...platform.map(({ name: key, value }) => [key, value] as const)].map(([key, value]) => [
        key,
        value,
      ]),
    );
  });
}

export const setEnv = (context: Context, name: string, key: string, value: string): Promise<void> =>
  changeEnvironment(context, name, (before) => ({ ...before, [key]: value }), environmentFault(key));

export const unsetEnv = (context: Context, name: string, key: string): Promise<void> =>
  changeEnvironment(
    context,
    name,
    (before) => Object.fromEntries(Object.entries(before).filter(([each]) => each !== key)),
    undefined,
  );

/** Run information never changes, so a changed environment is a new version, brought up beside the old one. */
async function changeEnvironment(
  context: Context,
  name: string,
  change: (before: Environment) => Environment,
  fault: string | undefined,
): Promise<void> {
  if (fault !== undefined) throw new UsageError(fault);
  const { out, entropy } = context;
  using session = openSession(context);
  const existing = await findApp(session.platform, name);
  const base = await requireDesired(session, existing);
  const annotation = nextAnnotation({ name, existing }, entropy.guid(), existing.current.annotation);
  const next: AppAnnotation = { ...annotation, version: (existing.versions[0]?.annotation.version ?? 0) + 1 };
  const environment = change(ownEnvironmentOf(base.action?.runAction?.env ?? []));
  await deploy(session.platform, {
    desired: successorOf(base, { annotation: next, versionGuid: entropy.guid(), environment }),
    annotation: next,
    clusterTimeMs: await session.platform.clusterTimeMs(),
    before: existing.versions,
    wait: true,
    onProgress: (text) => out.progress(text),
    onFailed: (processGuid) => showLastWords(context, session.platform, processGuid),
  });
  await showApp(context, session, name);
}
