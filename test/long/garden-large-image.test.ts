// An image of two gigabytes that do not compress, over a line that breaks in the middle of each layer.
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { rootFSOfImage } from "@muster/garden/image-ref";
import { afterAll, beforeAll, expect, it } from "vitest";
import { containerSpec, leftovers, never, runScript, startGarden } from "../support/garden.js";
import { pushImage } from "../support/images.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";
import { withDoor } from "../support/registry-door.js";

const run = promisify(execFile);
const layers = 4;
const layerBytes = 512 * 1_048_576;
/** As many bytes of each layer go through before its line breaks, once. */
const breaksAt = 200 * 1_048_576;

let registry: TestRegistry;
let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "muster-large-"));
  registry = await startRegistry();
});
afterAll(async () => {
  await registry.stop();
  await rm(folder, { recursive: true, force: true });
});

it("is fetched whole, a broken layer anew and no other, and every byte is the one that was pushed", async () => {
  const sums: string[] = [];
  const files: { file: string }[] = [];
  for (let at = 0; at < layers; at += 1) {
    const name = `part-${at}`;
    await run("sh", ["-c", 'head -c "$1" /dev/urandom > "$2"', "sh", String(layerBytes), join(folder, name)]);
    sums.push((await run("sha256sum", [name], { cwd: folder })).stdout.trim());
    const file = join(folder, `${name}.tar`);
    await run("tar", ["--create", "--file", file, "--directory", folder, "--remove-files", name]);
    files.push({ file });
  }
  const image = await pushImage(registry.host, { name: "large/image", layers: files });
  for (const { file } of files) await rm(file);
  const broken = new Set<string>();
  let sentBytes = 0;
  const door = {
    onChunk: (url: string, soFar: number, chunk: number): "break" | "pass" => {
      sentBytes += chunk;
      if (!url.includes("/blobs/") || soFar < breaksAt || broken.has(url)) return "pass";
      broken.add(url);
      return "break";
    },
  };
  await withDoor(registry.host, door, async (host) => {
    const own = await startGarden({ insecureRegistries: [host], cellId: "cell-61" });
    try {
      const container = await own.garden.create(
        containerSpec("large", rootFSOfImage(image.replace(registry.host, host)), { diskMb: 0, memoryMb: 256 }),
        never,
      );
      const { text } = await runScript(container, "busybox sha256sum /part-*");
      expect(
        text
          .trim()
          .split("\n")
          .map((line) => line.replace("/", "")),
      ).toEqual(sums);
      expect(broken.size).toBe(layers);
      // skopeo begins a broken layer anew, and never fetches one again that came whole.
      expect(sentBytes).toBeLessThan(layers * (layerBytes + breaksAt) + 16 * 1_048_576);
      await own.garden.removeEverything();
      expect(await leftovers(own.home, "cell-61")).toEqual([]);
      expect(await readdir(join(own.home, "images", "tmp"))).toEqual([]);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});
