// What a faulty task request is told (bbs-semantics.md 2.1, 2.3).
import type { Message } from "../../../support/diego-codec.js";
import type { Entry } from "../entry.js";
import type { Stage } from "../stage.js";
import { invalid, invalidField } from "../texts.js";
import type { Role } from "../world.js";
import { nothing } from "./givens.js";

const refusal = (name: string, role: Role, route: string, body: (stage: Stage) => Message, reply: string): Entry => ({
  given: nothing,
  call: { name, make: (stage) => stage.call(role, route, body(stage)) },
  reply,
  task: "gone",
});

const desire = (name: string, fields: Message, reply: string): Entry =>
  refusal(`desire with ${name}`, "controller", "DesireTask", (stage) => stage.task(fields), reply);
const named = (name: string, guid: string, reply: string): Entry =>
  refusal(`desire with ${name}`, "controller", "DesireTask", (stage) => ({ ...stage.task(), task_guid: guid }), reply);

const rule = { protocol: "tcp", destinations: ["10.0.0.0/8"] };
const shell = { run_action: { path: "/bin/true", user: "vcap" } };

const taken = (name: string, fields: Message): Entry => ({
  given: nothing,
  call: { name: `desire with ${name}`, make: (stage) => stage.call("controller", "DesireTask", stage.task(fields)) },
  reply: "ok",
  task: "Pending",
});

export const taskRequests: readonly Entry[] = [
  named("no guid", "", invalidField("task_guid")),
  named("a guid with a dot", "a.b", invalidField("task_guid")),
  named("a guid beyond ASCII", "tâche", invalidField("task_guid")),
  named("a guid of 256 characters", "g".repeat(256), invalidField("task_guid: longer than 255 characters")),
  refusal(
    "desire of nothing",
    "controller",
    "DesireTask",
    (stage) => ({ task_guid: stage.guid }),
    invalidField("domain", "task_definition"),
  ),
  desire("no rootfs", { root_fs: "" }, invalidField("rootfs")),
  desire("a rootfs without a scheme", { root_fs: "busybox" }, invalidField("rootfs")),
  desire("no action", { action: undefined }, invalid("invalid action type")),
  desire("an action without a member", { action: {} }, invalidField("action", "inner-action")),
  desire("a run without a user", { action: { run_action: { path: "/x" } } }, invalidField("action", "user")),
  desire("negative numbers", { memory_mb: -1, disk_mb: -1, max_pids: -1 }, invalidField("memory_mb", "disk_mb", "max_pids")),
  desire("a log rate below -1", { log_rate_limit: { bytes_per_second: -2 } }, invalidField("log_rate_limit")),
  desire("too long an annotation", { annotation: "x".repeat(10_241) }, invalidField("annotation")),
  desire("an image user alone", { image_username: "u" }, invalidField("image_password")),
  desire("a cached dependency from nowhere", { cached_dependencies: [{ to: "/x" }] }, invalidField("cached_dependency", "from")),
  desire(
    "an image layer of nothing",
    { image_layers: [{}] },
    invalidField("image_layer", "url", "destination_path", "layer_type", "media_type"),
  ),
  // Of a task's egress rules Diego says only that one is wrong.
  desire("a rule without ports", { egress_rules: [rule] }, invalidField("egress_rules")),
  desire(
    "faults all over",
    { root_fs: "", action: undefined, disk_mb: -1 },
    invalid("Invalid field: rootfs", "Invalid field: disk_mb", "invalid action type"),
  ),
  // What an LRP is refused for, and a task is not.
  taken("nameless variables, any volume, any tag and any callback", {
    environment_variables: [{ value: "x" }],
    volume_mounts: [{ driver: "", mode: "x" }],
    metric_tags: { a: {} },
    completion_callback_url: "nowhere",
  }),
  taken("checks of every depth", { action: { serial_action: { actions: [{ try_action: { action: shell } }, shell] } } }),

  refusal("start without guid and cell", "cell-1", "StartTask", () => ({ cell_id: "cell-1" }), invalidField("task_guid")),
  refusal(
    "complete of a guid with a slash",
    "cell-1",
    "CompleteTask",
    () => ({ task_guid: "a/b", cell_id: "cell-1" }),
    invalidField("task_guid"),
  ),
  refusal("fail without guid and reason", "operator", "FailTask", () => ({}), invalidField("task_guid", "failure_reason")),
  refusal(
    "reject without a reason",
    "auctioneer",
    "RejectTask",
    (stage) => ({ task_guid: stage.guid }),
    invalidField("failure_reason"),
  ),
  ...["CancelTask", "ResolvingTask", "DeleteTask", "TaskByGuid"].map((route) =>
    refusal(`${route} without a guid`, "controller", route, () => ({}), invalidField("task_guid")),
  ),
];
