// Prometheus metrics and health, on a plain HTTP port beside each service.
import { createServer, type Server } from "node:http";
import type { Server as HttpsServer } from "node:https";
import { collectDefaultMetrics, Registry } from "prom-client";
import { systemClock } from "../clock/index.js";
import { type ListenAt, listenAt } from "../lifecycle/listen.js";

export { Counter, Gauge, Histogram, Registry } from "prom-client";

/** `ok` answers 200, else 503; `state` is one word, `detail` says why. */
export interface Health {
  readonly ok: boolean;
  readonly state: string;
  readonly detail?: string;
}

/** A registry with the process's own metrics, event-loop delay among them. */
export function createRegistry(service: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  return registry;
}

export interface BoundServer {
  readonly port: number;
  /** Takes nothing new; what is being answered may end for `graceMs` (0 when absent), then it is cut. */
  close(graceMs?: number): Promise<void>;
}

/** Serves `/metrics` and `/health` at a service's `metrics_address`. @throws as `listenAt` */
export async function startMetricsServer(address: string, registry: Registry, health: () => Health): Promise<BoundServer> {
  const server: Server = createServer((request, response) => {
    if (request.url === "/metrics") {
      registry.metrics().then(
        (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
      return;
    }
    if (request.url === "/health") {
      const now = health();
      response.writeHead(now.ok ? 200 : 503, { "content-type": "application/json" }).end(JSON.stringify(now));
      return;
    }
    response.writeHead(404).end();
  });
  server.requestTimeout = 10_000;
  server.headersTimeout = 5_000;
  server.maxConnections = 64;
  return bindServer(server, { address, setting: "metrics_address" });
}

/** Looks for connections that have become idle: Node closes those at once that are idle when asked, and none later. */
const idleLookMs = 10;

/** Listens with a server of Node's (port 0 picks one). @throws as `listenAt` */
export async function bindServer(server: Server | HttpsServer, at: ListenAt): Promise<BoundServer> {
  const port = await listenAt(server, at);
  return {
    port,
    close: (graceMs = 0) =>
      new Promise((resolve) => {
        const untilMs = systemClock.elapsedMs() + graceMs;
        let cancel = (): void => undefined;
        server.close(() => {
          cancel();
          resolve();
        });
        const look = (): void => {
          if (systemClock.elapsedMs() >= untilMs) {
            server.closeAllConnections();
            return;
          }
          server.closeIdleConnections();
          cancel = systemClock.after(idleLookMs, look);
        };
        look();
      }),
  };
}
