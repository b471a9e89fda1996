// Evacuation: what becomes of the rows of one key when a cell drains, and whether the cell keeps the container. Each call is one
// decision (bbs-semantics.md 5, convergence.md 5; races.md W1, S2, E1, E3).
import { BbsError } from "@muster/shared/errors";
import {
  type ActualLRP,
  type ActualLRPInstanceKey,
  type ActualLRPKey,
  drop,
  type InstanceRows,
  put,
  sameInstance,
  type Write,
} from "@muster/shared/model";
import { isWanted, wantedInstances } from "@muster/shared/rules";
import { crashed, removed, runningFields, type StartRequest, sameRunning } from "./actual-lrp.js";
import {
  type Command,
  type CoreState,
  changedRow,
  type Decision,
  type DecisionContext,
  newUnclaimedRow,
  unclaimedRow,
} from "./decision.js";

/** Diego's answer carries both: a refusal still says whether the container stays. */
export interface EvacuationReply {
  readonly keepContainer: boolean;
  readonly refusal?: BbsError;
}

export interface EvacuateRequest {
  readonly key: ActualLRPKey;
  readonly instanceKey: ActualLRPInstanceKey;
}

const keep = (...writes: Write[]): Decision<EvacuationReply> => ({ writes, reply: { keepContainer: true } });
const letGo = (...writes: Write[]): Decision<EvacuationReply> => ({ writes, reply: { keepContainer: false } });
const notFound = (keepContainer: boolean): Decision<EvacuationReply> => ({
  writes: [],
  reply: { keepContainer, refusal: new BbsError("ResourceNotFound") },
});

/** The row that holds the caller's instance, whatever its presence. */
const holderOf = (rows: InstanceRows, instanceKey: ActualLRPInstanceKey): ActualLRP | undefined =>
  [rows.ORDINARY, rows.EVACUATING, rows.SUSPECT].find((row) => sameInstance(row?.instanceKey, instanceKey));

const wanted = (state: CoreState, { processGuid, index }: ActualLRPKey): boolean =>
  isWanted(state.tables, state.tables.desiredLRP(processGuid), index);

/** @throws BbsError ResourceNotFound unless an Evacuating row holds the instance. */
export const removeEvacuatingActualLRP =
  ({ key, instanceKey }: EvacuateRequest): Command<void> =>
  (state) => {
    const { EVACUATING: row } = state.tables.rows(key.processGuid, key.index);
    if (row === undefined || !sameInstance(row.instanceKey, instanceKey)) throw new BbsError("ResourceNotFound");
    return { writes: [drop("actualLRP", row)], reply: undefined };
  };

/** A container that had not started yet: its row asks for another place at once, and it goes. */
export const evacuateClaimedActualLRP =
  (request: EvacuateRequest): Command<EvacuationReply> =>
  (state, context) =>
    evacuated(state, request, (row) =>
      wanted(state, row) ? put("actualLRP", unclaimedRow(row, context)) : drop("actualLRP", row),
    );

/** A container that ended by itself: the crash counts, and below the third restart the row asks for a place at once. */
export const evacuateCrashedActualLRP =
  (request: EvacuateRequest & { readonly reason: string }): Command<EvacuationReply> =>
  (state, context) =>
    evacuated(state, request, (row) => crashed(row, request.reason, context));

/** A container that was stopped: as a removal, a wanted index is left UNCLAIMED (rule W4). */
export const evacuateStoppedActualLRP =
  (request: EvacuateRequest): Command<EvacuationReply> =>
  (state, context) =>
    evacuated(state, request, (row) => removed(state, row, context));

/** What the three calls about a container that goes have in common. */
function evacuated(
  state: CoreState,
  { key, instanceKey }: EvacuateRequest,
  ordinary: (row: ActualLRP) => Write,
): Decision<EvacuationReply> {
  const row = holderOf(state.tables.rows(key.processGuid, key.index), instanceKey);
  if (row === undefined) return notFound(false);
  return letGo(row.presence === "ORDINARY" && !row.stopMarked ? ordinary(row) : drop("actualLRP", row));
}

export interface EvacuateRunningRequest extends StartRequest {
  /** False: the caller's form of the call has neither internal routes nor metric tags; those on record stay. */
  readonly knowsRoutes?: boolean;
}

const routesOf = ({ internalRoutes, metricTags }: ActualLRP): Pick<StartRequest, "internalRoutes" | "metricTags"> => ({
  internalRoutes,
  metricTags,
});

/**
 * A running container on a draining cell. It stays while no replacement runs (ROLLING), or until its turn has come (RECREATE: one
 * instance of the process at a time, never two copies).
 */
