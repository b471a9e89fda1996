// The HTTP probe against a real server: status, time-out, refusal.
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@muster/shared/clock";
import { afterEach, beforeEach, expect, it } from "vitest";
import { probeHttp } from "./http-probe.js";

let server: Server;
let port = 0;
let asked: IncomingHttpHeaders = {};
let requests = 0;
beforeEach(async () => {
  server = createServer((request, response) => {
    asked = request.headers;
    requests += 1;
    if (request.url === "/silent") return;
    if (request.url === "/moved") response.writeHead(302, { location: "/well?x=1" }).end();
    else if (request.url === "/choices") response.writeHead(300, { location: "/well" }).end();
    else if (request.url === "/elsewhere") response.writeHead(301, { location: "http://192.0.2.1:1/well" }).end();
    else if (request.url === "/loop") response.writeHead(302, { location: "/loop" }).end();
    else response.writeHead(request.url?.startsWith("/well") ? 200 : 500).end("body");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const probe = (path: string, timeoutMs = 1_000) =>
  probeHttp(systemClock, "127.0.0.1", { kind: "http", port, path, timeoutMs, intervalMs: 1 });

it("is healthy with 200 alone, and follows redirects", async () => {
  expect(await probe("/well")).toBeUndefined();
  expect(asked).toMatchObject({ "user-agent": "diego-healthcheck", "x-forwarded-proto": "https" });
  expect(await probe("/moved")).toBeUndefined();
  // On the container itself, wherever it points.
  expect(await probe("/elsewhere")).toBeUndefined();
});

it.each([
  { path: "/ill", text: /^failed to make HTTP request to '\/ill' on port \d+: received status code 500 in \d+ms$/ },
  { path: "/choices", text: /: received status code 300 in \d+ms$/ },
  { path: "/loop", text: /too many redirects$/ },
])("says why $path is not", async ({ path, text }) => {
  expect(await probe(path)).toMatch(text);
});

it("gives up a loop after ten requests", async () => {
  requests = 0;
  await probe("/loop");
  expect(requests).toBe(10);
});

it("times out", async () => {
  expect(await probe("/silent", 50)).toMatch(/: timed out after 0.05 seconds$/);
});

it("says that nobody listens", async () => {
  await new Promise((resolve) => server.close(resolve));
  expect(await probe("/well")).toMatch(/: connection refused$/);
});
