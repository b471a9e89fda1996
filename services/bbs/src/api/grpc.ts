// The gRPC door: every rpc of the BBS bound to its call, with the caller's role checked first.
import type { Server, ServerDuplexStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import { LocketService } from "@muster/proto/models/locket";
import { BackupServiceService } from "@muster/proto/muster/v1/backup";
import { BBSServiceService } from "@muster/proto/muster/v1/bbs";
import { FeatureFlagServiceService } from "@muster/proto/muster/v1/feature_flags";
import { type HistoryRequest, HistoryServiceService } from "@muster/proto/muster/v1/history";
import { RepairServiceService } from "@muster/proto/muster/v1/repair";
import { type ReportRequest, type ReportResponse, ReportServiceService } from "@muster/proto/muster/v1/report";
import type { WatchRequest } from "@muster/proto/muster/v1/watch";
import { BbsError } from "@muster/shared/errors";
import { asCellId } from "@muster/shared/model";
import {
  type CallInfo,
  peerOfCall,
  type ServeOptions,
  streamHandler,
  toServiceError,
  Undecodable,
  unaryHandler,
} from "@muster/shared/rpc";
import type { Peer } from "@muster/shared/tls";
import type { ActiveBbs } from "../active/active-bbs.js";
import type { Audience } from "../feed/feed.js";
import { sharedWatchService, watch } from "../feed/watch.js";
import type { CallContext } from "./calls.js";
import { Calls } from "./calls.js";
import { chunked, type ListRoom } from "./chunks.js";
import { OwnCalls } from "./own-calls.js";
import { authorize, authorizeRequest, type CallName } from "./roles.js";

const contextOf = (info: CallInfo): CallContext => ({
  peer: info.peer,
  traceId: info.traceId,
  auctionId: info.metadata("muster-auction-id"),
});

type Definition = {
  readonly [method: string]: { readonly path: string; readonly requestStream: boolean; readonly responseStream: boolean };
};

/** The rpc's own name, as the proto file and the role table have it. */
const rpcName = (path: string): CallName => path.slice(path.lastIndexOf("/") + 1) as CallName;

type Unary = (request: never, context: CallContext) => Promise<unknown>;
type Streaming = (request: never, info: CallInfo) => AsyncIterable<unknown>;

/** Binds handlers by rpc name to a generated service definition; a missing or surplus name is a mistake of this file. */
function implement(
  definition: Definition,
  options: ServeOptions,
  unaries: Readonly<Record<string, Unary>>,
  streams: Readonly<Record<string, Streaming>> = {},
): UntypedServiceImplementation {
  const implementation: UntypedServiceImplementation = {};
  for (const [method, { path }] of Object.entries(definition)) {
    const name = rpcName(path);
    const unary = unaries[name];
    const streaming = streams[name];
    if (unary !== undefined) {
      implementation[method] = unaryHandler(name, options, async (request, info) => {
        authorizeRequest(info.peer, name, request);
        return unary(request as never, contextOf(info));
      });
    } else if (streaming !== undefined) {
      implementation[method] = streamHandler(name, options, (request, info) => {
        authorizeRequest(info.peer, name, request);
        return streaming(request as never, info);
      });
    } else throw new BbsError("Unimplemented", `rpc ${name} has no handler`);
  }
  return implementation;
}

function bbsService(calls: Calls, room: ListRoom, options: ServeOptions): UntypedServiceImplementation {
  const unaries: Record<string, Unary> = {
    Ping: () => calls.ping(),
    Domains: () => calls.domains(),
    UpsertDomain: (request) => calls.upsertDomain(request),
    ActualLRPGroupByProcessGuidAndIndex: (request) => calls.actualLRPGroupByProcessGuidAndIndex(request),
    ClaimActualLRP: (request) => calls.claimActualLRP(request),
    StartActualLRP: (request) => calls.startActualLRP(request),
    CrashActualLRP: (request) => calls.crashActualLRP(request),
    FailActualLRP: (request, context) => calls.failActualLRP(request, context),
    RemoveActualLRP: (request) => calls.removeActualLRP(request),
    RetireActualLRP: (request, context) => calls.retireActualLRP(request, context),
    RemoveEvacuatingActualLRP: (request) => calls.removeEvacuatingActualLRP(request),
    EvacuateClaimedActualLRP: (request) => calls.evacuateClaimedActualLRP(request),
    EvacuateRunningActualLRP: (request) => calls.evacuateRunningActualLRP(request),
    EvacuateStoppedActualLRP: (request) => calls.evacuateStoppedActualLRP(request),
    EvacuateCrashedActualLRP: (request) => calls.evacuateCrashedActualLRP(request),
    TaskByGuid: (request, context) => calls.taskByGuid(request, context),
    DesireTask: (request) => calls.desireTask(request),
    StartTask: (request) => calls.startTask(request),
    CancelTask: (request) => calls.cancelTask(request),
    FailTask: (request) => calls.failTask(request),
    RejectTask: (request, context) => calls.rejectTask(request, context),
    CompleteTask: (request) => calls.completeTask(request),
    ResolvingTask: (request) => calls.resolvingTask(request),
    DeleteTask: (request) => calls.deleteTask(request),
    DesiredLRPByProcessGuid: (request, context) => calls.desiredLRPByProcessGuid(request, context),
    DesiredLRPSchedulingInfoByProcessGuid: (request) => calls.desiredLRPSchedulingInfoByProcessGuid(request),
    DesireDesiredLRP: (request, context) => calls.desireLRP(request, context),
    UpdateDesiredLRP: (request, context) => calls.updateDesiredLRP(request, context),
    RemoveDesiredLRP: (request, context) => calls.removeDesiredLRP(request, context),
    Cells: () => calls.cells(),
  };
  /** A call whose answer is a list. */
  const list =
    <Request, Item>(read: (request: Request) => Promise<Iterable<Item>>, message: (items: Item[]) => object): Streaming =>
    (request, info) =>
      chunked(read(request), message, room, { signal: info.signal, cut: (error) => info.cut(error) });
  const none = { error: undefined };
  const streams: Record<string, Streaming> = {
    ActualLRPs: list(calls.actualLRPs.bind(calls), (actualLrps) => ({ ...none, actualLrps })),
    ActualLRPsByProcessGuids: list(calls.actualLRPsByProcessGuids.bind(calls), (actualLrps) => ({ ...none, actualLrps })),
    ActualLRPGroups: list(calls.actualLRPGroups.bind(calls), (actualLrpGroups) => ({ ...none, actualLrpGroups })),
    ActualLRPGroupsByProcessGuid: list(calls.actualLRPGroupsByProcessGuid.bind(calls), (actualLrpGroups) => ({
      ...none,
      actualLrpGroups,
    })),
    DesiredLRPs: list(calls.desiredLRPs.bind(calls), (desiredLrps) => ({ ...none, desiredLrps })),
    DesiredLRPSchedulingInfos: list(calls.desiredLRPSchedulingInfos.bind(calls), (desiredLrpSchedulingInfos) => ({
      ...none,
      desiredLrpSchedulingInfos,
    })),
    DesiredLRPRoutingInfos: list(calls.desiredLRPRoutingInfos.bind(calls), (desiredLrps) => ({ ...none, desiredLrps })),
    Tasks: list(calls.tasks.bind(calls), (tasks) => ({ ...none, tasks })),
  };
  return implement(BBSServiceService, options, unaries, streams);
}

function locketService(own: OwnCalls, options: ServeOptions): UntypedServiceImplementation {
  type R = { resource: Parameters<OwnCalls["lock"]>[0] };
  return implement(LocketService, options, {
    Lock: async (request: R & { ttlInSeconds: bigint }) => {
      await own.lock(request.resource, request.ttlInSeconds);
      return {};
    },
    Release: async (request: R) => {
      await own.release(request.resource);
      return {};
    },
    Fetch: async (request: { key: string }) => ({ resource: await own.fetch(request.key) }),
    FetchAll: async (request: { typeCode: 0 | 1 | 2 }) => ({ resources: await own.fetchAll(request.typeCode) }),
  });
}

function flagService(own: OwnCalls, options: ServeOptions): UntypedServiceImplementation {
  return implement(FeatureFlagServiceService, options, {
    ListFeatureFlags: async () => ({ featureFlags: await own.listFeatureFlags() }),
    SetFeatureFlag: async (request: { name: string; enabled: boolean }) => ({ featureFlag: await own.setFeatureFlag(request) }),
  });
}

function repairService(own: OwnCalls, options: ServeOptions): UntypedServiceImplementation {
  return implement(RepairServiceService, options, {
    Repair: async (request: { items: Parameters<OwnCalls["repair"]>[0] }) => ({ results: await own.repair(request.items) }),
    ForgetCell: async (request: { cellId: string }) => {
      await own.forgetCell(request.cellId);
      return {};
    },
  });
}

const backupService = (own: OwnCalls, options: ServeOptions): UntypedServiceImplementation =>
  implement(BackupServiceService, options, {}, { Backup: () => own.backup() });

const historyService = (own: OwnCalls, options: ServeOptions): UntypedServiceImplementation =>
  implement(HistoryServiceService, options, { History: (request: HistoryRequest) => own.history(request) });

/** People, and the controller that acts for them, may be many. */
const audienceOf = ({ role }: Peer): Audience => (role === "operator" || role === "controller" ? "follower" : "scheduler");

function watchService(active: ActiveBbs, options: ServeOptions): UntypedServiceImplementation {
  return implement(
    sharedWatchService,
    options,
    {},
    {
      Watch: (request: WatchRequest, info) =>
        watch(active, request, { audience: audienceOf(info.peer), signal: info.signal, cut: (error) => info.cut(error) }),
    },
  );
}

/** A rep that takes none of its replies is cut: each may answer thousands of items. */
const maxUnreadReplies = 1_000;

/** One bidirectional stream is one session; its messages are taken in order, and reading pauses while too much is undecided. */
function reportHandler(active: ActiveBbs, { elapsedMs, observe }: ServeOptions) {
  return (call: ServerDuplexStream<ReportRequest, ReportResponse>): void => {
    const startedMs = elapsedMs();
    let over = false;
    const finish = (error: BbsError | undefined): void => {
      if (over) return;
      over = true;
      observe?.("Report", error === undefined ? "ok" : error.code, elapsedMs() - startedMs);
      if (error === undefined) call.end();
      else call.emit("error", toServiceError(error));
    };
    let peer: Peer;
    try {
      peer = peerOfCall(call);
      authorize(peer, "Report");
    } catch (error) {
      finish(error instanceof BbsError ? error : new BbsError("UnknownError", undefined, {}, error));
      return;
    }
    const certifiedCell = peer.role === "cell" ? asCellId(peer.cellId) : undefined;
    const session = active.openSession(
      certifiedCell,
      (response) => {
        if (over) return;
        call.write(response);
        if (call.writableLength > maxUnreadReplies) session.cut("the rep does not read its replies");
      },
      (end) => finish(end.error),
    );
    call.on("data", (request: ReportRequest) => {
      if (request instanceof Undecodable) {
        session.cut("the rep sent what cannot be decoded", request.error);
        return;
      }
      const taken = session.receive(request);
      if (session.full) {
        call.pause();
        void taken.finally(() => call.resume());
      }
    });
    call.on("end", () => session.cut("the rep ended the stream"));
    call.on("cancelled", () => session.cut("the rep went away"));
    call.on("error", () => session.cut("the stream broke"));
  };
}

/** Adds everything the active BBS serves to a gRPC server. */
export function registerServices(server: Server, active: ActiveBbs, options: ServeOptions): void {
  const calls = new Calls(active);
  const own = new OwnCalls(active);
  server.addService(BBSServiceService, bbsService(calls, active, options));
  server.addService(LocketService, locketService(own, options));
  server.addService(FeatureFlagServiceService, flagService(own, options));
  server.addService(RepairServiceService, repairService(own, options));
  server.addService(BackupServiceService, backupService(own, options));
  server.addService(HistoryServiceService, historyService(own, options));
  server.addService(sharedWatchService, watchService(active, options));
  server.addService(ReportServiceService, { report: reportHandler(active, options) });
}
