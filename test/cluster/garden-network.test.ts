// What containers of the runc garden may reach, and what may reach them: egress rules, neighbours, this machine.
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { promisify } from "node:util";
import type { Container, EgressRule } from "@muster/garden";
import { namesOnMachine } from "@muster/garden/runc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerSpec, eventually, leftovers, never, runScript, shell, startGarden } from "../support/garden.js";
import { app, hostPortOf, registry, test, useGarden, web, withContainer } from "../support/garden-suite.js";
import { reaches, startWorld, tcp, type World } from "../support/garden-world.js";

const run = promisify(execFile);

useGarden();

let world: World;
beforeAll(async () => {
  world = await startWorld([8000, 8001]);
});
afterAll(() => world[Symbol.asyncDispose]());

/** From the container's network, with a ping of this machine: busybox's needs a raw socket, which no container gets. */
async function pings(container: Container, address: string): Promise<boolean> {
  const netns = `/run/netns/${namesOnMachine(test.home, "cell-1").netnsPrefix}${container.handle}`;
  const asked = run("nsenter", [`--net=${netns}`, "busybox", "ping", "-c", "1", "-W", "2", address]);
  return asked.then(
    () => true,
    () => false,
  );
}

const everything: EgressRule = { protocol: "all", destinations: ["0.0.0.0/0"] };

