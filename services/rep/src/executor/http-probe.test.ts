// The HTTP probe against a real server: status, time-out, refusal.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@muster/shared/clock";
import { afterEach, beforeEach, expect, it } from "vitest";
import { probeHttp } from "./http-probe.js";

let server: Server;
let port = 0;
let agent: string | undefined;
beforeEach(async () => {
  server = createServer((request, response) => {
    agent = request.headers["user-agent"];
    if (request.url === "/silent") return;
    if (request.url === "/moved") response.writeHead(302, { location: "/well?x=1" }).end();
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
  expect(agent).toBe("diego-healthcheck");
  expect(await probe("/moved")).toBeUndefined();
});

it.each([
  { path: "/ill", text: /^failed to make HTTP request to '\/ill' on port \d+: received status code 500 in \d+ms$/ },
  { path: "/loop", text: /too many redirects$/ },
])("says why $path is not", async ({ path, text }) => {
  expect(await probe(path)).toMatch(text);
});

it("times out", async () => {
  expect(await probe("/silent", 50)).toMatch(/: timed out after 0.05 seconds$/);
});

it("says that nobody listens", async () => {
  await new Promise((resolve) => server.close(resolve));
  expect(await probe("/well")).toMatch(/: connection refused$/);
});
