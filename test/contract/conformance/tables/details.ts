// What rows, tags, reasons and events hold beyond their states (bbs-semantics.md 1.2, 1.4, 1.6, 4.1, 4.5, 8).
import { expect } from "vitest";
import type { Message } from "../../../support/diego-codec.js";
import type { StreamEvent } from "../../../support/diego-events.js";
import type { Entry } from "../entry.js";
import { netInfo, type Stage } from "../stage.js";
import { guidOf } from "../texts.js";
import * as is from "./givens.js";
import { claim, crashCall, fail, start } from "./givens.js";

/** Every event of the entry's own records so far. */
const eventsOf = ({ world, guid }: Stage, stream: "instance" | "group" | "task" = "instance"): StreamEvent[] =>
  world.streams[stream].events.filter((event) => guidOf(event) === guid);
const lastOf = (stage: Stage, name: string): Message => eventsOf(stage).findLast((event) => event.name === name)?.message ?? {};

const written = {
  actual_lrp_net_info: netInfo,
  actual_lrp_internal_routes: [{ hostname: "app.internal" }],
  metric_tags: { source_id: "app" },
  routable: true,
  availability_zone: "z1",
};
const kept = {
  actual_lrp_internal_routes: written.actual_lrp_internal_routes,
  metric_tags: written.metric_tags,
  routable: true,
  availability_zone: "z1",
};

export const fields: readonly Entry[] = [
  {
    given: is.unclaimed,
    call: start("a"),
    reply: "ok",
    instance: ["changed a: UNCLAIMED → RUNNING"],
    after: async (stage) => {
      const row = await stage.row();
      expect(row).toMatchObject({ ...written, actual_lrp_instance_key: { instance_guid: "a", cell_id: "cell-1" } });
      // The event has it all but routes and tags, before and after, and the keys once.
      const event = lastOf(stage, "actual_lrp_instance_changed");
      expect(event).toEqual({
        actual_lrp_key: { process_guid: stage.guid, domain: stage.domain },
        actual_lrp_instance_key: { instance_guid: "a", cell_id: "cell-1" },
        before: {
          actual_lrp_net_info: {},
          state: "UNCLAIMED",
          since: event.before.since,
          modification_tag: { epoch: row.modification_tag.epoch },
          Routable: false,
        },
        after: {
          actual_lrp_net_info: netInfo,
          state: "RUNNING",
          since: row.since,
          modification_tag: row.modification_tag,
          Routable: true,
          availability_zone: "z1",
        },
      });
    },
  },
  // A quirk that clients may know: what a start wrote stays when the row waits again.
  {
    given: is.runningA,
    call: crashCall("a"),
    reply: "ok",
    instance: ['crashed a 1 "exit status 1"', "created UNCLAIMED", "removed RUNNING a"],
    after: async (stage) => {
      const row = await stage.row();
      expect(row).toMatchObject({ ...kept, actual_lrp_instance_key: {}, actual_lrp_net_info: {} });
      expect(lastOf(stage, "actual_lrp_crashed")).toEqual({
        actual_lrp_key: { process_guid: stage.guid, domain: stage.domain },
        actual_lrp_instance_key: { instance_guid: "a", cell_id: "cell-1" },
        crash_count: 1,
        crash_reason: "exit status 1",
        since: row.since,
      });
    },
  },
  {
    given: is.runningA,
    call: claim("a"),
    reply: "ok",
    after: async (stage) => expect(await stage.row()).toMatchObject({ ...kept, actual_lrp_net_info: {} }),
  },
  // Suspect and back keep tag and since; the crash count outlives claim and start.
  {
    given: is.crashedTwice,
    call: start("c"),
    reply: "ok",
    rows: ['RUNNING c +1 crashes=2 "exit status 1"'],
  },
  {
    given: { name: "times of a new row", reach: async () => undefined },
    call: { name: "desire", make: (stage) => stage.call("controller", "DesireDesiredLRP", { desired_lrp: stage.desired() }) },
    reply: "ok",
    after: async (stage) => {
      // Nanoseconds of the BBS's time.
      const now = BigInt(stage.world.clock.nowMs()) * 1_000_000n;
      const { since } = await stage.row();
      expect(now - since).toBeLessThan(60_000_000_000n);
      expect(now - since).toBeGreaterThan(-60_000_000_000n);
    },
  },
];

