// Diego's event streams byte for byte: head, framing, numbers, filters, versions, and how they end (bbs-wire.md A.4, A.5).
import { connect } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memoryHome, tlsOf } from "../../support/bbs.js";
import { decode, encode } from "../../support/diego-codec.js";
import { type EventStream, openEvents } from "../../support/diego-events.js";
import { routeNamed } from "../../support/diego-routes.js";
import { cellOf, Stage } from "./stage.js";
import { eventText, guidOf } from "./texts.js";
import { World } from "./world.js";

let world: World;
beforeAll(async () => {
  world = await World.open(await memoryHome());
});
afterAll(() => world[Symbol.asyncDispose]());

const streams = ["LRPGroupEventStream", "LRPInstanceEventStream", "TaskEventStream"].flatMap((name) => [name, `${name}.r0`]);

/** What a stream says of this stage's own records, up to the end of its DesiredLRP. */
async function untilRemoved(stream: EventStream, stage: Stage): Promise<string[]> {
  const end = await stream.until("the end", (event) => event.name === "desired_lrp_removed" && guidOf(event) === stage.guid);
  return stream.events
    .slice(0, end + 1)
    .filter((event) => guidOf(event) === stage.guid)
    .map(eventText);
}

/** Everything that is sent over one connection of its own, as text. */
function spoken(text: string, done: (heard: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    void tlsOf("operator").then((tls) => {
      const [host = "", port] = world.bbs.httpAddress.split(":");
      const socket = connect({ host, port: Number(port), ...tls, checkServerIdentity: () => undefined }, () =>
        socket.write(text),
      );
      let heard = "";
      socket.on("data", (chunk: Buffer) => {
        heard += chunk.toString("latin1");
        if (done(heard)) {
          socket.destroy();
          resolve(heard);
        }
      });
      socket.on("error", reject);
      socket.on("end", () => resolve(heard));
    });
  });
}

describe("a stream", () => {
  it.each(streams)("%s answers at once with Diego's head", async (name) => {
    using stream = await openEvents(world.door, name);
    expect(stream.response.headers).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-store, must-revalidate",
      connection: "keep-alive",
      "transfer-encoding": "chunked",
    });
    expect(stream.response.headers["content-length"]).toBeUndefined();
    expect(stream.events).toEqual([]);
  });

  it("is HTTP/1.1 in chunks, each event three lines and an empty one", async () => {
    const { method, path } = routeNamed("LRPInstanceEventStream");
    const stage = new Stage(world, "http");
    const head = `${method} ${path} HTTP/1.1\r\nHost: bbs\r\nContent-Length: 0\r\n\r\n`;
    let desiring: Promise<unknown> | undefined;
    const heard = await spoken(head, (text) => {
      if (text.includes("\r\n\r\n")) desiring ??= stage.desire({ instances: 0 });
      return text.includes("\n\n\r\n");
    });
    await desiring;
    expect(heard).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    const body = heard.slice(heard.indexOf("\r\n\r\n") + 4);
    const chunk = /^([0-9a-f]+)(?:;)?\r\n(id: 0\nevent: desired_lrp_created\ndata: ([A-Za-z0-9+/=]+)\n\n)\r\n$/.exec(body);
    expect(chunk, body).not.toBeNull();
    const [, size = "", event = "", data = ""] = chunk ?? [];
    expect(Number.parseInt(size, 16)).toBe(event.length);
    expect(decode("DesiredLRPCreatedEvent", Buffer.from(data, "base64")).desired_lrp.process_guid).toBe(stage.guid);
  });

  it("counts from 0 on each connection, starts at now, and takes no notice of the last event a client had", async () => {
    const before = new Stage(world, "http");
    await before.desire();
    using one = await openEvents(world.door, "LRPInstanceEventStream");
    using other = await openEvents(world.door, "LRPInstanceEventStream", "", { "last-event-id": "41" });
    const stage = new Stage(world, "http");
    await stage.desire();
    await stage.ok("controller", "RemoveDesiredLRP", { process_guid: stage.guid });
    // The reader refuses any other numbering.
    for (const stream of [one, other]) {
      expect(await untilRemoved(stream, stage)).toEqual(["desired created", "created UNCLAIMED", "desired removed"]);
      expect(stream.events.filter((event) => guidOf(event) === before.guid)).toEqual([]);
    }
  });

  it.each([
    ["a body that is no protobuf", "LRPInstanceEventStream", "0aff"],
    ["a body that is no protobuf", "LRPGroupEventStream", "0aff"],
  ])("with %s is refused: 500, nothing more (%s)", async (_what, name, hex) => {
    const { method, path } = routeNamed(name);
    const reply = await world.door.send(method, path, Buffer.from(hex, "hex"));
    expect([reply.status, reply.body.byteLength]).toEqual([500, 0]);
  });

  it.each(streams)("%s by the other method is refused: 405", async (name) => {
    const { method, path } = routeNamed(name);
    const reply = await world.door.send(method === "GET" ? "POST" : "GET", path, Buffer.alloc(0));
    expect(reply.status).toBe(405);
  });

  it("of tasks ignores its body, and tells of tasks alone", async () => {
    using stream = await openEvents(world.door, "TaskEventStream", "cell-1");
    const stage = new Stage(world, "http");
    await stage.desire();
    await stage.desireTask();
    await stream.until("the task", (event) => guidOf(event) === stage.guid);
    expect(stream.events.filter((event) => guidOf(event) === stage.guid).map(eventText)).toEqual(["created Pending"]);
  });

  it("ends whole when its BBS does", async () => {
    const shortLived = await World.open(await memoryHome());
    using stream = await openEvents(shortLived.door, "LRPInstanceEventStream");
    const whole = new Promise((resolve) => stream.response.on("close", () => resolve(stream.ended)));
    await shortLived.bbs[Symbol.asyncDispose]();
    expect(await whole).toBe("whole");
    await shortLived[Symbol.asyncDispose]();
  });
});

