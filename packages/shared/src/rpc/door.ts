// The door of a gRPC server: a TLS listener of our own before grpc-js. It counts whom it turns away and why, bounds connections and
// handshakes, and can cut everything at the end; none of which grpc-js offers. What passes it is a verified mutual TLS connection.
import { createServer, type TLSSocket } from "node:tls";
import { type Server, ServerCredentials } from "@grpc/grpc-js";
import { systemClock } from "../clock/index.js";
import { listenAt } from "../lifecycle/listen.js";
import { peerOfCommonName, type TlsMaterial } from "../tls/index.js";

/**
 * Why a connection was turned away. `no-role` alone is let in: each of its calls is refused with a reason that its owner can read.
 * `full`: there are too many already.
 */
export const connectionRefusals = ["no-certificate", "expired", "foreign", "handshake", "no-role", "full"] as const;
export type ConnectionRefusal = (typeof connectionRefusals)[number];

export interface DoorOptions {
  /** The setting that holds the address, for whoever must mend it; `grpc_address` by default. */
  readonly setting?: string | undefined;
  /** Beyond it new connections are closed at once; those there are go on. */
  readonly maxConnections?: number | undefined;
  /** Called once for each connection turned away. */
  readonly refused?: ((why: ConnectionRefusal) => void) | undefined;
}

/** A thousand cells, each with a few channels, and everybody else: with room. A process of Node holds so many in 1 GiB. */
export const maxConnectionsDefault = 10_000;
/** A handshake costs two round trips and an RSA signature; thousands at once wait for each other. */
const handshakeMs = 10_000;

export interface Door {
  readonly port: number;
  readonly connections: number;
  /** Takes nobody new. */
  stop(): void;
  /** Cuts every connection. */
  cut(): void;
}

/** @returns `undefined` when it may come in. */
function refusalOf(socket: TLSSocket): ConnectionRefusal | undefined {
  if (!socket.authorized) {
    if (Object.keys(socket.getPeerCertificate()).length === 0) return "no-certificate";
    return String(socket.authorizationError) === "CERT_HAS_EXPIRED" ? "expired" : "foreign";
  }
  // A client that speaks something else would wait for its answer for ever.
  return socket.alpnProtocol === "h2" ? undefined : "handshake";
}

function namesNoRole(socket: TLSSocket): boolean {
  const commonName = socket.getPeerCertificate().subject?.CN;
  return peerOfCommonName(Array.isArray(commonName) ? commonName[0] : commonName) === undefined;
}

/** Listens at `host:port` (port 0 picks one) and hands verified connections to `server`. @throws as `listenAt` */
export async function openDoor(address: string, tls: TlsMaterial, server: Server, options: DoorOptions = {}): Promise<Door> {
  // The connections it is given are TLS already; to grpc-js they are sockets like any other.
  const inside = server.createConnectionInjector(ServerCredentials.createInsecure());
  const refused = options.refused ?? (() => undefined);
  const sockets = new Set<{ destroy(): unknown }>();
  const listener = createServer({
    ca: tls.ca,
    cert: tls.cert,
    key: tls.key,
    requestCert: true,
    // Looked at below, where the reason can be told; nobody unauthorized gets past `refusalOf`.
    rejectUnauthorized: false,
    ALPNProtocols: ["h2"],
    handshakeTimeout: handshakeMs,
  });
  listener.maxConnections = options.maxConnections ?? maxConnectionsDefault;
  listener.on("drop", () => refused("full"));
  listener.on("tlsClientError", () => refused("handshake"));
  listener.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // A reset in the middle of a handshake is told by `tlsClientError`; it must not end the process.
    socket.on("error", () => undefined);
  });
  listener.on("secureConnection", (socket) => {
    socket.on("error", () => undefined);
    const why = refusalOf(socket);
    if (why !== undefined) {
      refused(why);
      socket.destroy();
      return;
    }
    if (namesNoRole(socket)) refused("no-role");
    socket.setNoDelay(true);
    inside.injectConnection(socket);
  });
  const port = await listenAt(listener, { address, setting: options.setting ?? "grpc_address" });
  return {
    port,
    get connections() {
      return sockets.size;
    },
    stop: () => void listener.close(),
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Resolves when the server has ended: what is under way has `graceMs`, then it is cut. */
export function closeBehind(door: Door, server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    door.stop();
    const cancel = systemClock.after(graceMs, () => {
      server.forceShutdown();
      door.cut();
    });
    server.tryShutdown(() => {
      cancel();
      // What is left are connections that never became sessions.
      door.cut();
      resolve();
    });
  });
}
