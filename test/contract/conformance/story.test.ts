// One life of a DesiredLRP, its instances and three tasks through the running server, in and out by bytes that none of our code made:
// every route of Diego's that has a request, every response and every kind of event.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memoryHome, tlsOf } from "../../support/bbs.js";
import { HttpDoor } from "../../support/diego-client.js";
import type { StreamEvent } from "../../support/diego-events.js";
import { readGolden } from "../../support/diego-golden.js";
import { eventMessages, routeNamed, routes } from "../../support/diego-routes.js";
import { scalarTypes, schema } from "../../support/diego-schema.js";
import { field, fieldsOf } from "../../support/wire-bytes.js";
import { commonNameOf, type Role, type Streams, World } from "./world.js";

const golden = readGolden("story");

function bytesOf(type: string, name: string): Buffer {
  const found = golden.find((one) => one.type === type && one.name === name);
  if (found === undefined) throw new Error(`no golden ${type} is called ${name}`);
  return found.bytes;
}

let world: World;
const doors = new Map<Role, HttpDoor>();
beforeAll(async () => {
  world = await World.open(await memoryHome());
  for (const role of ["controller", "auctioneer", "cell-1"] as const) {
    doors.set(role, new HttpDoor(world.bbs.httpAddress, await tlsOf(commonNameOf(role))));
  }
});
afterAll(async () => {
  for (const door of doors.values()) door[Symbol.dispose]();
  await world?.[Symbol.asyncDispose]();
});

const times: ReadonlySet<string> = new Set(["since", "created_at", "updated_at", "first_completed_at"]);

/** The same bytes with what is made anew in every run as the golden ones have it: epochs as `epoch`, times as 1. */
function steadied(type: string, bytes: Buffer): Buffer {
  const known = schema.get(type);
  return Buffer.concat(
    fieldsOf(bytes).map(({ number, value }) => {
      const of = known?.get(number);
      if (!Buffer.isBuffer(value)) return field(number).int(of !== undefined && times.has(of.name) ? 1 : value);
      if (of?.name === "epoch") return field(number).string("epoch");
      const isMessage = of !== undefined && of.kind !== "map" && !scalarTypes.has(of.type);
      return field(number).bytes(isMessage ? steadied(of.type, value) : value);
    }),
  );
}

/** Without a reply there are no bytes, and no error with that. */
type Step = readonly [role: Role, route: string, request: string, reply?: string];

const steps: readonly Step[] = [
  ["controller", "Ping", "", "available"],
  ["controller", "UpsertDomain", "cf for two minutes"],
  ["controller", "Domains", "", "cf is fresh"],
  ["controller", "DesireDesiredLRP", "desire web"],
  ["controller", "DesiredLRPByProcessGuid", "web", "web as it is read"],
  ["controller", "DesiredLRPByProcessGuid.r2", "web", "web as it is read"],
  ["controller", "DesiredLRPs", "web of cf", "web in a list"],
  ["controller", "DesiredLRPs.r2", "web of cf", "web in a list"],
  ["controller", "DesiredLRPSchedulingInfos", "web of cf", "web for scheduling, in a list"],
  ["controller", "DesiredLRPSchedulingInfoByProcessGuid", "web", "web for scheduling"],
  ["controller", "DesiredLRPRoutingInfos", "web of cf", "web for routing"],
  ["controller", "ActualLRPs", "row 0, an index of zero", "row 0 waiting"],
  ["cell-1", "ClaimActualLRP", "claim 0 as i"],
  ["cell-1", "StartActualLRP", "start 0 as i"],
  ["auctioneer", "FailActualLRP", "1 has no place"],
  ["controller", "ActualLRPsByProcessGuids", "web and nobody", "both rows"],
  ["controller", "ActualLRPGroups", "groups of cell-1", "the group on cell-1"],
  ["controller", "ActualLRPGroupsByProcessGuid", "groups of web", "both groups"],
  ["controller", "ActualLRPGroupByProcessGuidAndIndex", "group 1 of web", "group 1"],
  ["cell-1", "CrashActualLRP", "0 crashes"],
  ["cell-1", "StartActualLRP", "start 0 as j"],
  ["cell-1", "EvacuateRunningActualLRP", "0 is evacuated while it runs", "keep the container"],
  ["controller", "ActualLRPGroupByProcessGuidAndIndex", "group 0 of web", "group 0, evacuating beside waiting"],
  ["cell-1", "EvacuateRunningActualLRP.r0", "0 is evacuated while it runs", "keep the container"],
  ["cell-1", "RemoveEvacuatingActualLRP", "the evacuating one goes"],
  ["cell-1", "ClaimActualLRP", "claim 0 as k"],
  ["cell-1", "EvacuateClaimedActualLRP", "0 is evacuated while it is claimed"],
  ["cell-1", "StartActualLRP", "start 0 as l"],
  ["cell-1", "EvacuateCrashedActualLRP", "0 crashes while it is evacuated"],
  ["cell-1", "StartActualLRP", "start 0 as m"],
  ["cell-1", "EvacuateStoppedActualLRP", "0 stops while it is evacuated"],
  ["controller", "RetireActualLRP", "retire 1"],
  ["cell-1", "StartActualLRP.r0", "start 0 as n"],
  ["cell-1", "RemoveActualLRP", "remove 0"],
  ["controller", "UpdateDesiredLRP", "one instance, nothing else left"],
  ["controller", "RemoveDesiredLRP", "web is not desired"],
  ["controller", "DesireTask", "desire t"],
  ["controller", "TaskByGuid", "t", "t waiting"],
  ["cell-1", "StartTask", "start t", "start it"],
  ["controller", "Tasks", "of cf on cell-1", "t running"],
  ["controller", "Tasks.r2", "of cf on cell-1", "t running"],
  ["auctioneer", "RejectTask", "t has no place"],
  ["controller", "TaskByGuid", "t", "t waiting again"],
  ["cell-1", "StartTask", "start t", "start it"],
  ["cell-1", "CompleteTask", "t is done"],
  ["controller", "TaskByGuid.r2", "t", "t done"],
  ["controller", "ResolvingTask", "the guid of t"],
  ["controller", "TaskByGuid", "t", "t being resolved"],
  ["controller", "DeleteTask", "the guid of t"],
  ["controller", "DesireTask", "desire u"],
  ["controller", "CancelTask", "the guid of u"],
  ["controller", "TaskByGuid", "u", "u cancelled"],
  ["controller", "DesireTask", "desire v"],
  ["controller", "FailTask", "v fails"],
  ["controller", "TaskByGuid", "v", "v failed"],
];

