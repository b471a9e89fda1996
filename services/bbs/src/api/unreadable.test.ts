// Records that no key opens: the calls that need them fail and say which, nothing is deleted on sight, and a person can still remove them.
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { TaskDefinition } from "@muster/proto/models/task";
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { BbsError, OperatorError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { memoryStore, openMemoryStore } from "@muster/store/memory";
import { afterEach, expect, it } from "vitest";
import { ActiveBbs } from "../active/active-bbs.js";
import { Calls } from "./calls.js";

const opened: ActiveBbs[] = [];
afterEach(() => {
  for (const active of opened.splice(0)) active.close(new BbsError("Unavailable"));
});

/** A BBS with one LRP and one task whose sealed parts cannot be opened any more, for one reason or the other. */
async function locked(open: () => Uint8Array) {
  const clock = fakeClock();
  const store = await openMemoryStore(memoryStore(clock), { clock, faults: {} });
  const leadership = await store.campaign("bbs", "one", 10_000, new AbortController().signal);
  const active = await ActiveBbs.start({
    store,
    leadership,
    clock,
    entropy: seededEntropy("one"),
    log: silentLog(),
    secrets: { seal: (bytes) => bytes, open },
    metrics: { committed: () => undefined, resent: () => undefined },
    presenceTtlMs: 5_000,
    onLost: () => undefined,
  });
  opened.push(active);
  const calls = new Calls(active);
  const action = { runAction: { path: "/bin/true", user: "vcap" } };
  const metricTags = { source_id: { static: "app" } };
  const lrp = DesiredLRP.fromPartial({ processGuid: "p", domain: "d", rootFs: "preloaded:x", action, metricTags });
  await calls.desireLRP({ desiredLrp: lrp });
  const taskDefinition = TaskDefinition.fromPartial({ rootFs: "preloaded:x", action });
  await calls.desireTask({ taskGuid: "t", domain: "d", taskDefinition });
  return { active, calls };
}

const operator = { peer: { role: "operator" as const }, traceId: "" };
const everyLRP = { domain: "", processGuids: [], appGuids: [] };

const unreadable: readonly { readonly why: string; readonly open: () => Uint8Array }[] = [
  {
    why: "their key is not among the keys",
    open: () => {
      throw new OperatorError("there is no such key", "add it");
    },
  },
  {
    why: "they were altered",
    open: () => {
      throw new BbsError("Deserialize");
    },
  },
  { why: "they are no message", open: () => new Uint8Array([0xff]) },
];

it.each(unreadable)("fails the calls that need what is sealed, since $why", async ({ open }) => {
  const { calls } = await locked(open);
  const lrp = { code: "Deserialize", message: "could not deserialize record: the run information of process p" };
  const task = { code: "Deserialize", message: "could not deserialize record: the definition of task t" };
  await expect(calls.desiredLRPByProcessGuid({ processGuid: "p" }, operator)).rejects.toMatchObject(lrp);
  await expect(calls.desiredLRPs(everyLRP).then((list) => [...list])).rejects.toMatchObject(lrp);
  await expect(calls.taskByGuid({ taskGuid: "t" }, operator)).rejects.toMatchObject(task);
  await expect(calls.tasks({ domain: "", cellId: "" }).then((list) => [...list])).rejects.toMatchObject(task);
});

it.each(unreadable)("deletes nothing on sight, and lets a person see and remove it, though $why", async ({ open }) => {
  const { active, calls } = await locked(open);
  await calls.desiredLRPByProcessGuid({ processGuid: "p" }, operator).catch(() => undefined);
  await calls.taskByGuid({ taskGuid: "t" }, operator).catch(() => undefined);
  const { tables } = active.state;
  expect([tables.runInfos.size, tables.taskDefinitions.size]).toEqual([1, 1]);
  const listed = [...(await calls.desiredLRPSchedulingInfos(everyLRP))];
  expect(listed.map((info) => info.desiredLrpKey?.processGuid)).toEqual(["p"]);
  await calls.cancelTask({ taskGuid: "t" });
  await calls.resolvingTask({ taskGuid: "t" });
  await calls.deleteTask({ taskGuid: "t" });
  await calls.removeDesiredLRP({ processGuid: "p" });
  expect([tables.runInfos.size, tables.desiredLRPs.size, tables.taskDefinitions.size, tables.tasks.size]).toEqual([0, 0, 0, 0]);
});
