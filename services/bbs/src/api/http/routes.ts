// Diego's routes (bbs-wire.md A.3), each bound to its call: decode, check the role, call, encode; refusals travel in-band.
import * as actual from "@muster/proto/models/actual_lrp_requests";
import { CellsResponse } from "@muster/proto/models/cells";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import * as desired from "@muster/proto/models/desired_lrp_requests";
import { DomainsResponse, UpsertDomainRequest, UpsertDomainResponse } from "@muster/proto/models/domain";
import type { Error as WireError } from "@muster/proto/models/error";
import * as evacuation from "@muster/proto/models/evacuation";
import { PingResponse } from "@muster/proto/models/ping";
import type { Task } from "@muster/proto/models/task";
import * as task from "@muster/proto/models/task_requests";
import { decodeRequest, type RequestCodec } from "@muster/shared/rpc";
import type { CallContext, Calls } from "../calls.js";
import { desiredLRPToV2, taskToV2, withMetricsGuid } from "../downgrade.js";
import { keepWhenUnreadable } from "../evacuation-answers.js";
import { authorizeRequest, type CallName } from "../roles.js";
import { type Listing, listing } from "./lists.js";

export interface Route {
  readonly call: CallName;
  /** @throws BbsError, to be told by `refuse` */
  readonly handle: (body: Uint8Array, context: CallContext) => Promise<Uint8Array | Listing>;
  /** The response that carries an error. */
  readonly refuse: (error: WireError) => Uint8Array;
}

interface ResponseCodec<Message> {
  encode(message: Message): { finish(): Uint8Array };
  fromPartial(partial: object): Message;
}

type Handle<Request, Result> = (request: Request, context: CallContext) => Promise<Result>;

/** Decodes and checks the role; a call without a request ignores its body. */
function admitted<Request>(
  call: CallName,
  codec: RequestCodec<Request> | undefined,
  body: Uint8Array,
  context: CallContext,
): Request {
  const message = codec === undefined ? (undefined as Request) : decodeRequest(codec, body);
  authorizeRequest(context.peer, call, message);
  return message;
}

/** A route of one message for one message; `refused` is what its response holds beside an error. */
function single<Request, Response>(
  call: CallName,
  request: RequestCodec<Request> | undefined,
  response: ResponseCodec<Response>,
  handle: Handle<Request, Response>,
  refused: object = {},
): Route {
  return {
    call,
    handle: async (body, context) => response.encode(await handle(admitted(call, request, body, context), context)).finish(),
    refuse: (error) => response.encode(response.fromPartial({ ...refused, error })).finish(),
  };
}

/** A route whose response is a list, written as it is encoded; `message` holds some of the items. */
function list<Request, Item, Response>(
  call: CallName,
  request: RequestCodec<Request>,
  response: ResponseCodec<Response>,
  message: (items: Item[]) => Response,
  handle: Handle<Request, Iterable<Item>>,
): Route {
  return {
    call,
    handle: async (body, context) =>
      listing(await handle(admitted(call, request, body, context), context), (items: Item[]) =>
        response.encode(message(items)).finish(),
      ),
    refuse: (error) => response.encode(response.fromPartial({ error })).finish(),
  };
}

/** Each item changed as it is taken. */
const mapped = async <Item>(items: Promise<Iterable<Item>>, change: (item: Item) => Item): Promise<Iterable<Item>> => {
  const all = await items;
  return {
    *[Symbol.iterator]() {
      for (const item of all) yield change(item);
    },
  };
};

const none = { error: undefined };

/** How a version of a read shows what it reads; every read of DesiredLRPs reconciles the legacy metrics guid. */
const desiredVersions = {
  r3: (lrp: DesiredLRP): DesiredLRP => withMetricsGuid(lrp),
  r2: (lrp: DesiredLRP): DesiredLRP => desiredLRPToV2(withMetricsGuid(lrp)),
};
const taskVersions = { r3: (same: Task): Task => same, r2: taskToV2 };

