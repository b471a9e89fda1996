// What has to be fetched for a container: cached dependencies and image layers (cell.md section 6, bbs-wire.md A.4).
import type { Action } from "@muster/proto/models/actions";
import type { CachedDependency } from "@muster/proto/models/cached_dependency";
import { type ImageLayer, ImageLayer_DigestAlgorithm, ImageLayer_Type } from "@muster/proto/models/image_layer";
import { noAction, parallel, serial } from "./actions.js";

export interface Checksum {
  /** md5, sha1 or sha256; empty with an empty value: none is checked. */
  readonly algorithm: string;
  /** Hexadecimal. */
  readonly value: string;
}

/** Fetched and unpacked once for the cell, mounted read-only into every container that asks for it. */
export interface Dependency {
  readonly name: string;
  readonly from: string;
  /** Absolute path in the container. */
  readonly to: string;
  readonly cacheKey: string;
  readonly checksum: Checksum;
  readonly logSource: string;
}

interface HasAssets {
  readonly cachedDependencies: readonly CachedDependency[];
  readonly imageLayers: readonly ImageLayer[];
  readonly legacyDownloadUser: string;
}

const digestName = (layer: ImageLayer): string => {
  if (layer.digestAlgorithm === ImageLayer_DigestAlgorithm.SHA256) return "sha256";
  return layer.digestAlgorithm === ImageLayer_DigestAlgorithm.SHA512 ? "sha512" : "";
};

const cacheKeyOf = (layer: ImageLayer): string =>
  layer.digestValue === "" ? layer.url : `${digestName(layer)}:${layer.digestValue}`;

/** Shared layers come before the dependencies that are called so. */
export function dependenciesOf({ cachedDependencies, imageLayers }: HasAssets): readonly Dependency[] {
  const shared = imageLayers
    .filter((layer) => layer.layerType === ImageLayer_Type.SHARED)
    .map((layer) => ({
      name: layer.name,
      from: layer.url,
      to: layer.destinationPath,
      cacheKey: cacheKeyOf(layer),
      checksum: { algorithm: digestName(layer), value: layer.digestValue },
      logSource: "",
    }));
  const called = cachedDependencies.map((one) => ({
    name: one.name,
    from: one.from,
    to: one.to,
    cacheKey: one.cacheKey,
    checksum: { algorithm: one.checksumAlgorithm, value: one.checksumValue },
    logSource: one.logSource,
  }));
  return [...shared, ...called];
}

/** Exclusive layers are downloads of the container's own, all at once. `undefined`: there are none. */
function exclusiveDownloads({ imageLayers, legacyDownloadUser }: HasAssets): Action | undefined {
  const downloads = imageLayers
    .filter((layer) => layer.layerType === ImageLayer_Type.EXCLUSIVE)
    .map((layer) => ({
      ...noAction,
      downloadAction: {
        artifact: layer.name,
        from: layer.url,
        to: layer.destinationPath,
        cacheKey: cacheKeyOf(layer),
        logSource: "",
        user: legacyDownloadUser,
        checksumAlgorithm: digestName(layer),
        checksumValue: layer.digestValue,
      },
    }));
  return downloads.length === 0 ? undefined : parallel(...downloads);
}

/** Puts the downloads of exclusive layers before `action`. */
export function withExclusiveLayers(assets: HasAssets, action: Action): Action {
  const downloads = exclusiveDownloads(assets);
  return downloads === undefined ? action : serial(downloads, action);
}
