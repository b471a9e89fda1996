// Diego's HTTP API while the records are being migrated: every call is answered with 503.
import { createServer } from "node:https";
import { type BoundServer, bindServer } from "@muster/shared/metrics";
import type { TlsMaterial } from "@muster/shared/tls";

/** @throws OperatorError when it cannot listen there */
export function serveClosedDoor(address: string, tls: TlsMaterial): Promise<BoundServer> {
  const options = { ...tls, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.2" as const };
  const server = createServer(options, (request, response) => {
    request.resume();
    response.writeHead(503, { "retry-after": "1", "content-length": 0, connection: "close" }).end();
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 5_000;
  server.maxConnections = 1_000;
  return bindServer(server, { address, setting: "http_address" });
}