export const evacuateRunningActualLRP =
  (told: EvacuateRunningRequest): Command<EvacuationReply> =>
  (state, context) => {
    const { key, instanceKey } = told;
    const rows = state.tables.rows(key.processGuid, key.index);
    const { ORDINARY: ordinary, EVACUATING: evacuating } = rows;
    const holder = holderOf(rows, instanceKey);
    const request = told.knowsRoutes === false && holder !== undefined ? { ...told, ...routesOf(holder) } : told;
    // Its row goes with the container, and nothing would take an unmarked Suspect's away afterwards.
    const gone = letGo(...(holder === undefined ? [] : [drop("actualLRP", holder)]));
    const desired = state.tables.desiredLRP(key.processGuid);
    if (holder?.stopMarked === true || desired === undefined || !wanted(state, key)) return gone;
    // Wanted again since its row went, and rule missing has yet to make another: the copy is all that runs (invariant I29).
    if (ordinary === undefined)
      return holder !== undefined && holder === evacuating && desired.updateStrategy === "ROLLING" ? keep() : gone;
    const replaced = ordinary !== holder && (ordinary.state === "RUNNING" || ordinary.state === "CRASHED");
    if (replaced) return gone;
    if (desired.updateStrategy === "ROLLING") return rolling(rows, ordinary, holder, request, context);
    if (holder !== ordinary) return gone;
    return othersRun(state, ordinary) ? letGo(put("actualLRP", unclaimedRow(ordinary, context))) : keep();
  };

/** ROLLING: the copy here becomes, or already is, the key's one Evacuating row. */
function rolling(
  rows: InstanceRows,
  ordinary: ActualLRP,
  holder: ActualLRP | undefined,
  request: StartRequest,
  context: DecisionContext,
): Decision<EvacuationReply> {
  const { EVACUATING: evacuating } = rows;
  if (holder === undefined) {
    return evacuating === undefined ? keep(put("actualLRP", newEvacuatingRow(ordinary, request, context))) : letGo();
  }
  if (holder === evacuating) {
    if (sameRunning(holder, request)) return keep();
    return keep(put("actualLRP", changedRow(holder, runningFields(request), context)));
  }
  // Rule E1: the copy's row and the request for a replacement are one command. Another cell's Evacuating row gives way.
  const copy = put("actualLRP", newEvacuatingRow(ordinary, request, context));
  return keep(copy, holder === ordinary ? put("actualLRP", unclaimedRow(ordinary, context)) : drop("actualLRP", holder));
}

const newEvacuatingRow = (key: ActualLRPKey, request: StartRequest, context: DecisionContext): ActualLRP => ({
  ...newUnclaimedRow(key, context),
  ...runningFields(request),
  presence: "EVACUATING",
});

/** RECREATE: whether every other wanted index runs; this one does by its cell's word, also while its row is still CLAIMED. */
function othersRun(state: CoreState, row: ActualLRP): boolean {
  const desired = state.tables.desiredLRP(row.processGuid);
  const wantedCount = desired === undefined ? 0 : wantedInstances(state.tables, desired);
  // Asked for every container of a cell each 10 s, and mostly answered by the count: only rows that are not wanted make the walk needed.
  if (state.tables.runningOfProcess(row.processGuid) - Number(row.state === "RUNNING") < wantedCount - 1) return false;
  for (let index = 0; index < wantedCount; index += 1) {
    if (index !== row.index && state.tables.rows(row.processGuid, index).ORDINARY?.state !== "RUNNING") return false;
  }
  return true;
}

/**
 * E3: takes an evacuation back for one key. Unless a replacement runs already, or nobody wants the index any more, the Evacuating row
 * becomes the Ordinary one again, with its own tag and `since`. A container without a row is not decided here: its next report is.
 */
export const cancelEvacuation =
  ({ key, instanceKey }: EvacuateRequest): Command<EvacuationReply> =>
  (state) => {
    const rows = state.tables.rows(key.processGuid, key.index);
    const { ORDINARY: ordinary, EVACUATING: evacuating, SUSPECT: suspect } = rows;
    const holder = holderOf(rows, instanceKey);
    if (holder === undefined) return notFound(true);
    if (holder !== evacuating) return keep();
    const stays = ordinary?.state !== "RUNNING" && !holder.stopMarked && wanted(state, key);
    if (!stays) return letGo(drop("actualLRP", holder));
    // As after a start, no other copy stays but one that waits to be stopped.
    const others = suspect === undefined || suspect.stopMarked ? [] : [drop("actualLRP", suspect)];
    return keep(drop("actualLRP", holder), put("actualLRP", { ...holder, presence: "ORDINARY" }), ...others);
  };
