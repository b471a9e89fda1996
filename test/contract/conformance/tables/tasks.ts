// The task calls against every state (bbs-semantics.md section 7).
import { expect } from "vitest";
import type { Message } from "../../../support/diego-codec.js";
import type { Call, Entry, Given } from "../entry.js";
import type { Stage } from "../stage.js";
import { exists, noTransition, notFound, refused, undecodable } from "../texts.js";
import type { Role } from "../world.js";

const none: readonly string[] = [];

const onCell = (stage: Stage, cell: string): Message => ({ task_guid: stage.guid, cell_id: cell });
const startOn = (cell: "cell-1" | "cell-2") => (stage: Stage) => stage.ok(cell, "StartTask", onCell(stage, cell));
const done = { failed: false, result: "42" };
const completed = (stage: Stage) => stage.ok("cell-1", "CompleteTask", { ...onCell(stage, "cell-1"), ...done });
const resolvingStep = (stage: Stage) => stage.ok("controller", "ResolvingTask", { task_guid: stage.guid });
const rejected = (stage: Stage) => stage.ok("auctioneer", "RejectTask", { task_guid: stage.guid, rejection_reason: "no room" });

const given = (name: string, ...steps: readonly ((stage: Stage) => Promise<unknown>)[]): Given => ({
  name,
  reach: async (stage) => {
    if (name !== "no task") await stage.desireTask();
    for (const step of steps) await step(stage);
  },
});

const states = {
  none: given("no task"),
  Pending: given("Pending"),
  Running: given("Running on cell-1", startOn("cell-1")),
  Completed: given("Completed", startOn("cell-1"), completed),
  Resolving: given("Resolving", startOn("cell-1"), completed, resolvingStep),
};
const rejectedThrice = given("Pending, rejected three times", rejected, rejected, rejected);
const failed = given("Completed, failed", (stage) =>
  stage.ok("operator", "FailTask", { task_guid: stage.guid, failure_reason: "because" }),
);

const text = {
  none: "gone",
  Pending: "Pending",
  Running: "Running cell-1",
  Completed: 'Completed result="42"',
  Resolving: 'Resolving result="42"',
};

const call = (name: string, role: Role, route: string, body: (stage: Stage) => Message = () => ({})): Call => ({
  name,
  make: (stage) => stage.call(role, route, { task_guid: stage.guid, ...body(stage) }),
});

const desire = (name = "desire", fields: (stage: Stage) => Message = () => ({})): Call => ({
  name,
  make: (stage) => stage.call("controller", "DesireTask", { ...stage.task(), ...fields(stage) }),
});
const start = (cell: "cell-1" | "cell-2"): Call => call(`start on ${cell}`, cell, "StartTask", () => ({ cell_id: cell }));
const complete = (cell: "cell-1" | "cell-2"): Call =>
  call(`complete on ${cell}`, cell, "CompleteTask", () => ({ cell_id: cell, ...done }));
const completeFailed = call("complete as failed", "cell-1", "CompleteTask", () => ({
  cell_id: "cell-1",
  failed: true,
  failure_reason: "exit status 3",
}));
const fail = call("fail", "operator", "FailTask", () => ({ failure_reason: "because" }));
const cancel = call("cancel", "controller", "CancelTask");
const reject = call("reject", "auctioneer", "RejectTask", () => ({ rejection_reason: "no room" }));
const resolving = call("resolving", "controller", "ResolvingTask");
const remove = call("delete", "controller", "DeleteTask");

const cancelled = 'Completed failed "task was cancelled"';
const because = 'Completed failed "because"';

/** A call that the state refuses: nothing changes. */
const refusal = (state: keyof typeof states, of: Call, reply: string): Entry => ({
  given: states[state],
  call: of,
  reply,
  task: text[state],
  tasks: none,
});

const move = (state: Given, of: Call, before: string, after: string, more: Partial<Entry> = {}): Entry => ({
  given: state,
  call: of,
  reply: "ok",
  task: after,
  tasks: [`changed ${before} → ${after}`],
  ...more,
});

/** A completion sets its times together, and keeps nothing of the cell. */
const timesOfCompletion = async (stage: Stage): Promise<void> => {
  const task = (await stage.taskRecord()) ?? {};
  expect(task.first_completed_at).toBe(task.updated_at);
  expect(task.updated_at).toBeGreaterThan(task.created_at);
};

