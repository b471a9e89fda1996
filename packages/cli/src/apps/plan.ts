// From an image and a user's wishes to what is run: ports, command, environment, health check. Pure; docker-app.md sections 6 to 9.
import type { ImageMetadata } from "@muster/garden";
import type { Check } from "@muster/proto/models/check_definition";
import { RefusedError } from "../exit.js";

export type HealthCheckType = "port" | "process" | "http";

export interface HealthCheck {
  readonly type: HealthCheckType;
  /** For `http`. */
  readonly endpoint: string;
}

export type Environment = Readonly<Record<string, string>>;

/** Without EXPOSE, Diego opens this one and says so in PORT. */
const defaultPort = 8080;

/** The ports opened on the container: every exposed TCP port ascending, else 8080. The first is PORT. */
export const portsOf = (image: Pick<ImageMetadata, "exposedTcpPorts">): readonly number[] =>
  image.exposedTcpPorts.length > 0 ? [...new Set(image.exposedTcpPorts)].sort((a, b) => a - b) : [defaultPort];

/**
 * The checks a version is monitored by.
 * Only the first port, the one PORT names, is checked. Diego checks every exposed port; images that EXPOSE what they listen on only with
 * some of their settings (a metrics or an admin port) would then never become healthy. docs/compatibility.md says so.
 */
export function checksOf(health: HealthCheck, ports: readonly number[]): Check[] {
  const [port] = ports;
  if (health.type === "process" || port === undefined) return [];
  if (health.type === "port") {
    return [{ tcpCheck: { port, connectTimeoutMs: 0n, intervalMs: 0n }, httpCheck: undefined }];
  }
  return [{ tcpCheck: undefined, httpCheck: { port, path: health.endpoint, requestTimeoutMs: 0n, intervalMs: 0n } }];
}

export interface StartCommand {
  readonly path: string;
  readonly args: readonly string[];
}

/** A user's command goes through the image's shell and replaces both ENTRYPOINT and CMD; else these two, in exec form. */
export function startCommandOf(image: Pick<ImageMetadata, "entrypoint" | "cmd">, own: string | undefined): StartCommand {
  if (own !== undefined) return { path: "/bin/sh", args: ["-c", own] };
  const [path, ...args] = [...image.entrypoint, ...image.cmd];
  if (path === undefined || path === "") {
    throw new RefusedError(
      "No start command found or specified",
      "the image has neither ENTRYPOINT nor CMD: give one with -c COMMAND",
    );
  }
  return { path, args };
}

const reserved = /^(VCAP_|VMC)/i;
const namePattern = /^[A-Za-z_][A-Za-z0-9_.-]*$/;

/** What is wrong with a user's variable, or `undefined`. Source: docker-app.md section 8. */
export function environmentFault(name: string): string | undefined {
  if (!namePattern.test(name)) return `"${name}" is no name for an environment variable`;
  if (name.toUpperCase() === "PORT") return "cannot set PORT: the platform does, from the image's EXPOSE";
  if (reserved.test(name)) return `cannot set ${name}: names that start with VCAP_ or VMC are the platform's`;
  return undefined;
}

export interface EnvironmentFacts {
  readonly name: string;
  readonly appGuid: string;
  readonly versionGuid: string;
  readonly ports: readonly number[];
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly own: Environment;
}

/** Names the platform sets for each version; everything else in the run action's environment is the user's. */
const platformNames: ReadonlySet<string> = new Set(["PORT", "VCAP_APPLICATION", "MEMORY_LIMIT"]);

/** The run action's environment; later wins: PORT, the user's, then VCAP_APPLICATION and MEMORY_LIMIT. */
export function environmentOf(facts: EnvironmentFacts): { name: string; value: string }[] {
  const merged = new Map<string, string>();
  const [port] = facts.ports;
  if (port !== undefined) merged.set("PORT", String(port));
  for (const [name, value] of Object.entries(facts.own)) merged.set(name, value);
  merged.set("VCAP_APPLICATION", JSON.stringify(vcapApplication(facts)));
  if (facts.memoryMb > 0) merged.set("MEMORY_LIMIT", `${facts.memoryMb}m`);
  return [...merged].map(([name, value]) => ({ name, value }));
}

const vcapApplication = ({ name, appGuid, versionGuid, memoryMb, diskMb, ports }: EnvironmentFacts): object => ({
  application_id: appGuid,
  application_name: name,
  application_uris: [],
  application_version: versionGuid,
  name,
  process_id: appGuid,
  process_type: "web",
  uris: [],
  version: versionGuid,
  limits: { mem: memoryMb, disk: diskMb },
  host: "0.0.0.0",
  ...(ports[0] === undefined ? {} : { port: ports[0] }),
});

/** The user's part of a run action's environment. */
export const ownEnvironmentOf = (variables: readonly { readonly name: string; readonly value: string }[]): Environment =>
  Object.fromEntries(variables.filter(({ name }) => !platformNames.has(name)).map(({ name, value }) => [name, value]));

/** Diego's users see `nobody` or `root`, never an empty name. */
export const userOf = (image: Pick<ImageMetadata, "user">): string => (image.user === "" ? "root" : image.user);

/** Source: cell.md section 10: 100 × clamp(memory, 128, 8192) / 8192. */
export const cpuWeightOf = (memoryMb: number): number =>
  Math.max(1, Math.floor((100 * Math.min(Math.max(memoryMb, 128), 8192)) / 8192));