const general = (calls: Calls): [string, Route][] => [
  [
    "/v1/ping",
    {
      ...single("Ping", undefined, PingResponse, () => calls.ping()),
      // Ping has no error: not available is all it can say.
      refuse: () => PingResponse.encode({ available: false }).finish(),
    },
  ],
  ["/v1/domains/list", single("Domains", undefined, DomainsResponse, () => calls.domains())],
  [
    "/v1/domains/upsert",
    single("UpsertDomain", UpsertDomainRequest, UpsertDomainResponse, (request) => calls.upsertDomain(request)),
  ],
  ["/v1/cells/list.r1", single("Cells", undefined, CellsResponse, () => calls.cells())],
];

function actualReads(calls: Calls): [string, Route][] {
  const rows = (actualLrps: actual.ActualLRPsResponse["actualLrps"]) => ({ ...none, actualLrps });
  const groups = (actualLrpGroups: actual.ActualLRPGroupsResponse["actualLrpGroups"]) => ({ ...none, actualLrpGroups });
  return [
    [
      "/v1/actual_lrps/list",
      list("ActualLRPs", actual.ActualLRPsRequest, actual.ActualLRPsResponse, rows, (request) => calls.actualLRPs(request)),
    ],
    [
      "/v1/actual_lrps/list_by_process_guids",
      list(
        "ActualLRPsByProcessGuids",
        actual.ActualLRPsByProcessGuidsRequest,
        actual.ActualLRPsByProcessGuidsResponse,
        rows,
        (request) => calls.actualLRPsByProcessGuids(request),
      ),
    ],
    [
      "/v1/actual_lrp_groups/list",
      list("ActualLRPGroups", actual.ActualLRPGroupsRequest, actual.ActualLRPGroupsResponse, groups, (request) =>
        calls.actualLRPGroups(request),
      ),
    ],
    [
      "/v1/actual_lrp_groups/list_by_process_guid",
      list(
        "ActualLRPGroupsByProcessGuid",
        actual.ActualLRPGroupsByProcessGuidRequest,
        actual.ActualLRPGroupsResponse,
        groups,
        (request) => calls.actualLRPGroupsByProcessGuid(request),
      ),
    ],
    [
      "/v1/actual_lrp_groups/get_by_process_guid_and_index",
      single(
        "ActualLRPGroupByProcessGuidAndIndex",
        actual.ActualLRPGroupByProcessGuidAndIndexRequest,
        actual.ActualLRPGroupResponse,
        (request) => calls.actualLRPGroupByProcessGuidAndIndex(request),
      ),
    ],
  ];
}

function actualLives(calls: Calls): [string, Route][] {
  const life = <Request>(
    call: CallName,
    request: RequestCodec<Request>,
    handle: Handle<Request, actual.ActualLRPLifecycleResponse>,
  ): Route => single(call, request, actual.ActualLRPLifecycleResponse, handle);
  return [
    ["/v1/actual_lrps/claim", life("ClaimActualLRP", actual.ClaimActualLRPRequest, (r) => calls.claimActualLRP(r))],
    ["/v1/actual_lrps/start.r1", life("StartActualLRP", actual.StartActualLRPRequest, (r) => calls.startActualLRP(r))],
    ["/v1/actual_lrps/start", life("StartActualLRP", actual.StartActualLRPRequest, (r) => calls.startActualLRP(asR0(r)))],
    ["/v1/actual_lrps/crash", life("CrashActualLRP", actual.CrashActualLRPRequest, (r) => calls.crashActualLRP(r))],
    ["/v1/actual_lrps/fail", life("FailActualLRP", actual.FailActualLRPRequest, (r, c) => calls.failActualLRP(r, c))],
    ["/v1/actual_lrps/remove", life("RemoveActualLRP", actual.RemoveActualLRPRequest, (r) => calls.removeActualLRP(r))],
    ["/v1/actual_lrps/retire", life("RetireActualLRP", actual.RetireActualLRPRequest, (r, c) => calls.retireActualLRP(r, c))],
  ];
}

