// What every verb is given: where to print, the time, chance, when to stop, and the platform when it asks for one.
import type { Clock, Entropy } from "@muster/shared/clock";
import { Platform } from "./client/platform.js";
import { type ClientSettings, type ConnectionFlags, readClientSettings } from "./client/settings.js";
import type { Output } from "./output.js";
import { isStopped } from "./services-file.js";

/** Flags that every verb takes. */
export interface CommonFlags extends ConnectionFlags {
  readonly json?: boolean;
}

export interface Context {
  readonly out: Output;
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Aborts on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly flags: CommonFlags;
  /** Called when the user insists, more than a second after asking to stop. */
  readonly onForce: (act: () => void) => void;
}

export interface Session extends Disposable {
  readonly settings: ClientSettings;
  readonly platform: Platform;
}

/** How long a verb bears with a BBS that is being restarted or elected: a leadership of 10 s has to lapse first. */
const patienceMs = 15_000;

/** Connects with what the flags or the home say. Nothing is dialled before the first call. */
export function openSession(context: Context, patience = patienceMs): Session {
  const settings = readClientSettings(context.flags);
  const gone = context.flags.bbs === undefined && isStopped(settings.home);
  const platform = new Platform({
    bbsAddresses: settings.bbsAddresses,
    tls: settings.tls,
    clock: context.clock,
    signal: context.signal,
    // Nobody is about to come back: waiting would only hide that.
    patienceMs: gone ? 0 : patience,
    onWaiting: () => context.out.progress("waiting for the BBS to answer …"),
  });
  return { settings, platform, [Symbol.dispose]: () => platform[Symbol.dispose]() };
}
