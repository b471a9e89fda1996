// Serving gRPC over mutual TLS: who calls, typed errors, counted and timed calls.
import {
  type ChannelOptions,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Server,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { BbsError } from "../errors/index.js";
import type { Log } from "../log/index.js";
import { type Peer, peerOfCommonName, type TlsMaterial } from "../tls/index.js";
import { maxMessageBytes } from "./client.js";
import { closeBehind, type DoorOptions, openDoor } from "./door.js";
import { toServiceError } from "./errors.js";
import { guardedDecoder, Undecodable } from "./guard.js";
import { addHealth } from "./health.js";

const serverOptions: ChannelOptions = {
  "grpc.max_receive_message_length": maxMessageBytes,
  "grpc.max_send_message_length": maxMessageBytes,
  // Each may hold back a message of 4 MiB that never ends; further calls of a client wait in the client.
  "grpc.max_concurrent_streams": 1_024,
  // A peer that is gone, half open, or said nothing after its handshake is cut within 20 s. Floods of pings, settings and resets are
  // bounded by Node itself (nghttp2: a thousand resets at once, then 33 a second).
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // A connection without calls goes after 5 minutes and comes back when it is needed. One with calls has no age: watches live long.
  "grpc.max_connection_idle_ms": 300_000,
  // Nobody asks channelz; keeping its books costs every call.
  "grpc.enable_channelz": 0,
};

type AnyCall =
  | ServerUnaryCall<unknown, unknown>
  | ServerWritableStream<unknown, unknown>
  | ServerReadableStream<unknown, unknown>
  | ServerDuplexStream<unknown, unknown>;

/** Whose certificate a connection showed. Parsing it takes 37 µs of CPU, too much for every call: once a connection. */
const peers = new WeakMap<object, Peer>();

/**
 * The HTTP/2 session a call came over, for which grpc-js has no public name. `undefined` where its inside looks different (another
 * version, or interceptors): then the certificate is read for every call.
 */
function connectionOf(call: unknown): object | undefined {
  const session = (call as { readonly call?: { readonly stream?: { readonly session?: unknown } } }).call?.stream?.session;
  return typeof session === "object" && session !== null ? session : undefined;
}

/** Who makes this call, by its certificate. @throws BbsError PermissionDenied for a certificate without a role. */
export function peerOfCall(call: Pick<AnyCall, "getAuthContext">): Peer {
  const connection = connectionOf(call);
  const known = connection === undefined ? undefined : peers.get(connection);
  if (known !== undefined) return known;
  const peer = peerOfCertificate(call);
  if (connection !== undefined) peers.set(connection, peer);
  return peer;
}

function peerOfCertificate(call: Pick<AnyCall, "getAuthContext">): Peer {
  const commonName = call.getAuthContext()?.sslPeerCertificate?.subject?.CN;
  const peer = peerOfCommonName(Array.isArray(commonName) ? commonName[0] : commonName);
  if (peer === undefined)
    throw new BbsError("PermissionDenied", "the certificate names no role of Muster", { common_name: commonName });
  return peer;
}

export interface CallInfo {
  readonly peer: Peer;
  /** `X-Vcap-Request-Id` of the caller, or empty. */
  readonly traceId: string;
  metadata(key: string): string | undefined;
  /** Aborts when the caller went away. */
  readonly signal: AbortSignal;
  /** Ends a stream with this error, also while its caller takes nothing. */
  cut(error: BbsError): void;
}

/** Called once for every finished call. */
export type CallObserver = (call: string, code: string, durationMs: number) => void;

export interface ServeOptions {
  readonly log: Log;
  readonly elapsedMs: () => number;
  /** Called once for every call, before anything else is done for it. */
  readonly begun?: (call: string) => void;
  readonly observe?: CallObserver;
}

/** Made for every call, so nothing is prepared that most handlers never ask for. */
class Info implements CallInfo {
  readonly peer: Peer;
  readonly #call: AnyCall;
  #aborted: AbortController | undefined;
  /** Why the stream was cut, and whoever waits to hear of it. */
  cutBy: BbsError | undefined;
  whenCut: () => void = () => undefined;

  constructor(call: AnyCall) {
    this.peer = peerOfCall(call);
    this.#call = call;
  }

  get traceId(): string {
    return this.metadata("x-vcap-request-id") ?? "";
  }

  metadata(key: string): string | undefined {
    const value = this.#call.metadata.get(key)[0];
    return typeof value === "string" ? value : undefined;
  }

  cut(error: BbsError): void {
    this.cutBy ??= error;
    this.whenCut();
  }

  get signal(): AbortSignal {
    if (this.#aborted !== undefined) return this.#aborted.signal;
    const aborted = new AbortController();
    const abort = (): void => aborted.abort(new BbsError("Timeout", "the caller went away"));
    (this.#call as ServerUnaryCall<unknown, unknown>).on("cancelled", abort);
    if (this.#call.cancelled) abort();
    this.#aborted = aborted;
    return aborted.signal;
  }
}

function finish(options: ServeOptions, name: string, startedMs: number, error: unknown): void {
  const code = error === undefined ? "ok" : error instanceof BbsError ? error.code : "UnknownError";
  if (error !== undefined && code === "UnknownError") options.log.error({ err: error, step: name }, "call failed unexpectedly");
  options.observe?.(name, code, options.elapsedMs() - startedMs);
}

/** The request, or the refusal of the guard that stood where it should be. @throws BbsError InvalidRequest */
export function decoded<Request>(request: Request): Request {
  if (request instanceof Undecodable) throw request.error;
  return request;
}

/** Makes a unary handler of an async function. */
export function unaryHandler<Request, Response>(
  name: string,
  options: ServeOptions,
  handle: (request: Request, info: CallInfo) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const startedMs = options.elapsedMs();
    options.begun?.(name);
    (async () => {
      const info = new Info(call as AnyCall);
      return handle(decoded(call.request), info);
    })().then(
      (response) => {
        finish(options, name, startedMs, undefined);
        callback(null, response);
      },
      (error: unknown) => {
        finish(options, name, startedMs, error);
        callback(toServiceError(error));
      },
    );
  };
}

/** Messages of one stream on their way to the line, not yet taken by it; the next one is asked for when there are fewer. */
const maxOnTheWay = 16;

/** Makes a server-streaming handler of an async generator, which waits while the client reads slowly. */
export function streamHandler<Request, Response>(
  name: string,
  options: ServeOptions,
  handle: (request: Request, info: CallInfo) => AsyncIterable<Response>,
): handleServerStreamingCall<Request, Response> {
  return (call) => {
    const startedMs = options.elapsedMs();
    options.begun?.(name);
    const run = async (): Promise<void> => {
      const info = new Info(call as AnyCall);
      let onTheWay = 0;
      let wake: () => void = () => undefined;
      const taken = (): void => {
        onTheWay -= 1;
        wake();
      };
      info.whenCut = () => wake();
      info.signal.addEventListener("abort", () => wake(), { once: true });
      for await (const message of handle(decoded(call.request), info)) {
        if (info.signal.aborted) return;
        onTheWay += 1;
        call.write(message, taken);
        while (onTheWay >= maxOnTheWay && !info.signal.aborted && info.cutBy === undefined)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        if (info.cutBy !== undefined) throw info.cutBy;
      }
    };
    run().then(
      () => {
        finish(options, name, startedMs, undefined);
        call.end();
      },
      (error: unknown) => {
        finish(options, name, startedMs, error);
        call.emit("error", toServiceError(error));
      },
    );
  };
}

export interface GrpcServer {
  readonly port: number;
  /** Open connections. */
  readonly connections: number;
  /** What `grpc.health.v1.Health` answers from now on; SERVING at first, NOT_SERVING from `close` on. */
  setServing(serving: boolean): void;
  /** Lets calls under way end for `graceMs`, then cuts them. */
  close(graceMs: number): Promise<void>;
}

/** Every rpc of our proto files gets the guard before its decoder. */
class GuardedServer extends Server {
  override addService(service: ServiceDefinition, implementation: UntypedServiceImplementation): void {
    const guarded = Object.entries(service).map(([name, method]) => [
      name,
      { ...method, requestDeserialize: guardedDecoder(method.path, method.requestDeserialize) },
    ]);
    super.addService(Object.fromEntries(guarded), implementation);
  }
}

/** Binds `host:port` (port 0 picks one) over mutual TLS and serves what `register` adds, and health. @throws as `listenAt` */
export async function serveGrpc(
  address: string,
  tls: TlsMaterial,
  register: (server: Server) => void,
  options: DoorOptions = {},
): Promise<GrpcServer> {
  const server = new GuardedServer(serverOptions);
  register(server);
  const health = addHealth(server, peerOfCall);
  const door = await openDoor(address, tls, server, options);
  return {
    port: door.port,
    get connections() {
      return door.connections;
    },
    setServing: health.setServing,
    close: (graceMs) => {
      health.setServing(false);
      health.end();
      return closeBehind(door, server, graceMs);
    },
  };
}
