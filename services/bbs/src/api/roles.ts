// Which role may make which call (design.md section 2), as data: the servers ask it, the tests walk it, the docs print it.
import type { ActualLRPInstanceKey } from "@muster/proto/models/actual_lrp";
import type { LockRequest } from "@muster/proto/models/locket";
import type { CompleteTaskRequest, StartTaskRequest } from "@muster/proto/models/task_requests";
import type { ReportRequest } from "@muster/proto/muster/v1/report";
import { type WatchRequest, RecordKind as WireKind } from "@muster/proto/muster/v1/watch";
import { BbsError } from "@muster/shared/errors";
import type { Peer } from "@muster/shared/tls";

export type PeerRole = Peer["role"];

interface CallRule {
  /** May make the call whatever it names. */
  readonly any: readonly PeerRole[];
  /** May make the call in its own name only: a cell for its cell id, auctioneer and converger for the lock of that name. */
  readonly own: readonly PeerRole[];
  /** The name in a request that `own` is compared with. */
  readonly nameIn: (request: never) => string | undefined;
  /** What else a request in one's own name must keep to; absent: nothing. */
  readonly within?: (request: never) => boolean;
}

const kindsForCells: ReadonlySet<WireKind> = new Set([WireKind.RECORD_KIND_ACTUAL_LRP, WireKind.RECORD_KIND_TASK]);

const nobodyNamed = (): undefined => undefined;

const open = (...roles: readonly PeerRole[]): CallRule => ({ any: roles, own: [], nameIn: nobodyNamed });

interface NamesInstance {
  readonly actualLrpInstanceKey: ActualLRPInstanceKey | undefined;
}

/** A cell about an instance of its own. A removal without instance key removes any row, so no cell may ask for it. */
const ofOwnInstance: CallRule = {
  any: [],
  own: ["cell"],
  nameIn: (request: NamesInstance) => request.actualLrpInstanceKey?.cellId,
};

const ofOwnTask: CallRule = {
  any: [],
  own: ["cell"],
  nameIn: (request: StartTaskRequest | CompleteTaskRequest) => request.cellId,
};

const ofOwnLock: CallRule = {
  any: [],
  own: ["auctioneer", "converger"],
  nameIn: (request: Pick<LockRequest, "resource">) => request.resource?.key,
};

/** People, and the controller that acts for them. */
const owners = open("operator", "controller");

/** Every call of every service of the BBS. The names are unique over all of them. */
export const callRules = {
  Ping: open("operator", "controller", "auctioneer", "converger", "bbs", "cell"),

  Domains: owners,
  UpsertDomain: owners,

  ActualLRPs: owners,
  ActualLRPsByProcessGuids: owners,
  ActualLRPGroups: owners,
  ActualLRPGroupsByProcessGuid: owners,
  ActualLRPGroupByProcessGuidAndIndex: owners,
  ClaimActualLRP: ofOwnInstance,
  StartActualLRP: ofOwnInstance,
  CrashActualLRP: ofOwnInstance,
  RemoveActualLRP: ofOwnInstance,
  FailActualLRP: open("auctioneer"),
  RetireActualLRP: owners,

  RemoveEvacuatingActualLRP: ofOwnInstance,
  EvacuateClaimedActualLRP: ofOwnInstance,
  EvacuateRunningActualLRP: ofOwnInstance,
  EvacuateStoppedActualLRP: ofOwnInstance,
  EvacuateCrashedActualLRP: ofOwnInstance,

  DesiredLRPs: owners,
  // A cell gets run information only for keys it holds; the handler looks, the request does not say.
  DesiredLRPByProcessGuid: open("operator", "controller", "cell"),
  DesiredLRPSchedulingInfos: owners,
  DesiredLRPSchedulingInfoByProcessGuid: owners,
  DesiredLRPRoutingInfos: owners,
  DesireDesiredLRP: owners,
  UpdateDesiredLRP: owners,
  RemoveDesiredLRP: owners,

  Tasks: owners,
  // As DesiredLRPByProcessGuid: for tasks that run on this cell.
  TaskByGuid: open("operator", "controller", "cell"),
  DesireTask: owners,
  StartTask: ofOwnTask,
  CancelTask: owners,
  FailTask: owners,
  RejectTask: open("auctioneer"),
  CompleteTask: ofOwnTask,
  ResolvingTask: owners,
  DeleteTask: owners,

  Cells: open("operator", "controller", "auctioneer"),

  // Diego's event streams, over HTTP alone. They show what the lists show, without its secrets.
  LRPGroupEvents: owners,
  LRPInstanceEvents: owners,
  TaskEvents: owners,

  Watch: {
    any: ["operator", "controller", "auctioneer", "converger"],
    own: ["cell"],
    nameIn: (request: WatchRequest) => request.cellId,
    // A cell sees what it runs, and neither others' apps nor who holds which lock. Naming no kinds asks for these.
    within: (request: WatchRequest) => request.kinds.every((kind) => kindsForCells.has(kind)),
  },
  // The first message of the session names the cell; the session holds every later one to that name.
  Report: {
    any: [],
    own: ["cell"],
    nameIn: ({ message }: ReportRequest) => (message?.$case === "hello" ? message.value.presence?.cellId : undefined),
  },
  // A repair is judged again by the core: one more asker (`muster converge`) can do no harm.
  Repair: open("converger", "operator"),
  ForgetCell: open("operator"),
  // What happened lately, without definitions: as the event streams.
  History: owners,
  // All there is, secrets too, though sealed.
  Backup: open("operator"),

  ListFeatureFlags: owners,
  SetFeatureFlag: open("operator"),

  Lock: ofOwnLock,
  Release: ofOwnLock,
  Fetch: open("operator", "auctioneer", "converger"),
  FetchAll: open("operator"),
} as const satisfies Record<string, CallRule>;

export type CallName = keyof typeof callRules;

const ruleOf = (call: CallName): CallRule => callRules[call];

/**
 * Whether this role may make this call at all. Handlers use `authorizeRequest`; this is for before the request is there (the
 * first message of a stream). @throws BbsError PermissionDenied
 */
export function authorize(peer: Peer, call: CallName): void {
  const { any, own } = ruleOf(call);
  if (!any.includes(peer.role) && !own.includes(peer.role)) throw denied(peer, call);
}

/** Whether this peer may make this very request: its role, and its own name where the rule says so. @throws BbsError PermissionDenied */
export function authorizeRequest(peer: Peer, call: CallName, request: unknown): void {
  authorize(peer, call);
  const { any, nameIn, within } = ruleOf(call);
  if (any.includes(peer.role)) return;
  const named = nameIn(request as never);
  if (named !== ownName(peer)) throw denied(peer, call, named);
  if (within !== undefined && !within(request as never)) throw denied(peer, call);
}

/** The name a peer may act in. */
const ownName = (peer: Peer): string => (peer.role === "cell" ? peer.cellId : peer.role);

function denied(peer: Peer, call: CallName, named?: string): BbsError {
  const facts = { call, role: peer.role, own_name: ownName(peer) };
  if (named === undefined) return new BbsError("PermissionDenied", undefined, facts);
  return new BbsError("PermissionDenied", "this certificate may make this call in its own name only", { ...facts, named });
}
