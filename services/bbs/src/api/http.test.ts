// Diego's HTTP API over real mutual TLS, with requests and replies as bytes written by hand from the wire reference.
import { ActualLRPsResponse } from "@muster/proto/models/actual_lrp_requests";
import { DesiredLRPResponse, DesiredLRPsResponse, DesireLRPRequest } from "@muster/proto/models/desired_lrp_requests";
import { systemClock } from "@muster/shared/clock";
import { put } from "@muster/shared/model";
import { actualLRP } from "@muster/shared/testing";
import { createAuthority, type TlsMaterial } from "@muster/shared/tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maxBodyBytes } from "./http/body.js";
import { certificate, HttpWorld } from "./http/http.test-support.js";
import { routesOf } from "./http/routes.js";
import { streamRoutes } from "./http/streams.js";

let world: HttpWorld;
let operator: TlsMaterial;

/** POSTs hex bytes, answers with hex bytes. */
async function post(path: string, hex: string, tls: Partial<TlsMaterial> = operator, method = "POST") {
  const { status, type, body } = await world.ask(path, Buffer.from(hex, "hex"), { method, tls });
  return { status, type, body: body.toString("hex") };
}

const protobuf = "application/x-protobuf";

beforeAll(async () => {
  world = await HttpWorld.open();
  operator = await certificate("operator");
});
afterAll(() => world[Symbol.asyncDispose]());

