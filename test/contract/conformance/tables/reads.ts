// Lists and their filters, groups, scheduling and routing infos, domains (bbs-semantics.md 3, 4.2, 7, 8).
import { expect } from "vitest";
import type { Reply } from "../../../support/diego-client.js";
import type { Message } from "../../../support/diego-codec.js";
import type { Call, Entry, Given } from "../entry.js";
import type { Stage } from "../stage.js";
import { lrpText, notFound } from "../texts.js";
import * as is from "./givens.js";
import { steps } from "./givens.js";

const ask = (name: string, route: string, body: (stage: Stage) => Message, httpOnly = false): Call => ({
  name,
  httpOnly,
  make: (stage) => stage.call("controller", route, body(stage)),
});

/** What a read answers, as the names or texts that `list` takes out of it. */
const answers = (
  given: Given,
  call: Call,
  list: (message: Message) => string[],
  expected: (stage: Stage) => string[],
): Entry => ({
  given,
  call,
  reply: "ok",
  after: (stage: Stage, { message }: Reply) => expect(list(message).sort()).toEqual(expected(stage).sort()),
});

// --- actual LRPs

/** `#0 UNCLAIMED`, `#1 CLAIMED a`, `#2 RUNNING b` of one process. */
const three: Given = {
  name: "three instances in three states",
  reach: steps(
    (stage) => stage.desire({ instances: 3 }),
    (stage) => stage.claim("a", 1),
    (stage) => stage.start("b", 2),
  ),
};
const rows = (message: Message): string[] => (message.actual_lrps ?? []).map(lrpText);
const list = (name: string, filter: (stage: Stage) => Message, expected: string[]): Entry =>
  answers(three, ask(name, "ActualLRPs", filter), rows, () => expected);
const all = ["UNCLAIMED", "#1 CLAIMED a", "#2 RUNNING b"];

export const actualLRPs: readonly Entry[] = [
  list("by domain", ({ domain }) => ({ domain }), all),
  list("by guid", ({ guid }) => ({ process_guid: guid }), all),
  list("by guid and index 0", ({ guid }) => ({ process_guid: guid, index: 0 }), ["UNCLAIMED"]),
  list("by guid and index 2", ({ guid }) => ({ process_guid: guid, index: 2 }), ["#2 RUNNING b"]),
  list("by domain and cell", ({ domain }) => ({ domain, cell_id: "cell-1" }), ["#1 CLAIMED a"]),
  list("by guid, cell and index that do not meet", ({ guid }) => ({ process_guid: guid, cell_id: "cell-1", index: 2 }), []),
  list("by a domain of nobody's", ({ domain }) => ({ domain: `${domain}-not` }), []),
  list("by a prefix of the guid", ({ guid }) => ({ process_guid: guid.slice(0, -1), domain: "nobody's" }), []),
  answers(
    three,
    ask("by guids, one of them twice", "ActualLRPsByProcessGuids", ({ guid }) => ({ process_guids: [guid, "nobody", guid] })),
    rows,
    () => all,
  ),
  answers(
    three,
    ask("by guids of nobody", "ActualLRPsByProcessGuids", () => ({ process_guids: ["nobody"] })),
    rows,
    () => [],
  ),
  // Every presence is listed.
  answers(
    is.suspectAndClaimed,
    ask("by domain", "ActualLRPs", ({ domain }) => ({ domain })),
    rows,
    () => ["CLAIMED b", "SUSPECT RUNNING a"],
  ),
  answers(
    is.evacuating,
    ask("by domain", "ActualLRPs", ({ domain }) => ({ domain })),
    rows,
    () => ["UNCLAIMED", "EVACUATING RUNNING a"],
  ),
  answers(
    is.evacuating,
    ask("by domain and cell", "ActualLRPs", ({ domain }) => ({ domain, cell_id: "cell-1" })),
    rows,
    () => ["EVACUATING RUNNING a"],
  ),
];

const groupText = (group: Message): string =>
  [group.instance, group.evacuating].map((one) => (one === undefined ? "-" : lrpText(one))).join(" | ");
const groups = (message: Message): string[] => (message.actual_lrp_groups ?? []).map(groupText);
const group = (given: Given, expected: string): Entry[] => [
  answers(
    given,
    ask("its group", "ActualLRPGroupByProcessGuidAndIndex", ({ guid }) => ({ process_guid: guid })),
    (message) => [groupText(message.actual_lrp_group)],
    () => [expected],
  ),
  answers(
    given,
    ask("its groups", "ActualLRPGroupsByProcessGuid", ({ guid }) => ({ process_guid: guid })),
    groups,
    () => [expected],
  ),
];