describe("egress rules", () => {
  it.each<[string, readonly EgressRule[] | undefined, { a8000: boolean; a8001: boolean; b8000: boolean; ping: boolean }]>([
    ["none given", undefined, { a8000: true, a8001: true, b8000: true, ping: true }],
    ["an empty list", [], { a8000: false, a8001: false, b8000: false, ping: false }],
    ["everything", [everything], { a8000: true, a8001: true, b8000: true, ping: true }],
    ["one port of one address", [tcp("198.51.100.2", [8000])], { a8000: true, a8001: false, b8000: false, ping: false }],
    [
      "a range of addresses and of ports",
      [{ protocol: "tcp", destinations: ["198.51.100.3-198.51.100.9"], portRange: { start: 7999, end: 8000 } }],
      { a8000: false, a8001: false, b8000: true, ping: false },
    ],
    [
      "a list of networks, udp and echo alone",
      [
        { protocol: "udp", destinations: ["198.51.100.0/24"], ports: [8000] },
        { protocol: "icmp", destinations: ["10.9.9.9,198.51.100.0/24"], icmp: { type: 8, code: 0 } },
      ],
      { a8000: false, a8001: false, b8000: false, ping: true },
    ],
  ])("%s", async (_what, egress, expected) => {
    const [a, b] = world.addresses;
    await withContainer(
      async (container) => {
        await container.run(shell("sleep 1000"), () => {});
        expect({
          a8000: await reaches(container, a, 8000),
          a8001: await reaches(container, a, 8001),
          b8000: await reaches(container, b, 8000),
          ping: await pings(container, a),
        }).toEqual(expected);
      },
      { egress },
    );
  });

  it("are in force before the first process of a container begins", async () => {
    const [a] = world.addresses;
    for (let round = 0; round < 5; round += 1) {
      for (const [egress, status] of [
        [[tcp(a, [8000])], 0],
        [[], 1],
      ] as const) {
        const first = (container: Container) => runScript(container, `nc -w 2 ${a} 8000 </dev/null >/dev/null 2>&1`);
        await withContainer(async (container) => expect((await first(container)).exit.exitStatus).toBe(status), { egress });
      }
    }
  });

  it("that are none fail the container with their reason, and nothing of it is left", async () => {
    const egress = [tcp("198.51.100.2", [8000]), tcp("not-an-address", [1])];
    await expect(test.garden.create(containerSpec("bad", app, { egress }), never)).rejects.toMatchObject({
      code: "spec-invalid",
      message: expect.stringContaining('destination "not-an-address"'),
    });
    expect(await leftovers(test.home, "cell-1", "bad")).toEqual([]);
  });

  it("write to the kernel's log what they are told to", async () => {
    const [a] = world.addresses;
    await withContainer(
      async (container) => {
        await container.run(shell("sleep 1000"), () => {});
        expect(await reaches(container, a, 8000)).toBe(true);
        const { stdout } = await run("dmesg");
        expect(stdout).toMatch(new RegExp(`${container.handle} .*SRC=${container.info().containerIp} DST=${a} .*DPT=8000`));
      },
      { egress: [{ ...tcp(a, [8000]), log: true }], hostname: "logged" },
    );
  });

  it("hold again for a container that was adopted, also when somebody took the rules away meanwhile", async () => {
    const [a] = world.addresses;
    const own = await startGarden({ insecureRegistries: [registry.host], cellId: "cell-20" });
    try {
      const container = await own.garden.create(containerSpec("a", app, { egress: [tcp(a, [8000])] }), never);
      await container.run(shell("sleep 1000"), () => {});
      await own.garden[Symbol.asyncDispose]();
      const { chainPrefix } = namesOnMachine(own.home, "cell-20");
      await run("iptables", ["-F", `${chainPrefix}FWD`]);
      await run("iptables", ["-D", "FORWARD", "-j", `${chainPrefix}FWD`]);
      const second = await own.restart();
      const adopted = second.lookup("a") as Container;
      expect(await reaches(adopted, a, 8000)).toBe(true);
      expect(await reaches(adopted, a, 8001)).toBe(false);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});

describe("this machine and neighbours", () => {
  it("are out of a container's reach, whatever its rules say", async () => {
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(0, world.ours, resolve));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const other = await startGarden({ insecureRegistries: [registry.host], cellId: "cell-21" });
    try {
      const theirs = await other.garden.create(containerSpec("x", app), never);
      await theirs.run(web, () => {});
      await withContainer(async (neighbour) => {
        await neighbour.run(web, () => {});
        await withContainer(
          async (container) => {
            await container.run(web, () => {});
            for (const one of [neighbour, container, theirs])
              await eventually("it listens", async () => (await one.probeTcp(8080, 1_000)) === undefined);
            const gateway = container.info().containerIp.replace(/\d+$/, "1");
            const open = async (to: string, at: number) => [to, await reaches(container, to, at)] as const;
            expect(await open(world.ours, port)).toEqual([world.ours, false]);
            expect(await open(gateway, port)).toEqual([gateway, false]);
            for (const one of [neighbour, theirs])
              expect(await open(one.info().containerIp, 8080)).toEqual([one.info().containerIp, false]);
            expect(await pings(container, neighbour.info().containerIp)).toBe(false);
            expect(await pings(container, gateway)).toBe(false);
            expect(await open(container.info().containerIp, 8080)).toEqual([container.info().containerIp, true]);
          },
          { egress: [everything] },
        );
      });
    } finally {
      await other[Symbol.asyncDispose]();
      server.close();
    }
  });

  it("share no IPv6 link with a container either", async () => {
    await withContainer(
      async (container) => {
        const { text } = await runScript(container, "ip -6 -o address");
        expect(text).toContain("::1/128");
        expect(text).not.toContain("fe80");
        const { bridge } = namesOnMachine(test.home, "cell-1");
        expect((await run("ip", ["-6", "-o", "address", "show", "dev", bridge])).stdout).toBe("");
      },
      { egress: [everything] },
    );
  });

  it("answer on mapped ports of this machine's address as far as the rules say so of that address", async () => {
    const outside = Object.values(networkInterfaces())
      .flat()
      .find((one) => one?.family === "IPv4" && !one.internal && one.address !== world.ours)?.address;
    expect(outside, "this test needs an address besides the loopback's").toBeDefined();
    const own = await startGarden({ insecureRegistries: [registry.host], cellId: "cell-22", hostAddress: outside ?? "" });
    try {
      const server = await own.garden.create(containerSpec("server", app, { ports: [{ containerPort: 8080 }] }), never);
      await server.run(web, () => {});
      await eventually("it listens", async () => (await server.probeTcp(8080, 1_000)) === undefined);
      const port = hostPortOf(server);
      const from = async (handle: string, egress: readonly EgressRule[]): Promise<boolean> => {
        const container = await own.garden.create(containerSpec(handle, app, { egress }), never);
        await container.run(shell("sleep 1000"), () => {});
        return reaches(container, outside ?? "", port);
      };
      expect(await from("allowed", [tcp(`${outside}/32`, [port])])).toBe(true);
      expect(await from("otherwise", [tcp(`${outside}/32`, [port + 1])])).toBe(false);
      expect(await from("nothing", [])).toBe(false);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });

  it("may hold addresses of the platform that no rule opens", async () => {
    const [a, b] = world.addresses;
    const own = await startGarden({
      insecureRegistries: [registry.host],
      cellId: "cell-23",
      protectedAddresses: [`${a}:8000`, b],
    });
    try {
      const container = await own.garden.create(containerSpec("a", app, { egress: [everything] }), never);
      await container.run(shell("sleep 1000"), () => {});
      expect(await reaches(container, a, 8000)).toBe(false);
      expect(await reaches(container, a, 8001)).toBe(true);
      expect(await reaches(container, b, 8001)).toBe(false);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});
