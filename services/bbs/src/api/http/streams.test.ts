// Event streams over real sockets: framing, ids, filters, older forms, slow readers, ends.
import { Action } from "@muster/proto/models/actions";
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { DesireLRPRequest } from "@muster/proto/models/desired_lrp_requests";
import * as wire from "@muster/proto/models/events";
import { DesireTaskRequest } from "@muster/proto/models/task_requests";
import { actualLRP, desiredLRP } from "@muster/shared/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { claimActualLRP } from "../../core/actual-lrp.js";
import { instance, processGuid } from "../../core/rows.test-support.js";
import type { CommandNote } from "../../events/note.js";
import { certificate, HttpWorld, type RawConnection } from "./http.test-support.js";

let world: HttpWorld;
beforeEach(async () => {
  world = await HttpWorld.open();
});
afterEach(() => world[Symbol.asyncDispose]());

const secret = "hunter2";
const lrp = DesiredLRP.fromPartial({
  processGuid: "p",
  domain: "d",
  rootFs: "preloaded:busybox",
  instances: 1,
  metricTags: { source_id: { static: "p", dynamic: 0 } },
  environmentVariables: [{ name: "TOKEN", value: secret }],
  action: Action.fromPartial({
    timeoutAction: {
      action: { runAction: { path: "/bin/app", user: "vcap", env: [{ name: "TOKEN", value: secret }] } },
      timeoutMs: 5n,
    },
  }),
});
const desire = (headers = {}) =>
  world.ask("/v1/desired_lrp/desire.r2", DesireLRPRequest.encode({ desiredLrp: lrp }).finish(), { headers });

/** The body of a chunked response, and whether its last chunk was there. */
function dechunked(text: string): { body: string; whole: boolean } {
  let at = text.indexOf("\r\n\r\n") + 4;
  let body = "";
  for (;;) {
    const end = text.indexOf("\r\n", at);
    if (end < 0) return { body, whole: false };
    const size = Number.parseInt(text.slice(at, end), 16);
    if (size === 0) return { body, whole: text.slice(end) === "\r\n\r\n" };
    body += text.slice(end + 2, end + 2 + size);
    at = end + 2 + size + 2;
    if (at > text.length) return { body, whole: false };
  }
}

interface ReadEvent {
  readonly id: number;
  readonly name: string;
  readonly data: Buffer;
}

/** Reads events exactly as framed: three lines each and an empty one; anything else fails. */
function eventsIn(body: string): ReadEvent[] {
  return body
    .split("\n\n")
    .slice(0, -1)
    .map((block) => {
      const [, id, name, data] = /^id: (\d+)\nevent: ([a-z_]+)\ndata: ([A-Za-z0-9+/]+=*)$/.exec(block) ?? [];
      if (id === undefined || name === undefined || data === undefined) throw new Error(`no event: ${JSON.stringify(block)}`);
      return { id: Number(id), name, data: Buffer.from(data, "base64") };
    });
}

/** Waits for so many events. */
async function events(stream: RawConnection, count: number): Promise<ReadEvent[]> {
  const text = await stream.until((all) => dechunked(all).body.split("\n\n").length > count);
  return eventsIn(dechunked(text).body);
}

const nothing = { ORDINARY: undefined, EVACUATING: undefined, SUSPECT: undefined };
const created = (index: number): CommandNote => ({
  traceId: "",
  crashed: false,
  tasks: [],
  desired: [],
  instances: [{ before: nothing, after: { ...nothing, ORDINARY: actualLRP({ index }) } }],
});
const cellBody = (cellId: string) => wire.EventsByCellId.encode({ cellId }).finish();
const claim = (cellId: string) =>
  world.active.journal.submit(claimActualLRP({ processGuid, index: 0, instanceKey: instance("i", cellId) }));

