// Waiting for an app to do what was asked, with a bound, telling what is seen on the way.
import type { ActualLRP } from "@muster/proto/models/actual_lrp";
import type { AppCalls } from "../client/platform.js";
import { countRunning } from "./shapes.js";

/** Often enough that a start of 100 ms shows; a list of one process is cheap. */
const pollMs = 100;
/** An instance that crashed this often since the wait began will not come up by itself soon: its next try waits 30 s. */
const givenUpCrashes = 3;
/** A platform that has just come up may lack a cell for a moment; an app that still has no place after this will not get one. */
const misplacedMs = 10_000;

export interface Wait {
  readonly processGuid: string;
  readonly instances: number;
  readonly timeoutMs: number;
  /** Called when the picture changes. */
  readonly onChange?: (text: string) => void;
  /** Called at each look, for what must go on meanwhile. */
  readonly onLook?: () => Promise<void>;
}

export type WaitOutcome = { readonly ok: true } | { readonly ok: false; readonly why: string };

/** Waits until every wanted instance runs, crashes for good, or the time is over. */
export async function waitRunning(platform: AppCalls, wait: Wait): Promise<WaitOutcome> {
  const deadlineMs = platform.clock.elapsedMs() + wait.timeoutMs;
  let told = "";
  let placedAtMs = platform.clock.elapsedMs();
  for (;;) {
    const rows = await platform.actualLRPs({ processGuid: wait.processGuid });
    if (!rows.some(isMisplaced)) placedAtMs = platform.clock.elapsedMs();
    const running = countRunning(rows, wait.instances);
    const text = describe(rows, running, wait.instances);
    if (text !== told) wait.onChange?.(text);
    told = text;
    if (running >= wait.instances) return { ok: true };
    const crashed = rows.find((row) => row.state === "CRASHED" && row.crashCount >= givenUpCrashes);
    if (crashed !== undefined)
      return { ok: false, why: `an instance crashed ${crashed.crashCount} times: ${crashed.crashReason}` };
    const now = platform.clock.elapsedMs();
    if (now >= deadlineMs || now - placedAtMs >= misplacedMs) return { ok: false, why: whyNot(rows, running, wait) };
    await wait.onLook?.();
    await platform.clock.sleep(pollMs, platform.signal);
  }
}

/** Waits until no row of the process is left. */
export async function waitGone(platform: AppCalls, processGuid: string, timeoutMs: number): Promise<boolean> {
  const deadlineMs = platform.clock.elapsedMs() + timeoutMs;
  for (;;) {
    if ((await platform.actualLRPs({ processGuid })).length === 0) return true;
    if (platform.clock.elapsedMs() >= deadlineMs) return false;
    await platform.clock.sleep(pollMs, platform.signal);
  }
}

function describe(rows: readonly ActualLRP[], running: number, wanted: number): string {
  const others = new Map<string, number>();
  for (const row of rows) {
    const word = stateWords[row.state];
    if (word !== undefined) others.set(word, (others.get(word) ?? 0) + 1);
  }
  const rest = [...others].map(([word, count]) => `${count} ${word}`).join(", ");
  return `${running} of ${wanted} running${rest === "" ? "" : `, ${rest}`}`;
}

const stateWords: Readonly<Record<string, string>> = { UNCLAIMED: "waiting for a cell", CLAIMED: "starting", CRASHED: "crashed" };

const isMisplaced = (row: ActualLRP): boolean => row.placementError !== "" && row.state === "UNCLAIMED";

/** The most telling reason why not all run: a crash, else a placement error, else the mere count. */
export function whyNot(rows: readonly ActualLRP[], running: number, wait: Pick<Wait, "instances">): string {
  const crash = rows.find((row) => row.crashReason !== "" && row.state !== "RUNNING");
  const misplaced = rows.find(isMisplaced);
  const count = `${running} of ${wait.instances} instances run`;
  if (crash !== undefined) return `${count}; instance ${crash.actualLrpKey?.index ?? 0} crashed: ${crash.crashReason}`;
  if (misplaced !== undefined)
    return `${count}; instance ${misplaced.actualLrpKey?.index ?? 0} has no place: ${misplaced.placementError}`;
  return count;
}
