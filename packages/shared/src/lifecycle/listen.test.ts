// An address that cannot be listened at is told to operators: where, by which setting, what is in the way, what to do.
import { createServer } from "node:http";
import { Server } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import { OperatorError } from "../errors/index.js";
import { listenAt } from "./listen.js";

afterEach(() => vi.restoreAllMocks());

const at = (address: string) => ({ address, setting: "metrics_address" });
const close = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));

it("a port in use", async () => {
  const first = createServer();
  const port = await listenAt(first, at("127.0.0.1:0"));
  const refusal = await listenAt(createServer(), at(`127.0.0.1:${port}`)).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(OperatorError);
  expect(refusal).toMatchObject({
    message: `cannot listen at 127.0.0.1:${port} (metrics_address): another program listens there`,
    hint: "stop that program (`ss -ltnp` names it), or change metrics_address",
    cause: { code: "EADDRINUSE" },
  });
  await close(first);
  // It was the port, not the server.
  const second = createServer();
  expect(await listenAt(second, at(`127.0.0.1:${port}`))).toBe(port);
  await close(second);
});

it("an address that is not this machine's", async () => {
  // 192.0.2.0/24 is for documentation: no machine has it.
  await expect(listenAt(createServer(), at("192.0.2.1:0"))).rejects.toMatchObject({
    name: "OperatorError",
    message: "cannot listen at 192.0.2.1:0 (metrics_address): this machine has no such address",
  });
});

it.each([
  ["EACCES", "this user may not listen there"],
  ["ENOTFOUND", "its host has no address"],
])("%s, as the system tells it", async (code, says) => {
  vi.spyOn(Server.prototype, "listen").mockImplementation(function (this: Server) {
    queueMicrotask(() => this.emit("error", Object.assign(new Error(code), { code })));
    return this;
  });
  await expect(listenAt(createServer(), at("a.host:80"))).rejects.toMatchObject({
    name: "OperatorError",
    message: `cannot listen at a.host:80 (metrics_address): ${says}`,
  });
});

it("what nobody has foreseen stays what it is", async () => {
  vi.spyOn(Server.prototype, "listen").mockImplementation(function (this: Server) {
    queueMicrotask(() => this.emit("error", Object.assign(new Error("ENOBUFS"), { code: "ENOBUFS" })));
    return this;
  });
  await expect(listenAt(createServer(), at("127.0.0.1:80"))).rejects.toMatchObject({ name: "Error", code: "ENOBUFS" });
});

it("an IPv6 address stands in brackets", async () => {
  const server = createServer();
  expect(await listenAt(server, at("[::1]:0"))).toBeGreaterThan(0);
  expect(server.address()).toMatchObject({ address: "::1" });
  await close(server);
});
