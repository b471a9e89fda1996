// A client of Diego's that knows no generated code: requests go out as bytes made from the reference's schema, replies come back as bytes
// read by it; the same call over Diego's HTTP API and over gRPC.
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { Client, Metadata, type ServiceError } from "@grpc/grpc-js";
import { dial } from "@muster/shared/rpc";
import type { TlsMaterial } from "@muster/shared/tls";
import { decode, encode, type Message } from "./diego-codec.js";
import { type Route, routeNamed } from "./diego-routes.js";
import { errorTypes } from "./diego-schema.js";

export interface Refusal {
  /** Diego's name of the error type. Over gRPC it may also be one of Muster's own. */
  readonly type: string;
  readonly message: string;
}

export interface Reply {
  readonly error: Refusal | undefined;
  /** The response without its error. */
  readonly message: Message;
}

export interface CallOptions {
  readonly traceId?: string;
}

export interface DiegoClient extends Disposable {
  readonly transport: "http" | "grpc";
  /** Whether this door serves the route at all: the deprecated versions are HTTP's alone. */
  serves(route: string): boolean;
  call(route: string, body: Message | Buffer, options?: CallOptions): Promise<Reply>;
}

const bodyOf = (route: Route, body: Message | Buffer): Buffer =>
  Buffer.isBuffer(body) ? body : route.request === undefined ? Buffer.alloc(0) : encode(route.request, body);

// --- HTTP

export interface HttpReply {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

export interface HttpOptions extends CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
}

/** Raw requests with one certificate, over connections that are kept. */
export class HttpDoor implements Disposable {
  readonly #address: string;
  readonly #agent: Agent;

  constructor(address: string, tls: TlsMaterial) {
    this.#address = address;
    this.#agent = new Agent({ ...tls, keepAlive: true, maxSockets: 8, checkServerIdentity: () => undefined });
  }

  /** The response once its head is there; the body is the caller's to read. */
  async open(method: string, path: string, body: Buffer, options: HttpOptions = {}): Promise<IncomingMessage> {
    const [host, port] = this.#address.split(":");
    const headers: Record<string, string | number> = { "content-length": body.byteLength, ...options.headers };
    if (options.traceId !== undefined) headers["x-vcap-request-id"] = options.traceId;
    const call = request({ host, port, method, path, headers, agent: this.#agent });
    call.end(body);
    const [response] = (await once(call, "response")) as [IncomingMessage];
    return response;
  }

  async send(method: string, path: string, body: Buffer, options: HttpOptions = {}): Promise<HttpReply> {
    const response = await this.open(method, path, body, options);
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) };
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

const protobuf = "application/x-protobuf";

/** A response with its error in-band: Diego's way, and over gRPC that of the evacuation calls. */
function replyOf({ error, ...message }: Message): Reply {
  if (error === undefined) return { error: undefined, message };
  return { error: { type: errorTypes[error.type ?? 0] ?? `reserved ${error.type}`, message: error.message ?? "" }, message };
}

/** @throws when the reply is not, to the last header and field, what Diego's is. */
export function httpClient(address: string, tls: TlsMaterial): DiegoClient & { readonly door: HttpDoor } {
  const door = new HttpDoor(address, tls);
  const call = async (name: string, body: Message | Buffer, options: CallOptions = {}): Promise<Reply> => {
    const route = routeNamed(name);
    const { status, headers, body: bytes } = await door.send("POST", route.path, bodyOf(route, body), options);
    if (status !== 200) throw new Error(`${route.path} answered ${status}`);
    if (headers["content-type"] !== protobuf) throw new Error(`${route.path} answered ${headers["content-type"]}`);
    if (headers["content-length"] !== String(bytes.byteLength)) throw new Error(`${route.path} names no length`);
    return replyOf(decode(route.response ?? "", bytes));
  };
  return {
    transport: "http",
    door,
    serves: (name) => routeNamed(name).response !== undefined,
    call,
    [Symbol.dispose]: () => door[Symbol.dispose](),
  };
}

// --- gRPC

const asIs = (bytes: Buffer): Buffer => bytes;

const refusalOf = (error: ServiceError): Refusal => ({
  type: String(error.metadata?.get("muster-error-type")[0] ?? `no type, status ${error.code}`),
  message: error.details,
});

/** Two chunks of one list, joined. */
const joined = (before: Message, chunk: Message): Message => {
  const all = { ...before };
  for (const [name, items] of Object.entries(chunk)) all[name] = [...(all[name] ?? []), ...items];
  return all;
};

export function grpcClient(address: string, tls: TlsMaterial): DiegoClient {
  const client = dial(Client, [address], tls);
  const metadataOf = (options: CallOptions): Metadata => {
    const metadata = new Metadata();
    if (options.traceId !== undefined) metadata.set("x-vcap-request-id", options.traceId);
    return metadata;
  };
  const call = async (name: string, body: Message | Buffer, options: CallOptions = {}): Promise<Reply> => {
    const route = routeNamed(name);
    if (route.rpc === undefined) throw new Error(`${name} is served over HTTP alone`);
    const [method, bytes, metadata] = [`/muster.v1.BBSService/${route.rpc}`, bodyOf(route, body), metadataOf(options)];
    const read = (chunk: Buffer): Message => decode(route.response ?? "", chunk);
    try {
      if (!route.stream) return replyOf(read(await unaryBytes(client, method, bytes, metadata)));
      let message: Message = {};
      const chunks = client.makeServerStreamRequest(method, asIs, asIs, bytes, metadata);
      for await (const chunk of chunks as AsyncIterable<Buffer>) message = joined(message, read(chunk));
      return { error: undefined, message };
    } catch (error) {
      if (!(error instanceof Error) || !("metadata" in error)) throw error;
      return { error: refusalOf(error as ServiceError), message: {} };
    }
  };
  return {
    transport: "grpc",
    serves: (name) => routeNamed(name).rpc !== undefined,
    call,
    [Symbol.dispose]: () => client.close(),
  };
}

const unaryBytes = (client: Client, method: string, bytes: Buffer, metadata: Metadata): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    client.makeUnaryRequest(method, asIs, asIs, bytes, metadata, (error, reply) => {
      if (error !== null) reject(error);
      else resolve(reply ?? Buffer.alloc(0));
    });
  });
