// What each convergence rule does once the truth agrees that it holds. The judging is packages/shared/rules.
import { type ActualLRP, asTaskGuid, drop, put, type Task, type TaskGuid, type Write } from "@muster/shared/model";
import { isWanted, type Repair, type RuleName, ruleHolds } from "@muster/shared/rules";
import { stopped } from "./actual-lrp.js";
import { type Command, type CoreState, type DecisionContext, newUnclaimedRow, unchanged, unclaimedRow } from "./decision.js";
import { dockerDisabled } from "./desired-lrp.js";
import { changedTask, droppedTask, failedTask, lostCellReason } from "./task.js";

export type RepairReply =
  /** `callback`: the task whose callback is to be made again, which no record tells. */
  | { readonly outcome: "done"; readonly callback?: TaskGuid }
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
 * replacement that is lost in its turn is taken back: there is one Suspect a key. A marked one takes that place all the same, since
 * nothing but its row remembers the stop (docs/decisions/0005); the one before it may start again where its cell returns in time.
 */
const cellLost: Carry = (state, { processGuid, index }, context) => {
  const { ORDINARY: row, SUSPECT: suspect } = state.tables.rows(processGuid, index);
  if (row === undefined) return [];
  if (suspect?.stopMarked === true)
    return [row.stopMarked ? drop("actualLRP", row) : put("actualLRP", unclaimedRow(row, context))];
  if (suspect !== undefined && !row.stopMarked) return [put("actualLRP", unclaimedRow(row, context))];
  const replaced = isWanted(state.tables, state.tables.desiredLRP(processGuid), index);
  return [
    put("actualLRP", { ...row, presence: "SUSPECT" }),
    replaced ? put("actualLRP", newUnclaimedRow(row, context)) : drop("actualLRP", row),
  ];
};

/** A marked copy waits as a Suspect for its cell, as every marked row does (rule S3), where no other waits there already. */
const evacuatingLost: Carry = (state, { processGuid, index }) => {
  const { EVACUATING: row, SUSPECT: suspect } = state.tables.rows(processGuid, index);
  if (row === undefined) return [];
  const waits = row.stopMarked && suspect?.stopMarked !== true;
  return [drop("actualLRP", row), ...(waits ? [put("actualLRP", { ...row, presence: "SUSPECT" })] : [])];
};

const outdated: Carry = (state, { processGuid, index }) => {
  const row = state.tables.rows(processGuid, index).ORDINARY;
  return row === undefined ? [] : [put("actualLRP", { ...row, updateMarked: true })];
};

/** A rule about a task: what becomes of it. */
const ofTask =
  (writes: (task: Task, context: DecisionContext) => Write[]): Carry =>
  (state, { name }, context) => {
    const task = state.tables.task(asTaskGuid(name));
    return task === undefined ? [] : writes(task, context);
  };

/** As in Diego, a task that convergence fails goes on naming the cell it was on. */
const failedOf = (reason: string): Carry =>
  ofTask((task, context) => [put("task", { ...failedTask(task, reason, context), cellId: task.cellId })]);

/** The time of the update stays, so that the callback is due at once. */
const taskUnresolved = ofTask((task, context) => [
  put("task", changedTask(task, { state: "COMPLETED", updatedAtNs: task.updatedAtNs }, context)),
]);

const carry: Readonly<Record<RuleName, Carry>> = {
  missing,
  surplus,
  restart,
  "cell-lost": cellLost,
  "evacuating-lost": evacuatingLost,
  outdated,
  "task-expired": failedOf("not started within time limit"),
  "task-disabled": failedOf(dockerDisabled),
  "task-cell-lost": failedOf(lostCellReason),
  "task-unresolved": taskUnresolved,
  "task-callback": () => [],
  "task-over": ofTask(droppedTask),
  "domain-expired": (_state, { name }) => [{ kind: "domain", key: name, record: undefined }],
  "cell-gone": (_state, { name }) => [{ kind: "cell", key: name, record: undefined }],
};

const doneReply = ({ rule, name }: Repair): RepairReply =>
  rule === "task-callback" ? { outcome: "done", callback: asTaskGuid(name) } : { outcome: "done" };

/** Judges the repair over the truth and carries it out, or says that it is stale or not due yet (rule T1). */
export const applyRepair =
  (repair: Repair): Command<RepairReply> =>
  (state, context) => {
    const { graceUntilMs, leaderSinceMs } = state;
    const verdict = ruleHolds(state.tables, repair, { nowMs: context.nowMs, graceUntilMs, leaderSinceMs });
    if (verdict.holds) return { writes: carry[repair.rule](state, repair, context), reply: doneReply(repair) };
    if (verdict.dueAtMs === undefined) return unchanged({ outcome: "stale" });
    return unchanged({ outcome: "not-due", dueInMs: Math.max(0, verdict.dueAtMs - context.nowMs) });
  };
