// What each convergence rule does once the truth agrees that it holds. The judging is packages/shared/rules.
import { type ActualLRP, drop, put, type Write } from "@muster/shared/model";
import { isWanted, type Repair, type RuleName, ruleHolds } from "@muster/shared/rules";
import { stopped } from "./actual-lrp.js";
import { type Command, type CoreState, type DecisionContext, newUnclaimedRow, unchanged, unclaimedRow } from "./decision.js";

export type RepairReply =
  | { readonly outcome: "done" }
  | { readonly outcome: "stale" }
  | { readonly outcome: "not-due"; readonly dueInMs: number };

type Carry = (state: CoreState, repair: Repair, context: DecisionContext) => Write[];

const rowOf = (state: CoreState, repair: Repair): ActualLRP | undefined =>
  state.tables.rows(repair.processGuid, repair.index)[repair.presence];

const missing: Carry = (state, { processGuid, index }, context) => {
  const desired = state.tables.desiredLRP(processGuid);
  return desired === undefined
    ? []
    : [put("actualLRP", newUnclaimedRow({ processGuid, index, domain: desired.domain }, context))];
};

const surplus: Carry = (state, repair) => {
  const row = rowOf(state, repair);
  const write = row === undefined ? undefined : stopped(row);
  return write === undefined ? [] : [write];
};

const restart: Carry = (state, { processGuid, index }, context) => {
  const row = state.tables.rows(processGuid, index).ORDINARY;
  return row === undefined ? [] : [put("actualLRP", unclaimedRow(row, context))];
};

/**
 * The row's instance may still run: it becomes Suspect, tag and `since` as they were, and a new row asks for a replacement. A
 * replacement that is lost in its turn is taken back (there is one Suspect a key), a marked one goes (rule S2).
 */
const cellLost: Carry = (state, { processGuid, index }, context) => {
  const { ORDINARY: row, SUSPECT: suspect } = state.tables.rows(processGuid, index);
  if (row === undefined) return [];
  if (suspect !== undefined) return [row.stopMarked ? drop("actualLRP", row) : put("actualLRP", unclaimedRow(row, context))];
  const replaced = isWanted(state.tables, state.tables.desiredLRP(processGuid), index);
  return [
    put("actualLRP", { ...row, presence: "SUSPECT" }),
    replaced ? put("actualLRP", newUnclaimedRow(row, context)) : drop("actualLRP", row),
  ];
};

const evacuatingLost: Carry = (state, { processGuid, index }) => {
  const row = state.tables.rows(processGuid, index).EVACUATING;
  return row === undefined ? [] : [drop("actualLRP", row)];
};

const carry: Readonly<Record<RuleName, Carry>> = {
  missing,
  surplus,
  restart,
  "cell-lost": cellLost,
  "evacuating-lost": evacuatingLost,
  "domain-expired": (_state, { name }) => [{ kind: "domain", key: name, record: undefined }],
  "cell-gone": (_state, { name }) => [{ kind: "cell", key: name, record: undefined }],
};

/** Judges the repair over the truth and carries it out, or says that it is stale or not due yet (rule T1). */
export const applyRepair =
  (repair: Repair): Command<RepairReply> =>
  (state, context) => {
    const verdict = ruleHolds(state.tables, repair, { nowMs: context.nowMs, graceUntilMs: state.graceUntilMs });
    if (verdict.holds) return { writes: carry[repair.rule](state, repair, context), reply: { outcome: "done" } };
    if (verdict.dueAtMs === undefined) return unchanged({ outcome: "stale" });
    return unchanged({ outcome: "not-due", dueInMs: Math.max(0, verdict.dueAtMs - context.nowMs) });
  };
