// Waiting until a platform is whole, or clearly will not be.
import type { Clock } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { Platform } from "../client/platform.js";
import { WaitedInVainError } from "../exit.js";
import { type PlatformStatus, readStatus } from "../status.js";
import type { ChildEnd } from "./child.js";
import type { Home } from "./home.js";
import { lastComplaint, readTail } from "./log-files.js";
import { recordOf, type ServicePlan } from "./service-plan.js";
import { logFileOf } from "./supervisor.js";

/** A cold start takes two or three seconds; a leadership of a BBS that was killed must first lapse, and gardens may have much to adopt. */
const readyMs = 90_000;
const lookMs = 100;
/** A service that ends this often before it was ever well has a fault that another start does not mend. */
const hopelessEnds = 6;
/** The exit code of a service that a person must help (packages/shared lifecycle). */
const operatorExit = 78;

/** Watches for services that cannot come up. */
export class StartFaults {
  readonly #home: Pick<Home, "logs">;
  #fault: OperatorError | undefined;

  constructor(home: Pick<Home, "logs">) {
    this.#home = home;
  }

  onEnd(name: string, end: ChildEnd): void {
    if (end.code !== operatorExit && end.ends < hopelessEnds) return;
    const file = logFileOf(this.#home, name);
    this.#fault ??= new OperatorError(`${name} does not start: ${lastComplaint(readTail(file))}`, `its log is ${file}`);
  }

  throwIfAny(): void {
    if (this.#fault !== undefined) throw this.#fault;
  }
}

/** The embedded store answers within half a second; behind a leadership that must lapse nobody needs to wait for it. */
const bbsHeadStartMs = 3_000;
const bbsLookMs = 25;

/** Waits a little for a BBS to answer, so that the others find one at their first call and need not try again. */
export async function giveBbsHeadStart(platform: Platform, clock: Clock, faults: StartFaults): Promise<void> {
  const deadlineMs = clock.elapsedMs() + bbsHeadStartMs;
  while (clock.elapsedMs() < deadlineMs) {
    if (await platform.ping(bbsHeadStartMs).then(always, never)) return;
    platform.signal.throwIfAborted();
    faults.throwIfAny();
    await clock.sleep(bbsLookMs, platform.signal);
  }
}

const always = (): boolean => true;
const never = (): boolean => false;

/** Resolves once everything is ready. @throws OperatorError for a service that cannot start, WaitedInVainError when the time is over. */
export async function waitReady(
  plans: readonly ServicePlan[],
  platform: Platform,
  clock: Clock,
  faults: StartFaults,
): Promise<PlatformStatus> {
  const records = plans.map((plan) => recordOf(plan, 0));
  const deadlineMs = clock.elapsedMs() + readyMs;
  for (;;) {
    const status = await readStatus(records, platform, clock);
    if (status.ready) return status;
    faults.throwIfAny();
    if (clock.elapsedMs() >= deadlineMs) {
      const late = status.services.filter((each) => !each.healthy || (each.role === "rep" && !each.active));
      const names = late.map((each) => each.name).join(", ") || "a leader";
      throw new WaitedInVainError(
        `the platform is not ready after ${readyMs / 1_000} s; missing: ${names}`,
        "look into the home's logs folder",
      );
    }
    await clock.sleep(lookMs, platform.signal);
  }
}
