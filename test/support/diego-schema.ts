// Every protobuf message of Diego's BBS, field by field, written down from the wire reference and not from our own .proto files: what
// the conformance tests build requests and read replies by. 118 messages, 442 fields.
//
// One message a paragraph: field number, name, type. `T[]` is repeated, `{T}` a map from string to T. `?` marks a oneof with one
// member: written whenever set, also zero. `!` marks a nested message that Diego always writes, also empty.

const messages = `
Action: 1 download_action DownloadAction, 2 upload_action UploadAction, 3 run_action RunAction,
    4 timeout_action TimeoutAction, 5 emit_progress_action EmitProgressAction, 6 try_action TryAction,
    7 parallel_action ParallelAction, 8 serial_action SerialAction, 9 codependent_action CodependentAction
DownloadAction: 1 artifact string, 2 from string, 3 to string, 4 cache_key string, 5 log_source string, 6 user string,
    7 checksum_algorithm string, 8 checksum_value string
UploadAction: 1 artifact string, 2 from string, 3 to string, 4 log_source string, 5 user string
RunAction: 1 path string, 2 args string[], 3 dir string, 4 env EnvironmentVariable[],
    5 resource_limits ResourceLimits, 6 user string, 7 log_source string, 8 suppress_log_output bool,
    9 volume_mounted_files File[]
TimeoutAction: 1 action Action, 2 deprecated_timeout_ns int64, 3 log_source string, 4 timeout_ms int64
EmitProgressAction: 1 action Action, 2 start_message string, 3 success_message string,
    4 failure_message_prefix string, 5 log_source string
TryAction: 1 action Action, 2 log_source string
ParallelAction: 1 actions Action[], 2 log_source string
SerialAction: 1 actions Action[], 2 log_source string
CodependentAction: 1 actions Action[], 2 log_source string
ResourceLimits: 1 nofile uint64?, 2 nproc uint64?
ActualLRPGroup: 1 instance ActualLRP, 2 evacuating ActualLRP
PortMapping: 1 container_port uint32, 2 host_port uint32, 3 container_tls_proxy_port uint32,
    4 host_tls_proxy_port uint32
ActualLRPKey: 1 process_guid string, 2 index int32, 3 domain string
ActualLRPInstanceKey: 1 instance_guid string, 2 cell_id string
ActualLRPNetInfo: 1 address string, 2 ports PortMapping[], 3 instance_address string, 4 preferred_address enum,
    5 instance_ipv6_address string
ActualLRPInternalRoute: 1 hostname string
ActualLRP: 1 actual_lrp_key ActualLRPKey!, 2 actual_lrp_instance_key ActualLRPInstanceKey!,
    3 actual_lrp_net_info ActualLRPNetInfo!, 4 crash_count int32, 5 crash_reason string, 6 state string,
    7 placement_error string, 8 since int64, 9 modification_tag ModificationTag!, 10 presence enum,
    11 actual_lrp_internal_routes ActualLRPInternalRoute[], 12 metric_tags {string}, 13 routable bool?,
    14 availability_zone string
ActualLRPLifecycleResponse: 1 error Error
ActualLRPGroupsResponse: 1 error Error, 2 actual_lrp_groups ActualLRPGroup[]
ActualLRPGroupResponse: 1 error Error, 2 actual_lrp_group ActualLRPGroup
ActualLRPGroupsRequest: 1 domain string, 2 cell_id string
ActualLRPGroupsByProcessGuidRequest: 1 process_guid string
ActualLRPGroupByProcessGuidAndIndexRequest: 1 process_guid string, 2 index int32
ClaimActualLRPRequest: 1 process_guid string, 2 index int32, 3 actual_lrp_instance_key ActualLRPInstanceKey
StartActualLRPRequest: 1 actual_lrp_key ActualLRPKey, 2 actual_lrp_instance_key ActualLRPInstanceKey,
    3 actual_lrp_net_info ActualLRPNetInfo, 4 actual_lrp_internal_routes ActualLRPInternalRoute[],
    5 metric_tags {string}, 6 Routable bool?, 7 availability_zone string
CrashActualLRPRequest: 1 actual_lrp_key ActualLRPKey, 2 actual_lrp_instance_key ActualLRPInstanceKey,
    3 error_message string
FailActualLRPRequest: 1 actual_lrp_key ActualLRPKey, 2 error_message string
RetireActualLRPRequest: 1 actual_lrp_key ActualLRPKey
RemoveActualLRPRequest: 1 process_guid string, 2 index int32, 3 actual_lrp_instance_key ActualLRPInstanceKey
ActualLRPsResponse: 1 error Error, 2 actual_lrps ActualLRP[]
ActualLRPsRequest: 1 domain string, 2 cell_id string, 3 process_guid string, 4 index int32?
ActualLRPsByProcessGuidsResponse: 1 error Error, 2 actual_lrps ActualLRP[]
ActualLRPsByProcessGuidsRequest: 1 process_guids string[]
CachedDependency: 1 name string, 2 from string, 3 to string, 4 cache_key string, 5 log_source string,
    6 checksum_algorithm string, 7 checksum_value string
CellCapacity: 1 memory_mb int32, 2 disk_mb int32, 3 containers int32
CellPresence: 1 cell_id string, 2 rep_address string, 3 zone string, 4 capacity CellCapacity,
    5 rootfs_providers Provider[], 6 placement_tags string[], 7 optional_placement_tags string[], 8 rep_url string,
    9 annotations {string}
Provider: 1 name string, 2 properties string[]
CellsResponse: 1 error Error, 2 cells CellPresence[]
CertificateProperties: 1 organizational_unit string[]
CheckDefinition: 1 checks Check[], 2 log_source string, 3 readiness_checks Check[]
Check: 1 tcp_check TCPCheck, 2 http_check HTTPCheck
TCPCheck: 1 port uint32, 2 connect_timeout_ms uint64, 3 interval_ms uint64
HTTPCheck: 1 port uint32, 2 request_timeout_ms uint64, 3 path string, 4 interval_ms uint64
DesiredLRPSchedulingInfo: 1 desired_lrp_key DesiredLRPKey!, 2 annotation string, 3 instances int32,
    4 desired_lrp_resource DesiredLRPResource!, 5 routes ProtoRoutes!, 6 modification_tag ModificationTag!,
    7 volume_placement VolumePlacement, 8 PlacementTags string[]
DesiredLRPRunInfo: 1 desired_lrp_key DesiredLRPKey!, 2 environment_variables EnvironmentVariable[], 3 setup Action,
    4 action Action, 5 monitor Action, 6 deprecated_start_timeout_s uint32, 7 privileged bool, 8 cpu_weight uint32,
    9 ports uint32[], 10 egress_rules SecurityGroupRule[], 11 log_source string, 12 metrics_guid string,
    13 created_at int64, 14 cached_dependencies CachedDependency[], 15 legacy_download_user string,
    16 trusted_system_certificates_path string, 17 volume_mounts VolumeMount[], 18 network Network,
    19 start_timeout_ms int64, 20 certificate_properties CertificateProperties, 21 image_username string,
    22 image_password string, 23 check_definition CheckDefinition, 24 image_layers ImageLayer[],
    25 metric_tags {MetricTagValue}, 26 sidecars Sidecar[], 27 log_rate_limit LogRateLimit,
    28 volume_mounted_files File[]
ProtoRoutes: 1 routes {bytes}
DesiredLRPUpdate: 1 instances int32?, 2 routes ProtoRoutes, 3 annotation string?, 4 metric_tags {MetricTagValue},
    5 image_username string?, 6 image_password string?
DesiredLRPKey: 1 process_guid string, 2 domain string, 3 log_guid string
DesiredLRPResource: 1 memory_mb int32, 2 disk_mb int32, 3 root_fs string, 4 max_pids int32
DesiredLRP: 1 process_guid string, 2 domain string, 3 root_fs string, 4 instances int32,
    5 environment_variables EnvironmentVariable[], 6 setup Action, 7 action Action,
    8 deprecated_start_timeout_s uint32, 9 monitor Action, 10 disk_mb int32, 11 memory_mb int32, 12 cpu_weight uint32,
    13 privileged bool, 14 ports uint32[], 15 routes ProtoRoutes, 16 log_source string, 17 log_guid string,
    18 metrics_guid string, 19 annotation string, 20 egress_rules SecurityGroupRule[],
    21 modification_tag ModificationTag, 22 cached_dependencies CachedDependency[], 23 legacy_download_user string,
    24 trusted_system_certificates_path string, 25 volume_mounts VolumeMount[], 26 network Network,
    27 start_timeout_ms int64, 28 PlacementTags string[], 29 max_pids int32,
    30 certificate_properties CertificateProperties, 31 image_username string, 32 image_password string,
    33 check_definition CheckDefinition, 34 image_layers ImageLayer[], 35 metric_tags {MetricTagValue},
    36 sidecars Sidecar[], 37 log_rate_limit LogRateLimit, 38 volume_mounted_files File[], 39 update_strategy enum
DesiredLRPLifecycleResponse: 1 error Error
DesiredLRPsResponse: 1 error Error, 2 desired_lrps DesiredLRP[]
DesiredLRPsRequest: 1 domain string, 2 process_guids string[], 3 app_guids string[]
DesiredLRPResponse: 1 error Error, 2 desired_lrp DesiredLRP
DesiredLRPSchedulingInfosResponse: 1 error Error, 2 desired_lrp_scheduling_infos DesiredLRPSchedulingInfo[]
DesiredLRPSchedulingInfoByProcessGuidResponse: 1 error Error, 2 desired_lrp_scheduling_info DesiredLRPSchedulingInfo
DesiredLRPByProcessGuidRequest: 1 process_guid string
DesireLRPRequest: 1 desired_lrp DesiredLRP
UpdateDesiredLRPRequest: 1 process_guid string, 2 update DesiredLRPUpdate
RemoveDesiredLRPRequest: 1 process_guid string
DomainsResponse: 1 error Error, 2 domains string[]
UpsertDomainResponse: 1 error Error
UpsertDomainRequest: 1 domain string, 2 ttl uint32
EnvironmentVariable: 1 name string, 2 value string
Error: 1 type enum, 2 message string
EvacuationResponse: 1 error Error, 2 keep_container bool
EvacuateClaimedActualLRPRequest: 1 actual_lrp_key ActualLRPKey, 2 actual_lrp_instance_key ActualLRPInstanceKey
EvacuateRunningActualLRPRequest: 1 actual_lrp_key ActualLRPKey, 2 actual_lrp_instance_key ActualLRPInstanceKey,
    3 actual_lrp_net_info ActualLRPNetInfo, 5 actual_lrp_internal_routes ActualLRPInternalRoute[],
    6 metric_tags {string}, 7 Routable bool?, 8 availability_zone string
EvacuateStoppedActualLRPRequest: 1 actual_lrp_key ActualLRPKey, 2 actual_lrp_instance_key ActualLRPInstanceKey
EvacuateCrashedActualLRPRequest: 1 actual_lrp_key ActualLRPKey, 2 actual_lrp_instance_key ActualLRPInstanceKey,
    3 error_message string
RemoveEvacuatingActualLRPRequest: 1 actual_lrp_key ActualLRPKey, 2 actual_lrp_instance_key ActualLRPInstanceKey
RemoveEvacuatingActualLRPResponse: 1 error Error
ActualLRPCreatedEvent: 1 actual_lrp_group ActualLRPGroup
ActualLRPChangedEvent: 1 before ActualLRPGroup, 2 after ActualLRPGroup
ActualLRPRemovedEvent: 1 actual_lrp_group ActualLRPGroup
ActualLRPInstanceCreatedEvent: 1 actual_lrp ActualLRP, 2 trace_id string
ActualLRPInfo: 3 actual_lrp_net_info ActualLRPNetInfo!, 4 crash_count int32, 5 crash_reason string, 6 state string,
    7 placement_error string, 8 since int64, 9 modification_tag ModificationTag!, 10 presence enum, 11 Routable bool?,
    12 availability_zone string
ActualLRPInstanceChangedEvent: 1 actual_lrp_key ActualLRPKey!, 2 actual_lrp_instance_key ActualLRPInstanceKey!,
    3 before ActualLRPInfo, 4 after ActualLRPInfo, 5 trace_id string
ActualLRPInstanceRemovedEvent: 1 actual_lrp ActualLRP, 2 trace_id string
DesiredLRPCreatedEvent: 1 desired_lrp DesiredLRP, 2 trace_id string
DesiredLRPChangedEvent: 1 before DesiredLRP, 2 after DesiredLRP, 3 trace_id string
DesiredLRPRemovedEvent: 1 desired_lrp DesiredLRP, 2 trace_id string
ActualLRPCrashedEvent: 1 actual_lrp_key ActualLRPKey!, 2 actual_lrp_instance_key ActualLRPInstanceKey!,
    3 crash_count int32, 4 crash_reason string, 5 since int64
EventsByCellId: 1 cell_id string
TaskCreatedEvent: 1 task Task
TaskChangedEvent: 1 before Task, 2 after Task
TaskRemovedEvent: 1 task Task
File: 1 path string, 2 content string
ImageLayer: 1 name string, 2 url string, 3 destination_path string, 4 layer_type enum, 5 media_type enum,
    6 digest_algorithm enum, 7 digest_value string
LogRateLimit: 1 bytes_per_second int64
MetricTagValue: 1 static string, 2 dynamic enum
ModificationTag: 1 epoch string, 2 index uint32
Network: 1 properties {string}
PingResponse: 1 available bool
PortRange: 1 start uint32, 2 end uint32
ICMPInfo: 1 type int32, 2 code int32
SecurityGroupRule: 1 protocol string, 2 destinations string[], 3 ports uint32[], 4 port_range PortRange,
    5 icmp_info ICMPInfo, 6 log bool, 7 annotations string[]
Sidecar: 1 action Action, 2 disk_mb int32, 3 memory_mb int32
TaskDefinition: 1 root_fs string, 2 environment_variables EnvironmentVariable[], 3 action Action, 4 disk_mb int32,
    5 memory_mb int32, 6 cpu_weight uint32, 7 privileged bool, 8 log_source string, 9 log_guid string,
    10 metrics_guid string, 11 result_file string, 12 completion_callback_url string, 13 annotation string,
    14 egress_rules SecurityGroupRule[], 15 cached_dependencies CachedDependency[], 16 legacy_download_user string,
    17 trusted_system_certificates_path string, 18 volume_mounts VolumeMount[], 19 network Network,
    20 placement_tags string[], 21 max_pids int32, 22 certificate_properties CertificateProperties,
    23 image_username string, 24 image_password string, 25 image_layers ImageLayer[], 26 log_rate_limit LogRateLimit,
    27 metric_tags {MetricTagValue}, 28 volume_mounted_files File[]
Task: 1 task_definition TaskDefinition, 2 task_guid string, 3 domain string, 4 created_at int64, 5 updated_at int64,
    6 first_completed_at int64, 7 state enum, 8 cell_id string, 9 result string, 10 failed bool,
    11 failure_reason string, 12 rejection_count int32, 13 rejection_reason string
TaskLifecycleResponse: 1 error Error
DesireTaskRequest: 1 task_definition TaskDefinition, 2 task_guid string, 3 domain string
StartTaskRequest: 1 task_guid string, 2 cell_id string
StartTaskResponse: 1 error Error, 2 should_start bool
FailTaskRequest: 1 task_guid string, 2 failure_reason string
RejectTaskRequest: 1 task_guid string, 2 rejection_reason string
TaskGuidRequest: 1 task_guid string
CompleteTaskRequest: 1 task_guid string, 2 cell_id string, 3 failed bool, 4 failure_reason string, 5 result string
TaskCallbackResponse: 1 task_guid string, 2 failed bool, 3 failure_reason string, 4 result string,
    5 annotation string, 6 created_at int64
TasksRequest: 1 domain string, 2 cell_id string
TasksResponse: 1 error Error, 2 tasks Task[]
TaskByGuidRequest: 1 task_guid string
TaskResponse: 1 error Error, 2 task Task
SharedDevice: 1 volume_id string, 2 mount_config string
DedicatedDevice: 1 mounter_id string, 2 mount_config string, 3 device_config string
VolumeMount: 1 driver string, 3 container_dir string, 6 mode string, 7 shared SharedDevice,
    8 dedicated DedicatedDevice
VolumePlacement: 1 driver_names string[]
`;