describe("Diego's HTTP API", () => {
  it("answers a ping with available = true", async () => {
    expect(await post("/v1/ping", "")).toEqual({ status: 200, type: protobuf, body: "0801" });
    // The body of a ping is ignored, and so are query parameters.
    expect((await post("/v1/ping?at=once", "ffff")).body).toBe("0801");
  });

  it("takes a domain and lists it; success has no error and no body", async () => {
    // domain = 1 "cf", ttl = 2: 60
    expect(await post("/v1/domains/upsert", "0a026366103c")).toEqual({ status: 200, type: protobuf, body: "" });
    expect((await post("/v1/domains/list", "")).body).toBe("12026366");
  });

  it.each([
    // ResourceNotFound = 13, InvalidRequest = 4: the first field of the error in field 1.
    [
      "a missing LRP",
      "/v1/desired_lrps/get_by_process_guid.r3",
      "0a046e6f7065",
      "080d",
      "the requested resource could not be found",
    ],
    ["a body that is no protobuf", "/v1/domains/upsert", "0aff", "0804", "the request received is invalid"],
    ["text that is not UTF-8", "/v1/domains/upsert", "0a02c328103c", "0804", "the request received is invalid"],
    ["a fault in the request", "/v1/domains/upsert", "", "0804", "Invalid field: domain"],
  ])("tells %s in-band, with status 200", async (_name, path, body, type, message) => {
    const reply = await post(path, body);
    expect(reply).toMatchObject({ status: 200, type: protobuf });
    const bytes = Buffer.from(reply.body, "hex");
    expect(bytes[0]).toBe(0x0a);
    expect(bytes.subarray(2, 4).toString("hex")).toBe(type);
    expect(bytes.toString("latin1")).toContain(message);
  });

  it.each([
    // keep_container = 2: whether a cell keeps what it could not ask about.
    ["evacuate_claimed", true],
    ["evacuate_running", true],
    ["evacuate_running.r1", true],
    ["evacuate_crashed", false],
    ["evacuate_stopped", false],
  ])("%s of what cannot be read keeps the container: %s", async (path, keeps) => {
    const reply = await post(`/v1/actual_lrps/${path}`, "0aff", await certificate("cell:cell-1"));
    expect(Buffer.from(reply.body, "hex").toString("latin1")).toContain("the request received is invalid");
    expect(reply.body.endsWith("1001")).toBe(keeps);
  });

  it("refuses a role that may not make the call, and counts it", async () => {
    const reply = await post("/v1/domains/upsert", "0a026366103c", await certificate("converger"));
    expect(Buffer.from(reply.body, "hex").toString("latin1")).toContain("may not make this call");
    expect(world.observed).toContain("UpsertDomain PermissionDenied");
  });

  it("knows its paths and methods", async () => {
    expect((await post("/v1/nothing", "")).status).toBe(404);
    expect((await post("/v1/ping", "", operator, "GET")).status).toBe(405);
    expect((await post("/v1/ping/", "")).status).toBe(404);
  });

  it("speaks to nobody without a certificate of the authority", async () => {
    const { ca } = operator;
    await expect(post("/v1/ping", "", { ca })).rejects.toThrow();
    const stranger = await createAuthority("stranger", systemClock.nowMs());
    await expect(post("/v1/ping", "", await certificate("operator", stranger))).rejects.toThrow();
  });

  it("serves every path of the reference, and no other", () => {
    const both = (path: string, ...versions: string[]) => versions.map((version) => `${path}.${version}`);
    const of = (folder: string, ...names: string[]) => names.map((name) => `${folder}/${name}`);
    const paths = [
      "ping",
      ...of("domains", "list", "upsert"),
      ...of("actual_lrps", "list", "list_by_process_guids", "claim", "start.r1", "start", "crash", "fail", "remove", "retire"),
      ...of("actual_lrps", "remove_evacuating", "evacuate_claimed", "evacuate_crashed", "evacuate_stopped"),
      ...of("actual_lrps", "evacuate_running.r1", "evacuate_running"),
      ...of("actual_lrp_groups", "list", "list_by_process_guid", "get_by_process_guid_and_index"),
      ...both("desired_lrps/list", "r3", "r2"),
      ...both("desired_lrps/get_by_process_guid", "r3", "r2"),
      ...of("desired_lrp_scheduling_infos", "list", "get_by_process_guid"),
      "desired_lrp_routing_infos/list",
      ...of("desired_lrp", "desire.r2", "update", "remove"),
      ...both("tasks/list", "r3", "r2"),
      ...both("tasks/get_by_task_guid", "r3", "r2"),
      ...of("tasks", "desire.r2", "start", "cancel", "fail", "reject", "complete", "resolving", "delete"),
      ...of("events", "lrp_instances.r1", "lrp_instances", "tasks.r1", "tasks"),
      "events.r1",
      "events",
      "cells/list.r1",
    ];
    const served = [...routesOf({} as never).keys(), ...streamRoutes.keys()];
    expect(served.sort()).toEqual(paths.map((path) => `/v1/${path}`).sort());
  });
});

describe("reads of DesiredLRPs", () => {
  it("r3 shows image layers, r2 the dependencies they were before; both reconcile the metrics guid", async () => {
    const desiredLrp = {
      processGuid: "layered",
      domain: "d",
      rootFs: "preloaded:busybox",
      action: { runAction: { path: "/bin/true", user: "vcap" } },
      metricTags: { source_id: { static: "m", dynamic: 0 as const } },
      imageLayers: [{ url: "http://blobs/x", destinationPath: "/x", layerType: 1 as const, mediaType: 1 as const }],
    };
    const desire = DesireLRPRequest.encode(DesireLRPRequest.fromPartial({ desiredLrp })).finish();
    expect((await world.ask("/v1/desired_lrp/desire.r2", desire)).body.toString("hex")).toBe("");
    for (const [version, layers, dependencies] of [
      ["r3", 1, 0],
      ["r2", 0, 1],
    ] as const) {
      const guid = Buffer.from("0a076c617965726564", "hex");
      const one = DesiredLRPResponse.decode((await world.ask(`/v1/desired_lrps/get_by_process_guid.${version}`, guid)).body);
      const all = DesiredLRPsResponse.decode((await world.ask(`/v1/desired_lrps/list.${version}`)).body).desiredLrps;
      for (const lrp of [one.desiredLrp, all[0]]) {
        expect([lrp?.imageLayers.length, lrp?.cachedDependencies.length]).toEqual([layers, dependencies]);
        expect(lrp?.metricsGuid).toBe("m");
      }
    }
  });
});