export const actualLRPGroups: readonly Entry[] = [
  {
    given: is.nothing,
    call: ask("its group", "ActualLRPGroupByProcessGuidAndIndex", ({ guid }) => ({ process_guid: guid })),
    reply: notFound,
  },
  {
    given: is.unclaimed,
    call: ask("a group of another index", "ActualLRPGroupByProcessGuidAndIndex", ({ guid }) => ({
      process_guid: guid,
      index: 1,
    })),
    reply: notFound,
  },
  answers(
    is.nothing,
    ask("its groups", "ActualLRPGroupsByProcessGuid", ({ guid }) => ({ process_guid: guid })),
    groups,
    () => [],
  ),
  ...group(is.unclaimed, "UNCLAIMED | -"),
  ...group(is.runningA, "RUNNING a | -"),
  ...group(is.crashed, "CRASHED | -"),
  // A suspect stands for the group until its replacement runs.
  ...group(is.suspect, "SUSPECT RUNNING a | -"),
  ...group(is.suspectClaimed, "SUSPECT CLAIMED a | -"),
  ...group(is.suspectAndClaimed, "SUSPECT RUNNING a | -"),
  ...group(is.evacuating, "UNCLAIMED | EVACUATING RUNNING a"),
  ...group(is.evacuatingAndClaimed, "CLAIMED b | EVACUATING RUNNING a"),
  answers(
    three,
    ask("groups by domain", "ActualLRPGroups", ({ domain }) => ({ domain })),
    groups,
    () => all.map((row) => `${row} | -`),
  ),
  answers(
    three,
    ask("groups by domain and cell", "ActualLRPGroups", ({ domain }) => ({ domain, cell_id: "cell-2" })),
    groups,
    () => ["#2 RUNNING b | -"],
  ),
  answers(
    three,
    ask("groups of nobody's domain", "ActualLRPGroups", () => ({ domain: "nobody's" })),
    groups,
    () => [],
  ),
];

// --- desired LRPs

const volume = { driver: "nfs", container_dir: "/data", mode: "r", shared: { volume_id: "v" } };
/** `<guid>` and `<guid>-2` in the stage's domain, `<guid>-3` in another. */
const desires: Given = {
  name: "three DesiredLRPs in two domains",
  reach: steps(
    (stage) =>
      stage.desire({
        annotation: "note",
        log_guid: "log",
        PlacementTags: ["ssd"],
        volume_mounts: [volume],
        max_pids: 5,
        ports: [8080],
        metrics_guid: "app",
      }),
    (stage) => stage.desire({ process_guid: `${stage.guid}-2`, instances: 0 }),
    (stage) => stage.desire({ process_guid: `${stage.guid}-3`, instances: 0, domain: `${stage.domain}-other` }),
  ),
};
const guidsOf = (message: Message): string[] =>
  (message.desired_lrps ?? message.desired_lrp_scheduling_infos ?? []).map(
    (one: Message) => one.process_guid ?? one.desired_lrp_key.process_guid,
  );
const lists = ["DesiredLRPs", "DesiredLRPSchedulingInfos", "DesiredLRPRoutingInfos", "DesiredLRPs.r2"] as const;
const filters: readonly (readonly [string, (stage: Stage) => Message, (guid: string) => string[]])[] = [
  ["by domain", ({ domain }) => ({ domain }), (guid) => [guid, `${guid}-2`]],
  ["by guids", ({ guid }) => ({ process_guids: [guid, `${guid}-3`, "nobody"] }), (guid) => [guid, `${guid}-3`]],
  ["by prefixes", ({ guid }) => ({ app_guids: [`${guid}-`, `${guid}-2`] }), (guid) => [`${guid}-2`, `${guid}-3`]],
  ["by domain and guids", ({ guid, domain }) => ({ domain, process_guids: [`${guid}-2`, `${guid}-3`] }), (guid) => [`${guid}-2`]],
  [
    "by guids and prefix",
    ({ guid }) => ({ process_guids: [guid, `${guid}-2`], app_guids: [`${guid}-2`] }),
    (guid) => [`${guid}-2`],
  ],
  ["by nobody's domain", () => ({ domain: "nobody's" }), () => []],
];