const mark = "(truncated)";
const whole = "x".repeat(1_023);
const cut = `${"x".repeat(1_013)}${mark}`;

/** From 1,024 bytes on the first 1,013 stay. */
export const reasons: readonly Entry[] = [
  {
    given: is.claimedA,
    call: { ...crashCall("a", whole), name: "crash with 1,023 bytes" },
    reply: "ok",
    after: async (stage) => expect((await stage.row()).crash_reason).toBe(whole),
  },
  {
    given: is.claimedA,
    call: { ...crashCall("a", `${whole}x`), name: "crash with 1,024 bytes" },
    reply: "ok",
    after: async (stage) => expect((await stage.row()).crash_reason).toBe(cut),
  },
  {
    given: is.claimedA,
    // 1,013 is odd: Diego cuts the 507th é in two, and stores half a character.
    call: { ...crashCall("a", "é".repeat(600)), name: "crash with 1,200 bytes in 600 characters" },
    reply: "ok",
    after: async (stage) => expect((await stage.row()).crash_reason).toBe(`${"é".repeat(506)}${mark}`),
  },
  {
    given: is.unclaimed,
    call: { ...fail(`${whole}xyz`), name: "fail the placement with 1,026 bytes" },
    reply: "ok",
    after: async (stage) => expect((await stage.row()).placement_error).toBe(cut),
  },
  {
    given: { name: "a task", reach: (stage) => stage.desireTask() },
    call: {
      name: "fail with 1,024 bytes",
      make: (stage) => stage.call("operator", "FailTask", { task_guid: stage.guid, failure_reason: `${whole}x` }),
    },
    reply: "ok",
    after: async (stage) => expect((await stage.taskRecord())?.failure_reason).toBe(cut),
  },
  {
    given: { name: "a task", reach: (stage) => stage.desireTask() },
    call: {
      name: "reject with 1,024 bytes",
      make: (stage) => stage.call("auctioneer", "RejectTask", { task_guid: stage.guid, rejection_reason: `${whole}x` }),
    },
    reply: "ok",
    after: async (stage) => expect((await stage.taskRecord())?.rejection_reason).toBe(cut),
  },
];

const traceId = "0123456789abcdef0123456789abcdef";
const traces = (stage: Stage): (string | undefined)[] => eventsOf(stage).map(({ message }) => message.trace_id);

