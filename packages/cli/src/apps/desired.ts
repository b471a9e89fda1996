// One version of an app as a DesiredLRP, and back: what `push`, `set-env` and `restage` make and change. Pure.
import type { ImageMetadata } from "@muster/garden";
import { formatRootFS, type ImageReference } from "@muster/garden/image-ref";
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { type AppAnnotation, appsDomain, formatAnnotation, parseAnnotation } from "./annotation.js";
import {
  checksOf,
  cpuWeightOf,
  type Environment,
  environmentOf,
  type HealthCheck,
  ownEnvironmentOf,
  portsOf,
  startCommandOf,
  userOf,
} from "./plan.js";

/** Cloud Foundry's sample configuration: a fork bomb ends here. */
const maxPids = 2_048;

/** What the user decides about a version; everything else follows from the image. */
export interface AppSettings {
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly instances: number;
  readonly command: string | undefined;
  readonly environment: Environment;
  readonly health: HealthCheck;
  readonly startTimeoutMs: number;
  readonly credentials: { readonly username: string; readonly password: string } | undefined;
}

export const defaultSettings: AppSettings = {
  memoryMb: 256,
  diskMb: 1_024,
  instances: 1,
  command: undefined,
  environment: {},
  health: { type: "port", endpoint: "/" },
  startTimeoutMs: 60_000,
  credentials: undefined,
};

export interface VersionFacts {
  readonly annotation: AppAnnotation;
  readonly versionGuid: string;
  readonly settings: AppSettings;
  readonly image: ImageMetadata;
  readonly reference: ImageReference;
}

/** Where Cloud Foundry's apps find what they may trust. Source: cell.md section 10. */
const trustedCertificatesPath = "/etc/cf-system-certificates";

/**
 * What an app's and its tasks' certificates say beside the instance itself. The unit is the app's guid, as Diego's users know it, and not the
 * version's: whoever lets an app in by it lets in the next version too. There are no organisations and spaces to name.
 */
export const identityOf = (appGuid: string) => ({
  certificateProperties: { organizationalUnit: [`app:${appGuid}`] },
  trustedSystemCertificatesPath: trustedCertificatesPath,
});

/** Guids of 36 characters each: within Diego's pattern and its 255 characters. */
export const processGuidOf = (appGuid: string, versionGuid: string): string => `${appGuid}-${versionGuid}`;

/** The DesiredLRP of a new version. @throws RefusedError when the image has no command and the user gave none. */
export function desiredOf(facts: VersionFacts): DesiredLRP {
  const { annotation, settings, image, versionGuid } = facts;
  const appGuid = annotation.app_guid;
  const ports = portsOf(image);
  const command = startCommandOf(image, settings.command);
  return DesiredLRP.fromPartial({
    processGuid: processGuidOf(appGuid, versionGuid),
    domain: appsDomain,
    rootFs: formatRootFS({ ...facts.reference, tag: undefined, digest: annotation.digest }),
    instances: annotation.requested_state === "STARTED" ? annotation.wanted : 0,
    action: {
      runAction: {
        path: command.path,
        args: [...command.args],
        dir: image.workingDir === "" ? "/" : image.workingDir,
        user: userOf(image),
        env: environmentOf({
          name: annotation.name,
          appGuid,
          versionGuid,
          ports,
          memoryMb: settings.memoryMb,
          diskMb: settings.diskMb,
          own: settings.environment,
        }),
        logSource: "APP/PROC/WEB",
      },
    },
    checkDefinition: { checks: checksOf(settings.health, ports), logSource: "HEALTH", readinessChecks: [] },
    startTimeoutMs: BigInt(settings.startTimeoutMs),
    memoryMb: settings.memoryMb,
    diskMb: settings.diskMb,
    cpuWeight: cpuWeightOf(settings.memoryMb),
    maxPids,
    ports: [...ports],
    logGuid: appGuid,
    logSource: "CELL",
    annotation: formatAnnotation(annotation),
    ...identityOf(appGuid),
    egressRules: [{ protocol: "all", destinations: ["0.0.0.0/0"] }],
    metricTags: {
      source_id: { static: appGuid },
      app_id: { static: appGuid },
      app_name: { static: annotation.name },
      process_type: { static: "web" },
      instance_id: { dynamic: 1 },
    },
    imageUsername: settings.credentials?.username ?? "",
    imagePassword: settings.credentials?.password ?? "",
  });
}

/** The settings an existing version was made with, so that an update changes only what it names. */
export function settingsOf(desired: DesiredLRP): AppSettings {
  const annotation = parseAnnotation(desired.annotation);
  const run = desired.action?.runAction;
  return {
    memoryMb: desired.memoryMb,
    diskMb: desired.diskMb,
    instances: annotation?.wanted ?? desired.instances,
    command: annotation?.own_command ? run?.args[1] : undefined,
    environment: ownEnvironmentOf(run?.env ?? []),
    health: healthOf(desired),
    startTimeoutMs: Number(desired.startTimeoutMs),
    credentials: desired.imageUsername === "" ? undefined : { username: desired.imageUsername, password: desired.imagePassword },
  };
}

function healthOf(desired: DesiredLRP): HealthCheck {
  const [check] = desired.checkDefinition?.checks ?? [];
  if (check === undefined) return { type: "process", endpoint: "/" };
  if (check.httpCheck !== undefined) return { type: "http", endpoint: check.httpCheck.path };
  return { type: "port", endpoint: "/" };
}

export interface Succession {
  readonly annotation: AppAnnotation;
  readonly versionGuid: string;
  readonly environment: Environment;
}

/** A new version that differs from an existing one in its environment only; no registry is asked. */
export function successorOf(desired: DesiredLRP, { annotation, versionGuid, environment }: Succession): DesiredLRP {
  const run = desired.action?.runAction;
  const env = environmentOf({
    name: annotation.name,
    appGuid: annotation.app_guid,
    versionGuid,
    ports: desired.ports,
    memoryMb: desired.memoryMb,
    diskMb: desired.diskMb,
    own: environment,
  });
  return DesiredLRP.fromPartial({
    ...desired,
    processGuid: processGuidOf(annotation.app_guid, versionGuid),
    instances: annotation.requested_state === "STARTED" ? annotation.wanted : 0,
    annotation: formatAnnotation(annotation),
    modificationTag: undefined,
    // A version of before there were identities has none to hand on.
    ...identityOf(annotation.app_guid),
    ...(run === undefined ? {} : { action: { ...desired.action, runAction: { ...run, env } } }),
  });
}
