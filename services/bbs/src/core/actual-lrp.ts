// The life of one instance's rows: claim, start, crash, fail, remove, retire (bbs-semantics.md 4.3, races.md W1-W4, S1-S3, P4).
import { BbsError } from "@muster/shared/errors";
import {
  type ActualLRP,
  type ActualLRPInstanceKey,
  type ActualLRPKey,
  type ActualLRPNetInfo,
  drop,
  type InstanceRows,
  mayMove,
  type ProcessGuid,
  put,
  sameInstance,
  type Write,
} from "@muster/shared/model";
import { domainFresh, immediateRestarts, isOutdated, isWanted, nextCrashCount } from "@muster/shared/rules";
import {
  type Command,
  type CoreState,
  changedRow,
  type Decision,
  type DecisionContext,
  newUnclaimedRow,
  unchanged,
  unclaimedRow,
} from "./decision.js";
import { truncateReason } from "./validation/index.js";

const ok: Decision<void> = unchanged(undefined);
const done = (...writes: Write[]): Decision<void> => ({ writes, reply: undefined });

const rowsOf = (state: CoreState, processGuid: ProcessGuid, index: number): InstanceRows => state.tables.rows(processGuid, index);

const wanted = (state: CoreState, processGuid: ProcessGuid, index: number): boolean =>
  isWanted(state.tables, state.tables.desiredLRP(processGuid), index);

export interface ClaimRequest {
  readonly processGuid: ProcessGuid;
  readonly index: number;
  readonly instanceKey: ActualLRPInstanceKey;
}

/** @throws BbsError ResourceNotFound, ActualLRPCannotBeClaimed */
export const claimActualLRP =
  ({ processGuid, index, instanceKey }: ClaimRequest): Command<void> =>
  (state, context) => {
    const { ORDINARY: row, SUSPECT: suspect, EVACUATING: evacuating } = rowsOf(state, processGuid, index);
    // A late word of an instance that has another row by now must not take the ordinary one too.
    if (sameInstance(suspect?.instanceKey, instanceKey) || sameInstance(evacuating?.instanceKey, instanceKey)) return ok;
    if (row === undefined) throw new BbsError("ResourceNotFound");
    if (!wanted(state, processGuid, index) || !mayMove(row.state, "CLAIMED", row.instanceKey, instanceKey)) {
      throw new BbsError("ActualLRPCannotBeClaimed", undefined, { state: row.state });
    }
    if (row.state === "CLAIMED") return ok;
    return done(
      put("actualLRP", changedRow(row, { state: "CLAIMED", instanceKey, netInfo: undefined, placementError: "" }, context)),
    );
  };

export interface StartRequest {
  readonly key: ActualLRPKey;
  readonly instanceKey: ActualLRPInstanceKey;
  readonly netInfo: ActualLRPNetInfo;
  readonly internalRoutes: readonly string[];
  readonly metricTags: ReadonlyMap<string, string>;
  readonly routable: boolean;
  readonly availabilityZone: string;
}

/** @throws BbsError ActualLRPCannotBeStarted */
export const startActualLRP =
  (request: StartRequest): Command<void> =>
  (state, context) => {
    const { key, instanceKey } = request;
    const { ORDINARY: row, SUSPECT: suspect, EVACUATING: evacuating } = rowsOf(state, key.processGuid, key.index);
    // The API never rehabilitates a suspect (invariant I26), and an evacuating row's own start says nothing new (rule E1).
    if (sameInstance(suspect?.instanceKey, instanceKey) || sameInstance(evacuating?.instanceKey, instanceKey)) return ok;
    const started = row === undefined ? insertedRunning(state, request, context) : startedRow(state, row, request, context);
    if (started === "refused") throw new BbsError("ActualLRPCannotBeStarted", undefined, { state: row?.state });
    // A marked copy waits for its container to be gone (docs/decisions/0005): its row is all that remembers the stop.
    const cleanup = [suspect, evacuating].flatMap((other) =>
      other === undefined || other.stopMarked ? [] : [drop("actualLRP", other)],
    );
    return done(...(started === "unchanged" ? [] : [put("actualLRP", started)]), ...cleanup);
  };

/** What a row says of an instance that runs as `request` tells. */
export const runningFields = (request: StartRequest): Partial<ActualLRP> => ({
  state: "RUNNING",
  instanceKey: request.instanceKey,
  netInfo: request.netInfo,
  internalRoutes: request.internalRoutes,
  metricTags: request.metricTags,
  routable: request.routable,
  availabilityZone: request.availabilityZone,
  placementError: "",
});

