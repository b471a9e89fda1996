// The gRPC calls over mutual TLS, on a runner in its small world: what is answered to whom.
import type { Client } from "@grpc/grpc-js";
import { AuctioneerServiceClient } from "@muster/proto/muster/v1/auctioneer";
import { systemClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { put } from "@muster/shared/model";
import { dial, type GrpcServer, serveGrpc, unary } from "@muster/shared/rpc";
import { createAuthority, issueCertificate, type TlsMaterial } from "@muster/shared/tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { desired, FakeWorld, row } from "./runner/testing/world.js";
import { registerAuctioneer } from "./server.js";

const world = new FakeWorld();
const clients: Client[] = [];
let server: GrpcServer;
let materialOf: (role: string) => Promise<TlsMaterial>;
let operator: AuctioneerServiceClient;

beforeAll(async () => {
  const nowMs = systemClock.nowMs();
  const authority = await createAuthority("test authority", nowMs);
  materialOf = async (role) => {
    const issued = await issueCertificate(authority, role, { nowMs });
    return {
      ca: Buffer.from(authority.certificatePem),
      cert: Buffer.from(issued.certificatePem),
      key: Buffer.from(issued.keyPem),
    };
  };
  const serve = { log: silentLog(), elapsedMs: () => systemClock.elapsedMs() };
  server = await serveGrpc("127.0.0.1:0", await materialOf("auctioneer"), (grpc) =>
    registerAuctioneer(grpc, world.runner, serve),
  );
  operator = await clientOf("operator");
  world.addCell("a", "z1");
  world.addCell("b", "z2").memoryMb = 5;
  await world.start();
  world.write(put("desiredLRP", desired({ memoryMb: 70 })), put("actualLRP", row(0)));
  await world.clock.advance(50);
  world.write(put("actualLRP", row(1)));
  await world.clock.advance(50);
});

afterAll(async () => {
  for (const client of clients) client.close();
  await server.close(100);
  await world.stop();
});

async function clientOf(role: string): Promise<AuctioneerServiceClient> {
  const client = dial(AuctioneerServiceClient, [`127.0.0.1:${server.port}`], await materialOf(role));
  clients.push(client);
  return client;
}

const explain = (fields: { processGuid?: string; index?: number; taskGuid?: string }) =>
  unary(operator.explain.bind(operator), { processGuid: "", index: 0, taskGuid: "", ...fields });

it("explains what has no place, cell by cell", async () => {
  expect(await explain({ processGuid: "p", index: 1 })).toEqual({
    judgedAtMs: expect.any(BigInt),
    placementError: "insufficient resources: memory",
    placedOn: "",
    cells: [
      { cellId: "a", zone: "z1", filter: "memory", asked: "70 MB", available: "30 MB of 100 MB" },
      { cellId: "b", zone: "z2", filter: "memory", asked: "70 MB", available: "5 MB of 100 MB" },
    ],
  });
});

it("says where something was placed that is not yet claimed", async () => {
  expect(await explain({ processGuid: "p", index: 0 })).toMatchObject({ judgedAtMs: 0n, placedOn: "a" });
});

it("says nothing of what does not wait", async () => {
  expect(await explain({ taskGuid: "unheard-of" })).toEqual({ judgedAtMs: 0n, placementError: "", placedOn: "", cells: [] });
});

it("refuses to explain nothing, or two things at once", async () => {
  await expect(explain({})).rejects.toMatchObject({ code: "InvalidRequest" });
  await expect(explain({ processGuid: "p", taskGuid: "t" })).rejects.toMatchObject({ code: "InvalidRequest" });
});

const ask = { processGuid: "x", indices: [1, 0], domain: "d", rootFs: "preloaded:linux", memoryMb: 25, diskMb: 1, maxPids: 0 };

it("plans on the live state and commits nothing", async () => {
  const before = world.performed;
  const plan = () => unary(operator.plan.bind(operator), { ask: { ...ask, placementTags: [], volumeDrivers: [] } });
  const answer = {
    placements: [
      { index: 0, cellId: "a", placementError: "" },
      { index: 1, cellId: "", placementError: "insufficient resources: memory" },
    ],
    cells: [
      { cellId: "a", zone: "z1", filter: "memory", asked: "25 MB", available: "5 MB of 100 MB" },
      { cellId: "b", zone: "z2", filter: "memory", asked: "25 MB", available: "5 MB of 100 MB" },
    ],
  };
  expect(await plan()).toEqual(answer);
  expect(await plan()).toEqual(answer);
  expect(world.performed).toEqual(before);
});

it("names every fault of an ask", async () => {
  const wrong = { ...ask, indices: [], rootFs: "", memoryMb: -1, placementTags: [], volumeDrivers: [] };
  await expect(unary(operator.plan.bind(operator), { ask: wrong })).rejects.toMatchObject({
    code: "InvalidRequest",
    message: "Invalid field: indices (1 to 10000, none negative), Invalid field: root_fs, Invalid field: memory_mb",
  });
});

it("lists the cells with what is free", async () => {
  const { cells } = await unary(operator.cellStates.bind(operator), {});
  expect(cells).toMatchObject([
    { cellId: "a", zone: "z1", state: "healthy", totalMemoryMb: 100, freeMemoryMb: 30, freeContainers: 50, lrps: 1, tasks: 0 },
    { cellId: "b", state: "healthy", freeMemoryMb: 5, lrps: 0 },
  ]);
});

it("answers no cell and no other service", async () => {
  for (const role of ["cell:a", "converger", "bbs"]) {
    const client = await clientOf(role);
    await expect(unary(client.cellStates.bind(client), {})).rejects.toMatchObject({ code: "PermissionDenied" });
  }
});