describe("the instance stream", () => {
  it("has Diego's headers at once, then events with ids from 0 on each connection", async () => {
    const first = await world.stream("POST", "/v1/events/lrp_instances.r1");
    const head = first.text.slice(0, first.text.indexOf("\r\n\r\n")).split("\r\n");
    expect(head[0]).toBe("HTTP/1.1 200 OK");
    expect(head.map((each) => each.toLowerCase())).toEqual(
      expect.arrayContaining([
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-cache, no-store, must-revalidate",
        "connection: keep-alive",
        "transfer-encoding: chunked",
      ]),
    );
    await desire({ "x-vcap-request-id": "trace-1" });
    const told = await events(first, 2);
    expect(told.map(({ id, name }) => `${id} ${name}`)).toEqual(["0 desired_lrp_created", "1 actual_lrp_instance_created"]);
    const second = await world.stream("POST", "/v1/events/lrp_instances.r1", new Uint8Array());
    await claim("cell-1");
    expect((await events(second, 1)).map(({ id, name }) => `${id} ${name}`)).toEqual(["0 actual_lrp_instance_changed"]);
    expect((await events(first, 3)).at(-1)?.id).toBe(2);
  });

  it("carries definitions whole but for secrets, and the caller's trace id", async () => {
    const stream = await world.stream("POST", "/v1/events/lrp_instances.r1");
    await desire({ "x-vcap-request-id": "trace-1" });
    const [created, row] = await events(stream, 2);
    expect(created?.data.includes(secret)).toBe(false);
    const { desiredLrp, traceId } = wire.DesiredLRPCreatedEvent.decode(created?.data ?? Buffer.of());
    expect(traceId).toBe("trace-1");
    expect(desiredLrp).toMatchObject({ processGuid: "p", environmentVariables: [{ name: "TOKEN", value: "" }] });
    expect(desiredLrp?.action?.timeoutAction).toMatchObject({ timeoutMs: 5n, deprecatedTimeoutNs: 0n });
    expect(wire.ActualLRPInstanceCreatedEvent.decode(row?.data ?? Buffer.of())).toMatchObject({
      actualLrp: { actualLrpKey: { processGuid: "p", index: 0 }, state: "UNCLAIMED" },
      traceId: "trace-1",
    });
  });

  it("of one cell has its instances and every desire", async () => {
    const mine = await world.stream("POST", "/v1/events/lrp_instances.r1", cellBody("cell-1"));
    const others = await world.stream("POST", "/v1/events/lrp_instances.r1", cellBody("cell-2"));
    await desire();
    await claim("cell-1");
    await world.ask("/v1/desired_lrp/remove", Buffer.from("0a0170", "hex"));
    const names = (await events(mine, 3)).map(({ name }) => name);
    expect(names).toEqual(["desired_lrp_created", "actual_lrp_instance_changed", "desired_lrp_removed"]);
    expect((await events(others, 2)).map(({ name }) => name)).toEqual(["desired_lrp_created", "desired_lrp_removed"]);
  });

  it("in its r0 form shows definitions as the oldest clients know them", async () => {
    const stream = await world.stream("POST", "/v1/events/lrp_instances");
    await desire();
    const [created] = await events(stream, 2);
    const { desiredLrp } = wire.DesiredLRPCreatedEvent.decode(created?.data ?? Buffer.of());
    expect(desiredLrp?.action?.timeoutAction).toMatchObject({ timeoutMs: 5n, deprecatedTimeoutNs: 5_000_000n });
  });
});

describe("the other streams", () => {
  it.each(["/v1/events.r1", "/v1/events"])("%s: GET with a body, groups and desires", async (path) => {
    const stream = await world.stream("GET", path, cellBody("cell-1"));
    await desire();
    await claim("cell-1");
    const [created, changed] = await events(stream, 2);
    expect([created?.name, changed?.name]).toEqual(["desired_lrp_created", "actual_lrp_changed"]);
    expect(wire.ActualLRPChangedEvent.decode(changed?.data ?? Buffer.of())).toMatchObject({
      before: { instance: { state: "UNCLAIMED" }, evacuating: undefined },
      after: { instance: { state: "CLAIMED", actualLrpInstanceKey: { cellId: "cell-1" } }, evacuating: undefined },
    });
  });

  it.each(["/v1/events/tasks.r1", "/v1/events/tasks"])("%s: tasks without secrets; the body is ignored", async (path) => {
    const stream = await world.stream("POST", path, Buffer.from("no protobuf"));
    const layers = [{ url: "http://blobs/x", destinationPath: "/x", layerType: 1 as const, mediaType: 1 as const }];
    const request = DesireTaskRequest.fromPartial({
      taskGuid: "t",
      domain: "d",
      taskDefinition: {
        rootFs: "preloaded:busybox",
        action: { runAction: { path: "/bin/true", user: "vcap", env: [{ name: "TOKEN", value: secret }] } },
        imageLayers: layers,
      },
    });
    await world.ask("/v1/tasks/desire.r2", DesireTaskRequest.encode(request).finish());
    const [created] = await events(stream, 1);
    expect(created?.name).toBe("task_created");
    expect(created?.data.includes(secret)).toBe(false);
    const definition = wire.TaskCreatedEvent.decode(created?.data ?? Buffer.of()).task?.taskDefinition;
    const older = path.endsWith("r1") ? [1, 0] : [0, 1];
    expect([definition?.imageLayers.length, definition?.cachedDependencies.length]).toEqual(older);
  });
});

