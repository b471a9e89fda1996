// What is refused before anything is looked at (bbs-semantics.md section 2): every fault of a request in one message.
import type { Message } from "../../../support/diego-codec.js";
import type { Entry } from "../entry.js";
import { cellOf, type Stage } from "../stage.js";
import { invalid, invalidField, refused, undecodable } from "../texts.js";
import type { Role } from "../world.js";
import { nothing } from "./givens.js";

type Body = (stage: Stage) => Message;

const refusal = (name: string, role: Role, route: string, body: Body | Buffer, reply: string): Entry => ({
  given: nothing,
  call: { name, make: (stage) => stage.call(role, route, Buffer.isBuffer(body) ? body : body(stage)) },
  reply,
  rows: [],
});

const run = { path: "/bin/server", user: "vcap" };
const action = (of: Message): Message => ({ action: of });
const inAction = (...fields: string[]): string => invalidField("action", ...fields);
const rule = (fields: Message): Message => ({ egress_rules: [{ destinations: ["10.0.0.0/8"], ...fields }] });
const inRule = (...texts: string[]): string => invalid("Invalid field: egress_rules", ...texts);
const layer = { url: "https://a/b", destination_path: "/x", layer_type: 1, media_type: 1 };
const nested = (depth: number): Message => (depth === 0 ? { run_action: run } : { try_action: { action: nested(depth - 1) } });