describe("a long list", () => {
  it("comes whole, as one message with its length, and leaves others their turn", async () => {
    const annotation = "x".repeat(300);
    const count = 6_000;
    for (let from = 0; from < count; from += 100) {
      const rows = Array.from({ length: 100 }, (_, at) => actualLRP({ index: from + at, placementError: annotation }));
      await world.active.journal.submit(() => ({ writes: rows.map((row) => put("actualLRP", row)), reply: undefined }));
    }
    const order: string[] = [];
    const list = world.ask("/v1/actual_lrps/list").then((reply) => {
      order.push("list");
      return reply;
    });
    await world.ask("/v1/ping").then(() => order.push("ping"));
    const { body, length } = await list;
    expect(length).toBe(String(body.byteLength));
    expect(body.byteLength).toBeGreaterThan(2 * 1024 * 1024);
    const { actualLrps, error } = ActualLRPsResponse.decode(body);
    expect(error).toBeUndefined();
    expect(new Set(actualLrps.map((lrp) => lrp.actualLrpKey?.index)).size).toBe(count);
    expect(order).toEqual(["ping", "list"]);
  });

  it("costs nobody anything when its reader goes away in the middle", async () => {
    const connection = await world.raw(HttpWorld.bytes("POST", "/v1/actual_lrps/list"));
    await connection.until((text) => text.length > 0);
    connection.socket.destroy();
    expect((await post("/v1/ping", "")).body).toBe("0801");
  });
});

describe("what a client does wrong ends its own connection at most", () => {
  it("a body beyond the bound is refused with a reason", async () => {
    const reply = await world.ask("/v1/domains/upsert", Buffer.alloc(maxBodyBytes + 1));
    expect(reply.status).toBe(200);
    expect(reply.body.toString("latin1")).toContain(`larger than ${maxBodyBytes} bytes`);
  });

  it.each([
    { name: "is no HTTP", text: "\x16\x03garbage\r\n\r\n", status: "400" },
    {
      name: "has endless headers",
      text: `POST /v1/ping HTTP/1.1\r\nHost: bbs\r\nX: ${"x".repeat(20_000)}\r\n\r\n`,
      status: "431",
    },
    {
      name: "has two lengths",
      text: "POST /v1/ping HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
      status: "400",
    },
    { name: "asks for a tunnel", text: "CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere\r\n\r\n", status: "" },
  ])("what $name", async ({ text, status }) => {
    const connection = await world.raw(text);
    expect((await connection.ended()).split(" ")[1] ?? "").toBe(status);
    expect((await post("/v1/ping", "")).body).toBe("0801");
  });

  it("a body that breaks off", async () => {
    const connection = await world.raw("POST /v1/domains/upsert HTTP/1.1\r\nHost: bbs\r\nContent-Length: 100\r\n\r\nhalf");
    connection.socket.destroy();
    await expect.poll(() => world.observed.at(-1)).toBe("UpsertDomain UnknownError");
    expect((await post("/v1/ping", "")).body).toBe("0801");
  });

  it("several requests on one connection are answered in order", async () => {
    const ping = HttpWorld.bytes("POST", "/v1/ping");
    const connection = await world.raw(`${ping}${HttpWorld.bytes("POST", "/v1/nothing")}${ping}`);
    const text = await connection.until((all) => (all.match(/HTTP\/1\.1 /g) ?? []).length === 3);
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 404", "HTTP/1.1 200"]);
  });
});

it("once its term is over it answers nobody: Diego's clients try again elsewhere", async () => {
  const over = await HttpWorld.open();
  await over.active.drain();
  await expect(over.ask("/v1/ping")).rejects.toThrow();
  await over[Symbol.asyncDispose]();
});