describe("filtered by a cell", () => {
  /** Index 0 lives on cell-1 and moves to cell-2, index 1 stays on cell-2. */
  async function life(stage: Stage): Promise<void> {
    await stage.desire({ instances: 2 });
    await stage.claim("b", 1);
    await stage.claim("a");
    await stage.start("a");
    await stage.crash("a");
    await stage.claim("b");
    await stage.ok(cellOf.b, "RemoveActualLRP", { process_guid: stage.guid, actual_lrp_instance_key: stage.instance("b") });
    await stage.ok("controller", "RemoveDesiredLRP", { process_guid: stage.guid });
  }

  it("the instance stream tells of instances there, and of every desire", async () => {
    using stream = await openEvents(world.door, "LRPInstanceEventStream", "cell-1");
    const stage = new Stage(world, "http");
    await life(stage);
    expect(await untilRemoved(stream, stage)).toEqual([
      "desired created",
      "changed a: UNCLAIMED → CLAIMED",
      "changed a: CLAIMED → RUNNING",
      'crashed a 1 "exit status 1"',
      "removed RUNNING a",
      "desired removed",
    ]);
  });

  it("the group stream also tells of a change that leaves the cell", async () => {
    using stream = await openEvents(world.door, "LRPGroupEventStream", "cell-1");
    const stage = new Stage(world, "http");
    await life(stage);
    expect(await untilRemoved(stream, stage)).toEqual([
      "desired created",
      "changed instance UNCLAIMED → instance CLAIMED a",
      "changed instance CLAIMED a → instance RUNNING a",
      'crashed a 1 "exit status 1"',
      "changed instance RUNNING a → instance UNCLAIMED",
      "desired removed",
    ]);
  });
});

describe("the deprecated streams", () => {
  const probe = { run_action: { path: "/probe", user: "vcap" } };
  const timed = { timeout_action: { action: probe, timeout_ms: 2_000 } };
  const old = { timeout_action: { action: probe, deprecated_timeout_ns: 2_000_000_000n, timeout_ms: 2_000n } };

  it.each(["LRPGroupEventStream.r0", "LRPInstanceEventStream.r0"])("%s carry DesiredLRPs as they were at first", async (name) => {
    using stream = await openEvents(world.door, name);
    const stage = new Stage(world, "http");
    await stage.desire({
      instances: 0,
      setup: timed,
      action: { serial_action: { actions: [timed, probe] } },
      monitor: timed,
      start_timeout_ms: 61_500,
      legacy_download_user: "vcap",
      cached_dependencies: [{ name: "dep", from: "http://d", to: "/d", cache_key: "d", log_source: "D" }],
      image_layers: [{ name: "layer", url: "http://l", destination_path: "/l", layer_type: 1, media_type: 1 }],
    });
    const at = await stream.until("the desire", (event) => guidOf(event) === stage.guid);
    const lrp = stream.events[at]?.message.desired_lrp;
    expect(lrp).toMatchObject({
      deprecated_start_timeout_s: 61,
      monitor: old,
      action: { serial_action: { actions: [old, probe] } },
    });
    expect([lrp.cached_dependencies, lrp.image_layers]).toEqual([undefined, undefined]);
    expect(lrp.setup).toEqual({
      serial_action: {
        actions: [
          {
            parallel_action: {
              actions: [
                { download_action: { from: "http://l", to: "/l", cache_key: "http://l", user: "vcap", artifact: "layer" } },
                {
                  download_action: { artifact: "dep", from: "http://d", to: "/d", cache_key: "d", log_source: "D", user: "vcap" },
                },
              ],
            },
          },
          old,
        ],
      },
    });
  });

  it("of tasks carry definitions without image layers", async () => {
    using stream = await openEvents(world.door, "TaskEventStream.r0");
    const stage = new Stage(world, "http");
    await stage.desireTask({ image_layers: [{ url: "http://l", destination_path: "/l", layer_type: 1, media_type: 1 }] });
    const at = await stream.until("the task", (event) => guidOf(event) === stage.guid);
    const definition = stream.events[at]?.message.task.task_definition;
    expect(definition.image_layers).toBeUndefined();
    expect(definition.cached_dependencies).toEqual([{ from: "http://l", to: "/l", cache_key: "http://l" }]);
  });
});

it("an event's bytes are the message alone: an encoder by the schema gives them back", async () => {
  using stream = await openEvents(world.door, "TaskEventStream");
  const stage = new Stage(world, "http");
  await stage.desireTask();
  const at = await stream.until("the task", (event) => guidOf(event) === stage.guid);
  const { message } = stream.events[at] ?? { message: {} };
  expect(decode("TaskCreatedEvent", encode("TaskCreatedEvent", message))).toEqual(message);
});
