// The HTTP API over real mutual TLS for tests: a BBS on a memory store, requests as bytes, and connections that a test reads raw.
import { request } from "node:https";
import { connect, type TLSSocket } from "node:tls";
import { fakeClock, seededEntropy, systemClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import type { BoundServer } from "@muster/shared/metrics";
import { type Authority, createAuthority, issueCertificate, type TlsMaterial } from "@muster/shared/tls";
import { memoryStore, openMemoryStore } from "@muster/store/memory";
import { ActiveBbs } from "../../active/active-bbs.js";
import { setFeatureFlag } from "../../core/small-commands.js";
import { Calls } from "../calls.js";
import { serveHttp } from "../http.js";

let authority: Promise<Authority> | undefined;
const certificates = new Map<string, Promise<TlsMaterial>>();

/** One authority for all worlds of a test file, and one certificate for each name: keys take long to make. */
const theAuthority = (): Promise<Authority> => {
  authority ??= createAuthority("test", systemClock.nowMs());
  return authority;
};

/** What a client or server of this name shows; `by` another authority than the world's, nobody believes it. */
export function certificate(commonName: string, by?: Authority): Promise<TlsMaterial> {
  const known = by === undefined ? certificates.get(commonName) : undefined;
  const issued = known ?? materialOf(commonName, by);
  if (by === undefined) certificates.set(commonName, issued);
  return issued;
}

async function materialOf(commonName: string, by?: Authority): Promise<TlsMaterial> {
  const trusted = await theAuthority();
  const issued = await issueCertificate(by ?? trusted, commonName, { nowMs: systemClock.nowMs() });
  return { ca: Buffer.from(trusted.certificatePem), cert: Buffer.from(issued.certificatePem), key: Buffer.from(issued.keyPem) };
}

const plain = { seal: (bytes: Uint8Array) => bytes, open: (bytes: Uint8Array) => bytes };

export interface Reply {
  readonly status: number;
  readonly type: string | undefined;
  readonly length: string | undefined;
  readonly body: Buffer;
}

export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly tls?: Partial<TlsMaterial>;
}

/** A connection as its bytes: what came so far, and waiting for more of it. */
export class RawConnection {
  readonly socket: TLSSocket;
  closed = false;
  #text = "";
  #waiting: (() => void)[] = [];

  constructor(socket: TLSSocket) {
    this.socket = socket;
    const stir = (): void => {
      for (const wake of this.#waiting.splice(0)) wake();
    };
    socket.on("data", (chunk: Buffer) => {
      this.#text += chunk.toString("latin1");
      stir();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.closed = true;
      stir();
    });
  }

  get text(): string {
    return this.#text;
  }

  /** Waits until what came satisfies `holds`; the test's own time-out bounds it. */
  async until(holds: (text: string) => boolean): Promise<string> {
    while (!holds(this.#text) && !this.closed) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    return this.#text;
  }

  ended(): Promise<string> {
    return this.until(() => this.closed);
  }
}

export class HttpWorld implements AsyncDisposable {
  readonly active: ActiveBbs;
  readonly observed: string[];
  readonly #server: BoundServer;
  readonly #raw: RawConnection[] = [];

  private constructor(active: ActiveBbs, server: BoundServer, observed: string[]) {
    this.active = active;
    this.observed = observed;
    this.#server = server;
  }

  static async open(): Promise<HttpWorld> {
    const clock = fakeClock();
    const store = await openMemoryStore(memoryStore(clock), { clock });
    const active = await ActiveBbs.start({
      store,
      leadership: await store.campaign("bbs", "one", 10_000, new AbortController().signal),
      clock,
      entropy: seededEntropy("http"),
      log: silentLog(),
      secrets: plain,
      metrics: { committed: () => undefined, resent: () => undefined },
      presenceTtlMs: 5_000,
      onLost: () => undefined,
    });
    await active.journal.submit(setFeatureFlag({ name: "diego_docker", enabled: true }));
    const observed: string[] = [];
    const observe = (call: string, code: string): void => {
      observed.push(`${call} ${code}`);
    };
    const serve = { log: silentLog(), elapsedMs: () => 0, observe };
    const server = await serveHttp("127.0.0.1:0", await certificate("bbs"), new Calls(active), serve);
    return new HttpWorld(active, server, observed);
  }

  /** One request on a connection of its own; by the operator unless `tls` says otherwise. */
  async ask(
    path: string,
    body: Uint8Array = new Uint8Array(),
    { method = "POST", headers = {}, tls }: Asked = {},
  ): Promise<Reply> {
    const options = {
      ...(tls ?? (await certificate("operator"))),
      host: "127.0.0.1",
      port: this.#server.port,
      path,
      method,
      headers: { ...headers, "content-length": body.byteLength },
      checkServerIdentity: () => undefined,
      agent: false as const,
    };
    return new Promise((resolve, reject) => {
      const call = request(options, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            type: response.headers["content-type"],
            length: response.headers["content-length"],
            body: Buffer.concat(chunks),
          }),
        );
      });
      call.on("error", reject);
      call.end(body);
    });
  }

  /** A connection on which `text` was sent. */
  async raw(text: string, commonName = "operator"): Promise<RawConnection> {
    const material = await certificate(commonName);
    const socket = connect({ host: "127.0.0.1", port: this.#server.port, ...material, checkServerIdentity: () => undefined });
    const connection = new RawConnection(socket);
    this.#raw.push(connection);
    await new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", resolve);
      socket.once("error", reject);
    });
    socket.write(text, "latin1");
    return connection;
  }

  /** A request as its bytes. */
  static bytes(method: string, path: string, body: Uint8Array = new Uint8Array(), headers = ""): string {
    const latin1 = Buffer.from(body).toString("latin1");
    return `${method} ${path} HTTP/1.1\r\nHost: bbs\r\n${headers}Content-Length: ${body.byteLength}\r\n\r\n${latin1}`;
  }

  /** Opens an event stream; resolves once its headers are there. */
  async stream(
    method: string,
    path: string,
    body: Uint8Array = new Uint8Array(),
    commonName = "operator",
  ): Promise<RawConnection> {
    const connection = await this.raw(HttpWorld.bytes(method, path, body), commonName);
    await connection.until((text) => text.includes("\r\n\r\n"));
    return connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.#raw) socket.destroy();
    await this.active.drain();
    await this.#server.close();
  }
}