export interface SchemaField {
  readonly number: number;
  readonly name: string;
  /** A scalar, `enum`, or the name of a message. */
  readonly type: string;
  readonly kind: "single" | "repeated" | "map";
  /** Written whenever it is set, also with its default. */
  readonly oneof: boolean;
  /** Always written by Diego, also empty. */
  readonly always: boolean;
}

export type SchemaMessage = ReadonlyMap<number, SchemaField>;

export const scalarTypes: ReadonlySet<string> = new Set([
  "string",
  "bytes",
  "bool",
  "enum",
  "int32",
  "uint32",
  "int64",
  "uint64",
]);

function parseField(text: string): SchemaField {
  const found = /^(\d+) (\w+) (\{?)(\w+)(\}?)((?:\[\])?)([?!]?)$/.exec(text.trim());
  if (found === null) throw new Error(`no field: ${text}`);
  const [, number = "", name = "", open = "", type = "", , list = "", mark = ""] = found;
  const kind = open !== "" ? "map" : list !== "" ? "repeated" : "single";
  return { number: Number(number), name, type, kind, oneof: mark === "?", always: mark === "!" };
}

/** Every message by its name. */
export const schema: ReadonlyMap<string, SchemaMessage> = new Map(
  messages
    .replace(/,\n +/g, ", ")
    .trim()
    .split("\n")
    .map((line): [string, SchemaMessage] => {
      const [name = "", fields = ""] = line.split(": ");
      return [name, new Map(fields.split(", ").map((text) => [parseField(text).number, parseField(text)]))];
    }),
);

/** Diego's `Error.Type`. Numbers that are missing here are reserved. */
export const errorTypes: Readonly<Record<number, string>> = {
  0: "UnknownError",
  3: "InvalidRecord",
  4: "InvalidRequest",
  5: "InvalidResponse",
  6: "InvalidProtobufMessage",
  7: "InvalidJSON",
  8: "FailedToOpenEnvelope",
  9: "InvalidStateTransition",
  11: "ResourceConflict",
  12: "ResourceExists",
  13: "ResourceNotFound",
  14: "RouterError",
  15: "ActualLRPCannotBeClaimed",
  16: "ActualLRPCannotBeStarted",
  17: "ActualLRPCannotBeCrashed",
  18: "ActualLRPCannotBeFailed",
  19: "ActualLRPCannotBeRemoved",
  21: "ActualLRPCannotBeUnclaimed",
  24: "RunningOnDifferentCell",
  26: "GUIDGeneration",
  27: "Deserialize",
  28: "Deadlock",
  29: "Unrecoverable",
  30: "LockCollision",
  31: "Timeout",
};
export const presences = ["ORDINARY", "EVACUATING", "SUSPECT"] as const;
export const taskStates = ["Invalid", "Pending", "Running", "Completed", "Resolving"] as const;
