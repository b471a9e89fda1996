// Every route of Diego's BBS, written down from the wire reference (A.3), and the rpc of ours that is the same call.

export interface Route {
  readonly path: string;
  readonly method: "POST" | "GET";
  /** Message names of the reference; `undefined`: the body is ignored. */
  readonly request: string | undefined;
  /** `undefined` for an event stream. */
  readonly response: string | undefined;
  /** The rpc of `BBSService`; the deprecated versions of a call and the event streams are served over HTTP alone. */
  readonly rpc: string | undefined;
  /** The list over gRPC comes in chunks. */
  readonly stream: boolean;
}

const lines = `
Ping                                  POST /v1/ping                                             -                                          PingResponse                                  rpc
Domains                               POST /v1/domains/list                                     -                                          DomainsResponse                               rpc
UpsertDomain                          POST /v1/domains/upsert                                   UpsertDomainRequest                        UpsertDomainResponse                          rpc
ActualLRPs                            POST /v1/actual_lrps/list                                 ActualLRPsRequest                          ActualLRPsResponse                            stream
ActualLRPsByProcessGuids              POST /v1/actual_lrps/list_by_process_guids                ActualLRPsByProcessGuidsRequest            ActualLRPsByProcessGuidsResponse              stream
ActualLRPGroups                       POST /v1/actual_lrp_groups/list                           ActualLRPGroupsRequest                     ActualLRPGroupsResponse                       stream
ActualLRPGroupsByProcessGuid          POST /v1/actual_lrp_groups/list_by_process_guid           ActualLRPGroupsByProcessGuidRequest        ActualLRPGroupsResponse                       stream
ActualLRPGroupByProcessGuidAndIndex   POST /v1/actual_lrp_groups/get_by_process_guid_and_index  ActualLRPGroupByProcessGuidAndIndexRequest ActualLRPGroupResponse                        rpc
ClaimActualLRP                        POST /v1/actual_lrps/claim                                ClaimActualLRPRequest                      ActualLRPLifecycleResponse                    rpc
StartActualLRP                        POST /v1/actual_lrps/start.r1                             StartActualLRPRequest                      ActualLRPLifecycleResponse                    rpc
StartActualLRP.r0                     POST /v1/actual_lrps/start                                StartActualLRPRequest                      ActualLRPLifecycleResponse                    -
CrashActualLRP                        POST /v1/actual_lrps/crash                                CrashActualLRPRequest                      ActualLRPLifecycleResponse                    rpc
FailActualLRP                         POST /v1/actual_lrps/fail                                 FailActualLRPRequest                       ActualLRPLifecycleResponse                    rpc
RemoveActualLRP                       POST /v1/actual_lrps/remove                               RemoveActualLRPRequest                     ActualLRPLifecycleResponse                    rpc
RetireActualLRP                       POST /v1/actual_lrps/retire                               RetireActualLRPRequest                     ActualLRPLifecycleResponse                    rpc
RemoveEvacuatingActualLRP             POST /v1/actual_lrps/remove_evacuating                    RemoveEvacuatingActualLRPRequest           RemoveEvacuatingActualLRPResponse             rpc
EvacuateClaimedActualLRP              POST /v1/actual_lrps/evacuate_claimed                     EvacuateClaimedActualLRPRequest            EvacuationResponse                            rpc
EvacuateCrashedActualLRP              POST /v1/actual_lrps/evacuate_crashed                     EvacuateCrashedActualLRPRequest            EvacuationResponse                            rpc
EvacuateStoppedActualLRP              POST /v1/actual_lrps/evacuate_stopped                     EvacuateStoppedActualLRPRequest            EvacuationResponse                            rpc
EvacuateRunningActualLRP              POST /v1/actual_lrps/evacuate_running.r1                  EvacuateRunningActualLRPRequest            EvacuationResponse                            rpc
EvacuateRunningActualLRP.r0           POST /v1/actual_lrps/evacuate_running                     EvacuateRunningActualLRPRequest            EvacuationResponse                            -
DesiredLRPs                           POST /v1/desired_lrps/list.r3                             DesiredLRPsRequest                         DesiredLRPsResponse                           stream
DesiredLRPs.r2                        POST /v1/desired_lrps/list.r2                             DesiredLRPsRequest                         DesiredLRPsResponse                           -
DesiredLRPByProcessGuid               POST /v1/desired_lrps/get_by_process_guid.r3              DesiredLRPByProcessGuidRequest             DesiredLRPResponse                            rpc
DesiredLRPByProcessGuid.r2            POST /v1/desired_lrps/get_by_process_guid.r2              DesiredLRPByProcessGuidRequest             DesiredLRPResponse                            -
DesiredLRPSchedulingInfos             POST /v1/desired_lrp_scheduling_infos/list                DesiredLRPsRequest                         DesiredLRPSchedulingInfosResponse             stream
DesiredLRPSchedulingInfoByProcessGuid POST /v1/desired_lrp_scheduling_infos/get_by_process_guid DesiredLRPByProcessGuidRequest             DesiredLRPSchedulingInfoByProcessGuidResponse rpc
DesiredLRPRoutingInfos                POST /v1/desired_lrp_routing_infos/list                   DesiredLRPsRequest                         DesiredLRPsResponse                           stream
DesireDesiredLRP                      POST /v1/desired_lrp/desire.r2                            DesireLRPRequest                           DesiredLRPLifecycleResponse                   rpc
UpdateDesiredLRP                      POST /v1/desired_lrp/update                               UpdateDesiredLRPRequest                    DesiredLRPLifecycleResponse                   rpc
RemoveDesiredLRP                      POST /v1/desired_lrp/remove                               RemoveDesiredLRPRequest                    DesiredLRPLifecycleResponse                   rpc
Tasks                                 POST /v1/tasks/list.r3                                    TasksRequest                               TasksResponse                                 stream
Tasks.r2                              POST /v1/tasks/list.r2                                    TasksRequest                               TasksResponse                                 -
TaskByGuid                            POST /v1/tasks/get_by_task_guid.r3                        TaskByGuidRequest                          TaskResponse                                  rpc
TaskByGuid.r2                         POST /v1/tasks/get_by_task_guid.r2                        TaskByGuidRequest                          TaskResponse                                  -
DesireTask                            POST /v1/tasks/desire.r2                                  DesireTaskRequest                          TaskLifecycleResponse                         rpc
StartTask                             POST /v1/tasks/start                                      StartTaskRequest                           StartTaskResponse                             rpc
CancelTask                            POST /v1/tasks/cancel                                     TaskGuidRequest                            TaskLifecycleResponse                         rpc
FailTask                              POST /v1/tasks/fail                                       FailTaskRequest                            TaskLifecycleResponse                         rpc
RejectTask                            POST /v1/tasks/reject                                     RejectTaskRequest                          TaskLifecycleResponse                         rpc
CompleteTask                          POST /v1/tasks/complete                                   CompleteTaskRequest                        TaskLifecycleResponse                         rpc
ResolvingTask                         POST /v1/tasks/resolving                                  TaskGuidRequest                            TaskLifecycleResponse                         rpc
DeleteTask                            POST /v1/tasks/delete                                     TaskGuidRequest                            TaskLifecycleResponse                         rpc
LRPGroupEventStream                   GET  /v1/events.r1                                        EventsByCellId                             -                                             -
LRPGroupEventStream.r0                GET  /v1/events                                           EventsByCellId                             -                                             -
LRPInstanceEventStream                POST /v1/events/lrp_instances.r1                          EventsByCellId                             -                                             -
LRPInstanceEventStream.r0             POST /v1/events/lrp_instances                             EventsByCellId                             -                                             -
TaskEventStream                       POST /v1/events/tasks.r1                                  -                                          -                                             -
TaskEventStream.r0                    POST /v1/events/tasks                                     -                                          -                                             -
Cells                                 POST /v1/cells/list.r1                                    -                                          CellsResponse                                 rpc
`;