/** What a DesiredLRP lacks or has too much of, and the message. */
const desiredFaults: readonly (readonly [string, Message, string])[] = [
  ["no guid", { process_guid: "" }, invalidField("process_guid")],
  ["a guid with a dot", { process_guid: "a.b" }, invalidField("process_guid")],
  ["a guid with a slash", { process_guid: "a/b" }, invalidField("process_guid")],
  ["a guid with a space", { process_guid: "a b" }, invalidField("process_guid")],
  ["a guid with a comma", { process_guid: "a,b" }, invalidField("process_guid")],
  ["a guid beyond ASCII", { process_guid: "añb" }, invalidField("process_guid")],
  ["a guid with a line break at its end", { process_guid: "ab\n" }, invalidField("process_guid")],
  ["a guid of 256 characters", { process_guid: "g".repeat(256) }, invalidField("process_guid: longer than 255 characters")],
  ["no domain", { domain: "" }, invalidField("domain")],
  ["no rootfs", { root_fs: "" }, invalidField("rootfs")],
  ["a rootfs without a scheme", { root_fs: "busybox" }, invalidField("rootfs")],
  [
    "negative numbers",
    { instances: -1, memory_mb: -1, disk_mb: -1, max_pids: -1 },
    invalidField("memory_mb", "disk_mb", "max_pids", "instances"),
  ],
  ["an annotation of 10,241 bytes", { annotation: "x".repeat(10_241) }, invalidField("annotation")],
  ["an annotation of 10,242 bytes in 5,121 characters", { annotation: "é".repeat(5_121) }, invalidField("annotation")],
  ["routes of 131,073 bytes", { routes: { routes: { a: `"${"x".repeat(131_071)}"` } } }, invalidField("routes")],
  ["a route that is no JSON", { routes: { routes: { a: "{" } } }, undecodable],
  ["a route that is empty", { routes: { routes: { a: "" } } }, undecodable],
  ["no metric tags", { metric_tags: {} }, invalidField("metric_tags")],
  ["a metric tag of nothing", { metric_tags: { a: {} } }, invalidField("metric_tags", "static", "dynamic")],
  [
    "a metric tag of both kinds",
    { metric_tags: { a: { static: "x", dynamic: 1 } } },
    invalidField("metric_tags", "static", "dynamic"),
  ],
  ["a metric tag of an unknown kind", { metric_tags: { a: { dynamic: 3 } } }, invalidField("metric_tags", "static", "dynamic")],
  [
    "a metrics guid that source_id contradicts",
    { metrics_guid: "m" },
    invalidField("metric_tags", "source_id should match metrics_guid"),
  ],
  [
    "a log rate below -1",
    { log_rate_limit: { bytes_per_second: -2 } },
    invalidField("log_rate_limit_bytes_per_second", "log_rate_limit"),
  ],
  ["no action", { action: undefined }, invalid("invalid action type")],
  ["an action without a member", action({}), inAction("inner-action")],
  ["a run without path and user", action({ run_action: {} }), inAction("path", "user")],
  [
    "a download of nothing",
    action({ download_action: { checksum_value: "x" } }),
    inAction("from", "to", "user", "checksum algorithm"),
  ],
  ["an upload of nothing", action({ upload_action: {} }), inAction("to", "from", "user")],
  [
    "an unknown checksum",
    action({ download_action: { from: "f", to: "t", user: "u", checksum_algorithm: "crc", checksum_value: "x" } }),
    inAction("invalid algorithm"),
  ],
  ["a timeout without action and time", action({ timeout_action: {} }), inAction("timeout_ms")],
  ["a try of nothing", action({ try_action: {} }), inAction()],
  ["progress of nothing", action({ emit_progress_action: { action: {} } }), inAction("inner-action")],
  ["nothing in parallel", action({ parallel_action: {} }), inAction("actions")],
  ["nothing in a row", action({ serial_action: { actions: [{}] } }), inAction("inner-action")],
  ["nothing codependent", action({ codependent_action: {} }), inAction("actions")],
  [
    "a fault ten actions deep",
    action({ serial_action: { actions: [nested(9), { run_action: { path: "/x" } }] } }),
    inAction("user"),
  ],
  [
    "a bad setup and monitor",
    { setup: {}, monitor: { run_action: { user: "u" } } },
    invalidField("setup", "inner-action", "monitor", "path"),
  ],
  [
    "an environment variable without a name",
    { environment_variables: [{ value: "x" }] },
    invalid("invalid field: name cannot be blank"),
  ],
  ["an unknown protocol", rule({ protocol: "TCP", ports: [1] }), inRule("Invalid field: protocol")],
  ["tcp without ports", rule({ protocol: "tcp" }), inRule("Missing required field: ports or port_range")],
  [
    "udp with ports and a range",
    rule({ protocol: "udp", ports: [1], port_range: { start: 1, end: 2 } }),
    inRule("Invalid: ports and port_range provided"),
  ],
  ["port 0", rule({ protocol: "tcp", ports: [0] }), inRule("Invalid field: ports")],
  [
    "a range that ends before it starts",
    rule({ protocol: "tcp", port_range: { start: 9, end: 8 } }),
    inRule("Invalid field: port_range"),
  ],
  ["tcp with icmp info", rule({ protocol: "tcp", ports: [1], icmp_info: {} }), inRule("Invalid field: icmp_info")],
  ["icmp without icmp info", rule({ protocol: "icmp" }), inRule("Invalid field: icmp_info")],
  ["icmpv6 with ports", rule({ protocol: "icmpv6", ports: [1], icmp_info: {} }), inRule("Invalid field: ports")],
  ["all with a range", rule({ protocol: "all", port_range: { start: 1, end: 2 } }), inRule("Invalid field: port_range")],
  [
    "no destination",
    { egress_rules: [{ protocol: "all" }] },
    inRule("Invalid field: destinations [ Must have at least 1 destination ]"),
  ],
  [
    "a destination that is none",
    { egress_rules: [{ protocol: "all", destinations: ["10.0.0.9-10.0.0.1"] }] },
    inRule("Invalid field: destinations [ Invalid IP ]"),
  ],
  [
    "a cached dependency from nowhere",
    { cached_dependencies: [{ checksum_algorithm: "md5" }] },
    invalidField("cached_dependency", "from", "to", "checksum value"),
  ],
  [
    "an image layer of nothing",
    { image_layers: [{}] },
    invalidField("image_layer", "url", "destination_path", "layer_type", "media_type"),
  ],
  [
    "an exclusive layer without digest and user",
    { image_layers: [{ ...layer, layer_type: 2 }] },
    invalidField("image_layer", "digest_algorithm", "digest_value", "legacy_download_user"),
  ],
  [
    "a digest without its value",
    { image_layers: [{ ...layer, digest_algorithm: 1 }] },
    invalidField("image_layer", "digest_value"),
  ],
  [
    "a sidecar without an action",
    { sidecars: [{ memory_mb: -1, disk_mb: -1 }] },
    invalid("Invalid field: sidecars", "invalid action type", "Invalid field: memory_mb", "Invalid field: disk_mb"),
  ],
  [
    "a volume of nothing",
    { volume_mounts: [{ shared: {}, dedicated: {} }] },
    invalid(
      "invalid volume_mount driver",
      "invalid volume_mount mode",
      "invalid volume_mount volume id",
      "invalid volume_mount mounter id",
    ),
  ],
  ["an image user without password", { image_username: "u" }, invalidField("image_password")],
  ["an image password without user", { image_password: "p" }, invalidField("image_username")],
  [
    "a check of both kinds",
    { check_definition: { checks: [{ tcp_check: { port: 1 }, http_check: { port: 1 } }] } },
    invalidField("check_definition", "check"),
  ],
  [
    "a check of no kind, and one of port 65,536",
    { check_definition: { checks: [{}], readiness_checks: [{ http_check: { port: 65_536 } }] } },
    invalidField("check_definition", "port"),
  ],
  [
    "mounted files of a byte too many",
    { volume_mounted_files: [{ path: "/f", content: "x".repeat(1_048_577) }] },
    invalidField("volumeMountedFiles"),
  ],
  ["privileged", { privileged: true }, invalidField("privileged: containers are never privileged here, leave it false")],
  ["250,001 instances", { instances: 250_001 }, invalidField("instances: more than 250000")],
  [
    "faults all over",
    { domain: "", root_fs: "x", action: undefined, image_username: "u" },
    invalid("Invalid field: domain", "Invalid field: rootfs", "invalid action type", "Invalid field: image_password"),
  ],
];