describe("a subscriber", () => {
  it.each([
    { name: "by the wrong method", method: "POST", path: "/v1/events.r1", status: 405 },
    { name: "by the wrong method", method: "GET", path: "/v1/events/tasks.r1", status: 405 },
    { name: "with a body that is no protobuf", method: "POST", path: "/v1/events/lrp_instances.r1", body: "0aff", status: 500 },
    { name: "whose role may not", method: "POST", path: "/v1/events/tasks", role: "cell:cell-1", status: 403 },
  ])("$name gets $status ($method $path)", async ({ method, path, body = "", role = "operator", status }) => {
    const reply = await world.ask(path, Buffer.from(body, "hex"), { method, tls: await certificate(role) });
    expect([reply.status, reply.body.byteLength]).toEqual([status, 0]);
  });

  it("gets 500 once the hubs are closed", async () => {
    world.active.events.close();
    expect((await world.ask("/v1/events/lrp_instances.r1")).status).toBe(500);
  });

  it("that goes away is forgotten", async () => {
    const stream = await world.stream("POST", "/v1/events/lrp_instances.r1");
    expect(world.active.events.subscriptions).toBe(1);
    stream.socket.destroy();
    await expect.poll(() => world.active.events.subscriptions).toBe(0);
    expect(world.observed.at(-1)).toBe("LRPInstanceEvents ok");
  });

  it("is told the end by a last chunk and a closed connection", async () => {
    const stream = await world.stream("POST", "/v1/events/lrp_instances.r1");
    await desire();
    await events(stream, 2);
    await world.active.drain();
    const text = await stream.ended();
    expect(dechunked(text).whole).toBe(true);
    expect(eventsIn(dechunked(text).body)).toHaveLength(2);
  });

  it("that reads is not cut by a burst: a cell lost with thousands of instances is one commit after the other", async () => {
    const stream = await world.stream("POST", "/v1/events/lrp_instances.r1");
    const burst = 8_000;
    world.active.events.publish(Array.from({ length: burst }, (_, index) => created(index)));
    expect((await events(stream, burst)).map(({ id }) => id)).toEqual(Array.from({ length: burst }, (_, id) => id));
    expect(world.active.events.subscriptions).toBe(1);
  });

  it("that is too slow gets what was waiting for it and then the end; others get everything", { timeout: 30_000 }, async () => {
    const slow = await world.stream("POST", "/v1/events/lrp_instances.r1");
    const quick = await world.stream("POST", "/v1/events/lrp_instances.r1");
    slow.socket.pause();
    const annotation = "x".repeat(10_000);
    const note = (index: number): CommandNote => ({
      ...created(index),
      desired: [{ before: undefined, after: { record: desiredLRP({ annotation }), sealed: new Uint8Array() } }],
    });
    let published = 0;
    // Sockets and kernels take some megabytes before the subscription itself has to wait.
    for (; world.active.events.subscriptions === 2 && published < 20_000; published += 1) {
      world.active.events.publish([note(published)]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(world.active.events.subscriptions).toBe(1);
    slow.socket.resume();
    const cut = dechunked(await slow.ended());
    expect(cut.whole).toBe(true);
    const ids = eventsIn(cut.body).map(({ id }) => id);
    expect(ids).toEqual(ids.map((_, at) => at));
    expect(ids.length).toBeGreaterThan(1_024);
    expect(ids.length).toBeLessThan(2 * published);
    expect(world.observed.at(-1)).toBe("LRPInstanceEvents ResourceExhausted");
    expect(await events(quick, 2 * published)).toHaveLength(2 * published);
  });
});
