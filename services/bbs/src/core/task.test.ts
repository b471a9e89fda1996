// The life of a task: every verb on every state, by every cell -> what becomes of it, or the refusal.
import { TaskDefinition } from "@muster/proto/models/task";
import { BbsError } from "@muster/shared/errors";
import { asCellId, asEpochMs, asTaskGuid, epochMsToNs, put, type Task, type TaskState } from "@muster/shared/model";
import { task } from "@muster/shared/testing";
import { describe, expect, it } from "vitest";
import type { Command, CoreState } from "./decision.js";
import { contextAt, run, stateWith, t0 } from "./rows.test-support.js";
import {
  cancelTask,
  completeTask,
  deleteTask,
  desireTask,
  failTask,
  rejectTask,
  resolvingTask,
  startTask,
  taskWithoutContainer,
} from "./task.js";

const guid = asTaskGuid("t");
const here = asCellId("cell-1");
const elsewhere = asCellId("cell-2");
const laterMs = asEpochMs(t0 + 5_000);
const laterNs = epochMsToNs(laterMs);

const inState = (state: TaskState, fields: Partial<Task> = {}): Task =>
  task({
    state,
    cellId: state === "RUNNING" ? here : undefined,
    firstCompletedAtNs: state === "COMPLETED" || state === "RESOLVING" ? epochMsToNs(t0) : (0n as Task["createdAtNs"]),
    ...fields,
  });
const stateOf = (one: Task): CoreState =>
  stateWith(put("task", one), put("taskDefinition", { taskGuid: one.taskGuid, sealed: new Uint8Array([1]) }));

/** What a command leaves: the state, `gone`, or `type: message` of its refusal. */
function outcome(before: Task | undefined, command: Command<unknown>): string {
  const state = before === undefined ? stateWith() : stateOf(before);
  const tables = () => [state.tables.task(guid), state.tables.taskDefinitions.get("t")];
  const untouched = tables();
  try {
    run(state, command, laterMs);
  } catch (error) {
    if (!(error instanceof BbsError)) throw error;
    expect(tables(), "a refused command writes nothing").toEqual(untouched);
    return `${error.code}: ${error.message}`;
  }
  const after = state.tables.task(guid);
  expect(state.tables.taskDefinitions.size, "a task and its definition go together").toBe(after === undefined ? 0 : 1);
  return after?.state ?? "gone";
}

const complete = (cellId = here) => completeTask({ taskGuid: guid, cellId, failed: false, failureReason: "", result: "r" });
const reject = (fields = {}) => rejectTask({ taskGuid: guid, reason: "no room", maxRetries: 3, ...fields });

const verbs = {
  "start here": startTask({ taskGuid: guid, cellId: here }),
  "start elsewhere": startTask({ taskGuid: guid, cellId: elsewhere }),
  complete: complete(),
  "complete elsewhere": complete(elsewhere),
  fail: failTask(guid, "broken"),
  cancel: cancelTask(guid),
  reject: reject(),
  "give back here": reject({ cellId: here }),
  "give back elsewhere": reject({ cellId: elsewhere }),
  resolve: resolvingTask(guid),
  delete: deleteTask(guid),
} as const satisfies Record<string, Command<unknown>>;

const cannot = (from: string, to: string): string => `InvalidStateTransition: Cannot transition from ${from} to ${to}`;
const invalid = "InvalidRequest: the request received is invalid";

/** Verb by verb: PENDING, RUNNING on cell-1, COMPLETED, RESOLVING. */
const square: readonly (readonly [verb: keyof typeof verbs, string, string, string, string])[] = [
  ["start here", "RUNNING", "RUNNING", cannot("Completed", "Running"), cannot("Resolving", "Running")],
  ["start elsewhere", "RUNNING", cannot("Running", "Running"), cannot("Completed", "Running"), cannot("Resolving", "Running")],
  ["complete", cannot("Pending", "Completed"), "COMPLETED", cannot("Completed", "Completed"), cannot("Resolving", "Completed")],
  [
    "complete elsewhere",
    cannot("Pending", "Completed"),
    "RunningOnDifferentCell: Running on cell cell-1 not cell-2",
    cannot("Completed", "Completed"),
    cannot("Resolving", "Completed"),
  ],
  ["fail", "COMPLETED", "COMPLETED", cannot("Completed", "Completed"), cannot("Resolving", "Completed")],
  ["cancel", "COMPLETED", "COMPLETED", cannot("Completed", "Completed"), cannot("Resolving", "Completed")],
  ["reject", "PENDING", "PENDING", invalid, invalid],
  ["give back here", cannot("Pending", "Pending"), "PENDING", invalid, invalid],
  [
    "give back elsewhere",
    cannot("Pending", "Pending"),
    "RunningOnDifferentCell: Running on cell cell-1 not cell-2",
    invalid,
    invalid,
  ],
  ["resolve", cannot("Pending", "Resolving"), cannot("Running", "Resolving"), "RESOLVING", cannot("Resolving", "Resolving")],
  ["delete", cannot("Pending", "Resolving"), cannot("Running", "Resolving"), cannot("Completed", "Resolving"), "gone"],
];
const states = ["PENDING", "RUNNING", "COMPLETED", "RESOLVING"] as const;

