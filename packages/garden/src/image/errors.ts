// From skopeo's words to our closed set of codes, each with a message that says what to do. Pure.
import { GardenError, type GardenErrorCode } from "../garden.js";
import { lastWords, ToolError } from "../tools/exec.js";

interface Reading {
  readonly pattern: RegExp;
  readonly code: GardenErrorCode;
  readonly says: (image: string, registry: string, words: string) => string;
}

/** The first that fits decides. The wordings are those of skopeo 1.9 to 1.18 and of the registries themselves. */
const readings: readonly Reading[] = [
  {
    pattern: /no space left on device/i,
    code: "no-space",
    says: (image) => `the cell has no disk space left for ${image}`,
  },
  {
    pattern: /server gave HTTP response to HTTPS client/i,
    code: "image-unreachable",
    says: (_image, registry) =>
      `registry ${registry} speaks plain HTTP; list it as an insecure registry to allow that (--insecure-registry ${registry})`,
  },
  {
    pattern: /x509:|certificate/i,
    code: "image-unreachable",
    says: (_image, registry, words) =>
      `the certificate of registry ${registry} is not trusted; give its authority with --registry-ca FILE (${words})`,
  },
  {
    pattern:
      /unauthorized|authentication required|invalid username\/password|access to the resource is denied|\b401\b|\b403\b|denied:/i,
    code: "image-unauthorized",
    says: (image, registry) =>
      `registry ${registry} refuses access to ${image}: it does not exist, or it needs another user name or password`,
  },
  {
    pattern: /manifest unknown|name unknown|not known to registry|name invalid|not found|\b404\b/i,
    code: "image-not-found",
    says: (image, registry) => `there is no image ${image} in registry ${registry}`,
  },
  {
    pattern: /toomanyrequests|too many requests|\b429\b/i,
    code: "image-unreachable",
    says: (_image, registry) => `registry ${registry} has had too many requests from here; try again later, or log in`,
  },
  {
    pattern:
      /connection refused|no such host|i\/o timeout|timed? ?out|dial tcp|network is unreachable|connection reset|EOF|\b50[0-9]\b|lookup /i,
    code: "image-unreachable",
    says: (_image, registry, words) => `registry ${registry} cannot be reached (${words})`,
  },
  {
    pattern: /digest|unexpected|does not match|corrupt|verif/i,
    code: "image-invalid",
    says: (image, registry, words) => `registry ${registry} answered with something else than ${image} (${words})`,
  },
];

/** Cuts Go's chain of causes down to its end, where the reason stands. */
const reason = (words: string): string =>
  /msg="(.*)"$/.exec(words)?.[1]?.replaceAll('\\"', '"').split(": ").slice(-3).join(": ") ?? words;

/** @returns a GardenError for whatever a fetch of an image threw. */
export function imageError(error: unknown, image: string, registry: string): GardenError {
  if (error instanceof GardenError) return error;
  if (!(error instanceof ToolError)) return new GardenError("tool-failed", `the image ${image} could not be fetched`, error);
  if (error.fault === "timeout")
    return new GardenError("image-unreachable", `registry ${registry} did not answer in time`, error);
  if (error.fault === "output") return new GardenError("image-invalid", `the registry's answer for ${image} is too large`, error);
  const words = lastWords(error);
  const reading = readings.find(({ pattern }) => pattern.test(words));
  if (reading === undefined)
    return new GardenError("tool-failed", `the image ${image} could not be fetched (${reason(words)})`, error);
  return new GardenError(reading.code, reading.says(image, registry, reason(words)), error);
}
