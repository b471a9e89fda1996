// The convergence rules as data: what docs/architecture.md shows, metrics label and tests check. rules.ts judges them.

export interface RuleEntry {
  /** What it finds. */
  readonly finds: string;
  /** What the BBS does about it. */
  readonly repair: string;
  /** Whether it waits while many cells are lost at once (rule C3). */
  readonly holdBack: "no" | "yes" | "yes, unless stop-marked";
  /** Whether somebody must vouch for the domain (invariant I14). */
  readonly freshDomain: "no" | "yes, unless by the flag";
  /** Where it comes from: Diego's rule (convergence.md) and ours (races.md). */
  readonly reference: string;
}

export const ruleTable = {
  missing: {
    finds: "a wanted index without an Ordinary row",
    repair: "the index gets an UNCLAIMED row",
    holdBack: "no",
    freshDomain: "no",
    reference: "convergence 2.3 rule 2; W1",
  },
  surplus: {
    finds: "a row of any presence that is not wanted and not yet told to stop",
    repair: "it gets a stop mark, or goes at once where nothing runs",
    holdBack: "no",
    freshDomain: "yes, unless by the flag",
    reference: "convergence 2.3 rules 1 and 8; W3, S1",
  },
  restart: {
    finds: "a wanted CRASHED row whose back-off is over",
    repair: "it becomes UNCLAIMED",
    holdBack: "no",
    freshDomain: "no",
    reference: "convergence 2.3 rule 4 and section 3",
  },
  "cell-lost": {
    finds: "an Ordinary row, desired or stop-marked, on a lost cell",
    repair: "it becomes Suspect beside a new UNCLAIMED row",
    holdBack: "yes, unless stop-marked",
    freshDomain: "no",
    reference: "convergence 2.3 rule 5 and section 2.5; C1, C3, S3",
  },
  "evacuating-lost": {
    finds: "an Evacuating row on a lost cell",
    repair: "it goes",
    holdBack: "yes, unless stop-marked",
    freshDomain: "no",
    reference: "convergence 2.3 rule 10; C1, C3",
  },
  outdated: {
    finds: "a RUNNING row whose internal routes or metric tags are not those desired",
    repair: "it gets an update mark, which its cell acts on",
    holdBack: "no",
    freshDomain: "no",
    reference: "convergence 2.3 rule 9",
  },
  "task-expired": {
    finds: "a task PENDING for 30 minutes",
    repair: "it fails",
    holdBack: "no",
    freshDomain: "no",
    reference: "convergence 4 step 1; T1",
  },
  "task-disabled": {
    finds: "a PENDING Docker task while the diego_docker flag is off",
    repair: "it fails",
    holdBack: "no",
    freshDomain: "no",
    reference: "the flag, which is ours",
  },
  "task-cell-lost": {
    finds: "a RUNNING task on a lost cell",
    repair: "it fails",
    holdBack: "yes",
    freshDomain: "no",
    reference: "convergence 4 step 3; C1, C3",
  },
  "task-unresolved": {
    finds: "a task RESOLVING for 30 s",
    repair: "it becomes COMPLETED again",
    holdBack: "no",
    freshDomain: "no",
    reference: "convergence 4 step 4; T1",
  },
  "task-callback": {
    finds: "a task COMPLETED for 30 s that has a callback",
    repair: "the callback is made again",
    holdBack: "no",
    freshDomain: "no",
    reference: "convergence 4 step 6; T1",
  },
  "task-over": {
    finds: "a task that first completed 2 minutes ago",
    repair: "it goes",
    holdBack: "no",
    freshDomain: "no",
    reference: "convergence 4 step 5; T1",
  },
  "domain-expired": {
    finds: "a domain nobody vouches for any more",
    repair: "it goes",
    holdBack: "no",
    freshDomain: "no",
    reference: "convergence 2.3 rule 11",
  },
  "cell-gone": {
    finds: "a cell missing for 10 minutes that nothing names any more",
    repair: "it is forgotten",
    holdBack: "no",
    freshDomain: "no",
    reference: "C2",
  },
} as const satisfies Readonly<Record<string, RuleEntry>>;

export type RuleName = keyof typeof ruleTable;

/** Each rule as one line for people: what it finds and what is done about it. */
export const ruleNames = Object.fromEntries(
  Object.entries(ruleTable).map(([name, { finds, repair }]) => [name, `${finds}: ${repair}`]),
) as Readonly<Record<RuleName, string>>;

export const isRuleName = (name: string): name is RuleName => Object.hasOwn(ruleTable, name);
