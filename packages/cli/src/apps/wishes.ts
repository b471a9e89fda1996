// What a push asks for: flags over manifest over what the app had over the defaults. Pure.
import { UsageError } from "../exit.js";
import { parseAssignment, parseCount, parseSizeMb } from "../flags.js";
import type { AppSettings } from "./desired.js";
import { type ManifestApp, manifestEnvironment } from "./manifest.js";
import { type Environment, environmentFault, type HealthCheck, type HealthCheckType } from "./plan.js";

export interface PushFlags {
  readonly dockerImage?: string;
  readonly dockerUsername?: string;
  readonly instances?: string;
  readonly memory?: string;
  readonly disk?: string;
  readonly command?: string;
  readonly env?: readonly string[];
  readonly healthCheckType?: string;
  readonly healthCheckHttpEndpoint?: string;
  readonly timeout?: string;
}

/** Diego counts instances in 32 bits; a person does not ask for this many by intent. */
const maxInstances = 100_000;
/** Cloud Foundry's maximum is 180 s by default; a slow image on a loaded machine may need more. */
const maxTimeoutSeconds = 3_600;

export const parseInstances = (text: string): number => parseCount(text, "-i", { min: 0, max: maxInstances });

/** @throws UsageError naming the flag or key that is wrong. `password` comes from the environment, never from a flag. */
export function mergeSettings(
  before: AppSettings,
  flags: PushFlags,
  manifest: ManifestApp | undefined,
  password: string | undefined,
): AppSettings {
  const memory = flags.memory ?? manifest?.memory;
  const disk = flags.disk ?? manifest?.disk_quota;
  const instances = flags.instances ?? manifest?.instances?.toString();
  const timeout = flags.timeout ?? manifest?.timeout?.toString();
  return {
    memoryMb: memory === undefined ? before.memoryMb : parseSizeMb(memory, "-m"),
    diskMb: disk === undefined ? before.diskMb : parseSizeMb(disk, "-k"),
    instances: instances === undefined ? before.instances : parseInstances(instances),
    command: commandOf(before.command, flags.command ?? manifest?.command),
    environment: { ...before.environment, ...readEnvironment(flags.env ?? [], manifest) },
    health: healthOf(before.health, flags, manifest),
    startTimeoutMs:
      timeout === undefined ? before.startTimeoutMs : parseCount(timeout, "-t", { min: 1, max: maxTimeoutSeconds }) * 1_000,
    credentials: credentialsOf(before, flags.dockerUsername ?? manifest?.docker?.username, password),
  };
}

/** As with cf: `-c null` and `-c default` go back to the image's own command. */
function commandOf(before: string | undefined, given: string | undefined): string | undefined {
  if (given === undefined) return before;
  return given === "null" || given === "default" || given === "" ? undefined : given;
}

function readEnvironment(assignments: readonly string[], manifest: ManifestApp | undefined): Environment {
  const environment = {
    ...(manifest === undefined ? {} : manifestEnvironment(manifest)),
    ...Object.fromEntries(assignments.map((text) => parseAssignment(text, "--env"))),
  };
  for (const name of Object.keys(environment)) {
    const fault = environmentFault(name);
    if (fault !== undefined) throw new UsageError(fault);
  }
  return environment;
}

const healthTypes: ReadonlySet<string> = new Set<HealthCheckType>(["port", "process", "http"]);

function healthOf(before: HealthCheck, flags: PushFlags, manifest: ManifestApp | undefined): HealthCheck {
  const type = flags.healthCheckType ?? manifest?.["health-check-type"] ?? before.type;
  const endpoint = flags.healthCheckHttpEndpoint ?? manifest?.["health-check-http-endpoint"] ?? before.endpoint;
  if (!healthTypes.has(type)) throw new UsageError(`--health-check-type: "${type}" is none of port, process and http`);
  if (!endpoint.startsWith("/")) throw new UsageError(`--health-check-http-endpoint: "${endpoint}" does not begin with /`);
  if (flags.healthCheckHttpEndpoint !== undefined && type !== "http") {
    throw new UsageError("--health-check-http-endpoint needs --health-check-type http");
  }
  return { type: type as HealthCheckType, endpoint };
}

function credentialsOf(
  before: AppSettings,
  username: string | undefined,
  password: string | undefined,
): AppSettings["credentials"] {
  if (username === undefined) return before.credentials;
  if (password === undefined || password === "") {
    throw new UsageError("Environment variable CF_DOCKER_PASSWORD not set.", `it holds the password of ${username}`);
  }
  if (password.length > 5_000) throw new UsageError("CF_DOCKER_PASSWORD can be up to 5,000 characters");
  return { username, password };
}