export const tasks: readonly Entry[] = [
  {
    given: states.none,
    call: desire(),
    reply: "ok",
    task: "Pending",
    tasks: ["created Pending"],
    after: async (stage) => {
      const task = (await stage.taskRecord()) ?? {};
      expect(task.created_at).toBe(task.updated_at);
      expect(task).toMatchObject({ ...stage.task(), state: 1 });
      expect(task.first_completed_at).toBeUndefined();
    },
  },
  ...(["Pending", "Running", "Completed", "Resolving"] as const).map((state) => refusal(state, desire(), exists)),
  refusal(
    "Pending",
    desire("desire in another domain", () => ({ domain: "elsewhere" })),
    exists,
  ),
  {
    given: states.none,
    call: desire("desire a Docker image, the flag being off", (stage) => stage.task({ root_fs: "docker:///library/busybox" })),
    reply: refused("FeatureDisabled", "Feature Disabled: diego_docker"),
    task: "gone",
    tasks: none,
  },

  refusal("none", start("cell-1"), notFound),
  {
    given: states.Pending,
    call: start("cell-1"),
    reply: "ok should_start",
    task: "Running cell-1",
    tasks: ["changed Pending → Running cell-1"],
    after: async (stage) => {
      const task = (await stage.taskRecord()) ?? {};
      expect(task.updated_at).toBeGreaterThan(task.created_at);
    },
  },
  refusal("Running", start("cell-1"), "ok"),
  refusal("Running", start("cell-2"), noTransition("Running", "Running")),
  refusal("Completed", start("cell-1"), noTransition("Completed", "Running")),
  refusal("Resolving", start("cell-1"), noTransition("Resolving", "Running")),

  refusal("none", complete("cell-1"), notFound),
  refusal("Pending", complete("cell-1"), noTransition("Pending", "Completed")),
  move(states.Running, complete("cell-1"), "Running cell-1", 'Completed result="42"', { after: timesOfCompletion }),
  move(states.Running, completeFailed, "Running cell-1", 'Completed failed "exit status 3"', { after: timesOfCompletion }),
  refusal("Running", complete("cell-2"), refused("RunningOnDifferentCell", "Running on cell cell-1 not cell-2")),
  refusal("Completed", complete("cell-1"), noTransition("Completed", "Completed")),
  refusal("Resolving", complete("cell-1"), noTransition("Resolving", "Completed")),

  refusal("none", fail, notFound),
  move(states.Pending, fail, "Pending", because, { after: timesOfCompletion }),
  move(states.Running, fail, "Running cell-1", because, { after: timesOfCompletion }),
  refusal("Completed", fail, noTransition("Completed", "Completed")),
  refusal("Resolving", fail, noTransition("Resolving", "Completed")),

  refusal("none", cancel, notFound),
  move(states.Pending, cancel, "Pending", cancelled, { after: timesOfCompletion }),
  move(states.Running, cancel, "Running cell-1", cancelled, { after: timesOfCompletion }),
  refusal("Completed", cancel, noTransition("Completed", "Completed")),
  refusal("Resolving", cancel, noTransition("Resolving", "Completed")),

  refusal("none", reject, notFound),
  move(states.Pending, reject, "Pending", 'Pending rejections=1 "no room"'),
  move(states.Running, reject, "Running cell-1", 'Pending cell-1 rejections=1 "no room"'),
  // The count before the call has reached the maximum of 3: this rejection fails the task.
  {
    given: rejectedThrice,
    call: reject,
    reply: "ok",
    tasks: [expect.stringMatching(/^changed Pending rejections=3 "no room" → Completed failed "no room"/)] as unknown as string[],
  },
  refusal("Completed", reject, undecodable),
  refusal("Resolving", reject, undecodable),

  refusal("none", resolving, notFound),
  refusal("Pending", resolving, noTransition("Pending", "Resolving")),
  refusal("Running", resolving, noTransition("Running", "Resolving")),
  move(states.Completed, resolving, 'Completed result="42"', 'Resolving result="42"'),
  move(failed, resolving, because, 'Resolving failed "because"'),
  refusal("Resolving", resolving, noTransition("Resolving", "Resolving")),

  refusal("none", remove, notFound),
  refusal("Pending", remove, noTransition("Pending", "Resolving")),
  refusal("Running", remove, noTransition("Running", "Resolving")),
  refusal("Completed", remove, noTransition("Completed", "Resolving")),
  { given: states.Resolving, call: remove, reply: "ok", task: "gone", tasks: ['removed Resolving result="42"'] },

  refusal("none", call("get", "controller", "TaskByGuid"), notFound),
];
