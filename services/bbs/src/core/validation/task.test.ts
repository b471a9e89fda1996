// The requests about tasks of bbs-semantics.md 2.1 and 2.3.
import { type DeepPartial, TaskDefinition } from "@muster/proto/models/task";
import { describe, expect, it } from "vitest";
import {
  validateCompleteTask,
  validateDesireTask,
  validateFailTask,
  validateRejectTask,
  validateStartTask,
  validateTaskByGuid,
  validateTaskGuid,
} from "./index.js";
import { fields, refusal } from "./testing.js";

const good: DeepPartial<TaskDefinition> = { rootFs: "docker:///x", action: { runAction: { path: "p", user: "u" } } };
const define = (fault: DeepPartial<TaskDefinition>): readonly string[] =>
  refusal(() =>
    validateDesireTask({ taskGuid: "t", domain: "d", taskDefinition: TaskDefinition.fromPartial({ ...good, ...fault }) }),
  );

describe("a task definition is refused for", () => {
  it.each<{ of: string; fault: DeepPartial<TaskDefinition>; says: readonly string[] }>([
    { of: "a rootfs without scheme", fault: { rootFs: "x" }, says: fields("rootfs") },
    { of: "no action", fault: { action: undefined }, says: ["invalid action type"] },
    { of: "a bad action", fault: { action: {} }, says: fields("action", "inner-action") },
    {
      of: "an inspection of no Docker image",
      fault: { action: { inspectImageAction: { imageUrl: "x" } } },
      says: fields("image_url"),
    },
    { of: "negative sizes", fault: { memoryMb: -1, diskMb: -1, maxPids: -1 }, says: fields("memory_mb", "disk_mb", "max_pids") },
    { of: "a log rate limit below -1", fault: { logRateLimit: { bytesPerSecond: -2n } }, says: fields("log_rate_limit") },
    { of: "a long annotation", fault: { annotation: "x".repeat(10_241) }, says: fields("annotation") },
    { of: "half of the credentials", fault: { imageUsername: "x" }, says: fields("image_password") },
    { of: "a bad dependency", fault: { cachedDependencies: [{ from: "x" }] }, says: fields("cached_dependency", "to") },
    {
      of: "a bad layer",
      fault: { imageLayers: [{ url: "u", destinationPath: "d", layerType: 1 }] },
      says: fields("image_layer", "media_type"),
    },
    { of: "bad egress rules, without their details", fault: { egressRules: [{}, {}] }, says: fields("egress_rules") },
    {
      of: "being privileged",
      fault: { privileged: true },
      says: ["Invalid field: privileged: containers are never privileged here", "leave it false"],
    },
  ])("$of", ({ fault, says }) => {
    expect(define(fault)).toEqual(says);
  });
});

describe("a task definition is accepted with", () => {
  it.each<{ of: string; fault: DeepPartial<TaskDefinition> }>([
    { of: "a run action", fault: {} },
    { of: "an inspection of a Docker image", fault: { action: { inspectImageAction: { imageUrl: "docker:///x#y" } } } },
    {
      of: "what Diego does not look at",
      fault: {
        environmentVariables: [{}],
        volumeMounts: [{}],
        metricTags: { a: {} },
        completionCallbackUrl: "::",
        volumeMountedFiles: [{ content: "x".repeat(1_048_577) }],
      },
    },
  ])("$of", ({ fault }) => {
    expect(define(fault)).toEqual([]);
  });
});

describe("task requests", () => {
  it("desire lists every fault", () => {
    expect(refusal(() => validateDesireTask({ taskGuid: "a.b", domain: "", taskDefinition: undefined }))).toEqual(
      fields("domain", "task_guid", "task_definition"),
    );
  });

  it("desire bounds its names", () => {
    const long = "x".repeat(256);
    const taskDefinition = TaskDefinition.fromPartial(good);
    expect(refusal(() => validateDesireTask({ taskGuid: long, domain: long, taskDefinition }))).toEqual(
      fields("task_guid: longer than 255 characters", "domain: longer than 255 characters"),
    );
  });

  const complete = { failed: false, failureReason: "", result: "" };
  it.each([
    { call: "start", check: () => validateStartTask({ taskGuid: "", cellId: "" }), says: fields("task_guid", "cell_id") },
    { call: "start", check: () => validateStartTask({ taskGuid: "t", cellId: "c" }), says: [] },
    {
      call: "complete",
      check: () => validateCompleteTask({ ...complete, taskGuid: "a b", cellId: "" }),
      says: fields("task_guid", "cell_id"),
    },
    { call: "complete", check: () => validateCompleteTask({ ...complete, taskGuid: "t", cellId: "c" }), says: [] },
    {
      call: "fail",
      check: () => validateFailTask({ taskGuid: "/", failureReason: "" }),
      says: fields("task_guid", "failure_reason"),
    },
    { call: "fail", check: () => validateFailTask({ taskGuid: "t", failureReason: "r" }), says: [] },
    {
      call: "reject",
      check: () => validateRejectTask({ taskGuid: "/", rejectionReason: "" }),
      says: fields("task_guid", "failure_reason"),
    },
    { call: "reject", check: () => validateRejectTask({ taskGuid: "t", rejectionReason: "r" }), says: [] },
    { call: "cancel", check: () => validateTaskGuid({ taskGuid: "" }), says: fields("task_guid") },
    { call: "cancel", check: () => validateTaskGuid({ taskGuid: "no pattern/" }), says: [] },
    { call: "get", check: () => validateTaskByGuid({ taskGuid: "" }), says: fields("task_guid") },
    { call: "get", check: () => validateTaskByGuid({ taskGuid: "no pattern/" }), says: [] },
  ])("$call answers $says", ({ check, says }) => {
    expect(refusal(check)).toEqual(says);
  });
});