/** W2: a start without a row inserts one only where it is wanted, or where nobody can say. */
function insertedRunning(state: CoreState, request: StartRequest, context: DecisionContext): ActualLRP | "refused" {
  const { key } = request;
  const allowed = wanted(state, key.processGuid, key.index) || !domainFresh(state.tables, key.domain, context.nowMs);
  return allowed ? { ...newUnclaimedRow(key, context), ...runningFields(request) } : "refused";
}

function startedRow(
  state: CoreState,
  row: ActualLRP,
  request: StartRequest,
  context: DecisionContext,
): ActualLRP | "refused" | "unchanged" {
  if (row.domain !== request.key.domain) return "refused";
  const same = sameInstance(row.instanceKey, request.instanceKey);
  if (row.state === "RUNNING" && same) return restartedRow(state, row, request, context);
  if (!wanted(state, row.processGuid, row.index)) return "refused";
  if (!mayMove(row.state, "RUNNING", row.instanceKey, request.instanceKey)) return "refused";
  // A mark names an instance (rule S1): another instance that wins over a CLAIMED one takes no mark with it.
  const started = changedRow(row, { ...runningFields(request), stopMarked: same && row.stopMarked }, context);
  return { ...started, updateMarked: same && stillOutdated(state, started) };
}

/** A running instance says again what it is. The update mark is Muster's own: taken off, it moves neither tag nor `since`. */
function restartedRow(
  state: CoreState,
  row: ActualLRP,
  request: StartRequest,
  context: DecisionContext,
): ActualLRP | "unchanged" {
  const repeated = sameRunning(row, request);
  const started = repeated ? row : changedRow(row, runningFields(request), context);
  const updateMarked = stillOutdated(state, started);
  return repeated && updateMarked === row.updateMarked ? "unchanged" : { ...started, updateMarked };
}

/** Whether an update mark stays: until the instance reports the routes and tags that its DesiredLRP resolves to. */
function stillOutdated(state: CoreState, row: ActualLRP): boolean {
  const desired = state.tables.desiredLRP(row.processGuid);
  return row.updateMarked && desired !== undefined && isOutdated(desired, row);
}

const sameMap = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);

const sameList = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((item, at) => item === b[at]);

function sameNetInfo(a: ActualLRPNetInfo | undefined, b: ActualLRPNetInfo): boolean {
  if (a === undefined || a.address !== b.address || a.instanceAddress !== b.instanceAddress) return false;
  if (a.instanceIpv6Address !== b.instanceIpv6Address || a.preferredAddress !== b.preferredAddress) return false;
  return (
    a.ports.length === b.ports.length &&
    a.ports.every((port, at) => {
      const other = b.ports[at];
      return (
        port.containerPort === other?.containerPort &&
        port.hostPort === other.hostPort &&
        port.containerTlsProxyPort === other.containerTlsProxyPort &&
        port.hostTlsProxyPort === other.hostTlsProxyPort
      );
    })
  );
}

/** Whether a report repeats what the row says: a heartbeat, no write, no event. */
export const sameRunning = (row: ActualLRP, request: StartRequest): boolean =>
  row.routable === request.routable &&
  row.availabilityZone === request.availabilityZone &&
  sameNetInfo(row.netInfo, request.netInfo) &&
  sameList(row.internalRoutes, request.internalRoutes) &&
  sameMap(row.metricTags, request.metricTags);

export interface CrashRequest {
  readonly key: ActualLRPKey;
  readonly instanceKey: ActualLRPInstanceKey;
  readonly reason: string;
}

/** @throws BbsError ResourceNotFound, ActualLRPCannotBeCrashed */
export const crashActualLRP =
  ({ key, instanceKey, reason }: CrashRequest): Command<void> =>
  (state, context) => {
    const { ORDINARY: row, SUSPECT: suspect } = rowsOf(state, key.processGuid, key.index);
    if (suspect !== undefined && sameInstance(suspect.instanceKey, instanceKey)) return done(drop("actualLRP", suspect));
    if (row === undefined) throw new BbsError("ResourceNotFound");
    if (!sameInstance(row.instanceKey, instanceKey))
      throw new BbsError("ActualLRPCannotBeCrashed", undefined, { state: row.state });
    return { ...done(crashed(row, reason, context)), crashed: true };
  };