describe("a task", () => {
  it.each(square.flatMap(([verb, ...says]) => states.map((from, at) => ({ verb, from, says: says[at] }))))(
    "$verb of a $from task: $says",
    ({ verb, from, says }) => {
      expect(outcome(inState(from), verbs[verb])).toBe(says);
    },
  );

  it.each(Object.keys(verbs) as (keyof typeof verbs)[])("%s of an unknown task is not found", (verb) => {
    expect(outcome(undefined, verbs[verb])).toMatch(/^ResourceNotFound/);
  });

  it("is desired PENDING, its definition sealed beside it", () => {
    const state = stateWith();
    const definition = TaskDefinition.fromPartial({
      rootFs: "preloaded:busybox",
      memoryMb: 10,
      diskMb: 20,
      maxPids: 30,
      placementTags: ["tag"],
      volumeMounts: [{ driver: "nfs" }],
      completionCallbackUrl: "http://127.0.0.1:1/",
      annotation: "note",
      environmentVariables: [{ name: "PASSWORD", value: "hunter2" }],
    });
    run(state, desireTask({ taskGuid: "t", domain: "d", definition }));
    const desired = state.tables.task(guid);
    expect(desired).toMatchObject({
      state: "PENDING",
      domain: "d",
      createdAtNs: epochMsToNs(t0),
      updatedAtNs: epochMsToNs(t0),
      firstCompletedAtNs: 0n,
      memoryMb: 10,
      diskMb: 20,
      maxPids: 30,
      placementTags: ["tag"],
      volumeDrivers: ["nfs"],
      completionCallbackUrl: "http://127.0.0.1:1/",
      annotation: "note",
      changedAt: 7n,
    });
    expect(JSON.stringify(desired, (_key, value) => (typeof value === "bigint" ? String(value) : value))).not.toContain(
      "hunter2",
    );
    expect(TaskDefinition.decode(state.tables.taskDefinitions.get("t")?.sealed ?? new Uint8Array())).toEqual(definition);
  });

  it("a second desire of the same guid is refused, whatever its domain", () => {
    const definition = TaskDefinition.fromPartial({ rootFs: "preloaded:busybox" });
    const again = desireTask({ taskGuid: "t", domain: "other", definition });
    expect(outcome(inState("PENDING"), again)).toMatch(/^ResourceExists/);
  });

  it("a Docker task is neither desired nor started while the flag is off, and the refusal names the flag", () => {
    const definition = TaskDefinition.fromPartial({ rootFs: "docker:///library/redis" });
    expect(outcome(undefined, desireTask({ taskGuid: "t", domain: "d", definition }))).toBe(
      "FeatureDisabled: Feature Disabled: diego_docker",
    );
    const docker = inState("PENDING", { rootFs: "docker:///library/redis" });
    expect(outcome(docker, verbs["start here"])).toBe("FeatureDisabled: Feature Disabled: diego_docker");
    const running = inState("RUNNING", { rootFs: "docker:///library/redis" });
    expect(outcome(running, verbs.complete)).toBe("COMPLETED");
  });

  it("is to be started by its cell once: the repeated call says so and changes nothing", () => {
    const state = stateOf(inState("PENDING"));
    const start = startTask({ taskGuid: guid, cellId: here });
    expect(run(state, start, laterMs)).toEqual({ shouldStart: true });
    const started = state.tables.task(guid);
    expect(started).toMatchObject({ state: "RUNNING", cellId: here, updatedAtNs: laterNs, changedAt: 7n });
    expect(run(state, start, laterMs)).toEqual({ shouldStart: false });
    expect(state.tables.task(guid)).toBe(started);
  });

  it.each([
    { by: "its cell", command: complete(), failed: false, failureReason: "", result: "r" },
    {
      by: "its cell, with a failure",
      command: completeTask({ taskGuid: guid, cellId: here, failed: true, failureReason: "exited", result: "partial" }),
      failed: true,
      failureReason: "exited",
      result: "partial",
    },
    {
      by: "its cell, with a result beyond the limit",
      command: completeTask({ taskGuid: guid, cellId: here, failed: false, failureReason: "", result: "é".repeat(25_601) }),
      failed: true,
      failureReason: "result file is too large (over 51200 bytes)",
      result: "",
    },
    { by: "fail", command: failTask(guid, "broken"), failed: true, failureReason: "broken", result: "" },
    { by: "cancel", command: cancelTask(guid), failed: true, failureReason: "task was cancelled", result: "" },
  ])("completed by $by names no cell any more", ({ command, failed, failureReason, result }) => {
    const state = stateOf(inState("RUNNING"));
    run(state, command, laterMs);
    expect(state.tables.task(guid)).toMatchObject({
      failed,
      failureReason,
      result,
      cellId: undefined,
      firstCompletedAtNs: laterNs,
      updatedAtNs: laterNs,
      changedAt: 7n,
    });
  });

  it("a result of exactly the limit stands, and a long reason is cut", () => {
    const state = stateOf(inState("RUNNING"));
    const failureReason = "x".repeat(1_024);
    run(state, completeTask({ taskGuid: guid, cellId: here, failed: true, failureReason, result: "r".repeat(51_200) }));
    const completed = state.tables.task(guid);
    expect(completed?.result).toHaveLength(51_200);
    expect(completed?.failureReason).toBe(`${"x".repeat(1_013)}(truncated)`);
  });

  it("taken up again after a demotion keeps the time of its first completion", () => {
    const state = stateOf(inState("RUNNING", { firstCompletedAtNs: epochMsToNs(t0) }));
    run(state, complete(), laterMs);
    expect(state.tables.task(guid)?.firstCompletedAtNs).toBe(epochMsToNs(t0));
  });

  describe("a rejection", () => {
    it("is counted, keeps the former cell's name, and waits for a place again", () => {
      const state = stateOf(inState("RUNNING"));
      run(state, reject({ cellId: here }), laterMs);
      expect(state.tables.task(guid)).toMatchObject({
        state: "PENDING",
        cellId: here,
        rejectionCount: 1,
        rejectionReason: "no room",
        updatedAtNs: laterNs,
        failed: false,
      });
    });

    it.each([
      { maxRetries: 3, rejections: 4 },
      { maxRetries: 0, rejections: 1 },
    ])("with $maxRetries retries, number $rejections fails the task with its reason", ({ maxRetries, rejections }) => {
      const state = stateOf(inState("PENDING"));
      for (let number = 1; number < rejections; number += 1) {
        run(state, reject({ maxRetries }));
        expect(state.tables.task(guid)?.state).toBe("PENDING");
      }
      run(state, reject({ maxRetries }), laterMs);
      expect(state.tables.task(guid)).toMatchObject({
        state: "COMPLETED",
        failed: true,
        failureReason: "no room",
        rejectionReason: "no room",
        rejectionCount: rejections,
        firstCompletedAtNs: laterNs,
        cellId: undefined,
      });
    });

    it("of a completed task without retries left says so as a transition", () => {
      const over = inState("COMPLETED", { rejectionCount: 4 });
      expect(outcome(over, reject())).toBe(cannot("Completed", "Completed"));
    });

    it("of what the auctioneer judged before the task moved changes nothing (P4)", () => {
      const state = stateOf(inState("PENDING", { changedAt: 5n }));
      run(state, reject({ auctionId: "4" }));
      expect(state.tables.task(guid)?.rejectionCount).toBe(0);
      run(state, reject({ auctionId: "5" }));
      expect(state.tables.task(guid)).toMatchObject({ rejectionCount: 1, changedAt: 7n });
      run(state, reject({ auctionId: "5" }));
      expect(state.tables.task(guid)?.rejectionCount).toBe(1);
    });
  });

  it.each([
    { what: "that runs on the cell", before: inState("RUNNING"), after: "COMPLETED" },
    { what: "that runs elsewhere", before: inState("RUNNING", { cellId: elsewhere }), after: "RUNNING" },
    { what: "that was given back by the cell", before: inState("PENDING", { cellId: here }), after: "PENDING" },
    { what: "that nobody knows any more", before: undefined, after: "gone" },
  ])("one $what and has no container there is $after (R3)", ({ before, after }) => {
    expect(outcome(before, taskWithoutContainer({ taskGuid: guid, cellId: here }))).toBe(after);
    const state = stateOf(inState("RUNNING"));
    run(state, taskWithoutContainer({ taskGuid: guid, cellId: here }));
    expect(state.tables.task(guid)).toMatchObject({ failed: true, failureReason: "task container does not exist" });
  });

  it("resolving replies with the task whose outcome is to be told", () => {
    const state = stateOf(inState("COMPLETED", { result: "r" }));
    expect(resolvingTask(guid)(state, contextAt()).reply).toMatchObject({ taskGuid: "t", state: "RESOLVING", result: "r" });
  });
});
