// Health checks: the start-up probes that make a container running, the liveness checks that end it, the readiness checks
// that say whether it is routable (cell.md section 7; start-up probes are quicker than Diego's: at once, then after 25 ms, doubling to 2 s).
import type { Clock } from "@muster/shared/clock";
import { type Check, texts } from "../plan/index.js";

/** Resolves to `undefined` for a healthy answer, else to why not. */
export type Probe = (check: Check) => Promise<string | undefined>;

export interface HealthOptions {
  readonly clock: Clock;
  readonly probe: Probe;
  readonly signal: AbortSignal;
}

const firstDelayMs = 25;
const maxDelayMs = 2_000;
/** A last probe may take this long when the time is over, or nearly. Source: Diego's default time-out of one. */
const lastProbeMs = 1_000;

/** Resolves false when the signal aborted meanwhile. */
async function pause(options: Pick<HealthOptions, "clock" | "signal">, ms: number): Promise<boolean> {
  if (options.signal.aborted) return false;
  await options.clock.sleep(ms, options.signal).catch(() => undefined);
  return !options.signal.aborted;
}

/** A probe must answer: one that throws has not. */
const ask = async (options: HealthOptions, check: Check): Promise<string | undefined> => {
  try {
    return await options.probe(check);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
};

export type StartupResult = { readonly ok: true } | { readonly ok: false; readonly afterMs: number; readonly text: string };

/**
 * Probes every check until it passed once. `startTimeoutMs` 0 waits for ever. `undefined`: the signal aborted first.
 * Each has a last try when its time is over. No probe has longer than what is left of the time, or a second: one that may take an hour
 * must not keep a start waiting.
 */
export async function awaitStartup(
  options: HealthOptions,
  checks: readonly Check[],
  startTimeoutMs: number,
): Promise<StartupResult | undefined> {
  const startedMs = options.clock.elapsedMs();
  const leftMs = (): number =>
    startTimeoutMs === 0 ? Number.POSITIVE_INFINITY : startedMs + startTimeoutMs - options.clock.elapsedMs();
  const passes = async (check: Check): Promise<StartupResult | undefined> => {
    let attempts = 0;
    for (let delayMs = firstDelayMs; ; delayMs = Math.min(maxDelayMs, delayMs * 2)) {
      const text = await ask(options, { ...check, timeoutMs: Math.min(check.timeoutMs, Math.max(leftMs(), lastProbeMs)) });
      attempts += 1;
      if (options.signal.aborted) return undefined;
      if (text === undefined) return { ok: true };
      const afterMs = options.clock.elapsedMs() - startedMs;
      if (leftMs() <= 0) return { ok: false, afterMs, text: texts.startupTimedOut(startTimeoutMs, attempts, text) };
      if (!(await pause(options, Math.min(delayMs, leftMs())))) return undefined;
    }
  };
  const results = await Promise.all(checks.map(passes));
  if (options.signal.aborted) return undefined;
  const failures = results.filter((result) => result?.ok === false);
  if (failures.length === 0) return { ok: true };
  // As for any steps that go on side by side: each tells its own.
  return {
    ok: false,
    afterMs: Math.max(...failures.map(({ afterMs }) => afterMs)),
    text: failures.map(({ text }) => text).join("; "),
  };
}

/** Resolves to the text of the first check that fails, now or at its interval; `undefined` when the signal aborts. */
export function awaitUnhealthy(options: HealthOptions, checks: readonly Check[]): Promise<string | undefined> {
  const watch = async (check: Check): Promise<string | undefined> => {
    do {
      const text = await ask(options, check);
      if (options.signal.aborted) return undefined;
      if (text !== undefined) return texts.livenessFailed(text);
    } while (await pause(options, check.intervalMs));
    return undefined;
  };
  return Promise.race(checks.map(watch));
}

export interface Readiness {
  readonly checks: readonly Check[];
  /** Whether the container is ready as far as anybody knows: an earlier rep may have found out. */
  readonly ready: boolean;
  /** `text` says why it is ready no more. */
  readonly onChange: (ready: boolean, text: string) => void;
}

/**
 * Turns by turns, until the signal aborts: every check is probed until it has passed, which makes the container ready; then each at its
 * interval until one fails. A container that has been ready is given 2 s before it is looked at again.
 */
export async function watchReadiness(options: HealthOptions, { checks, ready, onChange }: Readiness): Promise<void> {
  const untilPassed = async (check: Check): Promise<void> => {
    for (let delayMs = firstDelayMs; (await ask(options, check)) !== undefined; delayMs = Math.min(maxDelayMs, delayMs * 2))
      if (!(await pause(options, delayMs))) return;
  };
  const untilFailed = async (check: Check, signal: AbortSignal): Promise<string> => {
    for (;;) {
      const text = await ask(options, check);
      if (text !== undefined || !(await pause({ ...options, signal }, check.intervalMs))) return text ?? "";
    }
  };
  for (let known = ready; !options.signal.aborted; ) {
    if (known) {
      const over = new AbortController();
      const either = AbortSignal.any([options.signal, over.signal]);
      const text = await Promise.race(checks.map((check) => untilFailed(check, either)));
      over.abort();
      if (options.signal.aborted) return;
      onChange(false, texts.readinessFailed(text));
      known = false;
      if (!(await pause(options, maxDelayMs))) return;
    }
    await Promise.all(checks.map(untilPassed));
    if (options.signal.aborted) return;
    onChange(true, "");
    known = true;
  }
}

/** Resolves to `undefined` when the monitor action succeeded, else to why not. */
export type Monitor = () => Promise<string | undefined>;

/** Source: cell.md section 7, legacy monitor action. */
const monitorMs = { unhealthy: 2_000, healthy: 30_000 };

/**
 * Diego's schedule for a monitor action: the first run after 2 s, then every 2 s until one succeeds. `startTimeoutMs` 0 waits for ever; it is
 * looked at only after a run that failed. `undefined`: the signal aborted first.
 */
export async function awaitMonitored(
  options: Pick<HealthOptions, "clock" | "signal">,
  monitor: Monitor,
  startTimeoutMs: number,
): Promise<StartupResult | undefined> {
  const startedMs = options.clock.elapsedMs();
  while (await pause(options, monitorMs.unhealthy)) {
    const text = await monitor();
    if (options.signal.aborted) return undefined;
    if (text === undefined) return { ok: true };
    const afterMs = options.clock.elapsedMs() - startedMs;
    if (startTimeoutMs > 0 && afterMs >= startTimeoutMs) return { ok: false, afterMs, text };
  }
  return undefined;
}

/** Resolves to the text of the first run that fails, every 30 s; `undefined` when the signal aborts. */
export async function awaitUnmonitored(
  options: Pick<HealthOptions, "clock" | "signal">,
  monitor: Monitor,
): Promise<string | undefined> {
  while (await pause(options, monitorMs.healthy)) {
    const text = await monitor();
    if (options.signal.aborted) return undefined;
    if (text !== undefined) return text;
  }
  return undefined;
}
