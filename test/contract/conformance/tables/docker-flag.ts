// The flag `diego_docker`, turned off while Docker instances are there: nothing of them is wanted any more (races.md W1, W3; design.md 5).
// One after the other: the flag is everybody's.
import { unary } from "@muster/shared/rpc";
import type { Call, Entry, Given } from "../entry.js";
import type { Stage } from "../stage.js";
import { cannot, refused } from "../texts.js";
import { claim, crashCall as crash, evacuate, start, steps } from "./givens.js";

const image = "docker:///library/busybox#latest";
const set = (enabled: boolean) => async (stage: Stage) => {
  const { flags } = stage.world.own.operator;
  await unary(flags.setFeatureFlag.bind(flags), { name: "diego_docker", enabled });
};
/** Comes to its state while the flag is on; it is off when the call is made, and stays so. */
const given = (name: string, ...reach: readonly ((stage: Stage) => Promise<unknown>)[]): Given => ({
  name: `a Docker image, ${name}, the flag turned off`,
  reach: steps(set(true), (stage) => stage.desire({ root_fs: image }), ...reach, set(false)),
});
const unclaimed = given("UNCLAIMED");
const claimed = given("CLAIMED a", (stage) => stage.claim("a"));
const running = given("RUNNING a", (stage) => stage.start("a"));
const pendingTask: Given = {
  name: "a Docker task, Pending, the flag turned off",
  reach: steps(set(true), (stage) => stage.desireTask({ root_fs: image }), set(false)),
};

const rule = (name: string): Call => ({ name: `the rule ${name}`, make: (stage) => stage.judged(name) });
const scale: Call = {
  name: "scale to 3",
  make: (stage) => stage.call("controller", "UpdateDesiredLRP", { process_guid: stage.guid, update: { instances: 3 } }),
};
const disabled = "Feature Disabled: diego_docker";

export const dockerFlag: readonly Entry[] = [
  { given: unclaimed, call: claim("a"), reply: cannot("claim"), rows: ["UNCLAIMED +0"], instance: [] },
  { given: unclaimed, call: start("a"), reply: cannot("start"), rows: ["UNCLAIMED +0"], instance: [] },
  { given: claimed, call: start("a"), reply: cannot("start"), rows: ["CLAIMED a +0"], instance: [] },
  { given: running, call: start("a"), reply: "ok", rows: ["RUNNING a +0"], instance: [] },
  // It crashes as any other, and is not restarted.
  { given: running, call: crash("a"), reply: "ok", rows: ['UNCLAIMED +1 crashes=1 "exit status 1"'] },
  { given: running, call: evacuate("Running", "a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },
  // Whatever the freshness of its domain.
  { given: running, call: rule("surplus"), reply: "ok held", rows: ["RUNNING a +0"], instance: [] },
  { given: unclaimed, call: rule("surplus"), reply: "ok held", rows: [], instance: ["removed UNCLAIMED"] },
  // The DesiredLRP stays, and may be changed; nothing is made of it.
  { given: running, call: scale, reply: "ok", rows: ["RUNNING a +0"], desired: ["desired changed"], instance: [] },
  {
    given: pendingTask,
    call: {
      name: "start",
      make: (stage) => stage.call("cell-1", "StartTask", { task_guid: stage.guid, cell_id: "cell-1" }),
    },
    reply: refused("FeatureDisabled", disabled),
    task: "Pending",
    tasks: [],
  },
  {
    given: pendingTask,
    call: rule("task-disabled"),
    reply: "ok held",
    task: `Completed failed "${disabled}"`,
    tasks: [`changed Pending → Completed failed "${disabled}"`],
  },
];
