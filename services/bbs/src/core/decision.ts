// What a command decides: writes and a reply, or a typed refusal (a BbsError). Deciding touches nothing.
import type { SealedBytes } from "@muster/shared/model";
import { type ActualLRP, type ActualLRPKey, type EpochMs, epochMsToNs, type Tables, type Write } from "@muster/shared/model";

/** Everything a decision may read besides the request. */
export interface CoreState {
  readonly tables: Tables;
  /** Until then the absence of a cell's presence means nothing (rule C1). Cluster time. */
  readonly graceUntilMs: EpochMs;
  /** When this leader began: ages of tasks count from then at the earliest (rule T1). Cluster time. */
  readonly leaderSinceMs: EpochMs;
}

/** Time, chance and the keys to sealed records come in through the door. */
export interface DecisionContext {
  /** Cluster time. */
  readonly nowMs: EpochMs;
  /** Sequence of the commit that gathers now. A decision that does not fit into it any more is part of the next. */
  readonly sequence: bigint;
  readonly guid: () => string;
  readonly open: (sealed: SealedBytes) => Uint8Array;
  readonly seal: (plain: Uint8Array) => SealedBytes;
}

export interface Decision<Reply> {
  /** At most `maxCommandRecords`. */
  readonly writes: readonly Write[];
  readonly reply: Reply;
  /** Set by a crash report alone: Diego's event streams tell a crash also where the rows show only a new UNCLAIMED one. */
  readonly crashed?: boolean;
}

/** @throws BbsError when the command is refused. */
export type Command<Reply> = (state: CoreState, context: DecisionContext) => Decision<Reply>;

/** Design section 3: no command is split, so none writes more. What is left becomes a continuation (rule S4). */
export const maxCommandRecords = 100;

export const unchanged = <Reply>(reply: Reply): Decision<Reply> => ({ writes: [], reply });

/** A new row for an index that wants an instance. */
export const newUnclaimedRow = (key: ActualLRPKey, context: DecisionContext): ActualLRP => ({
  processGuid: key.processGuid,
  index: key.index,
  domain: key.domain,
  presence: "ORDINARY",
  state: "UNCLAIMED",
  instanceKey: undefined,
  netInfo: undefined,
  crashCount: 0,
  crashReason: "",
  placementError: "",
  sinceNs: epochMsToNs(context.nowMs),
  modificationTag: { epoch: context.guid(), index: 0 },
  internalRoutes: [],
  metricTags: new Map(),
  routable: false,
  availabilityZone: "",
  stopMarked: false,
  updateMarked: false,
});

/** The row with `fields` changed: `since` is now and the tag moves on by one. */
export const changedRow = (row: ActualLRP, fields: Partial<ActualLRP>, context: DecisionContext): ActualLRP => ({
  ...row,
  ...fields,
  sinceNs: epochMsToNs(context.nowMs),
  modificationTag: { epoch: row.modificationTag.epoch, index: row.modificationTag.index + 1 },
});

/** The row without its instance, waiting for a place again; crash count and reason stay. */
export const unclaimedRow = (row: ActualLRP, context: DecisionContext): ActualLRP =>
  changedRow(
    row,
    { state: "UNCLAIMED", instanceKey: undefined, netInfo: undefined, stopMarked: false, updateMarked: false },
    context,
  );
