// Diego's HTTP API over real mutual TLS, with requests and replies as bytes written by hand from the wire reference.
import { request } from "node:https";
import { fakeClock, seededEntropy, systemClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import type { BoundServer } from "@muster/shared/metrics";
import { type Authority, createAuthority, issueCertificate, type TlsMaterial } from "@muster/shared/tls";
import { memoryStore, openMemoryStore } from "@muster/store/memory";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ActiveBbs } from "../active/active-bbs.js";
import { Calls } from "./calls.js";
import { serveHttp } from "./http.js";

const plain = { seal: (bytes: Uint8Array) => bytes, open: (bytes: Uint8Array) => bytes };
const observed: string[] = [];
let authority: Authority;
let active: ActiveBbs;
let server: BoundServer;

async function certificate(commonName: string, by = authority): Promise<TlsMaterial> {
  const issued = await issueCertificate(by, commonName, { nowMs: systemClock.nowMs() });
  return { ca: Buffer.from(authority.certificatePem), cert: Buffer.from(issued.certificatePem), key: Buffer.from(issued.keyPem) };
}

interface Reply {
  readonly status: number;
  readonly type: string | undefined;
  readonly body: string;
}

/** POSTs hex bytes, answers with hex bytes. */
function post(path: string, hex: string, tls: Partial<TlsMaterial>, method = "POST"): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port: server.port,
      path,
      method,
      ...tls,
      checkServerIdentity: () => undefined,
      agent: false,
    };
    const call = request(options as object, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          type: response.headers["content-type"],
          body: Buffer.concat(chunks).toString("hex"),
        }),
      );
    });
    call.on("error", reject);
    call.end(Buffer.from(hex, "hex"));
  });
}

const protobuf = "application/x-protobuf";
let operator: TlsMaterial;

beforeAll(async () => {
  authority = await createAuthority("test", systemClock.nowMs());
  operator = await certificate("operator");
  const clock = fakeClock();
  const store = await openMemoryStore(memoryStore(clock), { clock });
  active = await ActiveBbs.start({
    store,
    leadership: await store.campaign("bbs", "one", 10_000, new AbortController().signal),
    clock,
    entropy: seededEntropy("http"),
    log: silentLog(),
    secrets: plain,
    metrics: { committed: () => undefined, resent: () => undefined },
    presenceTtlMs: 5_000,
    onLost: () => undefined,
  });
  const observe = (call: string, code: string): void => {
    observed.push(`${call} ${code}`);
  };
  const serve = { log: silentLog(), elapsedMs: () => 0, observe };
  server = await serveHttp("127.0.0.1:0", await certificate("bbs"), new Calls(active), serve);
});

afterAll(async () => {
  await server.close();
  await active.drain();
});

describe("Diego's HTTP API", () => {
  it("answers a ping with available = true", async () => {
    expect(await post("/v1/ping", "", operator)).toEqual({ status: 200, type: protobuf, body: "0801" });
  });

  it("takes a domain and lists it; success has no error and no body", async () => {
    // domain = 1 "cf", ttl = 2: 60
    expect(await post("/v1/domains/upsert", "0a026366103c", operator)).toEqual({ status: 200, type: protobuf, body: "" });
    expect((await post("/v1/domains/list", "", operator)).body).toBe("12026366");
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
    ["a fault in the request", "/v1/domains/upsert", "", "0804", "Invalid field: domain"],
  ])("tells %s in-band, with status 200", async (_name, path, body, type, message) => {
    const reply = await post(path, body, operator);
    expect(reply).toMatchObject({ status: 200, type: protobuf });
    const bytes = Buffer.from(reply.body, "hex");
    expect(bytes[0]).toBe(0x0a);
    expect(bytes.subarray(2, 4).toString("hex")).toBe(type);
    expect(bytes.toString("latin1")).toContain(message);
  });

  it("refuses a role that may not make the call, and counts it", async () => {
    const reply = await post("/v1/domains/upsert", "0a026366103c", await certificate("converger"));
    expect(Buffer.from(reply.body, "hex").toString("latin1")).toContain("may not make this call");
    expect(observed).toContain("UpsertDomain PermissionDenied");
  });

  it("knows its paths and methods", async () => {
    expect((await post("/v1/nothing", "", operator)).status).toBe(404);
    expect((await post("/v1/ping", "", operator, "GET")).status).toBe(405);
  });

  it("speaks to nobody without a certificate of the authority", async () => {
    const { ca } = operator;
    await expect(post("/v1/ping", "", { ca })).rejects.toThrow();
    const stranger = await createAuthority("stranger", systemClock.nowMs());
    await expect(post("/v1/ping", "", await certificate("operator", stranger))).rejects.toThrow();
  });
});
