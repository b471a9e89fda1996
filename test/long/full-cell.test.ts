// A cell as full as its /24 allows: each container with its own address and port, and everything given back.
import type { Container } from "@muster/garden";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerSpec, eventually, leftovers, never, startGarden } from "../support/garden.js";
import { app, fetchText, hostPortOf, registry, useGarden, web } from "../support/garden-suite.js";
import { reaches, startWorld, tcp, type World } from "../support/garden-world.js";

useGarden();

let world: World;
beforeAll(async () => {
  world = await startWorld([8000, 8001]);
});
afterAll(() => world[Symbol.asyncDispose]());

describe("a full cell", () => {
  it("holds two hundred containers, each with its own address and port, and gives all of it back", {
    timeout: 600_000,
  }, async () => {
    const own = await startGarden({
      insecureRegistries: [registry.host],
      cellId: "cell-24",
      portRange: { first: 41_401, last: 41_600 },
    });
    try {
      const handles = Array.from({ length: 200 }, (_none, at) => `n${at}`);
      const spec = { ports: [{ containerPort: 8080 }], egress: [tcp("198.51.100.2", [8000])] };
      const made = await Promise.all(handles.map((handle) => own.garden.create(containerSpec(handle, app, spec), never)));
      await Promise.all(made.map((container) => container.run(web, () => {})));
      expect(new Set(made.map((container) => container.info().containerIp)).size).toBe(200);
      const [first, last] = [made[0] as Container, made[199] as Container];
      for (const one of [first, last]) {
        await eventually("it listens", async () => (await one.probeTcp(8080, 1_000)) === undefined, 60_000);
        expect(await fetchText(hostPortOf(one))).toBe("hello from muster\n");
        expect(await reaches(one, world.addresses[0], 8000)).toBe(true);
        expect(await reaches(one, world.addresses[0], 8001)).toBe(false);
      }
      await Promise.all(handles.map((handle) => own.garden.destroy(handle)));
      for (const handle of ["n0", "n100", "n199"]) expect(await leftovers(own.home, "cell-24", handle)).toEqual([]);
      const again = await own.garden.create(containerSpec("again", app, spec), never);
      expect(hostPortOf(again)).toBeGreaterThan(0);
      await own.garden.removeEverything();
      expect(await leftovers(own.home, "cell-24")).toEqual([]);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});
