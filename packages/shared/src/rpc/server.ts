// Serving gRPC over mutual TLS: who calls, typed errors, counted and timed calls.
import {
  type ChannelOptions,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
} from "@grpc/grpc-js";
import { systemClock } from "../clock/index.js";
import { BbsError } from "../errors/index.js";
import type { Log } from "../log/index.js";
import { type Peer, peerOfCommonName, type TlsMaterial } from "../tls/index.js";
import { maxMessageBytes } from "./client.js";
import { toServiceError } from "./errors.js";
import { addHealth } from "./health.js";

const serverOptions: ChannelOptions = {
  "grpc.max_receive_message_length": maxMessageBytes,
  "grpc.max_send_message_length": maxMessageBytes,
  "grpc.max_concurrent_streams": 4_096,
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // Our own clients ping every second to notice a frozen server.
  "grpc.http2.min_ping_interval_without_data_ms": 500,
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
}

/** Called once for every finished call. */
export type CallObserver = (call: string, code: string, durationMs: number) => void;

export interface ServeOptions {
  readonly log: Log;
  readonly elapsedMs: () => number;
  readonly observe?: CallObserver;
}

/** Made for every call, so nothing is prepared that most handlers never ask for. */
class Info implements CallInfo {
  readonly peer: Peer;
  readonly #call: AnyCall;
  #aborted: AbortController | undefined;

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

/** Makes a unary handler of an async function. */
export function unaryHandler<Request, Response>(
  name: string,
  options: ServeOptions,
  handle: (request: Request, info: CallInfo) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const startedMs = options.elapsedMs();
    (async () => handle(call.request, new Info(call as AnyCall)))().then(
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

/** Makes a server-streaming handler of an async generator; waits when the client reads slowly. */
export function streamHandler<Request, Response>(
  name: string,
  options: ServeOptions,
  handle: (request: Request, info: CallInfo) => AsyncIterable<Response>,
): handleServerStreamingCall<Request, Response> {
  return (call) => {
    const startedMs = options.elapsedMs();
    const run = async (): Promise<void> => {
      const info = new Info(call as AnyCall);
      for await (const message of handle(call.request, info)) {
        if (info.signal.aborted) return;
        if (!call.write(message)) await drained(call as ServerWritableStream<unknown, unknown>, info.signal);
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

/** Resolves when the stream takes more, or its caller is gone. */
export function drained(
  call: Pick<ServerWritableStream<unknown, unknown>, "once" | "removeListener">,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.removeListener("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    call.once("drain", done);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}

export interface GrpcServer {
  readonly port: number;
  /** What `grpc.health.v1.Health` answers from now on; SERVING at first, NOT_SERVING from `close` on. */
  setServing(serving: boolean): void;
  /** Lets calls under way end for `graceMs`, then cuts them. */
  close(graceMs: number): Promise<void>;
}

/** Binds `host:port` (port 0 picks one) over mutual TLS and serves what `register` adds, and health. @throws when it cannot be bound. */
export async function serveGrpc(address: string, tls: TlsMaterial, register: (server: Server) => void): Promise<GrpcServer> {
  const server = new Server(serverOptions);
  register(server);
  const health = addHealth(server, peerOfCall);
  const creds = ServerCredentials.createSsl(tls.ca, [{ cert_chain: tls.cert, private_key: tls.key }], true);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, creds, (error, bound) => (error === null ? resolve(bound) : reject(error)));
  });
  return {
    port,
    setServing: health.setServing,
    close: (graceMs) =>
      new Promise((resolve) => {
        health.setServing(false);
        health.end();
        const keep = systemClock.after(graceMs, () => server.forceShutdown());
        server.tryShutdown(() => {
          keep();
          resolve();
        });
      }),
  };
}
