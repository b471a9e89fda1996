// A TCP proxy that can hold what its connections carry, and let it go later: messages that arrive late, and cut networks.
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** What the client sent while this link was held; `undefined` while it is not held. */
  held: Buffer[] | undefined;
  answeredBytes: number;
  muted: boolean;
}

export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #links = new Set<Link>();
  /** The links that were held, in the order of their connections. */
  #heldLinks: Link[] = [];
  #holdsNew = false;

  constructor(server: Server) {
    this.#server = server;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** From now on what clients send over the connections that exist stays here; new connections pass unless `newOnes` is set. */
  hold(options: { readonly newOnes?: boolean } = {}): void {
    this.#holdsNew = options.newOnes ?? false;
    for (const link of this.#links) this.#holdLink(link);
  }

  /** From now on answers over the connections that exist are lost; what is asked still arrives. */
  mute(): void {
    for (const link of this.#links) link.muted = true;
  }

  /** Bytes held back so far. */
  get heldBytes(): number {
    return this.#heldLinks.reduce((sum, { held }) => sum + (held ?? []).reduce((bytes, chunk) => bytes + chunk.length, 0), 0);
  }

  /** Bytes that came back over held connections since they were held. */
  get answeredBytes(): number {
    return this.#heldLinks.reduce((sum, { answeredBytes }) => sum + answeredBytes, 0);
  }

  /** Takes out what is held until now; hand it to `deliver` later. What follows on those connections is dropped. */
  seize(): () => void {
    const seized = this.#heldLinks.map((link) => ({ link, chunks: link.held ?? [] }));
    for (const { link } of seized) link.held = [];
    this.#holdsNew = false;
    return () => {
      for (const { link, chunks } of seized) for (const chunk of chunks) link.server.write(chunk);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { client, server } of this.#links) {
      client.destroy();
      server.destroy();
    }
    this.#server.close();
    await once(this.#server, "close");
  }

  /** For the server's connection handler. */
  join(client: Socket, target: { readonly host: string; readonly port: number }): void {
    const server = connect(target);
    const link: Link = { client, server, held: undefined, answeredBytes: 0, muted: false };
    this.#links.add(link);
    if (this.#holdsNew) this.#holdLink(link);
    client.on("data", (chunk: Buffer) => {
      if (link.held === undefined) server.write(chunk);
      else link.held.push(chunk);
    });
    server.on("data", (chunk: Buffer) => {
      if (link.held !== undefined) link.answeredBytes += chunk.length;
      if (client.writable && !link.muted) client.write(chunk);
    });
    // A held connection outlives its client: what it carried is still on its way.
    client.on("close", () => link.held ?? server.destroy());
    server.on("close", () => {
      client.destroy();
      this.#links.delete(link);
    });
    for (const socket of [client, server]) socket.on("error", () => undefined);
  }

  #holdLink(link: Link): void {
    link.held ??= [];
    this.#heldLinks.push(link);
  }
}

/** Listens on a free loopback port and passes on to `target` (`http://host:port`). */
export async function startProxy(target: string): Promise<TcpProxy> {
  const { hostname: host, port } = new URL(target);
  const server = createServer((client) => proxy.join(client, { host, port: Number(port) }));
  const proxy = new TcpProxy(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return proxy;
}
