// Dialling a service: mutual TLS, a list of addresses of which the first that answers is used, explicit bounds.
import {
  type CallOptions,
  type ChannelOptions,
  type Client,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { systemClock } from "../clock/index.js";
import { BbsError } from "../errors/index.js";
import type { Role, TlsMaterial } from "../tls/index.js";
import { fromServiceError } from "./errors.js";

/** A reply may be this large; lists come in chunks of at most 1 MiB, a single record in at most 1.4 MiB. */
export const maxMessageBytes = 4 * 1024 * 1024;

/** Design section 2: a client unanswered for 2 s tries the next address. */
export const unansweredMs = 2_000;

const channelOptions: ChannelOptions = {
  "grpc.max_receive_message_length": maxMessageBytes,
  "grpc.max_send_message_length": maxMessageBytes,
  // A frozen peer answers no ping: the connection is dropped, and pick_first moves on to the next address.
  "grpc.keepalive_time_ms": 1_000,
  "grpc.keepalive_timeout_ms": unansweredMs,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.min_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  // We decide what is repeated: a replayed call must be one we meant to replay.
  "grpc.enable_retries": 0,
  "grpc.lb_policy_name": "pick_first",
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_channelz": 0,
  // Certificates name roles; an IP address may not stand in the TLS server name.
  "grpc.ssl_target_name_override": "localhost",
};

export type ClientConstructor<Service extends Client> = new (
  address: string,
  creds: ReturnType<typeof credentials.createSsl>,
  options?: ChannelOptions,
) => Service;

/** gRPC's name for a list of `host:port` with numeric hosts; a single name is left to DNS. */
export function targetOf(addresses: readonly string[]): string {
  const numeric = addresses.every((address) => /^\d+\.\d+\.\d+\.\d+:\d+$/.test(address));
  if (numeric) return `ipv4:${addresses.join(",")}`;
  const [first] = addresses;
  if (first === undefined || addresses.length > 1)
    throw new BbsError("InvalidRequest", "a list of addresses must be numeric host:port");
  return `dns:${first}`;
}

/**
 * Dials a service. Certificates name roles, not hosts: the authority vouches, and the host name is not compared. Whoever must not be
 * impersonated is named in `expected`, a role or `cell:<id>`: every certificate may serve, so another cell's would do otherwise.
 */
export function dial<Service extends Client>(
  make: ClientConstructor<Service>,
  addresses: readonly string[],
  tls: TlsMaterial,
  expected?: ServerName,
): Service {
  const creds = credentials.createSsl(tls.ca, tls.key, tls.cert, {
    checkServerIdentity: (_host, certificate) => strangerAt(expected, certificate.subject?.CN),
  });
  return new make(targetOf(addresses), creds, channelOptions);
}

/** Who must answer: the common name of its certificate. */
export type ServerName = Role | `cell:${string}`;

const strangerAt = (expected: ServerName | undefined, found: string | string[] | undefined): Error | undefined => {
  const commonName = Array.isArray(found) ? found[0] : found;
  return expected === undefined || commonName === expected
    ? undefined
    : new Error(`the certificate is of ${commonName ?? "nobody"}, not of ${expected}`);
};

export interface CallBounds {
  /** Default 10,000 ms. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** gRPC wants deadlines as wall-clock instants. */
const deadlineIn = (ms: number): Date => new Date(systemClock.nowMs() + ms);

const metadataOf = (bounds: CallBounds): Metadata => {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(bounds.metadata ?? {})) metadata.set(key, value);
  return metadata;
};

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** Makes a unary call. `method` must be bound to its client. @throws BbsError */
export function unary<Request, Response>(
  method: UnaryMethod<Request, Response>,
  request: Request,
  bounds: CallBounds = {},
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const { signal } = bounds;
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const deadline = deadlineIn(bounds.deadlineMs ?? 10_000);
    const call = method(request, metadataOf(bounds), { deadline }, (error, response) => {
      signal?.removeEventListener("abort", cancel);
      if (error === null) resolve(response);
      else reject(signal?.aborted ? signal.reason : fromServiceError(error));
    });
    const cancel = (): void => call.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

type StreamMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
) => ClientReadableStream<Response>;

/** Makes a server-streaming call. Ends when the server ends it; leaving the loop cancels it. @throws BbsError */
export async function* serverStream<Request, Response>(
  method: StreamMethod<Request, Response>,
  request: Request,
  bounds: CallBounds = {},
): AsyncGenerator<Response, void, undefined> {
  const options: Partial<CallOptions> = bounds.deadlineMs === undefined ? {} : { deadline: deadlineIn(bounds.deadlineMs) };
  const call = method(request, metadataOf(bounds), options);
  const cancel = (): void => call.cancel();
  bounds.signal?.addEventListener("abort", cancel, { once: true });
  if (bounds.signal?.aborted) cancel();
  try {
    for await (const message of call as AsyncIterable<Response>) yield message;
  } catch (error) {
    if (bounds.signal?.aborted) throw bounds.signal.reason;
    throw fromServiceError(error);
  } finally {
    bounds.signal?.removeEventListener("abort", cancel);
    // A cancelled stream still emits one error; nobody awaits it any more.
    call.on("error", () => undefined);
    call.cancel();
  }
}

/** All messages of a list stream, joined. */
export async function collect<Response, Item>(
  stream: AsyncIterable<Response>,
  items: (chunk: Response) => readonly Item[],
): Promise<Item[]> {
  const all: Item[] = [];
  for await (const chunk of stream) for (const item of items(chunk)) all.push(item);
  return all;
}
