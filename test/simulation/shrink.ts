// Looks for a shorter run that fails too: fewer ticks of hurt, then fewer kinds of faults. Bounded in runs, so it finds a short one,
// not the shortest.
import { systemClock } from "@muster/shared/clock";
import { type FaultKind, type Faults, manyFaults } from "./faults.js";
import { type RunReport, type ScenarioOptions, simulate } from "./scenario.js";

export interface Shrunk {
  readonly report: RunReport;
  readonly hurtTicks: number;
  /** What was left of the faults. */
  readonly faults: readonly FaultKind[];
  readonly runs: number;
}

const notKinds: ReadonlySet<string> = new Set(["delayMs", "failCreate"]);
const enoughTicks = 25;

/** `failed` failed with these options; so does what is returned. Takes at most `withinMs`, and one run more. */
export async function shrink(failed: RunReport, options: ScenarioOptions, withinMs = 60_000): Promise<Shrunk> {
  const startedMs = systemClock.elapsedMs();
  let best = failed;
  let runs = 0;
  let faults: Partial<Faults> = options.faults ?? manyFaults;
  let hurtTicks = options.hurtTicks ?? 1_200;
  const timeLeft = (): boolean => systemClock.elapsedMs() - startedMs < withinMs;
  const failsToo = async (change: Partial<ScenarioOptions>): Promise<boolean> => {
    runs += 1;
    const report = await simulate({ ...options, faults, hurtTicks, ...change, echo: () => undefined });
    if (!report.ok) best = report;
    return !report.ok;
  };
  // Not every cut of a failing run fails, and a later one may where an earlier does not: this is a search, not a proof.
  for (let low = 0; timeLeft() && hurtTicks - low > enoughTicks; ) {
    const middle = Math.floor((low + hurtTicks) / 2);
    if (await failsToo({ hurtTicks: middle })) hurtTicks = middle;
    else low = middle;
  }
  for (const kind of Object.keys(faults) as (keyof Faults)[]) {
    if (notKinds.has(kind) || !timeLeft() || faults[kind] === 0) continue;
    const fewer = { ...faults, [kind]: 0 };
    if (await failsToo({ faults: fewer })) faults = fewer;
  }
  const left = Object.entries(faults).filter(([kind, chance]) => !notKinds.has(kind) && chance > 0);
  return { report: best, hurtTicks, faults: left.map(([kind]) => kind as FaultKind), runs };
}

/** For people: what was found, and how to see it again. */
export const shrunkText = ({ report, hurtTicks, faults, runs }: Shrunk): string =>
  [
    `shortest of ${runs} runs: pnpm sim --seeds 1 --from ${report.seed} --ticks ${hurtTicks} --faults ${faults.join(",") || "none"}`,
    report.failure ?? "",
  ].join("\n");
