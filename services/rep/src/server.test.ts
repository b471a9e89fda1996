// The rep's gRPC interface over mutual TLS: roles, state, logs.
import { RepServiceClient } from "@muster/proto/muster/v1/rep";
import { systemClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { collect, dial, type GrpcServer, type ServeOptions, serverStream, unary } from "@muster/shared/rpc";
import { createAuthority, issueCertificate, type TlsMaterial } from "@muster/shared/tls";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { repCalls, serveRep } from "./server.js";
import { cellId, openWorld, type World, work } from "./testing/world.js";

const roles = ["auctioneer", "operator", "converger", "cell:cell-2"] as const;
type Role = (typeof roles)[number];
const tls = new Map<string, TlsMaterial>();
let world: World;
let server: GrpcServer;
const underWay: string[] = [];
const clients = new Map<Role, RepServiceClient>();
const as = (role: Role): RepServiceClient => clients.get(role) as RepServiceClient;

beforeAll(async () => {
  const authority = await createAuthority("test", systemClock.nowMs());
  for (const name of [...roles, "cell:cell-1"]) {
    const issued = await issueCertificate(authority, name, { nowMs: systemClock.nowMs() });
    tls.set(name, {
      ca: Buffer.from(authority.certificatePem),
      cert: Buffer.from(issued.certificatePem),
      key: Buffer.from(issued.keyPem),
    });
  }
  world = await openWorld();
  const options: ServeOptions = {
    log: silentLog(),
    elapsedMs: () => systemClock.elapsedMs(),
    begun: (call) => underWay.push(call),
    observe: (call) => underWay.splice(underWay.indexOf(call), 1),
  };
  server = await serveRep("127.0.0.1:0", tls.get("cell:cell-1") as TlsMaterial, world.rep, options);
  for (const role of roles) clients.set(role, dial(RepServiceClient, [`127.0.0.1:${server.port}`], tls.get(role) as TlsMaterial));
}, 30_000);
afterEach(() => world.bbs.unanswered.clear());
afterAll(async () => {
  for (const client of clients.values()) client.close();
  await server.close(100);
  await world.stop();
});

const calls: Record<string, (client: RepServiceClient) => Promise<unknown>> = {
  State: async (client) => {
    for await (const state of serverStream(client.state.bind(client), {})) return state;
    return undefined;
  },
  Perform: (client) => unary(client.perform.bind(client), { cellId, lrps: [], tasks: [] }),
  StopLRPInstance: (client) => unary(client.stopLrpInstance.bind(client), { processGuid: "none", instanceGuid: "none" }),
  Evacuate: (client) => unary(client.evacuate.bind(client), { cancel: false, progressOnly: true }),
  Logs: (client) =>
    collect(serverStream(client.logs.bind(client), { processGuid: "p", instanceGuid: "", follow: false }), (one) => [one]),
  ContainerMetrics: (client) => unary(client.containerMetrics.bind(client), {}),
};

describe("who may call what", () => {
  const allowed: Record<string, readonly Role[]> = {
    State: ["auctioneer", "operator"],
    Perform: ["auctioneer"],
    StopLRPInstance: ["operator"],
    Evacuate: ["operator"],
    Logs: ["operator"],
    ContainerMetrics: ["operator"],
  };
  const square = Object.keys(calls).flatMap((call) => roles.map((role) => ({ call, role })));

  it.each(square)("$call by $role", async ({ call, role }) => {
    const outcome = await calls[call]?.(as(role)).then(
      () => "ok",
      (error: { code: string }) => error.code,
    );
    expect(outcome === "PermissionDenied").toBe(!allowed[call]?.includes(role));
  });
});

describe("the interface", () => {
  it("tells of every call when it begins and when it ends, also refused ones and streams that are left", async () => {
    expect(Object.keys(calls)).toEqual([...repCalls]);
    const stream = serverStream(as("operator").state.bind(as("operator")), {});
    await stream.next();
    const perform = as("converger").perform.bind(as("converger"));
    await expect(unary(perform, { cellId, lrps: [], tasks: [] })).rejects.toMatchObject({ code: "PermissionDenied" });
    await vi.waitFor(() => expect(underWay).toEqual(["State"]));
    await stream.return(undefined);
    await vi.waitFor(() => expect(underWay).toEqual([]));
  });

  it("names what is not known, and says how an evacuation goes", async () => {
    await expect(calls.StopLRPInstance?.(as("operator"))).rejects.toMatchObject({ code: "ResourceNotFound" });
    expect(await calls.Evacuate?.(as("operator"))).toMatchObject({ evacuating: false, remaining: [] });
    const logs = as("operator").logs.bind(as("operator"));
    await expect(serverStream(logs, { processGuid: "", instanceGuid: "", follow: false }).next()).rejects.toMatchObject({
      code: "InvalidRequest",
    });
  });

  it("takes work, shows it in the state, and gives the lines of what it runs", async () => {
    expect(await calls.State?.(as("auctioneer"))).toMatchObject({
      full: true,
      cellId,
      healthy: true,
      total: { memoryMb: 1_024, diskMb: 1_024, containers: 10 },
      rootFsProviders: [{ scheme: "docker", fixedSet: false, names: [] }],
    });
    const guid = await world.placed("p");
    expect(await calls.State?.(as("auctioneer"))).toMatchObject({
      available: { memoryMb: 960, containers: 9 },
      lrps: [{ processGuid: "p", instanceGuid: guid, state: "RUNNING" }],
    });
    expect(await calls.Logs?.(as("operator"))).toContainEqual(
      expect.objectContaining({ processGuid: "p", instanceGuid: guid, source: "APP/PROC/WEB", stream: 1 }),
    );
    expect(await calls.ContainerMetrics?.(as("operator"))).toMatchObject({
      containers: [{ instanceGuid: guid, memoryQuotaBytes: 67_108_864n }],
    });
    const perform = as("auctioneer").perform.bind(as("auctioneer"));
    const refused = await unary(perform, { cellId: "", lrps: [work("p")], tasks: [] });
    expect(refused).toEqual({ refused: [] });
    const again = await unary(perform, { cellId: "", lrps: [work("p", 0, { auctionId: "new" })], tasks: [] });
    expect(again.refused).toHaveLength(1);
  });
});
