// Diego's HTTP API: raw protobuf bodies over mutual TLS, errors in-band, event streams (bbs-wire.md part A). A thin door to the same
// calls that gRPC serves. Nothing that a client does ends the process.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Error as WireError } from "@muster/proto/models/error";
import { BbsError, diegoTypeOf } from "@muster/shared/errors";
import { type BoundServer, bindServer } from "@muster/shared/metrics";
import type { ServeOptions } from "@muster/shared/rpc";
import { type Peer, peerOfCommonName, type TlsMaterial } from "@muster/shared/tls";
import type { Calls } from "./calls.js";
import { readBody } from "./http/body.js";
import { type Listing, type MeasuredListing, measure, roomFor, writeListing } from "./http/lists.js";
import { type Route, routesOf } from "./http/routes.js";
import { EventStreams, streamRoutes } from "./http/streams.js";

const protobuf = "application/x-protobuf";
/** Storage columns of names are this long; a longer trace id is cut. */
const maxTraceIdLength = 255;

const limits = {
  /** Headers, and then the whole request, must be here after so long. */
  headersMs: 5_000,
  requestMs: 30_000,
  handshakeMs: 10_000,
  /** How often those three are looked at. */
  checkMs: 2_000,
  /** Longer than Go's clients keep an idle connection (90 s), so that theirs is the side that closes it. */
  keepAliveMs: 120_000,
  /** A client that takes nothing of its answer for so long is cut. Event streams are exempt. */
  silenceMs: 60_000,
  headerBytes: 16 * 1024,
  connections: 10_000,
  /** At the end, answers and ends of streams that are under way have so long, if nobody says otherwise. */
  closeMs: 1_000,
};

const inBand = (error: unknown): WireError => {
  const known = error instanceof BbsError ? error : new BbsError("UnknownError");
  return { type: diegoTypeOf(known.code), message: known.message };
};

/** Whose certificate a connection showed; reading it takes too long to do it for every request. */
const peers = new WeakMap<Socket, Peer>();

/** @throws BbsError PermissionDenied for a certificate without a role. */
function peerOf({ socket }: IncomingMessage): Peer {
  const known = peers.get(socket);
  if (known !== undefined) return known;
  const commonName = (socket as TLSSocket).getPeerCertificate().subject?.CN;
  const peer = peerOfCommonName(Array.isArray(commonName) ? commonName[0] : commonName);
  if (peer === undefined) throw new BbsError("PermissionDenied", "the certificate names no role of Muster");
  peers.set(socket, peer);
  return peer;
}

class HttpApi {
  readonly #calls: Calls;
  readonly #serve: ServeOptions;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #streams: EventStreams;

  constructor(calls: Calls, serve: ServeOptions) {
    this.#calls = calls;
    this.#serve = serve;
    this.#routes = routesOf(calls);
    this.#streams = new EventStreams(calls.events, serve);
  }

  /** Answers any request. Never throws: what goes wrong here is logged, and the connection is cut. */
  take(request: IncomingMessage, response: ServerResponse): void {
    // A client that goes away is told by `close`; its error must not end the process.
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    this.#answer(request, response).catch((err: unknown) => {
      this.#serve.log.error({ err }, "http request failed unexpectedly");
      response.destroy();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = ""] = (request.url ?? "").split("?", 1);
    const stream = streamRoutes.get(path);
    const route = this.#routes.get(path);
    const method = stream === undefined ? "POST" : stream.method;
    if (stream === undefined && route === undefined) response.writeHead(404, { "content-length": 0 }).end();
    else if (request.method !== method) response.writeHead(405, { "content-length": 0, allow: method }).end();
    else if (stream !== undefined) await this.#streams.answer(stream, request, response, () => peerOf(request));
    // The term is over: as if this process were gone already, so that Diego's clients try again, elsewhere.
    else if (this.#calls.events.closed) request.socket.destroy();
    else if (route !== undefined) await this.#call(route, request, response);
  }

  async #call(route: Route, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { elapsedMs, log, observe } = this.#serve;
    const startedMs = elapsedMs();
    const finish = (code: string): void => observe?.(route.call, code, elapsedMs() - startedMs);
    let reply: Uint8Array | MeasuredListing;
    let giveRoom: () => void = () => undefined;
    try {
      const body = await readBody(request);
      reply = await ready(await route.handle(body, { peer: peerOf(request), traceId: traceIdOf(request) }), elapsedMs);
      giveRoom = await roomFor(reply, this.#calls.room, response);
      finish("ok");
    } catch (error) {
      const known = error instanceof BbsError;
      if (!known) log.error({ err: error, step: route.call }, "call failed unexpectedly");
      finish(known ? error.code : "UnknownError");
      reply = route.refuse(inBand(error));
    }
    try {
      if (response.destroyed) return;
      const length = reply instanceof Uint8Array ? reply.byteLength : reply.bytes;
      response.writeHead(200, { "content-type": protobuf, "content-length": length });
      if (reply instanceof Uint8Array) response.end(reply);
      else await writeListing(response, reply, elapsedMs);
    } finally {
      giveRoom();
    }
  }
}

const ready = async (reply: Uint8Array | Listing, elapsedMs: () => number): Promise<Uint8Array | MeasuredListing> =>
  reply instanceof Uint8Array ? reply : measure(reply, elapsedMs);

function traceIdOf({ headers }: IncomingMessage): string {
  const traceId = headers["x-vcap-request-id"];
  return typeof traceId === "string" ? traceId.slice(0, maxTraceIdLength) : "";
}

/** Serves Diego's HTTP API at `host:port` over mutual TLS. @throws OperatorError when it cannot listen there */
export async function serveHttp(address: string, tls: TlsMaterial, calls: Calls, serve: ServeOptions): Promise<BoundServer> {
  const api = new HttpApi(calls, serve);
  const options = {
    ...tls,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: "TLSv1.2" as const,
    handshakeTimeout: limits.handshakeMs,
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    connectionsCheckingInterval: limits.checkMs,
    keepAliveTimeout: limits.keepAliveMs,
    maxHeaderSize: limits.headerBytes,
    noDelay: true,
    // Half-open connections are found by the kernel.
    keepAlive: true,
    keepAliveInitialDelay: 10_000,
  };
  const server: Server = createServer(options, (request, response) => api.take(request, response));
  server.timeout = limits.silenceMs;
  server.maxConnections = limits.connections;
  const bound = await bindServer(server, { address, setting: "http_address" });
  server.on("error", (err) => serve.log.warn({ err }, "http server cannot accept"));
  return { port: bound.port, close: (graceMs = limits.closeMs) => bound.close(graceMs) };
}
