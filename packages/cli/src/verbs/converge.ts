// `converge`: one full cycle's repairs, printed or asked for. The plan is the converger's own, over the same records; the BBS judges each
// repair again over the truth, so that one more asker does no harm, also while the converger works.
import { type RepairItem, RepairOutcome, type RepairResult } from "@muster/proto/muster/v1/repair";
import { asEpochMs, type Presence } from "@muster/shared/model";
import { type DueRepair, planConvergence, type Repair, ruleNames } from "@muster/shared/rules";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";

/** What one Repair call takes. */
const maxBatch = 1_000;

export interface RepairShape {
  readonly rule: string;
  /** `<process guid>/<index>/<presence>`, or the name of a task, domain or cell. */
  readonly key: string;
  readonly why: string;
  /** `planned` in a dry run; else what the BBS said: done, stale (it holds no more) or not-due. */
  readonly outcome: string;
}

export interface WaitingShape {
  readonly rule: string;
  readonly key: string;
  readonly why: string;
  /** ISO time: when it will hold if nothing else changes. */
  readonly due_at: string;
}

const keyOfRepair = ({ name, processGuid, index, presence }: Repair): string =>
  name === "" ? `${processGuid}/${index}/${presence}` : name;

/** Pure. */
export const repairShape = (repair: Repair, outcome: string): RepairShape => ({
  rule: repair.rule,
  key: keyOfRepair(repair),
  why: ruleNames[repair.rule],
  outcome,
});

/** Pure. */
export const waitingShape = ({ repair, dueAtMs }: DueRepair): WaitingShape => ({
  rule: repair.rule,
  key: keyOfRepair(repair),
  why: ruleNames[repair.rule],
  due_at: new Date(dueAtMs).toISOString(),
});

const presenceNumbers: Readonly<Record<Presence, number>> = { ORDINARY: 0, EVACUATING: 1, SUSPECT: 2 };

const itemOf = ({ presence, ...repair }: Repair): RepairItem => ({ ...repair, presence: presenceNumbers[presence] });

const outcomes: Readonly<Partial<Record<RepairOutcome, string>>> = {
  [RepairOutcome.REPAIR_OUTCOME_DONE]: "done",
  [RepairOutcome.REPAIR_OUTCOME_STALE]: "stale",
  [RepairOutcome.REPAIR_OUTCOME_NOT_DUE]: "not-due",
};

/** Pure. */
export const outcomeOf = (result: RepairResult | undefined): string => outcomes[result?.outcome ?? 0] ?? "stale";

async function askFor(platform: Platform, repairs: readonly Repair[]): Promise<RepairShape[]> {
  const shapes: RepairShape[] = [];
  for (let from = 0; from < repairs.length; from += maxBatch) {
    const batch = repairs.slice(from, from + maxBatch);
    const results = await platform.repair(batch.map(itemOf));
    shapes.push(...batch.map((repair, at) => repairShape(repair, outcomeOf(results[at]))));
  }
  return shapes;
}

const byTime = (a: WaitingShape, b: WaitingShape): number =>
  a.due_at < b.due_at ? -1 : a.due_at > b.due_at ? 1 : `${a.rule}${a.key}` < `${b.rule}${b.key}` ? -1 : 1;

export async function converge(context: Context, { dryRun = false }: { readonly dryRun?: boolean }): Promise<void> {
  using session = openSession(context);
  const { platform } = session;
  const { tables, clusterTimeMs } = await platform.snapshot(["desiredLRP", "actualLRP", "task", "domain", "cell", "featureFlag"]);
  // The leader's own times are the BBS's to know: it answers "not due" where they matter.
  const time = { nowMs: asEpochMs(clusterTimeMs), graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(0) };
  const findings = planConvergence(tables, time);
  const repairs = dryRun
    ? findings.repairs.map((repair) => repairShape(repair, "planned"))
    : await askFor(platform, findings.repairs);
  const waiting = findings.due.map(waitingShape).sort(byTime);
  const shape = { dry_run: dryRun, cluster_time: new Date(clusterTimeMs).toISOString(), repairs, waiting };
  const { out } = context;
  out.show(shape, () => {
    if (repairs.length === 0) out.line("nothing to repair");
    else
      out.table(
        ["RULE", "KEY", "OUTCOME", "WHY"],
        repairs.map(({ rule, key, outcome, why }) => [rule, key, outcome, why]),
      );
    if (waiting.length === 0) return;
    out.line();
    out.table(
      ["LATER", "KEY", "DUE AT", "WHY"],
      waiting.map(({ rule, key, due_at, why }) => [rule, key, due_at, why]),
    );
  });
}
