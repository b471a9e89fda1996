// What an image says of itself, asked from its registry by the command line: staging, until cells do it as a Task (design section 6).
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { ImageCredentials, ImageMetadata } from "@muster/garden";
import { type ImageReference, ImageReferenceError, parseImage } from "@muster/garden/image-ref";
import { makeExec, RegistryClient } from "@muster/garden/registry";
import type { Clock } from "@muster/shared/clock";
import type { ClientSettings } from "../client/settings.js";
import { UsageError } from "../exit.js";

/** Looks an image up, its layers left where they are. @throws GardenError naming what is wrong and what to do. */
export type InspectImage = (
  reference: ImageReference,
  credentials: ImageCredentials | undefined,
  signal: AbortSignal,
) => Promise<ImageMetadata>;

/** Reads what the user typed after --docker-image. @throws UsageError in Cloud Controller's words. */
export function readReference(image: string): ImageReference {
  try {
    return parseImage(image);
  } catch (error) {
    if (error instanceof ImageReferenceError)
      throw new UsageError(error.message, "write it as in `docker pull`: [HOST[:PORT]/]NAME[:TAG]");
    throw error;
  }
}

/** The way images are looked up on this platform: simulated cells run any image, so no registry is asked for them. */
export const inspectorFor = (settings: ClientSettings, clock: Clock): InspectImage =>
  settings.runtime === "simulated" ? inspectSimulated : inspectThroughSkopeo(settings, clock);

const inspectThroughSkopeo =
  ({ insecureRegistries, registryCaFiles }: ClientSettings, clock: Clock): InspectImage =>
  async (reference, credentials, signal) => {
    const scratchDir = await mkdtemp(path.join(tmpdir(), "muster-inspect-"));
    try {
      const client = new RegistryClient({ exec: makeExec(clock), scratchDir, insecureRegistries, registryCaFiles });
      return (await client.resolve(reference, credentials, signal)).metadata;
    } finally {
      await rm(scratchDir, { recursive: true, force: true });
    }
  };

const inspectSimulated: InspectImage = async (reference) => ({
  digest: reference.digest ?? `sha256:${createHash("sha256").update(JSON.stringify(reference)).digest("hex")}`,
  entrypoint: [],
  cmd: ["/bin/app"],
  workingDir: "",
  user: "",
  env: [],
  exposedTcpPorts: [8080],
});
