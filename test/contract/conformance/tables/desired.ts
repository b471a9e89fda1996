// Desire, update and remove a DesiredLRP (bbs-semantics.md section 3; races.md W1, W3, S1).
import { expect } from "vitest";
import type { Message } from "../../../support/diego-codec.js";
import type { Call, Entry } from "../entry.js";
import type { Stage } from "../stage.js";
import { exists, invalidField, notFound, refused } from "../texts.js";
import * as is from "./givens.js";

const none: readonly string[] = [];
const unmoved = { desired: none, instance: none, group: none };

const desire = (name: string, fields: Message = {}): Call => ({
  name,
  make: (stage) => stage.call("controller", "DesireDesiredLRP", { desired_lrp: stage.desired(fields) }),
});
const update = (name: string, fields: Message): Call => ({
  name,
  make: (stage) => stage.call("controller", "UpdateDesiredLRP", { process_guid: stage.guid, update: fields }),
});
const remove: Call = {
  name: "remove the desire",
  make: (stage) => stage.call("controller", "RemoveDesiredLRP", { process_guid: stage.guid }),
};

/** The DesiredLRP afterwards holds this, and stands at this tag index. */
const holds =
  (index: number | undefined, fields: Message) =>
  async (stage: Stage): Promise<void> => {
    const lrp = await stage.desiredLRP();
    expect(lrp).toMatchObject(fields);
    expect(lrp.modification_tag.index).toBe(index);
  };

const rich = {
  name: "desired with routes, annotation and credentials",
  reach: async (stage: Stage): Promise<void> => {
    await stage.desire({
      instances: 0,
      annotation: "first",
      routes: { routes: { "cf-router": "[1]", tcp: "[2]" } },
      image_username: "user",
      image_password: "secret",
      metric_tags: { source_id: { static: "app" }, index: { dynamic: 1 } },
    });
  },
};

export const desires: readonly Entry[] = [
  {
    given: is.nothing,
    call: desire("desire 2 instances, with a tag of one's own", { instances: 2, modification_tag: { epoch: "mine", index: 7 } }),
    reply: "ok",
    rows: ["UNCLAIMED new", "#1 UNCLAIMED new"],
    desired: ["desired created"],
    instance: ["created UNCLAIMED", "created #1 UNCLAIMED"],
    group: ["created instance UNCLAIMED", "created instance #1 UNCLAIMED"],
    after: async (stage) => {
      const { modification_tag: tag } = await stage.desiredLRP();
      expect(tag).toEqual({ epoch: expect.stringMatching(/^[0-9a-f-]{36}$/) });
      // A new row says that it is not routable; the field is there.
      expect((await stage.row()).routable).toBe(false);
    },
  },
  {
    given: is.nothing,
    call: desire("desire 0 instances", { instances: 0 }),
    reply: "ok",
    rows: [],
    desired: ["desired created"],
    instance: none,
  },
  { given: is.unclaimed, call: desire("desire again"), reply: exists, rows: ["UNCLAIMED +0"], ...unmoved },
  {
    given: is.unclaimed,
    call: desire("desire again in another domain", { domain: "elsewhere" }),
    reply: exists,
    rows: ["UNCLAIMED +0"],
    ...unmoved,
  },
  {
    given: is.nothing,
    call: desire("desire a Docker image, the flag being off", { root_fs: "docker:///library/busybox" }),
    reply: refused("FeatureDisabled", "Feature Disabled: diego_docker"),
    rows: [],
    ...unmoved,
  },
  // A mark is never taken back: the instance goes, and only then comes a fresh row.
  {
    given: {
      name: "RUNNING a, desire removed",
      reach: async (stage) => {
        await is.runningA.reach(stage);
        await stage.ok("controller", "RemoveDesiredLRP", { process_guid: stage.guid });
      },
    },
    call: desire("desire again"),
    reply: "ok",
    rows: ["RUNNING a +0"],
    desired: ["desired created"],
    instance: none,
  },
];