/** The r0 forms of start and evacuate_running know neither internal routes nor metric tags. */
const asR0 = <Request extends Pick<actual.StartActualLRPRequest, "actualLrpInternalRoutes" | "metricTags">>(
  request: Request,
): Request => ({ ...request, actualLrpInternalRoutes: [], metricTags: {} });

function evacuations(calls: Calls): [string, Route][] {
  const evacuate = <Request>(
    call: keyof typeof keepWhenUnreadable,
    request: RequestCodec<Request>,
    handle: Handle<Request, evacuation.EvacuationResponse>,
  ): Route => single(call, request, evacuation.EvacuationResponse, handle, { keepContainer: keepWhenUnreadable[call] });
  const running = evacuation.EvacuateRunningActualLRPRequest;
  return [
    [
      "/v1/actual_lrps/remove_evacuating",
      single(
        "RemoveEvacuatingActualLRP",
        evacuation.RemoveEvacuatingActualLRPRequest,
        evacuation.RemoveEvacuatingActualLRPResponse,
        (r) => calls.removeEvacuatingActualLRP(r),
      ),
    ],
    [
      "/v1/actual_lrps/evacuate_claimed",
      evacuate("EvacuateClaimedActualLRP", evacuation.EvacuateClaimedActualLRPRequest, (r) => calls.evacuateClaimedActualLRP(r)),
    ],
    [
      "/v1/actual_lrps/evacuate_crashed",
      evacuate("EvacuateCrashedActualLRP", evacuation.EvacuateCrashedActualLRPRequest, (r) => calls.evacuateCrashedActualLRP(r)),
    ],
    [
      "/v1/actual_lrps/evacuate_stopped",
      evacuate("EvacuateStoppedActualLRP", evacuation.EvacuateStoppedActualLRPRequest, (r) => calls.evacuateStoppedActualLRP(r)),
    ],
    [
      "/v1/actual_lrps/evacuate_running.r1",
      evacuate("EvacuateRunningActualLRP", running, (r) => calls.evacuateRunningActualLRP(r)),
    ],
    [
      "/v1/actual_lrps/evacuate_running",
      evacuate("EvacuateRunningActualLRP", running, (r) => calls.evacuateRunningActualLRP(asR0(r), false)),
    ],
  ];
}

function desiredReads(calls: Calls): [string, Route][] {
  const desires = (desiredLrps: DesiredLRP[]) => ({ ...none, desiredLrps });
  const infos = (desiredLrpSchedulingInfos: desired.DesiredLRPSchedulingInfosResponse["desiredLrpSchedulingInfos"]) => ({
    ...none,
    desiredLrpSchedulingInfos,
  });
  const byVersion = (version: keyof typeof desiredVersions): [string, Route][] => {
    const show = desiredVersions[version];
    return [
      [
        `/v1/desired_lrps/list.${version}`,
        list("DesiredLRPs", desired.DesiredLRPsRequest, desired.DesiredLRPsResponse, desires, (r) =>
          mapped(calls.desiredLRPs(r), show),
        ),
      ],
      [
        `/v1/desired_lrps/get_by_process_guid.${version}`,
        single(
          "DesiredLRPByProcessGuid",
          desired.DesiredLRPByProcessGuidRequest,
          desired.DesiredLRPResponse,
          async (request, context) => {
            const { desiredLrp } = await calls.desiredLRPByProcessGuid(request, context);
            return { ...none, desiredLrp: desiredLrp && show(desiredLrp) };
          },
        ),
      ],
    ];
  };
  return [
    ...byVersion("r3"),
    ...byVersion("r2"),
    [
      "/v1/desired_lrp_scheduling_infos/list",
      list("DesiredLRPSchedulingInfos", desired.DesiredLRPsRequest, desired.DesiredLRPSchedulingInfosResponse, infos, (r) =>
        calls.desiredLRPSchedulingInfos(r),
      ),
    ],
    [
      "/v1/desired_lrp_scheduling_infos/get_by_process_guid",
      single(
        "DesiredLRPSchedulingInfoByProcessGuid",
        desired.DesiredLRPByProcessGuidRequest,
        desired.DesiredLRPSchedulingInfoByProcessGuidResponse,
        (r) => calls.desiredLRPSchedulingInfoByProcessGuid(r),
      ),
    ],
    [
      "/v1/desired_lrp_routing_infos/list",
      list("DesiredLRPRoutingInfos", desired.DesiredLRPsRequest, desired.DesiredLRPsResponse, desires, (r) =>
        calls.desiredLRPRoutingInfos(r),
      ),
    ],
  ];
}

