// Who calls: read from the connection's certificate, once, and never taken for another connection's.
import { TLSSocket } from "node:tls";
import { Client, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { systemClock } from "../clock/index.js";
import { silentLog } from "../log/index.js";
import { type Authority, createAuthority, issueCertificate, type TlsMaterial } from "../tls/index.js";
import { dial, fromServiceError, type GrpcServer, serveGrpc, streamHandler, unaryHandler } from "./index.js";

const same = (bytes: Buffer): Buffer => bytes;
const method = (path: string, responseStream: boolean) => ({
  path,
  requestStream: false as const,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
const definition = { who: method("/test.Who/Who", false), wait: method("/test.Who/Wait", true) };

let authority: Authority;
let server: GrpcServer;
let cancelled: Promise<string>;

const tlsOf = async (commonName: string): Promise<TlsMaterial> => {
  const { certificatePem, keyPem } = await issueCertificate(authority, commonName, { nowMs: systemClock.nowMs() });
  return { ca: Buffer.from(authority.certificatePem), cert: Buffer.from(certificatePem), key: Buffer.from(keyPem) };
};

beforeAll(async () => {
  authority = await createAuthority("test", systemClock.nowMs());
  const options = { log: silentLog(), elapsedMs: () => systemClock.elapsedMs() };
  let sawCancel: (reason: string) => void = () => undefined;
  cancelled = new Promise((resolve) => {
    sawCancel = resolve;
  });
  const service: UntypedServiceImplementation = {
    who: unaryHandler<Buffer, Buffer>("Who", options, async (_request, { peer }) =>
      Buffer.from(peer.role === "cell" ? `cell ${peer.cellId}` : peer.role),
    ),
    wait: streamHandler<Buffer, Buffer>("Wait", options, async function* (_request, { signal }) {
      yield Buffer.from("waiting");
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      sawCancel(String(signal.reason));
    }),
  };
  server = await serveGrpc("127.0.0.1:0", await tlsOf("bbs"), (grpc) => grpc.addService(definition, service));
});
afterAll(() => server.close(0));
afterEach(() => vi.restoreAllMocks());

async function ask(client: Client): Promise<string> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(definition.who.path, same, same, Buffer.alloc(0), (error, answer?: Buffer) =>
      error === null ? resolve(String(answer)) : reject(fromServiceError(error)),
    );
  });
}

describe("the peer of a call", () => {
  it("is each connection's own, however the calls are mixed", async () => {
    const names = ["operator", "cell:one", "cell:two", "converger"];
    const clients = await Promise.all(names.map(async (name) => dial(Client, [`127.0.0.1:${server.port}`], await tlsOf(name))));
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => ask(clients[n % 4] as Client)));
    expect(answers.slice(0, 4)).toEqual(["operator", "cell one", "cell two", "converger"]);
    expect(new Set(answers)).toEqual(new Set(answers.slice(0, 4)));
    for (const client of clients) client.close();
  });

  it("is refused for a certificate without a role, at every call", async () => {
    const client = dial(Client, [`127.0.0.1:${server.port}`], await tlsOf("stranger"));
    for (let calls = 0; calls < 2; calls += 1) await expect(ask(client)).rejects.toMatchObject({ code: "PermissionDenied" });
    client.close();
  });

  it("is read once a connection: certificates are slow to parse", async () => {
    const client = dial(Client, [`127.0.0.1:${server.port}`], await tlsOf("operator"));
    await ask(client);
    const parsed = vi.spyOn(TLSSocket.prototype, "getPeerCertificate");
    for (let calls = 0; calls < 5; calls += 1) await ask(client);
    expect(parsed).not.toHaveBeenCalled();
    client.close();
  });
});

it("a handler that waits learns that its caller went away", async () => {
  const client = dial(Client, [`127.0.0.1:${server.port}`], await tlsOf("operator"));
  const call = client.makeServerStreamRequest(definition.wait.path, same, same, Buffer.alloc(0));
  call.on("error", () => undefined);
  call.once("data", () => call.cancel());
  expect(await cancelled).toContain("the caller went away");
  client.close();
});
