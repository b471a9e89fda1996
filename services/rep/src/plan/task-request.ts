// From a task to what the executor does, and the result of a task that only looks at an image.
import type { ImageMetadata } from "@muster/garden";
import type { TaskDefinition } from "@muster/proto/models/task";
import { encodeSkeleton, noAction, runCount, unsupportedAction } from "./actions.js";
import { dependenciesOf, withExclusiveLayers } from "./assets.js";
import { mergeEnvironment } from "./environment.js";
import { type CellLends, lendsNothing, lentTo } from "./lent.js";
import { credentialsOf, defaultLogSource, noPrivileges, type RunRequest } from "./run-request.js";
import { surroundingsOf } from "./surroundings.js";

/** Diego's bound of a task's result. Source: cell.md section 3. */
export const maxResultBytes = 51_200;

/** Builds the request, or says why this task cannot be run here. */
export function buildTaskRequest(
  definition: TaskDefinition,
  lends: CellLends = lendsNothing,
): RunRequest | { readonly fault: string } {
  const inspectImage = definition.action?.inspectImageAction;
  const fault = inspectImage === undefined ? unsupportedAction(definition.action) : undefined;
  if (fault !== undefined || definition.action === undefined) return { fault: fault ?? "container cannot have empty action" };
  if (definition.privileged) return { fault: noPrivileges };
  const action = inspectImage === undefined ? withExclusiveLayers(definition, definition.action) : noAction;
  const lent = lentTo(definition, lends);
  return {
    credentials: credentialsOf(definition),
    rootFs: definition.rootFs,
    cpuWeight: Math.max(1, definition.cpuWeight),
    maxPids: definition.maxPids,
    ports: [],
    env: mergeEnvironment(definition.environmentVariables, lent.env),
    action,
    monitor: undefined,
    dependencies: dependenciesOf(definition),
    lentFolders: lent.folders,
    severalProcesses: runCount(action) > 1,
    inspectImage: inspectImage?.imageUrl,
    ...surroundingsOf(definition),
    resultFile: definition.resultFile,
    skippedChecks: 0,
    start: {
      logSource: inspectImage?.logSource || definition.logSource || defaultLogSource,
      logGuid: definition.logGuid,
      healthSource: "",
      checks: [],
      readinessChecks: [],
      startTimeoutMs: 0,
      logBytesPerSecond: definition.logRateLimit === undefined ? -1 : Number(definition.logRateLimit.bytesPerSecond),
      internalRoutes: [],
      metricTags: {},
      skeleton: encodeSkeleton(action),
      monitored: false,
      identity: lent.identity,
    },
  };
}

/**
 * What Diego's stager says of an image, in its four keys, and under `image` all that is known of it, the digest first: the tag is pinned to it.
 * Source: docker-app.md section 5.
 */
export function inspectionResult(imageUrl: string, image: ImageMetadata): string {
  const execution = {
    ...(image.cmd.length > 0 ? { cmd: image.cmd } : {}),
    ...(image.entrypoint.length > 0 ? { entrypoint: image.entrypoint } : {}),
    ...(image.workingDir === "" ? {} : { workdir: image.workingDir }),
    ...(image.exposedTcpPorts.length > 0
      ? { ports: image.exposedTcpPorts.map((port) => ({ Port: port, Protocol: "tcp" })) }
      : {}),
    ...(image.user === "" ? {} : { user: image.user }),
  };
  return JSON.stringify({
    lifecycle_type: "docker",
    lifecycle_metadata: { docker_image: imageUrl.replace(/^docker:\/\/\/?/i, "").replace("#", ":") },
    process_types: { web: [...image.entrypoint, ...image.cmd].join(" ") },
    execution_metadata: JSON.stringify(execution),
    image: {
      digest: image.digest,
      entrypoint: image.entrypoint,
      cmd: image.cmd,
      working_dir: image.workingDir,
      user: image.user,
      env: image.env,
      exposed_tcp_ports: image.exposedTcpPorts,
    },
  });
}
