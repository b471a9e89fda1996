// Ports for tests' servers are nobody else's: not another test process's, and not a client connection's.
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { afterAll, expect, it, vi } from "vitest";

const listeners: Server[] = [];
afterAll(() => {
  for (const server of listeners) server.close();
});

/** The module as another process has it: with a memory of its own, and beginning at the same port, as only two processes of one id could. */
async function anotherProcess() {
  vi.resetModules();
  return import("./support/ports.js");
}

it("two processes get ports of their own, one after the other or at once, though nobody listens there yet", async () => {
  const [one, other] = [await anotherProcess(), await anotherProcess()];
  const ports = [await one.freePort(), await other.freePort()];
  ports.push(...(await Promise.all(Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? one : other).freePort()))));
  expect(new Set(ports).size).toBe(42);
});

it("no port is one that the kernel gives to clients", async () => {
  const { freePort } = await anotherProcess();
  const [from = 0, to = 0] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/).map(Number);
  const port = await freePort();
  expect(port < from || port > to).toBe(true);
});

it("a port that somebody holds who does not ask here is passed over", async () => {
  const { freePort } = await anotherProcess();
  const first = await freePort();
  const taken = createServer();
  listeners.push(taken);
  await new Promise<void>((resolve) => taken.listen(first + 1, "127.0.0.1", resolve));
  expect(await freePort()).not.toBe(first + 1);
});

it("a name is claimed once", async () => {
  const [one, other] = [await anotherProcess(), await anotherProcess()];
  const name = `test-${process.pid}`;
  expect([await one.claim(name), await other.claim(name), await one.claim(name)]).toEqual([true, false, false]);
});