/** What is just within the limits. */
const desiredLimits: readonly (readonly [string, Message])[] = [
  ["an annotation of 10,240 bytes", { annotation: "é".repeat(5_120) }],
  ["routes of 131,072 bytes", { routes: { routes: { a: `"${"x".repeat(131_070)}"` } } }],
  ["no log output at all", { log_rate_limit: {} }],
  ["an unlimited log", { log_rate_limit: { bytes_per_second: -1 } }],
  ["a metrics guid that source_id repeats", { metrics_guid: "app" }],
  ["preloaded layers", { root_fs: "preloaded+layer:stack?layer=https://blobs/app.tgz" }],
  [
    "every egress protocol",
    {
      egress_rules: ["tcp", "udp", "icmp", "icmpv6", "all"].map((protocol) => ({
        protocol,
        destinations: ["10.0.0.0/8,fe80::1", "10.0.0.1-10.0.0.9"],
        ...(protocol === "tcp"
          ? { ports: [80, 443] }
          : protocol === "udp"
            ? { port_range: { start: 1, end: 70_000 } }
            : protocol === "all"
              ? {}
              : { icmp_info: { type: 8 } }),
      })),
    },
  ],
  ["ports twice", { ports: [8080, 8080] }],
];

const update = (name: string, fields: Message, reply: string): Entry =>
  refusal(
    `update with ${name}`,
    "controller",
    "UpdateDesiredLRP",
    (stage) => ({ process_guid: stage.guid, update: fields }),
    reply,
  );

const ownName = refused("PermissionDenied", "this certificate may make this call in its own name only");
const nobodyNamed = refused("PermissionDenied", "this certificate's role may not make this call");
const keys = (stage: Stage): Message => ({ actual_lrp_key: stage.key(), actual_lrp_instance_key: stage.instance("a") });
const net = { actual_lrp_net_info: { address: "10.0.0.1" } };
const cell: Role = cellOf.a;