it.each(steps.map(([role, route, request, reply = "nothing"]) => ({ role, route, request, reply })))(
  "$role: $route, $request → $reply",
  async ({ role, route: name, request, reply }) => {
    const { path, request: asks, response = "" } = routeNamed(name);
    const body = asks === undefined ? Buffer.alloc(0) : bytesOf(asks, request);
    const answer = await doors.get(role)?.send("POST", path, body);
    const expected = reply === "nothing" ? "" : bytesOf(response, reply).toString("hex");
    expect(answer && steadied(response, answer.body).toString("hex")).toBe(expected);
  },
);

it("every route with a request was asked in that life", () => {
  const asked = new Set(steps.map(([, route]) => route));
  const left = [...routes].filter(
    ([name, { method, request, response }]) => method === "POST" && request && response && !asked.has(name),
  );
  expect(left.map(([name]) => name)).toEqual([]);
});

/** `[stream, event, which of its kind about this life, name]`. */
const told: readonly (readonly [keyof Streams, string, number, string])[] = [
  ["instance", "desired_lrp_created", 0, "web was desired"],
  ["group", "desired_lrp_created", 0, "web was desired"],
  ["instance", "actual_lrp_instance_created", 0, "row 0 waits"],
  ["group", "actual_lrp_created", 1, "row 1 waits, as a group"],
  ["instance", "actual_lrp_instance_changed", 0, "0 was claimed"],
  ["instance", "actual_lrp_instance_changed", 1, "0 runs"],
  ["group", "actual_lrp_changed", 1, "0 runs, as a group"],
  ["instance", "actual_lrp_instance_changed", 2, "1 has no place"],
  ["instance", "actual_lrp_crashed", 0, "0 crashed"],
  ["group", "actual_lrp_crashed", 0, "0 crashed"],
  ["instance", "actual_lrp_instance_removed", 0, "0 went with its crash"],
  ["instance", "actual_lrp_instance_changed", 4, "0 became an evacuating one"],
  ["group", "actual_lrp_removed", 0, "the evacuating one went, as a group"],
  ["instance", "desired_lrp_changed", 0, "web was changed"],
  ["instance", "desired_lrp_removed", 0, "web was removed"],
  ["task", "task_created", 0, "t was desired"],
  ["task", "task_changed", 0, "t was started"],
  ["task", "task_removed", 0, "t was deleted"],
];

describe("told of it on the event streams", () => {
  it.each(told)("%s: %s, number %i is: %s", async (stream, event, nth, name) => {
    const ofKind = (): StreamEvent[] => world.streams[stream].events.filter((one) => one.name === event);
    await expect.poll(() => ofKind().length, { timeout: 10_000 }).toBeGreaterThan(nth);
    const type = eventMessages[event] ?? "";
    const got = ofKind()[nth]?.bytes ?? Buffer.alloc(0);
    expect(steadied(type, got).toString("hex")).toBe(bytesOf(type, name).toString("hex"));
  });

  it("that is every kind of event there is", () => {
    expect([...new Set(told.map(([, event]) => event))].sort()).toEqual(Object.keys(eventMessages).sort());
  });
});

describe("a body that is no message is refused in the response's own form", () => {
  const taking = [...routes].filter(([, { method, request, response }]) => method === "POST" && request && response);
  it.each(taking)("%s", async (name, { path, response = "" }) => {
    const isKept = /^Evacuate(Claimed|Running)/.test(name);
    const answer = await world.door.send("POST", path, Buffer.from("0aff", "hex"));
    const expected = bytesOf(response, isKept ? "undecodable, and keep the container" : "undecodable");
    expect(answer.body.toString("hex")).toBe(expected.toString("hex"));
  });
});