/** The caller's trace id is in the events of desires, their updates and ends, and of retirements; in no others. */
export const traceIds: readonly Entry[] = [
  {
    given: is.nothing,
    call: {
      name: "desire with a trace id",
      make: (stage) => stage.call("controller", "DesireDesiredLRP", { desired_lrp: stage.desired() }, { traceId }),
    },
    reply: "ok",
    desired: ["desired created"],
    instance: ["created UNCLAIMED"],
    after: (stage) => expect(traces(stage)).toEqual([traceId, traceId]),
  },
  {
    given: is.nothing,
    call: {
      name: "desire without a trace id",
      make: (stage) => stage.call("controller", "DesireDesiredLRP", { desired_lrp: stage.desired() }),
    },
    reply: "ok",
    desired: ["desired created"],
    after: (stage) => expect(traces(stage)).toEqual([undefined, undefined]),
  },
  {
    given: is.unclaimed,
    call: {
      name: "scale with a trace id",
      make: (stage) =>
        stage.call("controller", "UpdateDesiredLRP", { process_guid: stage.guid, update: { instances: 2 } }, { traceId }),
    },
    reply: "ok",
    instance: ["created #1 UNCLAIMED"],
    after: (stage) => expect(traces(stage)).toEqual([undefined, undefined, traceId, traceId]),
  },
  {
    given: is.unclaimed,
    call: {
      name: "remove the desire with a trace id",
      make: (stage) => stage.call("controller", "RemoveDesiredLRP", { process_guid: stage.guid }, { traceId }),
    },
    reply: "ok",
    instance: ["removed UNCLAIMED"],
    after: (stage) => expect(traces(stage)).toEqual([undefined, undefined, traceId, traceId]),
  },
  {
    given: is.crashed,
    call: {
      name: "retire with a trace id",
      make: (stage) => stage.call("controller", "RetireActualLRP", { actual_lrp_key: stage.key() }, { traceId }),
    },
    reply: "ok",
    instance: ["removed CRASHED", "created UNCLAIMED"],
    after: (stage) => expect(traces(stage).slice(-2)).toEqual([traceId, traceId]),
  },
  {
    given: is.unclaimed,
    call: {
      name: "claim with a trace id",
      make: (stage) =>
        stage.call(
          "cell-1",
          "ClaimActualLRP",
          { process_guid: stage.guid, actual_lrp_instance_key: stage.instance("a") },
          { traceId },
        ),
    },
    reply: "ok",
    instance: ["changed a: UNCLAIMED → CLAIMED"],
    after: (stage) => expect(traces(stage).at(-1)).toBeUndefined(),
  },
];

const domains = async (stage: Stage): Promise<string[]> =>
  ((await stage.ok("controller", "Domains", {})).domains ?? []).filter((name: string) => name === stage.domain);
const upsert = (ttl: number) => ({
  name: `upsert for ${ttl} s`,
  make: (stage: Stage) => stage.call("controller", "UpsertDomain", { domain: stage.domain, ttl }),
});

export const domainCalls: readonly Entry[] = [
  {
    given: is.nothing,
    call: upsert(60),
    reply: "ok",
    after: async (stage) => expect(await domains(stage)).toEqual([stage.domain]),
  },
  {
    given: is.nothing,
    call: upsert(0),
    reply: "ok",
    after: async (stage) => expect(await domains(stage)).toEqual([stage.domain]),
  },
  {
    given: is.unclaimed,
    call: { name: "list domains", make: (stage) => stage.call("controller", "Domains", {}) },
    reply: "ok",
    after: async (stage) => expect(await domains(stage)).toEqual([]),
  },
];

const secretRun = { path: "/bin/server", user: "vcap" };
const secrets = {
  environment_variables: [{ name: "TOKEN", value: "s3cret" }],
  action: { run_action: { ...secretRun, env: [{ name: "TOKEN", value: "s3cret" }] } },
  image_username: "user",
  image_password: "s3cret",
  volume_mounts: [{ driver: "nfs", container_dir: "/d", mode: "r", shared: { volume_id: "v", mount_config: "s3cret" } }],
  volume_mounted_files: [{ path: "/f", content: "s3cret" }],
};

/** Unlike Diego's: what a stream tells to everybody holds no secret; who asks for the one LRP gets it whole. */
export const secretsInEvents: readonly Entry[] = [
  {
    given: is.nothing,
    call: {
      name: "desire with secrets",
      make: (stage) => stage.call("controller", "DesireDesiredLRP", { desired_lrp: stage.desired(secrets) }),
    },
    reply: "ok",
    desired: ["desired created"],
    after: async (stage) => {
      const [event] = eventsOf(stage);
      const told = event?.message.desired_lrp;
      expect(JSON.stringify(told)).not.toContain("s3cret");
      expect(told).toMatchObject({
        process_guid: stage.guid,
        environment_variables: [{ name: "TOKEN" }],
        action: { run_action: { ...secretRun, env: [{ name: "TOKEN" }] } },
        volume_mounts: [{ driver: "nfs", shared: { volume_id: "v" } }],
        volume_mounted_files: [{ path: "/f" }],
      });
      expect(await stage.desiredLRP()).toMatchObject(secrets);
    },
  },
];