/** S2: a marked row does not crash, it is gone. */
export function crashed(row: ActualLRP, reason: string, context: DecisionContext): Write {
  if (row.stopMarked) return drop("actualLRP", row);
  const crashCount = nextCrashCount(row, context.nowMs);
  return put("actualLRP", {
    ...unclaimedRow(row, context),
    state: crashCount < immediateRestarts ? "UNCLAIMED" : "CRASHED",
    crashCount,
    crashReason: truncateReason(reason),
  });
}

export interface FailRequest {
  readonly key: Pick<ActualLRPKey, "processGuid" | "index">;
  readonly message: string;
  /** P4: the modification tag that was judged (`epoch.index`); the failure of an older one changes nothing. */
  readonly auctionId: string | undefined;
}

export const auctionIdOf = (row: ActualLRP): string => `${row.modificationTag.epoch}.${row.modificationTag.index}`;

/** @throws BbsError ActualLRPCannotBeFailed */
export const failActualLRP =
  ({ key, message, auctionId }: FailRequest): Command<void> =>
  (state, context) => {
    const { ORDINARY: row } = rowsOf(state, key.processGuid, key.index);
    if (row === undefined || (auctionId !== undefined && auctionId !== auctionIdOf(row))) return ok;
    if (row.state !== "UNCLAIMED") throw new BbsError("ActualLRPCannotBeFailed", undefined, { state: row.state });
    return done(put("actualLRP", changedRow(row, { placementError: truncateReason(message) }, context)));
  };

/** W4: what a removal leaves: a fresh UNCLAIMED row where the index is still wanted and was not marked. */
export function removed(state: CoreState, row: ActualLRP, context: DecisionContext): Write {
  const replace = row.presence === "ORDINARY" && !row.stopMarked && wanted(state, row.processGuid, row.index);
  return replace ? put("actualLRP", newUnclaimedRow(row, context)) : drop("actualLRP", row);
}

export interface RemoveRequest {
  readonly processGuid: ProcessGuid;
  readonly index: number;
  /** Must match the row's when given. */
  readonly instanceKey: ActualLRPInstanceKey | undefined;
}

/** Diego's RemoveActualLRP: the ordinary row only. @throws BbsError ResourceNotFound */
export const removeActualLRP =
  ({ processGuid, index, instanceKey }: RemoveRequest): Command<void> =>
  (state, context) => {
    const { ORDINARY: row } = rowsOf(state, processGuid, index);
    if (row === undefined || (instanceKey !== undefined && !sameInstance(row.instanceKey, instanceKey))) {
      throw new BbsError("ResourceNotFound");
    }
    return done(removed(state, row, context));
  };

/** A cell's word that this instance's container is gone: whatever row holds the instance. @throws BbsError ResourceNotFound */
export const reportRemoved =
  ({ processGuid, index, instanceKey }: RemoveRequest & { readonly instanceKey: ActualLRPInstanceKey }): Command<void> =>
  (state, context) => {
    const rows = rowsOf(state, processGuid, index);
    const writes = [rows.ORDINARY, rows.SUSPECT, rows.EVACUATING].flatMap((row) =>
      row !== undefined && sameInstance(row.instanceKey, instanceKey) ? [removed(state, row, context)] : [],
    );
    if (writes.length === 0) throw new BbsError("ResourceNotFound");
    return done(...writes);
  };

/** S1: what "stop this row" is. `undefined` when it is marked already. */
export function stopped(row: ActualLRP): Write | undefined {
  if (row.instanceKey === undefined) return drop("actualLRP", row);
  if (row.stopMarked) return undefined;
  // The mark is Muster's own: neither tag nor `since` tells of it, since Diego's clients see no change.
  return put("actualLRP", { ...row, stopMarked: true });
}

/** Restarts one index: the desired number stays, so a fresh row follows. @throws BbsError ResourceNotFound */
export const retireActualLRP =
  ({ processGuid, index }: Pick<ActualLRPKey, "processGuid" | "index">): Command<void> =>
  (state, context) => {
    const { ORDINARY: row } = rowsOf(state, processGuid, index);
    if (row === undefined) throw new BbsError("ResourceNotFound");
    if (row.instanceKey === undefined) return done(removed(state, row, context));
    const write = stopped(row);
    return write === undefined ? ok : done(write);
  };