export const updates: readonly Entry[] = [
  { given: is.nothing, call: update("scale", { instances: 2 }), reply: notFound, rows: [], ...unmoved },
  {
    given: is.unclaimed,
    // Diego's handler crashes here.
    call: {
      name: "update without an update",
      make: (stage) => stage.call("controller", "UpdateDesiredLRP", { process_guid: stage.guid }),
    },
    reply: invalidField("update"),
    rows: ["UNCLAIMED +0"],
    ...unmoved,
  },
  {
    given: is.runningA,
    call: update("update nothing", {}),
    reply: "ok",
    rows: ["RUNNING a +0"],
    desired: ["desired changed"],
    instance: none,
    group: none,
    after: holds(1, { instances: 1 }),
  },
  {
    given: is.runningA,
    call: update("scale to 3", { instances: 3 }),
    reply: "ok",
    rows: ["RUNNING a +0", "#1 UNCLAIMED new", "#2 UNCLAIMED new"],
    desired: ["desired changed"],
    instance: ["created #1 UNCLAIMED", "created #2 UNCLAIMED"],
    after: holds(1, { instances: 3 }),
  },
  {
    given: is.unclaimed,
    call: update("scale to 0", { instances: 0 }),
    reply: "ok",
    rows: [],
    desired: ["desired changed"],
    instance: ["removed UNCLAIMED"],
    group: ["removed instance UNCLAIMED"],
    after: holds(1, {}),
  },
  { given: is.crashed, call: update("scale to 0", { instances: 0 }), reply: "ok", rows: [], instance: ["removed CRASHED"] },
  // What a cell holds is stop-marked, and stays until the cell says that it is gone.
  {
    given: is.claimedA,
    call: update("scale to 0", { instances: 0 }),
    reply: "ok",
    rows: ["CLAIMED a +0"],
    instance: none,
    group: none,
  },
  {
    given: is.runningA,
    call: update("scale to 0", { instances: 0 }),
    reply: "ok",
    rows: ["RUNNING a +0"],
    instance: none,
    group: none,
  },
  {
    given: is.suspect,
    call: update("scale to 0", { instances: 0 }),
    reply: "ok",
    rows: ["SUSPECT RUNNING a +0"],
    instance: ["removed UNCLAIMED"],
  },
  {
    given: rich,
    call: update("routes", { routes: { routes: { tcp: ' {"port" : 61000} ' } } }),
    reply: "ok",
    desired: ["desired changed"],
    after: async (stage) => {
      const lrp = await stage.desiredLRP();
      // The whole map is replaced; nothing else is touched.
      expect(lrp.routes).toEqual({ routes: { tcp: Buffer.from('{"port":61000}') } });
      expect(lrp).toMatchObject({ annotation: "first", image_username: "user", image_password: "secret" });
    },
  },
  {
    given: rich,
    call: update("routes, present and empty", { routes: {} }),
    reply: "ok",
    after: async (stage) => expect((await stage.desiredLRP()).routes).toEqual({}),
  },
  {
    given: rich,
    call: update("annotation", { annotation: "second" }),
    reply: "ok",
    after: holds(1, { annotation: "second", routes: { routes: { tcp: Buffer.from("[2]") } } }),
  },
  {
    given: rich,
    call: update("annotation, present and empty", { annotation: "" }),
    reply: "ok",
    after: async (stage) => expect((await stage.desiredLRP()).annotation).toBeUndefined(),
  },
  {
    given: rich,
    call: update("metric tags", { metric_tags: { source_id: { static: "other" } } }),
    reply: "ok",
    after: async (stage) => expect((await stage.desiredLRP()).metric_tags).toEqual({ source_id: { static: "other" } }),
  },
  {
    given: rich,
    call: update("image credentials", { image_username: "u2", image_password: "p2" }),
    reply: "ok",
    after: holds(1, { image_username: "u2", image_password: "p2", metric_tags: { index: { dynamic: 1 } } }),
  },
  {
    given: rich,
    call: update("image credentials, present and empty", { image_username: "", image_password: "" }),
    reply: "ok",
    after: async (stage) => {
      const lrp = await stage.desiredLRP();
      expect([lrp.image_username, lrp.image_password]).toEqual([undefined, undefined]);
    },
  },
  {
    given: rich,
    call: update("everything at once", { instances: 1, annotation: "all", routes: { routes: { tcp: "[3]" } } }),
    reply: "ok",
    rows: ["UNCLAIMED new"],
    desired: ["desired changed"],
    instance: ["created UNCLAIMED"],
    after: holds(1, { instances: 1, annotation: "all", routes: { routes: { tcp: Buffer.from("[3]") } } }),
  },
];

export const removals: readonly Entry[] = [
  { given: is.nothing, call: remove, reply: notFound, rows: [], ...unmoved },
  {
    given: is.unclaimed,
    call: remove,
    reply: "ok",
    rows: [],
    desired: ["desired removed"],
    instance: ["removed UNCLAIMED"],
    group: ["removed instance UNCLAIMED"],
  },
  { given: is.placementFailed, call: remove, reply: "ok", rows: [], instance: ["removed UNCLAIMED"] },
  { given: is.crashed, call: remove, reply: "ok", rows: [], instance: ["removed CRASHED"] },
  { given: is.claimedA, call: remove, reply: "ok", rows: ["CLAIMED a +0"], desired: ["desired removed"], instance: none },
  { given: is.runningA, call: remove, reply: "ok", rows: ["RUNNING a +0"], desired: ["desired removed"], instance: none },
  { given: is.suspect, call: remove, reply: "ok", rows: ["SUSPECT RUNNING a +0"], instance: ["removed UNCLAIMED"] },
  { given: is.suspectAndClaimed, call: remove, reply: "ok", rows: ["CLAIMED b +0", "SUSPECT RUNNING a +0"], instance: none },
  {
    given: is.noRow,
    call: remove,
    reply: "ok",
    rows: [],
    desired: ["desired removed"],
    instance: none,
    after: async (stage) => {
      const { error } = await stage.call("controller", "DesiredLRPByProcessGuid", { process_guid: stage.guid });
      expect(error?.type).toBe("ResourceNotFound");
    },
  },
];
