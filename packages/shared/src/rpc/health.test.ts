// gRPC health: any role may ask, nobody without one; a change reaches who watches; an open watch holds up no end.
import { once } from "node:events";
import { Client, type ClientReadableStream } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { systemClock } from "../clock/index.js";
import { type Authority, createAuthority, issueCertificate, type TlsMaterial } from "../tls/index.js";
import { dial, fromServiceError, type GrpcServer, serveGrpc } from "./index.js";

const same = (bytes: Buffer): Buffer => bytes;
/** HealthCheckResponse, to the byte: field 1 is 1 (SERVING) or 2 (NOT_SERVING). */
const statusOf = (bytes: Buffer): string => ["SERVING", "NOT_SERVING"][(bytes[1] ?? 0) - 1] ?? bytes.toString("hex");

let authority: Authority;
let server: GrpcServer;
let operator: Client;

const tlsOf = async (commonName: string): Promise<TlsMaterial> => {
  const { certificatePem, keyPem } = await issueCertificate(authority, commonName, { nowMs: systemClock.nowMs() });
  return { ca: Buffer.from(authority.certificatePem), cert: Buffer.from(certificatePem), key: Buffer.from(keyPem) };
};

beforeAll(async () => {
  authority = await createAuthority("test", systemClock.nowMs());
});
beforeEach(async () => {
  server = await serveGrpc("127.0.0.1:0", await tlsOf("bbs"), () => undefined);
  operator = dial(Client, [`127.0.0.1:${server.port}`], await tlsOf("operator"));
});
afterAll(() => server.close(0));

/** `service` empty asks for the whole server. */
const check = (client: Client, service = ""): Promise<string> =>
  new Promise((resolve, reject) => {
    const request = service === "" ? Buffer.alloc(0) : Buffer.concat([Buffer.of(0x0a, service.length), Buffer.from(service)]);
    client.makeUnaryRequest("/grpc.health.v1.Health/Check", same, same, request, (error, answer?: Buffer) =>
      error === null ? resolve(statusOf(answer ?? Buffer.alloc(0))) : reject(error),
    );
  });

const watch = (client: Client): ClientReadableStream<Buffer> =>
  client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", same, same, Buffer.alloc(0));

it("answers every role, also a cell, and refuses a certificate without a role", async () => {
  const port = server.port;
  for (const role of ["operator", "converger", "cell:one"]) {
    const client = dial(Client, [`127.0.0.1:${port}`], await tlsOf(role));
    expect(await check(client)).toBe("SERVING");
    client.close();
  }
  const stranger = dial(Client, [`127.0.0.1:${port}`], await tlsOf("stranger"));
  const refused = await check(stranger).catch((error: unknown) => fromServiceError(error));
  expect(refused).toMatchObject({ code: "PermissionDenied" });
  const [unwatched] = (await once(watch(stranger), "error")) as [Error];
  expect(fromServiceError(unwatched)).toMatchObject({ code: "PermissionDenied" });
  stranger.close();
  await server.close(0);
});

it("does not know services by other names", async () => {
  await expect(check(operator, "x")).rejects.toMatchObject({ code: 5 });
  await server.close(0);
});

it("tells those who watch of every change, and lets the server end at once", async () => {
  const call = watch(operator);
  const said = async (): Promise<string> => statusOf(((await once(call, "data")) as [Buffer])[0]);
  expect(await said()).toBe("SERVING");
  let next = said();
  server.setServing(false);
  expect(await next).toBe("NOT_SERVING");
  expect(await check(operator)).toBe("NOT_SERVING");
  next = said();
  server.setServing(true);
  expect(await next).toBe("SERVING");
  next = said();
  const ended = once(call, "end");
  const startedMs = systemClock.elapsedMs();
  const closed = server.close(30_000);
  expect(await next).toBe("NOT_SERVING");
  await ended;
  operator.close();
  await closed;
  expect(systemClock.elapsedMs() - startedMs).toBeLessThan(10_000);
});