export const requests: readonly Entry[] = [
  refusal("UpsertDomain without a domain", "controller", "UpsertDomain", () => ({ ttl: 1 }), invalidField("domain")),
  refusal(
    "ActualLRPsByProcessGuids of none",
    "controller",
    "ActualLRPsByProcessGuids",
    () => ({}),
    invalid("process_guids must not be empty"),
  ),
  refusal(
    "ActualLRPGroupsByProcessGuid without a guid",
    "controller",
    "ActualLRPGroupsByProcessGuid",
    () => ({}),
    invalidField("process_guid"),
  ),
  refusal(
    "ActualLRPGroupByProcessGuidAndIndex of nothing",
    "controller",
    "ActualLRPGroupByProcessGuidAndIndex",
    () => ({ index: -1 }),
    invalidField("process_guid", "index"),
  ),
  refusal(
    "DesiredLRPByProcessGuid without a guid",
    "controller",
    "DesiredLRPByProcessGuid",
    () => ({}),
    invalidField("process_guid"),
  ),
  refusal(
    "DesiredLRPSchedulingInfoByProcessGuid without a guid",
    "controller",
    "DesiredLRPSchedulingInfoByProcessGuid",
    () => ({}),
    invalidField("process_guid"),
  ),
  refusal("RemoveDesiredLRP without a guid", "controller", "RemoveDesiredLRP", () => ({}), invalidField("process_guid")),
  refusal("DesireDesiredLRP of nothing", "controller", "DesireDesiredLRP", () => ({}), invalidField("desired_lrp")),
  refusal("UpdateDesiredLRP of nothing", "controller", "UpdateDesiredLRP", () => ({}), invalidField("process_guid", "update")),

  refusal(
    "claim without a guid",
    cell,
    "ClaimActualLRP",
    (stage) => ({ actual_lrp_instance_key: stage.instance("a") }),
    invalidField("process_guid"),
  ),
  refusal(
    "claim without an instance guid",
    cell,
    "ClaimActualLRP",
    (stage) => ({ process_guid: stage.guid, actual_lrp_instance_key: { cell_id: "cell-1" } }),
    invalidField("instance_guid"),
  ),
  // A cell speaks in its own name: a request that names no cell is nobody's, and refused as such before it is read further.
  refusal("claim without an instance key", cell, "ClaimActualLRP", (stage) => ({ process_guid: stage.guid }), nobodyNamed),
  refusal(
    "claim without a cell id",
    cell,
    "ClaimActualLRP",
    (stage) => ({ process_guid: stage.guid, actual_lrp_instance_key: { instance_guid: "a" } }),
    ownName,
  ),
  refusal(
    "start without key and net info",
    cell,
    "StartActualLRP",
    (stage) => ({ actual_lrp_instance_key: stage.instance("a") }),
    invalidField("actual_lrp_key", "actual_lrp_net_info"),
  ),
  refusal(
    "start with an empty key and no address",
    cell,
    "StartActualLRP",
    (stage) => ({ actual_lrp_key: { index: -1 }, actual_lrp_instance_key: stage.instance("a"), actual_lrp_net_info: {} }),
    invalidField("process_guid", "index", "domain", "address"),
  ),
  refusal(
    "start in a zone of 256 characters",
    cell,
    "StartActualLRP",
    (stage) => ({ ...keys(stage), ...net, availability_zone: "z".repeat(256) }),
    invalidField("availability_zone: longer than 255 characters"),
  ),
  refusal(
    "crash without a key",
    cell,
    "CrashActualLRP",
    (stage) => ({ actual_lrp_instance_key: stage.instance("a") }),
    invalidField("actual_lrp_key"),
  ),
  refusal(
    "fail without key and message",
    "auctioneer",
    "FailActualLRP",
    () => ({}),
    invalidField("actual_lrp_key", "error_message"),
  ),
  refusal(
    "fail without a message",
    "auctioneer",
    "FailActualLRP",
    (stage) => ({ actual_lrp_key: stage.key() }),
    invalidField("error_message"),
  ),
  refusal("retire without a key", "controller", "RetireActualLRP", () => ({}), invalidField("actual_lrp_key")),
  refusal(
    "remove without guid and with a negative index",
    cell,
    "RemoveActualLRP",
    (stage) => ({ index: -1, actual_lrp_instance_key: stage.instance("a") }),
    invalidField("process_guid", "index"),
  ),
  refusal("remove whatever is there", cell, "RemoveActualLRP", (stage) => ({ process_guid: stage.guid }), nobodyNamed),

  refusal("a body that is no protobuf", "controller", "RetireActualLRP", Buffer.from("0affffff", "hex"), undecodable),
  refusal("a body that ends too soon", "controller", "RetireActualLRP", Buffer.from("0a050a0170", "hex"), undecodable),
];

export const desiredLRPs: readonly Entry[] = [
  ...desiredFaults.map(([name, fields, reply]) =>
    refusal(`desire with ${name}`, "controller", "DesireDesiredLRP", (stage) => ({ desired_lrp: stage.desired(fields) }), reply),
  ),
  ...desiredLimits.map(
    ([name, fields]): Entry => ({
      given: nothing,
      call: {
        name: `desire with ${name}`,
        make: (stage) => stage.call("controller", "DesireDesiredLRP", { desired_lrp: stage.desired(fields) }),
      },
      reply: "ok",
      rows: ["UNCLAIMED new"],
    }),
  ),
  update("negative instances", { instances: -1 }, invalidField("instances")),
  update("too long an annotation", { annotation: "x".repeat(10_241) }, invalidField("annotation")),
  update("too many routes", { routes: { routes: { a: `"${"x".repeat(131_071)}"` } } }, invalidField("routes")),
  update("a route that is no JSON", { routes: { routes: { a: "nope" } } }, undecodable),
  update("a metric tag of nothing", { metric_tags: { a: {} } }, invalidField("metric_tags", "static", "dynamic")),
  update("an image user alone", { image_username: "" }, invalidField("image_password")),
  update("an image password alone", { image_password: "p" }, invalidField("image_username")),
];
