// SIGINT and SIGTERM: the first asks for an orderly end; whoever insists later than a second after it gets an abrupt one.
import type { Clock } from "@muster/shared/clock";

export interface StopSignals {
  readonly signal: AbortSignal;
  /** What to do, at once and without waiting, before an abrupt end. */
  readonly onForce: (act: () => void) => void;
}

/** npm and the terminal both deliver a Ctrl-C, so that it arrives twice within moments; that is not insistence. */
const sameAskMs = 1_000;
const forcedExit = 130;

export function listenForStop(clock: Clock): StopSignals {
  const stop = new AbortController();
  const acts: (() => void)[] = [];
  let askedAtMs: number | undefined;
  const ask = (name: NodeJS.Signals): void => {
    const now = clock.elapsedMs();
    if (askedAtMs === undefined) {
      askedAtMs = now;
      stop.abort(new Error(`stopped by ${name}`));
      return;
    }
    if (now - askedAtMs < sameAskMs) return;
    for (const act of acts) act();
    process.stderr.write("muster: stopped abruptly; containers stay until the next start\n");
    process.exit(forcedExit);
  };
  process.on("SIGINT", ask);
  process.on("SIGTERM", ask);
  return { signal: stop.signal, onForce: (act) => acts.push(act) };
}