export const desiredLRPs: readonly Entry[] = [
  ...lists.flatMap((route) =>
    filters.map(([name, filter, expected]) =>
      answers(desires, ask(`${route} ${name}`, route, filter, route.endsWith(".r2")), guidsOf, ({ guid }) => expected(guid)),
    ),
  ),
  {
    given: desires,
    call: ask("its scheduling info", "DesiredLRPSchedulingInfoByProcessGuid", ({ guid }) => ({ process_guid: guid })),
    reply: "ok",
    after: (stage, { message }) => {
      const info = message.desired_lrp_scheduling_info;
      expect(info).toEqual({
        desired_lrp_key: { process_guid: stage.guid, domain: stage.domain, log_guid: "log" },
        annotation: "note",
        instances: 1,
        desired_lrp_resource: { memory_mb: 64, disk_mb: 64, root_fs: "preloaded:busybox", max_pids: 5 },
        routes: {},
        modification_tag: { epoch: info.modification_tag.epoch },
        volume_placement: { driver_names: ["nfs"] },
        PlacementTags: ["ssd"],
      });
    },
  },
  {
    given: is.unclaimed,
    call: ask("its scheduling info, without volumes", "DesiredLRPSchedulingInfoByProcessGuid", ({ guid }) => ({
      process_guid: guid,
    })),
    reply: "ok",
    after: (_stage, { message }) => expect(message.desired_lrp_scheduling_info.volume_placement).toEqual({}),
  },
  {
    given: desires,
    call: ask("its routing info", "DesiredLRPRoutingInfos", ({ guid }) => ({ process_guids: [guid] })),
    reply: "ok",
    after: ({ guid, domain }, { message }) => {
      const [info] = message.desired_lrps;
      expect(info).toEqual({
        process_guid: guid,
        domain,
        log_guid: "log",
        instances: 1,
        routes: {},
        modification_tag: { epoch: info.modification_tag.epoch },
        metric_tags: { source_id: { static: "app" } },
      });
    },
  },
  ...["DesiredLRPByProcessGuid", "DesiredLRPSchedulingInfoByProcessGuid", "DesiredLRPByProcessGuid.r2"].map(
    (route): Entry => ({
      given: is.nothing,
      call: ask(route, route, ({ guid }) => ({ process_guid: guid }), route.endsWith(".r2")),
      reply: notFound,
      after: (_stage, { message }) => expect(message).toEqual({}),
    }),
  ),
  // Over HTTP, as Diego's own clients see it: the older metrics guid follows the tag source_id where only the tag was given.
  ...["DesiredLRPByProcessGuid", "DesiredLRPByProcessGuid.r2"].map(
    (route): Entry => ({
      given: is.unclaimed,
      call: ask(route, route, ({ guid }) => ({ process_guid: guid }), true),
      reply: "ok",
      after: (_stage, { message }) => expect(message.desired_lrp.metrics_guid).toBe("app"),
    }),
  ),
];

// --- tasks

const tasks: Given = {
  name: "two tasks, one on cell-1",
  reach: async (stage) => {
    await stage.desireTask();
    await stage.ok("controller", "DesireTask", { ...stage.task(), task_guid: `${stage.guid}-2` });
    await stage.ok("cell-1", "StartTask", { task_guid: stage.guid, cell_id: "cell-1" });
  },
};
const taskGuids = (message: Message): string[] => (message.tasks ?? []).map((one: Message) => one.task_guid);

export const taskLists: readonly Entry[] = ["Tasks", "Tasks.r2"].flatMap((route) => {
  const listed = (name: string, filter: (stage: Stage) => Message, expected: (guid: string) => string[]): Entry =>
    answers(tasks, ask(`${route} ${name}`, route, filter, route.endsWith(".r2")), taskGuids, ({ guid }) => expected(guid));
  return [
    listed(
      "by domain",
      ({ domain }) => ({ domain }),
      (guid) => [guid, `${guid}-2`],
    ),
    listed(
      "by domain and cell",
      ({ domain }) => ({ domain, cell_id: "cell-1" }),
      (guid) => [guid],
    ),
    listed(
      "by domain and another cell",
      ({ domain }) => ({ domain, cell_id: "cell-2" }),
      () => [],
    ),
    listed(
      "by nobody's domain",
      () => ({ domain: "nobody's" }),
      () => [],
    ),
  ];
});

