// The yardstick: a bare unary echo over mutual TLS in a process of its own, with the same server and channel settings as ours.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import { dial, serveGrpc } from "@muster/shared/rpc";
import type { TlsMaterial } from "@muster/shared/tls";
import { tlsOf } from "../support/bbs.js";
import type { Call } from "./load.js";

const path = "/bench.Echo/Echo";
const same = (bytes: Buffer): Buffer => bytes;

interface Facts {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface EchoServer extends AsyncDisposable {
  readonly address: string;
}

export async function startEcho(): Promise<EchoServer> {
  const { ca, cert, key } = await tlsOf("bbs");
  const facts: Facts = { ca: ca.toString(), cert: cert.toString(), key: key.toString() };
  const child = fork(fileURLToPath(import.meta.url), ["serve"]);
  child.send(facts);
  const [port] = (await once(child, "message")) as [number];
  return {
    address: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      const exited = once(child, "exit");
      child.kill();
      await exited;
    },
  };
}

/** Calls over so many connections in turn, each with `payload`. */
export function echoCall(
  address: string,
  tls: TlsMaterial,
  connections: number,
  payload: Buffer,
): { call: Call; close: () => void } {
  const clients = Array.from({ length: connections }, () => dial(Client, [address], tls));
  return {
    call: (n, done) => clients[n % connections]?.makeUnaryRequest(path, same, same, payload, done),
    close: () => {
      for (const client of clients) client.close();
    },
  };
}

async function serve({ ca, cert, key }: Facts): Promise<void> {
  const tls = { ca: Buffer.from(ca), cert: Buffer.from(cert), key: Buffer.from(key) };
  const streams = { requestStream: false as const, responseStream: false as const };
  const bytes = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
  const echo = (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void => callback(null, call.request);
  const server = await serveGrpc("127.0.0.1:0", tls, (grpc) =>
    grpc.addService({ echo: { path, ...streams, ...bytes } }, { echo }),
  );
  process.send?.(server.port);
  process.once("disconnect", () => process.exit(0));
}

if (process.argv[2] === "serve" && process.send !== undefined) {
  process.once("message", (facts: Facts) => {
    void serve(facts);
  });
}