function desiredLives(calls: Calls): [string, Route][] {
  const life = <Request>(
    call: CallName,
    request: RequestCodec<Request>,
    handle: Handle<Request, desired.DesiredLRPLifecycleResponse>,
  ): Route => single(call, request, desired.DesiredLRPLifecycleResponse, handle);
  const { DesireLRPRequest, UpdateDesiredLRPRequest, RemoveDesiredLRPRequest } = desired;
  return [
    ["/v1/desired_lrp/desire.r2", life("DesireDesiredLRP", DesireLRPRequest, (r, c) => calls.desireLRP(r, c))],
    ["/v1/desired_lrp/update", life("UpdateDesiredLRP", UpdateDesiredLRPRequest, (r, c) => calls.updateDesiredLRP(r, c))],
    ["/v1/desired_lrp/remove", life("RemoveDesiredLRP", RemoveDesiredLRPRequest, (r, c) => calls.removeDesiredLRP(r, c))],
  ];
}

function taskReads(calls: Calls): [string, Route][] {
  const tasks = (items: Task[]) => ({ ...none, tasks: items });
  const byVersion = (version: keyof typeof taskVersions): [string, Route][] => {
    const show = taskVersions[version];
    return [
      [
        `/v1/tasks/list.${version}`,
        list("Tasks", task.TasksRequest, task.TasksResponse, tasks, (r) => mapped(calls.tasks(r), show)),
      ],
      [
        `/v1/tasks/get_by_task_guid.${version}`,
        single("TaskByGuid", task.TaskByGuidRequest, task.TaskResponse, async (request, context) => {
          const { task: found } = await calls.taskByGuid(request, context);
          return { ...none, task: found && show(found) };
        }),
      ],
    ];
  };
  return [...byVersion("r3"), ...byVersion("r2")];
}

function taskLives(calls: Calls): [string, Route][] {
  const life = <Request>(
    call: CallName,
    request: RequestCodec<Request>,
    handle: Handle<Request, task.TaskLifecycleResponse>,
  ): Route => single(call, request, task.TaskLifecycleResponse, handle);
  return [
    ["/v1/tasks/desire.r2", life("DesireTask", task.DesireTaskRequest, (r) => calls.desireTask(r))],
    ["/v1/tasks/start", single("StartTask", task.StartTaskRequest, task.StartTaskResponse, (r) => calls.startTask(r))],
    ["/v1/tasks/cancel", life("CancelTask", task.TaskGuidRequest, (r) => calls.cancelTask(r))],
    ["/v1/tasks/fail", life("FailTask", task.FailTaskRequest, (r) => calls.failTask(r))],
    ["/v1/tasks/reject", life("RejectTask", task.RejectTaskRequest, (r, c) => calls.rejectTask(r, c))],
    ["/v1/tasks/complete", life("CompleteTask", task.CompleteTaskRequest, (r) => calls.completeTask(r))],
    ["/v1/tasks/resolving", life("ResolvingTask", task.TaskGuidRequest, (r) => calls.resolvingTask(r))],
    ["/v1/tasks/delete", life("DeleteTask", task.TaskGuidRequest, (r) => calls.deleteTask(r))],
  ];
}

/** Every path but those of the event streams; all are POST. */
export const routesOf = (calls: Calls): ReadonlyMap<string, Route> =>
  new Map([
    ...general(calls),
    ...actualReads(calls),
    ...actualLives(calls),
    ...evacuations(calls),
    ...desiredReads(calls),
    ...desiredLives(calls),
    ...taskReads(calls),
    ...taskLives(calls),
  ]);
