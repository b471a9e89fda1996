// What an app of the command line is made of: the record kept in the annotation of each of its DesiredLRPs. Pure.
import { z } from "zod";

/** The domain all apps of the command line live in; `muster up` vouches for it. */
export const appsDomain = "muster-apps";

/** Diego's bound on annotations, in bytes (bbs-semantics.md 2.2). */
const annotationBytes = 10_240;

export type RequestedState = "STARTED" | "STOPPED";

const schema = z.object({
  name: z.string(),
  app_guid: z.string(),
  /** Counts up with each update of the app. */
  version: z.number().int().positive(),
  /** As the user typed it, with the default tag added: what `restage` resolves again. */
  image: z.string(),
  /** `sha256:<hex>`: what every instance of this version runs. */
  digest: z.string(),
  requested_state: z.enum(["STARTED", "STOPPED"]),
  /** Kept while the app is stopped, so that `start` brings back as many. */
  wanted: z.number().int().nonnegative(),
  /** Whether the start command is the user's (`-c`) or the image's own. */
  own_command: z.boolean().default(false),
  /** The process guids this version is to take the place of; they go once it is healthy. */
  replaces: z.array(z.string()).default([]),
  /** Cluster time, epoch milliseconds: until then the push that made this version sees to it; afterwards anybody may finish it (A1). */
  updating_until_ms: z.number().int().nonnegative().default(0),
});

export type AppAnnotation = Readonly<z.infer<typeof schema>>;

/** Reads an annotation; `undefined` when it is not one of ours (somebody else may desire LRPs in our domain). */
export function parseAnnotation(text: string): AppAnnotation | undefined {
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** The annotation's text. Its parts are bounded, so that it always fits; a text that would not is a fault of ours. */
export function formatAnnotation(annotation: AppAnnotation): string {
  const text = JSON.stringify(annotation);
  if (Buffer.byteLength(text) > annotationBytes) throw new RangeError(`an annotation may have ${annotationBytes} bytes`);
  return text;
}