// --- versions before image layers

const layers = [
  {
    name: "shared",
    url: "http://s",
    destination_path: "/s",
    layer_type: 1,
    media_type: 1,
    digest_algorithm: 1,
    digest_value: "abc",
  },
  { url: "http://n", destination_path: "/n", layer_type: 1, media_type: 2 },
  {
    name: "own",
    url: "http://o",
    destination_path: "/o",
    layer_type: 2,
    media_type: 3,
    digest_algorithm: 2,
    digest_value: "def",
  },
];
const layered: Message = {
  image_layers: layers,
  legacy_download_user: "vcap",
  cached_dependencies: [{ name: "dep", from: "http://d", to: "/d", cache_key: "d" }],
};
const dependencies = [
  { name: "shared", from: "http://s", to: "/s", cache_key: "sha256:abc", checksum_algorithm: "sha256", checksum_value: "abc" },
  { from: "http://n", to: "/n", cache_key: "http://n" },
  { name: "dep", from: "http://d", to: "/d", cache_key: "d" },
];
const ownDownload = {
  parallel_action: {
    actions: [
      {
        download_action: {
          artifact: "own",
          from: "http://o",
          to: "/o",
          cache_key: "sha512:def",
          user: "vcap",
          checksum_algorithm: "sha512",
          checksum_value: "def",
        },
      },
    ],
  },
};
const setup = { run_action: { path: "/setup", user: "vcap" } };
const server = { run_action: { path: "/bin/server", user: "vcap" } };
const layeredGiven = (name: string, fields: Message): Given => ({
  name,
  reach: async (stage) => void (await stage.desire(fields)),
});
const downgraded = (given: Given, expected: Message): Entry[] =>
  (["DesiredLRPByProcessGuid.r2", "DesiredLRPs.r2"] as const).map((route) => ({
    given,
    call: ask(
      route,
      route,
      ({ guid }) => (route === "DesiredLRPs.r2" ? { process_guids: [guid] } : { process_guid: guid }),
      true,
    ),
    reply: "ok",
    after: (_stage, { message }) => {
      const lrp = message.desired_lrp ?? message.desired_lrps[0];
      expect(lrp.image_layers).toBeUndefined();
      expect({ cached_dependencies: lrp.cached_dependencies, setup: lrp.setup, action: lrp.action }).toEqual(expected);
    },
  }));

export const olderVersions: readonly Entry[] = [
  ...downgraded(layeredGiven("layers and a setup", { ...layered, setup }), {
    cached_dependencies: dependencies,
    setup: { serial_action: { actions: [ownDownload, setup] } },
    action: server,
  }),
  ...downgraded(layeredGiven("layers, no setup", layered), {
    cached_dependencies: dependencies,
    setup: ownDownload,
    action: server,
  }),
  ...downgraded(layeredGiven("no layers", {}), { cached_dependencies: undefined, setup: undefined, action: server }),
  {
    given: { name: "a task with layers", reach: (stage) => stage.desireTask(layered) },
    call: ask("TaskByGuid.r2", "TaskByGuid.r2", ({ guid }) => ({ task_guid: guid }), true),
    reply: "ok",
    after: (_stage, { message }) => {
      const { image_layers: none, cached_dependencies, action } = message.task.task_definition;
      expect(none).toBeUndefined();
      expect(cached_dependencies).toEqual(dependencies);
      expect(action).toEqual({ serial_action: { actions: [ownDownload, { run_action: { path: "/bin/true", user: "vcap" } }] } });
    },
  },
  {
    given: is.unclaimed,
    call: {
      name: "start the deprecated way",
      httpOnly: true,
      make: (stage) => stage.call("cell-1", "StartActualLRP.r0", stage.started("a")),
    },
    reply: "ok",
    rows: ["RUNNING a +1"],
    after: async (stage) => {
      const row = await stage.row();
      expect([row.actual_lrp_internal_routes, row.metric_tags, row.availability_zone]).toEqual([undefined, undefined, "z1"]);
    },
  },
  // The present version knows layers, over either door.
  {
    given: layeredGiven("layers", layered),
    call: ask("DesiredLRPByProcessGuid", "DesiredLRPByProcessGuid", ({ guid }) => ({ process_guid: guid })),
    reply: "ok",
    after: (_stage, { message }) => expect(message.desired_lrp).toMatchObject(layered),
  },
];