const given = (text: string | undefined): string | undefined => (text === "-" ? undefined : text);

/** By Diego's route name; `.r0` and `.r2` are the deprecated versions. */
export const routes: ReadonlyMap<string, Route> = new Map(
  lines
    .trim()
    .split("\n")
    .map((line): [string, Route] => {
      const [name = "", method = "", path = "", request, response, rpc] = line.split(/ +/);
      const served = given(rpc);
      return [
        name,
        {
          path,
          method: method as Route["method"],
          request: given(request),
          response: given(response),
          rpc: served === undefined ? undefined : name,
          stream: served === "stream",
        },
      ];
    }),
);

export function routeNamed(name: string): Route {
  const found = routes.get(name);
  if (found === undefined) throw new Error(`Diego has no route ${name}`);
  return found;
}

/** What each event's bytes are, by its name on the stream. */
export const eventMessages: Readonly<Record<string, string>> = {
  desired_lrp_created: "DesiredLRPCreatedEvent",
  desired_lrp_changed: "DesiredLRPChangedEvent",
  desired_lrp_removed: "DesiredLRPRemovedEvent",
  actual_lrp_created: "ActualLRPCreatedEvent",
  actual_lrp_changed: "ActualLRPChangedEvent",
  actual_lrp_removed: "ActualLRPRemovedEvent",
  actual_lrp_crashed: "ActualLRPCrashedEvent",
  actual_lrp_instance_created: "ActualLRPInstanceCreatedEvent",
  actual_lrp_instance_changed: "ActualLRPInstanceChangedEvent",
  actual_lrp_instance_removed: "ActualLRPInstanceRemovedEvent",
  task_created: "TaskCreatedEvent",
  task_changed: "TaskChangedEvent",
  task_removed: "TaskRemovedEvent",
};
