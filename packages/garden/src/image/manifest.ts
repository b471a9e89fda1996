// What registries answer, read with suspicion: indexes, manifests and image configs of OCI and Docker schema 2. Pure.
import { createHash } from "node:crypto";
import type { ImageMetadata } from "../garden.js";
import { GardenError } from "../garden.js";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform: Platform | undefined;
}

export interface Manifest {
  readonly configDigest: string;
  readonly layers: readonly Descriptor[];
}

export type ManifestDocument =
  | { readonly kind: "index"; readonly entries: readonly Descriptor[] }
  | { readonly kind: "manifest"; readonly manifest: Manifest };

const indexTypes = new Set([
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
]);
const configTypes = new Set(["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"]);
const digestPattern = /^sha256:[a-f0-9]{64}$/;

/** `sha256:<hex>` of exactly these bytes. */
export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** This machine, in the words of image indexes. */
export function hostPlatform(arch: string = process.arch): Platform {
  const names: Record<string, string> = {
    x64: "amd64",
    ia32: "386",
    arm64: "arm64",
    arm: "arm",
    ppc64: "ppc64le",
    s390x: "s390x",
    riscv64: "riscv64",
  };
  return { os: "linux", architecture: names[arch] ?? arch };
}

const invalid = (image: string, what: string): GardenError =>
  new GardenError("image-invalid", `the registry's answer for ${image} is not an image: ${what}`);

type Json = Record<string, unknown>;
const isRecord = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
const textsOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];

function parseJson(bytes: Uint8Array, image: string): Json {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    if (isRecord(value)) return value;
  } catch {
    // Falls through: it is no JSON object, however it came to be so.
  }
  throw invalid(image, "it is no JSON object");
}

function parseDescriptor(value: unknown, image: string): Descriptor {
  if (!isRecord(value)) throw invalid(image, "a descriptor is missing");
  const digest = textOf(value.digest);
  if (!digestPattern.test(digest)) throw invalid(image, `"${digest.slice(0, 100)}" is no sha256 digest`);
  const platform = isRecord(value.platform) ? value.platform : undefined;
  return {
    mediaType: textOf(value.mediaType),
    digest,
    size: typeof value.size === "number" ? value.size : 0,
    platform: platform === undefined ? undefined : { os: textOf(platform.os), architecture: textOf(platform.architecture) },
  };
}

/** Reads a manifest or an index. @throws GardenError image-unsupported for schema 1 and for what is no image, image-invalid for nonsense. */
export function parseManifest(bytes: Uint8Array, image: string): ManifestDocument {
  const json = parseJson(bytes, image);
  if (json.schemaVersion === 1) {
    throw new GardenError(
      "image-unsupported",
      `${image} has a manifest of schema 1, which is no longer supported: push it again with a current tool`,
    );
  }
  if (json.schemaVersion !== 2) throw invalid(image, "its schemaVersion is not 2");
  if (indexTypes.has(textOf(json.mediaType)) || Array.isArray(json.manifests)) {
    const entries = Array.isArray(json.manifests) ? json.manifests : [];
    return { kind: "index", entries: entries.map((entry) => parseDescriptor(entry, image)) };
  }
  const config = parseDescriptor(json.config, image);
  if (!configTypes.has(config.mediaType)) {
    throw new GardenError(
      "image-unsupported",
      `${image} is not a container image (its config is ${config.mediaType || "of no type"})`,
    );
  }
  const layers = Array.isArray(json.layers) ? json.layers : [];
  return {
    kind: "manifest",
    manifest: { configDigest: config.digest, layers: layers.map((layer) => parseDescriptor(layer, image)) },
  };
}

/** The digest of an index's image for a platform. @throws GardenError image-unsupported naming what it offers instead. */
export function choosePlatform(entries: readonly Descriptor[], wanted: Platform, image: string): string {
  const fits = entries.find((entry) => entry.platform?.os === wanted.os && entry.platform.architecture === wanted.architecture);
  if (fits !== undefined) return fits.digest;
  const offered = entries
    .map((entry) => `${entry.platform?.os ?? "?"}/${entry.platform?.architecture ?? "?"}`)
    .filter((name) => !name.includes("unknown"));
  throw wrongPlatform(image, wanted, offered.join(", ") || "none");
}

const wrongPlatform = (image: string, wanted: Platform, offered: string): GardenError =>
  new GardenError(
    "image-unsupported",
    `${image} has no image for ${wanted.os}/${wanted.architecture}, this machine's; it has: ${offered}`,
  );

/** Whether a layer must be recompressed, since umoci reads gzip and plain tar only. */
export const isZstd = (layer: { readonly mediaType: string }): boolean => layer.mediaType.includes("zstd");

function parsePorts(value: unknown, image: string): number[] {
  const ports = new Set<number>();
  for (const name of isRecord(value) ? Object.keys(value) : []) {
    const match = /^([0-9]{1,5})(?:\/(tcp|udp|sctp))?$/i.exec(name);
    const port = Number(match?.[1]);
    if (match === null || port > 65_535) throw invalid(image, `it exposes the port "${name.slice(0, 100)}"`);
    if ((match[2] ?? "tcp").toLowerCase() === "tcp" && port > 0) ports.add(port);
  }
  return [...ports].sort((a, b) => a - b);
}

/** What an image's config says, for an image of this digest and platform. @throws GardenError image-unsupported, image-invalid */
export function parseConfig(bytes: Uint8Array, digest: string, wanted: Platform, image: string): ImageMetadata {
  const json = parseJson(bytes, image);
  const offered: Platform = { os: textOf(json.os), architecture: textOf(json.architecture) };
  if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) {
    throw wrongPlatform(image, wanted, `${offered.os || "?"}/${offered.architecture || "?"}`);
  }
  const config = isRecord(json.config) ? json.config : {};
  return {
    digest,
    entrypoint: textsOf(config.Entrypoint),
    cmd: textsOf(config.Cmd),
    workingDir: textOf(config.WorkingDir),
    user: textOf(config.User),
    env: textsOf(config.Env).filter((item) => item.includes("=")),
    exposedTcpPorts: parsePorts(config.ExposedPorts, image),
  };
}
