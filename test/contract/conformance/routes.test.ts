// Every route of the wire reference (A.3) is answered, by its method alone, and has its line in docs/compatibility.md.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memoryHome } from "../../support/bbs.js";
import { routes } from "../../support/diego-routes.js";
import { World } from "./world.js";

let world: World;
beforeAll(async () => {
  world = await World.open(await memoryHome());
});
afterAll(() => world[Symbol.asyncDispose]());

const compatibility = readFileSync(fileURLToPath(new URL("../../../docs/compatibility.md", import.meta.url)), "utf8");
const all = [...routes].map(([name, route]) => ({ name, ...route }));

describe("a route of Diego's", () => {
  it("is one of fifty", () => {
    expect(all).toHaveLength(50);
    expect(new Set(all.map(({ path }) => path)).size).toBe(50);
  });

  it.each(all)("$name: $method $path", async ({ method, path, response }) => {
    const reply = await world.door.open(method, path, Buffer.alloc(0));
    expect(reply.statusCode).toBe(200);
    expect(reply.headers["content-type"]).toBe(
      response === undefined ? "text/event-stream; charset=utf-8" : "application/x-protobuf",
    );
    reply.destroy();
    const wrong = await world.door.send(method === "GET" ? "POST" : "GET", path, Buffer.alloc(0));
    expect([wrong.status, wrong.headers["content-type"]]).toEqual([405, undefined]);
  });

  it.each(all)("$path is in docs/compatibility.md", ({ path }) => {
    expect(compatibility.includes(`\`${path}\``)).toBe(true);
  });

  it.each(["/", "/v1", "/v1/ping/", "/v1/desired_lrps/list", "/v1/desired_lrps/list.r1", "/v2/ping"])(
    "%s is none: 404",
    async (path) => {
      const reply = await world.door.send("POST", path, Buffer.alloc(0));
      expect([reply.status, reply.headers["content-type"]]).toEqual([404, undefined]);
    },
  );
});
