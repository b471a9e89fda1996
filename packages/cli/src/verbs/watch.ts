// `watch`: follows the records of the BBS, from a snapshot or after a token, and goes on where it was when the BBS is away for a moment.
import { recordCodecs } from "@muster/shared/codec";
import { isBbsError } from "@muster/shared/errors";
import { isTransient } from "@muster/shared/rpc";
import { type Context, openSession } from "../context.js";
import { UsageError } from "../exit.js";
import { kindNamed, kindNames } from "../watch/record-json.js";
import { WatchTeller } from "../watch/teller.js";
import { parseToken } from "../watch/token.js";

export interface WatchOptions {
  readonly after?: string;
}

const retryMs = 200;
/** As other verbs: a BBS that is restarted or elected takes a moment. */
const patienceMs = 15_000;

export async function watch(context: Context, kindGiven: string | undefined, options: WatchOptions): Promise<void> {
  const kind = kindGiven === undefined ? undefined : kindNamed(kindGiven);
  if (kindGiven !== undefined && kind === undefined)
    throw new UsageError(`"${kindGiven}" is no kind of record`, `known: ${Object.values(kindNames).join(", ")}`);
  const wire = kind === undefined ? [] : [recordCodecs[kind].wireKind].filter((each) => each !== undefined);
  const teller = new WatchTeller(options.after === undefined ? undefined : parseToken(options.after));
  const { out, clock, signal } = context;
  using session = openSession(context);
  let heardAtMs = clock.elapsedMs();
  for (;;) {
    try {
      const request = { after: teller.token, kinds: wire, cellId: "" };
      for await (const message of session.platform.watch(request)) {
        heardAtMs = clock.elapsedMs();
        for (const { line, text } of teller.tell(message)) {
          if (out.json) out.event(line);
          else if (text !== undefined) out.line(text);
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      // Cut as too slow, it resumes too: nothing was skipped.
      const mayRetry = isTransient(error) || isBbsError(error, "ResourceExhausted");
      if (!mayRetry || clock.elapsedMs() - heardAtMs >= patienceMs) throw error;
      out.progress("the watch broke; resuming …");
    }
    await clock.sleep(retryMs, signal);
  }
}
