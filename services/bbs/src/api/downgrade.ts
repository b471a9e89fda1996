// Today's definitions as clients of Diego's older reads and streams know them (bbs-wire.md A.4): V3 -> V2 -> V1 -> V0.
import type { Action, DownloadAction } from "@muster/proto/models/actions";
import type { CachedDependency } from "@muster/proto/models/cached_dependency";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { type ImageLayer, ImageLayer_DigestAlgorithm, ImageLayer_Type } from "@muster/proto/models/image_layer";
import type { Task, TaskDefinition } from "@muster/proto/models/task";
import { mapActions, noAction } from "../events/action-tree.js";

const parallel = (actions: Action[]): Action => ({ ...noAction, parallelAction: { actions, logSource: "" } });
const serial = (actions: Action[]): Action => ({ ...noAction, serialAction: { actions, logSource: "" } });
const download = (downloadAction: DownloadAction): Action => ({ ...noAction, downloadAction });

// --- V3 -> V2: image layers become what older cells understand

const algorithmNames: Readonly<Record<ImageLayer_DigestAlgorithm, string>> = {
  [ImageLayer_DigestAlgorithm.DigestAlgorithmInvalid]: "",
  [ImageLayer_DigestAlgorithm.SHA256]: "sha256",
  [ImageLayer_DigestAlgorithm.SHA512]: "sha512",
};

const cachedDependency = (layer: ImageLayer): CachedDependency => {
  const algorithm = algorithmNames[layer.digestAlgorithm];
  return {
    name: layer.name,
    from: layer.url,
    to: layer.destinationPath,
    cacheKey: layer.digestValue === "" ? layer.url : `${algorithm}:${layer.digestValue}`,
    logSource: "",
    checksumAlgorithm: algorithm,
    checksumValue: layer.digestValue,
  };
};

const layerDownload = (layer: ImageLayer, user: string): Action => {
  const algorithm = algorithmNames[layer.digestAlgorithm];
  return download({
    artifact: layer.name,
    from: layer.url,
    to: layer.destinationPath,
    cacheKey: `${algorithm}:${layer.digestValue}`,
    logSource: "",
    user,
    checksumAlgorithm: algorithm,
    checksumValue: layer.digestValue,
  });
};

interface Layered {
  readonly imageLayers: readonly ImageLayer[];
  readonly cachedDependencies: readonly CachedDependency[];
  readonly legacyDownloadUser: string;
}

const dependenciesOf = ({ imageLayers, cachedDependencies }: Layered): CachedDependency[] => [
  ...imageLayers.filter((layer) => layer.layerType === ImageLayer_Type.SHARED).map(cachedDependency),
  ...cachedDependencies,
];

/** Downloads of the layers that belong to this definition alone, in front of `then`. */
function withLayerDownloads({ imageLayers, legacyDownloadUser }: Layered, then: Action | undefined): Action | undefined {
  const layers = imageLayers.filter((layer) => layer.layerType === ImageLayer_Type.EXCLUSIVE);
  if (layers.length === 0) return then;
  const downloads = parallel(layers.map((layer) => layerDownload(layer, legacyDownloadUser)));
  return then === undefined ? downloads : serial([downloads, then]);
}

export const desiredLRPToV2 = (desired: DesiredLRP): DesiredLRP => ({
  ...desired,
  imageLayers: [],
  cachedDependencies: dependenciesOf(desired),
  setup: withLayerDownloads(desired, desired.setup),
});

const taskDefinitionToV2 = (definition: TaskDefinition): TaskDefinition => ({
  ...definition,
  imageLayers: [],
  cachedDependencies: dependenciesOf(definition),
  action: withLayerDownloads(definition, definition.action),
});

export const taskToV2 = (task: Task): Task => ({
  ...task,
  taskDefinition: task.taskDefinition && taskDefinitionToV2(task.taskDefinition),
});

// --- V1 -> V0 (V2 -> V1 changes nothing). What is too large for an old field wraps around, as in Go: an event that cannot be encoded
// would be left out.

/**
 * Time-outs said in nanoseconds too. As Diego does, the copy leaves out EmitProgress and Try: what they wrap stands in their place.
 */
const withDeprecatedTimeouts = (action: Action | undefined): Action | undefined =>
  action &&
  mapActions(action, (each) => {
    if (each.timeoutAction !== undefined) {
      const { timeoutAction } = each;
      const deprecatedTimeoutNs = BigInt.asIntN(64, timeoutAction.timeoutMs * 1_000_000n);
      return { ...each, timeoutAction: { ...timeoutAction, deprecatedTimeoutNs } };
    }
    return each.emitProgressAction?.action ?? each.tryAction?.action ?? each;
  });

/** Cached dependencies as downloads in front of the setup. */
function setupWithDependencies(
  { cachedDependencies, legacyDownloadUser }: DesiredLRP,
  setup: Action | undefined,
): Action | undefined {
  if (cachedDependencies.length === 0) return setup;
  const downloads = cachedDependencies.map((dependency) =>
    download({
      artifact: dependency.name,
      from: dependency.from,
      to: dependency.to,
      cacheKey: dependency.cacheKey,
      logSource: dependency.logSource,
      user: legacyDownloadUser,
      checksumAlgorithm: "",
      checksumValue: "",
    }),
  );
  return serial([parallel(downloads), ...(setup === undefined ? [] : [setup])]);
}

/** As the r0 event streams show it. */
export function desiredLRPToV0(desired: DesiredLRP): DesiredLRP {
  const v1 = desiredLRPToV2(desired);
  return {
    ...v1,
    action: withDeprecatedTimeouts(v1.action),
    setup: setupWithDependencies(v1, withDeprecatedTimeouts(v1.setup)),
    monitor: withDeprecatedTimeouts(v1.monitor),
    deprecatedStartTimeoutS: Number(BigInt.asUintN(32, v1.startTimeoutMs / 1_000n)),
    cachedDependencies: [],
  };
}

// --- the legacy metrics guid

/** What reads of DesiredLRPs (r2 and r3) show: `metrics_guid` and the metric tag `source_id` stand in for each other. */
export function withMetricsGuid(desired: DesiredLRP): DesiredLRP {
  const source = Object.hasOwn(desired.metricTags, "source_id") ? desired.metricTags.source_id : undefined;
  if (source !== undefined) return desired.metricsGuid === "" ? { ...desired, metricsGuid: source.static } : desired;
  if (desired.metricsGuid === "") return desired;
  return { ...desired, metricTags: { ...desired.metricTags, source_id: { static: desired.metricsGuid, dynamic: 0 } } };
}
