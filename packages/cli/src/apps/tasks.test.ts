// What a task of an app is, and how it is found again.
import { parseImage } from "@muster/garden/image-ref";
import { asDomainName, asEpochNs, asTaskGuid, type Task } from "@muster/shared/model";
import { describe, expect, it } from "vitest";
import { RefusedError, UsageError } from "../exit.js";
import { type AppAnnotation, appsDomain } from "./annotation.js";
import { defaultSettings, desiredOf } from "./desired.js";
import { findTask, parseTaskName, type TaskWish, taskDefinitionOf, taskGuidOf, taskShape, tasksOfApp } from "./tasks.js";
import type { AppVersion } from "./versions.js";

const appGuid = "11111111-1111-4111-8111-111111111111";
const versionGuid = "22222222-2222-4222-8222-222222222222";
const digest = `sha256:${"a".repeat(64)}`;
const annotation: AppAnnotation = {
  name: "web",
  app_guid: appGuid,
  version: 1,
  image: "registry.example/check/app:v1",
  digest,
  requested_state: "STARTED",
  wanted: 1,
  own_command: false,
  replaces: [],
  updating_until_ms: 0,
};
const desired = desiredOf({
  annotation,
  versionGuid,
  settings: {
    ...defaultSettings,
    environment: { COLOR: "blue" },
    credentials: { username: "me", password: "secret" },
  },
  image: { digest, entrypoint: [], cmd: ["httpd"], workingDir: "/www", user: "alice", env: [], exposedTcpPorts: [8080] },
  reference: parseImage("registry.example/check/app:v1"),
});
const version: AppVersion = { processGuid: desired.processGuid, annotation, instances: 1, memoryMb: 256, diskMb: 1_024 };
const wish: TaskWish = { name: "migrate", command: "echo $COLOR", memoryMb: undefined, diskMb: undefined, resultFile: undefined };

describe("a task", () => {
  const definition = taskDefinitionOf(desired, version, wish);
  const run = definition.action?.runAction;

  it("runs the app's image at its digest, with the app's credentials, memory and disk", () => {
    expect(definition).toMatchObject({
      rootFs: `docker://registry.example/check/app@sha256#${"a".repeat(64)}`,
      imageUsername: "me",
      imagePassword: "secret",
      memoryMb: 256,
      diskMb: 1_024,
    });
  });

  it("has the identity of its app", () => {
    expect(definition.certificateProperties).toEqual(desired.certificateProperties);
    expect(definition.trustedSystemCertificatesPath).toBe(desired.trustedSystemCertificatesPath);
  });

  it("runs its command by a shell, in /, as the image's user, under its own log source", () => {
    expect(run).toMatchObject({
      path: "/bin/sh",
      args: ["-c", "echo $COLOR"],
      dir: "/",
      user: "alice",
      logSource: "APP/TASK/migrate",
    });
  });

  it("has the app's variables and no PORT", () => {
    const names = run?.env.map(({ name }) => name);
    expect(run?.env).toContainEqual({ name: "COLOR", value: "blue" });
    expect(names).toContain("VCAP_APPLICATION");
    expect(names).not.toContain("PORT");
  });

  it("takes memory, disk and result file that are asked for", () => {
    const other = taskDefinitionOf(desired, version, { ...wish, memoryMb: 64, diskMb: 32, resultFile: "/tmp/out" });
    expect(other).toMatchObject({ memoryMb: 64, diskMb: 32, resultFile: "/tmp/out" });
    expect(other.action?.runAction?.env).toContainEqual({ name: "MEMORY_LIMIT", value: "64m" });
  });

  it("has nothing of its command in the annotation, which everybody may read", () => {
    expect(definition.annotation).not.toContain("COLOR");
  });
});

const task = (guid: string, createdAtMs: bigint, more: Partial<Task> = {}): Task => ({
  taskGuid: asTaskGuid(guid),
  domain: asDomainName(appsDomain),
  createdAtNs: asEpochNs(createdAtMs * 1_000_000n),
  updatedAtNs: asEpochNs(0n),
  firstCompletedAtNs: asEpochNs(0n),
  state: "RUNNING",
  cellId: undefined,
  result: "",
  failed: false,
  failureReason: "",
  rejectionCount: 0,
  rejectionReason: "",
  rootFs: "",
  memoryMb: 1,
  diskMb: 1,
  maxPids: 0,
  placementTags: [],
  volumeDrivers: [],
  completionCallbackUrl: "",
  annotation: JSON.stringify({ name: guid.slice(-2), app_guid: appGuid }),
  changedAt: 1n,
  ...more,
});
const first = task(taskGuidOf(appGuid, "aaaa-01"), 1_000n);
const second = task(taskGuidOf(appGuid, "aabb-02"), 2_000n);
const foreign = [task("other-03", 3_000n), task(taskGuidOf(appGuid, "cccc-04"), 4_000n, { domain: asDomainName("elsewhere") })];

it("an app's tasks have its guid in front and live in the domain of apps; the newest comes first", () => {
  expect(tasksOfApp([first, ...foreign, second], appGuid)).toEqual([second, first]);
});

describe("an id", () => {
  const tasks = [second, first];
  it.each([first.taskGuid, "aaaa", "01"])("%s means one task", (id) => {
    expect(findTask(tasks, appGuid, id)).toBe(first);
  });
  it.each(["zzzz", "aab", ""])("%j means none", (id) => {
    expect(() => findTask(tasks, appGuid, id)).toThrow(/no task/);
  });
  it("that means several is refused", () => {
    const again = { ...second, annotation: first.annotation };
    expect(() => findTask([first, again], appGuid, "01")).toThrow(RefusedError);
  });
});

it("the shape is what scripts rely on, and somebody else's task has no name", () => {
  expect(taskShape({ ...first, annotation: "theirs", failed: true, failureReason: "why", state: "COMPLETED" })).toEqual({
    task_guid: first.taskGuid,
    name: "",
    state: "COMPLETED",
    failed: true,
    failure_reason: "why",
    result: "",
    cell_id: "",
    created_at: "1970-01-01T00:00:01.000Z",
  });
});

it("a name is part of a log source", () => {
  expect(parseTaskName("migrate-1.0")).toBe("migrate-1.0");
  expect(() => parseTaskName("a/b")).toThrow(UsageError);
  expect(() => parseTaskName("")).toThrow(UsageError);
});
