// The HTTP probe against a real server: status, time-out, refusal.
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { systemClock } from "@muster/shared/clock";
import { afterEach, beforeEach, expect, it } from "vitest";
import { probeHttp } from "./http-probe.js";

let server: Server;
let port = 0;
let asked: IncomingHttpHeaders = {};
let requests = 0;
let readToEnd = false;
let flooded = 0;
const chunk = Buffer.alloc(65_536);
beforeEach(async () => {
  server = createServer((request, response) => {
    asked = request.headers;
    requests += 1;
    if (request.url === "/silent") return;
    if (request.url === "/endless") {
      response.writeHead(200).write("and so on");
      return;
    }
    if (request.url === "/flood") {
      response.writeHead(200);
      const more = (): void => {
        flooded += chunk.length;
        if (response.write(chunk)) setImmediate(more);
        else response.once("drain", more);
      };
      more();
      response.on("error", () => undefined);
      return;
    }
    if (request.url === "/page") {
      response.on("close", () => {
        readToEnd = response.writableFinished;
      });
      response.writeHead(200).end("x".repeat(300_000));
      return;
    }
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

it("reads a page to its end, and an endless one for as long as it may", async () => {
  expect(await probe("/page")).toBeUndefined();
  expect(readToEnd).toBe(true);
  const began = performance.now();
  expect(await probe("/endless", 100)).toBeUndefined();
  expect(performance.now() - began).toBeGreaterThan(90);
  expect(await probe("/flood", 60_000)).toBeUndefined();
  expect(flooded).toBeLessThan(16 * 1_048_576);
});

/** What a server that speaks by hand makes of a probe. */
async function answered(answer: (socket: Socket) => void, timeoutMs = 500): Promise<string | undefined> {
  const sockets = new Set<Socket>();
  const raw = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    answer(socket);
  });
  await new Promise<void>((resolve) => raw.listen(0, "127.0.0.1", resolve));
  try {
    const check = { kind: "http", port: (raw.address() as AddressInfo).port, path: "/", timeoutMs, intervalMs: 1 } as const;
    return await probeHttp(systemClock, "127.0.0.1", check);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => raw.close(resolve));
  }
}

/** Writes `text` for as long as somebody reads. */
const forEver = (socket: Socket, text: string): void => {
  const line = Buffer.from(text.repeat(100));
  const more = (): void => {
    if (socket.destroyed) return;
    if (socket.write(line)) setImmediate(more);
    else socket.once("drain", more);
  };
  more();
};

it.each([
  { what: "says nothing", answer: () => undefined, text: /: timed out after 0.50 seconds$/ },
  { what: "hangs up", answer: (socket: Socket) => socket.end(), text: /: socket hang up$/ },
  { what: "speaks something else", answer: (socket: Socket) => socket.end("220 smtp ready\r\n"), text: /: Parse Error/ },
  {
    what: "sends headers without end",
    answer: (socket: Socket) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      forEver(socket, "x-more: y\r\n");
    },
    text: /: Parse Error: Header overflow$/,
  },
  {
    what: "puts off its answer without end",
    answer: (socket: Socket) => forEver(socket, "HTTP/1.1 100 Continue\r\n\r\n"),
    text: /: timed out after 0.50 seconds$/,
  },
])("a server that $what is not healthy, and costs no more than its time", async ({ answer, text }) => {
  expect(await answered(answer)).toMatch(text);
});

it("says that nobody listens", async () => {
  await new Promise((resolve) => server.close(resolve));
  expect(await probe("/well")).toMatch(/: connection refused$/);
});
