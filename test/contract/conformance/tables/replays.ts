// Diego's client makes a call up to three times when the connection fails it (bbs-wire.md A.1): what the second one is told, and that it
// does no more than the first.
import type { Call, Entry, Given } from "../entry.js";
import type { Stage } from "../stage.js";
import { cannot, exists, noTransition, notFound } from "../texts.js";
import * as is from "./givens.js";
import { claim, crashCall, evacuate, evacuateCrashed, fail, remove, removeEvacuating, retire, start } from "./givens.js";

const again = (call: Call): Call => ({
  name: `${call.name}, twice`,
  make: async (stage) => {
    const first = await call.make(stage);
    if (first.error !== undefined) throw new Error(`the first time: ${first.error.type}`);
    return call.make(stage);
  },
});
const controller = (name: string, route: string, body: (stage: Stage) => Record<string, unknown>): Call => ({
  name,
  make: (stage) => stage.call("controller", route, body(stage)),
});
const guid = ({ guid: process_guid }: Stage) => ({ process_guid });
const task = ({ guid: task_guid }: Stage) => ({ task_guid });

const pending: Given = { name: "a task, Pending", reach: (stage) => stage.desireTask() };
const running: Given = {
  name: "a task, Running",
  reach: async (stage) => {
    await stage.desireTask();
    await stage.ok("cell-1", "StartTask", { ...task(stage), cell_id: "cell-1" });
  },
};
const onCell = (name: string, route: string): Call => ({
  name,
  make: (stage) => stage.call("cell-1", route, { ...task(stage), cell_id: "cell-1" }),
});
const completed: Given = {
  name: "a task, Completed",
  reach: async (stage) => {
    await stage.desireTask();
    await stage.ok("controller", "CancelTask", task(stage));
  },
};
const resolving: Given = {
  name: "a task, Resolving",
  reach: async (stage) => {
    await completed.reach(stage);
    await stage.ok("controller", "ResolvingTask", task(stage));
  },
};
const cancelled = 'Completed failed "task was cancelled"';
const reason = '"exit status 1"';

export const replays: readonly Entry[] = [
  {
    given: is.nothing,
    call: again(controller("desire", "DesireDesiredLRP", (stage) => ({ desired_lrp: stage.desired() }))),
    reply: exists,
    rows: ["UNCLAIMED new"],
    desired: ["desired created"],
    instance: ["created UNCLAIMED"],
  },
  {
    given: is.unclaimed,
    call: again(controller("scale to 2", "UpdateDesiredLRP", (stage) => ({ ...guid(stage), update: { instances: 2 } }))),
    reply: "ok",
    rows: ["UNCLAIMED +0", "#1 UNCLAIMED new"],
    desired: ["desired changed", "desired changed"],
    instance: ["created #1 UNCLAIMED"],
  },
  {
    given: is.runningA,
    call: again(controller("remove the desire", "RemoveDesiredLRP", guid)),
    reply: notFound,
    rows: ["RUNNING a +0"],
    desired: ["desired removed"],
    instance: [],
  },
  {
    given: is.unclaimed,
    call: again(claim("a")),
    reply: "ok",
    rows: ["CLAIMED a +1"],
    instance: ["changed a: UNCLAIMED → CLAIMED"],
  },
  {
    given: is.claimedA,
    call: again(start("a")),
    reply: "ok",
    rows: ["RUNNING a +1"],
    instance: ["changed a: CLAIMED → RUNNING"],
  },
  {
    given: is.runningA,
    call: again(crashCall("a")),
    reply: cannot("crash"),
    rows: [`UNCLAIMED +1 crashes=1 ${reason}`],
    instance: [`crashed a 1 ${reason}`, "created UNCLAIMED", "removed RUNNING a"],
  },
  // Diego too writes a failure that it has written before.
  { given: is.unclaimed, call: again(fail()), reply: "ok", rows: ['UNCLAIMED +2 placement="insufficient resources: disk"'] },
  { given: is.runningA, call: again(remove("a")), reply: notFound, rows: ["UNCLAIMED new"] },
  { given: is.runningA, call: again(retire), reply: "ok", rows: ["RUNNING a +0"], instance: [] },
  { given: is.claimedA, call: again(evacuate("Claimed", "a")), reply: notFound, rows: ["UNCLAIMED +1"] },
  { given: is.runningA, call: again(evacuate("Stopped", "a")), reply: notFound, rows: ["UNCLAIMED new"] },
  { given: is.runningA, call: again(evacuateCrashed("a")), reply: notFound, rows: [`UNCLAIMED +1 crashes=1 ${reason}`] },
  {
    given: is.runningA,
    call: again(evacuate("Running", "a")),
    reply: "ok keep_container",
    rows: ["UNCLAIMED +1", "EVACUATING RUNNING a new"],
    instance: ["changed a: RUNNING → EVACUATING RUNNING", "created UNCLAIMED"],
  },
  { given: is.evacuating, call: again(removeEvacuating("a")), reply: notFound, rows: ["UNCLAIMED +0"] },

  {
    given: { name: "no task", reach: async () => undefined },
    call: again({ name: "desire", make: (stage) => stage.call("controller", "DesireTask", stage.task()) }),
    reply: exists,
    task: "Pending",
    tasks: ["created Pending"],
  },
  // The second start of a task is not told to start it.
  {
    given: pending,
    call: again(onCell("start", "StartTask")),
    reply: "ok",
    task: "Running cell-1",
    tasks: ["changed Pending → Running cell-1"],
  },
  {
    given: running,
    call: again(onCell("complete", "CompleteTask")),
    reply: noTransition("Completed", "Completed"),
    task: "Completed",
  },
  {
    given: running,
    call: again(controller("cancel", "CancelTask", task)),
    reply: noTransition("Completed", "Completed"),
    task: cancelled,
  },
  {
    given: completed,
    call: again(controller("resolving", "ResolvingTask", task)),
    reply: noTransition("Resolving", "Resolving"),
    task: 'Resolving failed "task was cancelled"',
  },
  { given: resolving, call: again(controller("delete", "DeleteTask", task)), reply: notFound, task: "gone" },
];
