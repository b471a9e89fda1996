// Registries that falter, as the runc garden meets them: busy ones, ones that fail for a while, break off, or never give a whole layer.
import { readdir } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { rootFSOfImage } from "@muster/garden/image-ref";
import { describe, expect, it } from "vitest";
import { containerSpec, leftovers, never, runScript, startGarden } from "../support/garden.js";
import { registry, useGarden } from "../support/garden-suite.js";
import { pushImage } from "../support/images.js";
import { withDoor } from "../support/registry-door.js";
import { tar } from "../support/tar.js";

useGarden();

describe("a registry that falters", () => {
  it("is asked again after the time it names, and after a while when it fails", async () => {
    const image = await pushImage(registry.host, { name: "odd/busy", page: "busy\n" });
    const seen: number[] = [];
    let failures = 0;
    const door = (request: IncomingMessage, response: ServerResponse): boolean => {
      if (request.url?.includes("/manifests/") === true) {
        seen.push(performance.now());
        if (seen.length > 1) return false;
        response.writeHead(429, { "retry-after": "3" }).end();
        return true;
      }
      if (request.url?.includes("/blobs/") !== true || failures >= 2) return false;
      failures += 1;
      response.writeHead(503).end();
      return true;
    };
    await withDoor(registry.host, { refuse: door }, async (host) => {
      const own = await startGarden({ insecureRegistries: [host], cellId: "cell-43" });
      try {
        const name = rootFSOfImage(image.replace(registry.host, host));
        const container = await own.garden.create(containerSpec("a", name), never);
        expect((await runScript(container, "cat /www/index.html")).text).toBe("busy\n");
        expect((seen[1] ?? 0) - (seen[0] ?? 0)).toBeGreaterThanOrEqual(2_900);
        expect(failures).toBe(2);
      } finally {
        await own[Symbol.asyncDispose]();
      }
    });
  });

  it("that breaks off in a layer is asked for it again, and not for what came whole", async () => {
    const large = Buffer.alloc(3_000_000);
    // Nothing that compresses, and the same every time.
    for (let at = 0, word = 1; at < large.length; at += 1) {
      word = (word * 1_103_515_245 + 12_345) % 2_147_483_648;
      large[at] = word >> 16;
    }
    const layers = [tar([{ name: "one", content: "one\n" }]), tar([{ name: "large", content: large.toString("latin1") }])];
    const image = await pushImage(registry.host, { name: "odd/broken", layers, page: "broken\n" });
    const asked = new Map<string, number>();
    let broken = false;
    const door = {
      refuse: ({ url = "" }: IncomingMessage): boolean => {
        asked.set(url, (asked.get(url) ?? 0) + 1);
        return false;
      },
      onChunk: (url: string, soFar: number): "break" | "pass" => {
        if (broken || !url.includes("/blobs/") || soFar < 1_000_000) return "pass";
        broken = true;
        return "break";
      },
    };
    await withDoor(registry.host, door, async (host) => {
      const own = await startGarden({ insecureRegistries: [host], cellId: "cell-46" });
      try {
        const container = await own.garden.create(
          containerSpec("a", rootFSOfImage(image.replace(registry.host, host)), { diskMb: 0 }),
          never,
        );
        expect((await runScript(container, "cat /one; stat -c %s /large")).text).toMatch(/^one\n\d{7}\n$/);
        expect(broken).toBe(true);
        const blobs = [...asked].filter(([url]) => url.includes("/blobs/")).map(([, times]) => times);
        // The config is asked for on its own, too.
        expect(blobs.filter((times) => times > 1).length).toBeLessThanOrEqual(2);
      } finally {
        await own[Symbol.asyncDispose]();
      }
    });
  });

  it("that cuts every layer off gives a reason in the end, and nothing is left", async () => {
    const image = await pushImage(registry.host, { name: "odd/cut", page: "cut\n" });
    let cuts = 0;
    const door = (request: IncomingMessage, response: ServerResponse): boolean => {
      if (request.url?.includes("/blobs/") !== true) return false;
      cuts += 1;
      response.writeHead(200, { "content-length": "100000" });
      response.write("x".repeat(1_000), () => response.destroy());
      return true;
    };
    await withDoor(registry.host, { refuse: door }, async (host) => {
      const own = await startGarden({ insecureRegistries: [host], cellId: "cell-44" });
      try {
        const name = rootFSOfImage(image.replace(registry.host, host));
        await expect(own.garden.create(containerSpec("a", name), never)).rejects.toMatchObject({ name: "GardenError" });
        expect(cuts).toBeGreaterThan(0);
        expect(cuts).toBeLessThan(40);
        expect(await leftovers(own.home, "cell-44", "a")).toEqual([]);
        expect(await readdir(join(own.home, "images", "tmp"))).toEqual([]);
      } finally {
        await own[Symbol.asyncDispose]();
      }
    });
  });
});
