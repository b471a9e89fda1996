// Another machine, for tests of what containers may reach: a network namespace that knows this machine's address and no route to any
// container. It answers HTTP on the ports asked for, and ping.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Container, EgressRule } from "@muster/garden";
import { eventually, runScript } from "./garden.js";

const run = promisify(execFile);

export interface World extends AsyncDisposable {
  /** Its two addresses, and this machine's on the link to it. Reserved for documentation: nobody else has them. */
  readonly addresses: readonly [string, string];
  readonly ours: string;
}

export const worldPage = "the world\n";

/** Needs root, iproute2 and busybox. */
export async function startWorld(ports: readonly number[]): Promise<World> {
  const name = `muster-world-${process.pid}`;
  const link = `mw${process.pid}`;
  const addresses = ["198.51.100.2", "198.51.100.3"] as const;
  const folder = await mkdtemp(join(tmpdir(), "muster-world-"));
  const servers: ChildProcess[] = [];
  const stop = async (): Promise<void> => {
    await rm(folder, { recursive: true, force: true });
    for (const server of servers) server.kill("SIGKILL");
    await run("ip", ["netns", "delete", name]);
    await run("ip", ["link", "delete", link]).catch(() => {});
  };
  await run("ip", ["netns", "add", name]);
  try {
    await run("ip", ["link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name]);
    await run("ip", ["address", "add", "198.51.100.1/24", "dev", link]);
    await run("ip", ["link", "set", link, "up"]);
    for (const address of addresses) await run("ip", ["-n", name, "address", "add", `${address}/24`, "dev", "eth0"]);
    for (const device of ["eth0", "lo"]) await run("ip", ["-n", name, "link", "set", device, "up"]);
    await writeFile(join(folder, "index.html"), worldPage);
    for (const port of ports)
      servers.push(
        spawn("ip", ["netns", "exec", name, "busybox", "httpd", "-f", "-p", String(port), "-h", folder], { stdio: "ignore" }),
      );
    for (const address of addresses)
      for (const port of ports)
        await eventually("the world listens", () =>
          run("busybox", ["wget", "-q", "-O", "-", `http://${address}:${port}/`]).then(
            () => true,
            () => false,
          ),
        );
  } catch (error) {
    await stop();
    throw error;
  }
  return { addresses, ours: "198.51.100.1", [Symbol.asyncDispose]: stop };
}

let tries = 0;
/** Whether a TCP connection from inside is taken up; a refusal comes at once, silence counts as none after two seconds. */
export async function reaches(container: Container, address: string, port: number): Promise<boolean> {
  tries += 1;
  const { exit } = await runScript(container, `nc -w 2 ${address} ${port} </dev/null >/dev/null 2>&1`, { id: `try-${tries}` });
  return exit.exitStatus === 0;
}

/** Opens these ports of one destination. */
export const tcp = (destination: string, ports: readonly number[]): EgressRule => ({
  protocol: "tcp",
  destinations: [destination],
  ports,
});
