// What DesiredLRPs and task definitions have in common.
import type { CachedDependency } from "@muster/proto/models/cached_dependency";
import {
  type ImageLayer,
  ImageLayer_DigestAlgorithm,
  ImageLayer_MediaType,
  ImageLayer_Type,
} from "@muster/proto/models/image_layer";
import type { LogRateLimit } from "@muster/proto/models/log_rate_limit";
import { checkChecksum, checkFilled } from "./actions.js";
import type { Faults } from "./faults.js";
import { maxAnnotationBytes } from "./limits.js";

/** Of process and task guids. */
export const guidPattern = /^[a-zA-Z0-9_-]+$/;

interface Definition {
  readonly rootFs: string;
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly maxPids: number;
  readonly annotation: string;
  readonly privileged: boolean;
  readonly logRateLimit: LogRateLimit | undefined;
  readonly imageUsername: string;
  readonly imagePassword: string;
  readonly cachedDependencies: readonly CachedDependency[];
  readonly imageLayers: readonly ImageLayer[];
  readonly legacyDownloadUser: string;
}

export function checkResources(faults: Faults, definition: Definition): void {
  if (!isUrlWithScheme(definition.rootFs)) faults.field("rootfs");
  if (definition.memoryMb < 0) faults.field("memory_mb");
  if (definition.diskMb < 0) faults.field("disk_mb");
  if (definition.maxPids < 0) faults.field("max_pids");
  // A departure from Diego (design.md 6): every container has a user namespace, so nothing could honour it.
  if (definition.privileged) faults.field("privileged: containers are never privileged here, leave it false");
}

export function checkImages(faults: Faults, definition: Definition): void {
  for (const dependency of definition.cachedDependencies) {
    faults.within("cached_dependency", (inner) => {
      checkFilled(inner, { from: dependency.from, to: dependency.to });
      checkChecksum(inner, dependency);
    });
  }
  for (const layer of definition.imageLayers) faults.within("image_layer", (inner) => checkImageLayer(inner, layer));
  const exclusive = definition.imageLayers.some((layer) => layer.layerType === ImageLayer_Type.EXCLUSIVE);
  if (exclusive && definition.legacyDownloadUser === "") faults.field("legacy_download_user");
  if (definition.imageUsername === "" && definition.imagePassword !== "") faults.field("image_username");
  if (definition.imageUsername !== "" && definition.imagePassword === "") faults.field("image_password");
}

const layerTypes: ReadonlySet<number> = new Set([ImageLayer_Type.SHARED, ImageLayer_Type.EXCLUSIVE]);
const mediaTypes: ReadonlySet<number> = new Set([ImageLayer_MediaType.TGZ, ImageLayer_MediaType.TAR, ImageLayer_MediaType.ZIP]);
const digestAlgorithms: ReadonlySet<number> = new Set([ImageLayer_DigestAlgorithm.SHA256, ImageLayer_DigestAlgorithm.SHA512]);

function checkImageLayer(faults: Faults, layer: ImageLayer): void {
  checkFilled(faults, { url: layer.url, destination_path: layer.destinationPath });
  if (!layerTypes.has(layer.layerType)) faults.field("layer_type");
  if (!mediaTypes.has(layer.mediaType)) faults.field("media_type");
  const exclusive = layer.layerType === ImageLayer_Type.EXCLUSIVE;
  const unset = layer.digestAlgorithm === ImageLayer_DigestAlgorithm.DigestAlgorithmInvalid;
  if (unset ? exclusive || layer.digestValue !== "" : !digestAlgorithms.has(layer.digestAlgorithm))
    faults.field("digest_algorithm");
  if (layer.digestValue === "" && (exclusive || !unset)) faults.field("digest_value");
}

export function checkAnnotation(faults: Faults, annotation: string): void {
  if (annotation.length * 3 > maxAnnotationBytes && Buffer.byteLength(annotation) > maxAnnotationBytes)
    faults.field("annotation");
}

/** -1 is unlimited, 0 none. */
export const isLogRateLimit = (limit: LogRateLimit | undefined): boolean => limit === undefined || limit.bytesPerSecond >= -1n;

/** Scheme, and what Go's url.Parse would refuse after it: control characters, broken escapes, a port that is no number. */
function isUrlWithScheme(text: string): boolean {
  const scheme = /^[a-zA-Z][a-zA-Z0-9+.-]*:/.exec(text);
  if (scheme === null || hasControlCharacter(text)) return false;
  const rest = text.slice(scheme[0].length);
  const [beforeFragment = "", fragment = ""] = splitAt(rest, "#");
  const [path = ""] = splitAt(beforeFragment, "?");
  // Without a slash after the scheme the rest is opaque (`preloaded:stack`) and stays as it is.
  if (brokenEscape.test(fragment) || (path.startsWith("/") && brokenEscape.test(path))) return false;
  const authority = /^\/\/([^/]*)/.exec(path)?.[1] ?? "";
  const host = authority.slice(authority.lastIndexOf("@") + 1);
  return !/\s/.test(host) && /^(?:\[[^\]]*\]|[^:[\]]*)(?::\d*)?$/.test(host);
}

const brokenEscape = /%(?![0-9a-fA-F]{2})/;

function splitAt(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function hasControlCharacter(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
