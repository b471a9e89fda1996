// Connections that are not what they should be, and too many of them: those who behave never notice.
import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls";
import { Client } from "@grpc/grpc-js";
import { systemClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { type ConnectionRefusal, dial, fromServiceError, type GrpcServer, serveGrpc, unaryHandler } from "@muster/shared/rpc";
import { createAuthority, issueCertificate, type TlsMaterial } from "@muster/shared/tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { caOf, tlsOf } from "../../support/bbs.js";
import { eventually } from "../bbs/fixtures.js";

const same = (bytes: Buffer): Buffer => bytes;
const path = "/test.Echo/Echo";
const method = { path, requestStream: false as const, responseStream: false as const };
const codec = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
/** Small, so that a full house costs no ten thousand handshakes here; the number itself is a setting of the same door. */
const maxConnections = 40;

let server: GrpcServer;
let operator: Client;
let refused: ConnectionRefusal[] = [];
const left: { destroy(): unknown }[] = [];

beforeAll(async () => {
  const options = { log: silentLog(), elapsedMs: () => systemClock.elapsedMs() };
  const echo = unaryHandler<Buffer, Buffer>("Echo", options, async (request) => request);
  server = await serveGrpc(
    "127.0.0.1:0",
    await tlsOf("bbs"),
    (grpc) => grpc.addService({ echo: { ...method, ...codec } }, { echo }),
    { maxConnections, refused: (why) => refused.push(why) },
  );
  operator = dial(Client, [`127.0.0.1:${server.port}`], await tlsOf("operator"), "bbs");
});
afterEach(() => {
  for (const socket of left.splice(0)) socket.destroy();
  refused = [];
});
afterAll(async () => {
  operator.close();
  await server.close(0);
});

const ask = (client: Client): Promise<string> =>
  new Promise((resolve) => {
    const deadline = systemClock.nowMs() + 10_000;
    client.makeUnaryRequest(path, same, same, Buffer.from("ok"), { deadline }, (error, answer?: Buffer) =>
      resolve(error === null ? String(answer) : fromServiceError(error).code),
    );
  });

/** Somebody who behaves, over a connection that was there before. */
const unaffected = async (): Promise<void> => expect(await ask(operator)).toBe("ok");

/** A connection of TLS that speaks HTTP/2, if it comes to that. */
function open(options: ConnectionOptions = {}): TLSSocket {
  const socket = connectTls({
    host: "127.0.0.1",
    port: server.port,
    ALPNProtocols: ["h2"],
    rejectUnauthorized: false,
    ...options,
  });
  socket.on("error", () => undefined);
  left.push(socket);
  return socket;
}

/** Resolves when the other end has closed it, with an error or without. */
const closed = (connection: Socket | ClientHttp2Session): Promise<void> =>
  new Promise((resolve) => {
    if ("resume" in connection) connection.resume();
    if (connection.destroyed) resolve();
    else connection.once("close", () => resolve());
  });

const expired = async (): Promise<TlsMaterial> => {
  const years = 2 * 365 * 86_400_000;
  const authority = await createAuthority("Muster test", systemClock.nowMs() - years);
  const { certificatePem, keyPem } = await issueCertificate(authority, "operator", { nowMs: systemClock.nowMs() - years });
  return { ca: Buffer.from(authority.certificatePem), cert: Buffer.from(certificatePem), key: Buffer.from(keyPem) };
};

describe("a connection with a certificate that is none", () => {
  it("is closed and counted: no certificate, another authority's, a plain text, another protocol", async () => {
    await unaffected();
    const { cert, key } = await tlsOf("operator", "Somebody else");
    const ours = await tlsOf("operator");
    await closed(open());
    await closed(open({ cert, key }));
    const plain = connectTcp(server.port, "127.0.0.1");
    left.push(plain);
    plain.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await closed(plain);
    await closed(open({ cert: ours.cert, key: ours.key, ALPNProtocols: [] }));
    await eventually("all four are counted", () => (refused.length >= 4 ? true : undefined));
    expect([...refused].sort()).toEqual(["foreign", "handshake", "handshake", "no-certificate"]);
    await unaffected();
  });

  it("is closed and counted when it has expired", async () => {
    const old = await expired();
    const counted: ConnectionRefusal[] = [];
    // A server that trusts the old authority, which is valid for ten years.
    const other = await serveGrpc("127.0.0.1:0", { ...(await tlsOf("bbs")), ca: old.ca }, () => undefined, {
      refused: (why) => counted.push(why),
    });
    await closed(open({ port: other.port, cert: old.cert, key: old.key }));
    await eventually("it is counted", () => (counted.length > 0 ? true : undefined));
    expect(counted).toEqual(["expired"]);
    await other.close(0);
  });

  it("of ours without a role gets in, is counted, and is told at each call", async () => {
    const stranger = dial(Client, [`127.0.0.1:${server.port}`], await tlsOf("stranger"), "bbs");
    expect(await ask(stranger)).toBe("PermissionDenied");
    expect(refused).toEqual(["no-role"]);
    stranger.close();
  });
});

describe("a server that is not who it should be", () => {
  it.each(["operator", "cell:cell-2"] as const)("is not talked to: %s was expected, bbs answers", async (expected) => {
    const client = dial(Client, [`127.0.0.1:${server.port}`], await tlsOf("operator"), expected);
    expect(await ask(client)).toBe("Unavailable");
    client.close();
  });
});

describe("too many connections", () => {
  it("are closed at once; those that are there go on, and room comes back", async () => {
    await unaffected();
    const { cert, key } = await tlsOf("operator");
    const sockets: TLSSocket[] = [];
    while (server.connections < maxConnections) {
      const socket = open({ cert, key });
      sockets.push(socket);
      await once(socket, "secureConnect");
    }
    const beyond = [open({ cert, key }), open({ cert, key }), open({ cert, key })];
    await Promise.all(beyond.map(closed));
    // Those who hung up on a server they did not trust may be counted this late.
    expect(refused.filter((why) => why !== "handshake")).toEqual(["full", "full", "full"]);
    await unaffected();
    for (const socket of sockets) socket.destroy();
    await eventually("they are gone", () => (server.connections < 5 ? true : undefined));
    const late = dial(Client, [`127.0.0.1:${server.port}`], await tlsOf("operator"), "bbs");
    expect(await ask(late)).toBe("ok");
    late.close();
  });
});

describe("a client that misbehaves", () => {
  it("with noise after the handshake loses its connection alone", async () => {
    const { cert, key } = await tlsOf("operator");
    const socket = open({ cert, key });
    await once(socket, "secureConnect");
    socket.write(Buffer.alloc(65_536, 0x5a));
    await closed(socket);
    await unaffected();
  });

  it("that resets thousands of streams is cut off, and the rest go on", async () => {
    const session = await http2();
    const gone = closed(session);
    for (let round = 0; round < 200 && !session.destroyed; round += 1) {
      for (let calls = 0; calls < 100 && !session.closed && !session.destroyed; calls += 1) {
        const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" });
        stream.on("error", () => undefined);
        stream.close(8);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await gone;
    await unaffected();
  });

  it("that never sends what it announced holds up nobody", async () => {
    const session = await http2();
    for (let calls = 0; calls < 50; calls += 1) {
      const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" });
      stream.on("error", () => undefined);
      // A message of 4 MiB is announced, ten bytes come.
      stream.write(Buffer.from([0, 0, 0x40, 0, 0, 1, 2, 3, 4, 5]));
    }
    await unaffected();
    session.destroy();
  });

  it("with a message larger than the server takes is told so, and may go on", async () => {
    const session = await http2();
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" });
    const length = 5 * 1024 * 1024;
    const head = Buffer.alloc(5);
    head.writeUInt32BE(length, 1);
    stream.on("error", () => undefined);
    const answered = once(stream, "response");
    stream.write(Buffer.concat([head, Buffer.alloc(1_000)]));
    const [headers] = (await answered) as [Record<string, string>];
    expect(headers["grpc-status"]).toBe("8");
    expect(session.destroyed).toBe(false);
    await unaffected();
  });
});

async function http2(): Promise<ClientHttp2Session> {
  const { cert, key } = await tlsOf("operator");
  const session = connectHttp2(`https://127.0.0.1:${server.port}`, {
    ca: await caOf("Muster test"),
    cert,
    key,
    servername: "localhost",
  });
  session.on("error", () => undefined);
  left.push(session);
  await once(session, "connect");
  return session;
}
