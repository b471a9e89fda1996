// The demo with its real tools: docker-registry, umoci, skopeo and the busybox inside the image.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ensureDemoImage, startDemoRegistry } from "./index.js";
import { demoCommand } from "./page.js";

const execute = promisify(execFile);
let dir: string;
let stop: AbortController;
let container: ChildProcess | undefined;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "muster-demo-"));
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  container?.kill("SIGKILL");
  await rm(dir, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

const registryAt = (port: number) =>
  startDemoRegistry({ dir: path.join(dir, "registry"), port, clock: systemClock, entropy: systemEntropy, signal: stop.signal });
const imageAt = (registry: string) => ensureDemoImage({ dir, registry, clock: systemClock, signal: stop.signal });

async function until<T>(what: string, look: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadline) throw new Error(`${what}: not within 10 s`, { cause: error });
      await systemClock.sleep(20);
    }
  }
}

describe("the demo", { timeout: 60_000 }, () => {
  it("makes its image once, and finds it again in the storage of an earlier registry", async () => {
    const port = await freePort();
    const first = await registryAt(port);
    expect(await imageAt(first.address)).toEqual({ reference: `127.0.0.1:${port}/muster/demo:v1`, made: true });
    expect(await imageAt(first.address)).toMatchObject({ made: false });
    await first.stop();
    await using second = await registryAt(port);
    expect(await imageAt(second.address)).toMatchObject({ made: false });
    expect(await readdir(dir)).toEqual(["registry"]);
  });

  it("serves a page that names its instance, and ends at once when asked to stop", async () => {
    await using registry = await registryAt(await freePort());
    const { reference } = await imageAt(registry.address);
    const image = `${dir}/copy:v1`;
    await execute("skopeo", ["--insecure-policy", "copy", "--src-tls-verify=false", `docker://${reference}`, `oci:${image}`]);
    await execute("umoci", ["unpack", "--image", image, `${dir}/bundle`]);
    const spec = JSON.parse(await readFile(`${dir}/bundle/config.json`, "utf8")) as {
      process: { args: string[]; env: string[] };
    };
    expect(spec.process).toMatchObject({ args: [demoCommand], env: expect.arrayContaining(["PATH=/bin"]) });

    // A shell gives its background children /dev/null to read, which chroot, unlike runc, does not provide.
    await mkdir(`${dir}/bundle/rootfs/dev`, { recursive: true });
    await writeFile(`${dir}/bundle/rootfs/dev/null`, "");

    const port = await freePort();
    // A pid namespace of its own, since the first process of one is deaf to signals it does not handle.
    container = spawn("unshare", ["--pid", "--fork", "--kill-child", "chroot", `${dir}/bundle/rootfs`, demoCommand], {
      env: {
        PATH: process.env.PATH,
        PORT: String(port),
        INSTANCE_INDEX: "7",
        INSTANCE_GUID: "guid-7",
        CF_INSTANCE_ADDR: "10.0.0.1:61001",
      },
      stdio: "ignore",
    });
    const page = await until("the page", async () => (await fetch(`http://127.0.0.1:${port}/`)).text());
    expect(page).toContain("<dd>7</dd>");
    expect(page).toContain("<dd>guid-7</dd>");
    expect(page).toContain("<dd>10.0.0.1:61001</dd>");
    const { stdout: first } = await execute("pgrep", ["-P", String(container.pid)]);
    const asked = performance.now();
    process.kill(Number(first), "SIGTERM");
    expect(await once(container, "exit")).toEqual([0, null]);
    expect(performance.now() - asked).toBeLessThan(2_000);
  });

  it("says what to do when the port is taken, and does not take another registry for its own", async () => {
    const port = await freePort();
    await using _taken = await registryAt(port);
    await expect(registryAt(port)).rejects.toMatchObject({
      message: `port ${port} of the demo registry is taken`,
      hint: expect.stringContaining("--port-offset"),
    });
  });

  it("says what to install when a tool is missing", async () => {
    await using registry = await registryAt(await freePort());
    const before = process.env.PATH;
    process.env.PATH = "/nowhere";
    try {
      await expect(imageAt(registry.address)).rejects.toMatchObject({ hint: expect.stringContaining("apt-get install umoci") });
      await expect(registryAt(await freePort())).rejects.toMatchObject({ message: expect.stringContaining("is missing") });
    } finally {
      process.env.PATH = before;
    }
    expect(await readdir(dir)).toEqual(["registry"]);
  });

  it("ends its registry when the platform is stopped", async () => {
    const registry = await registryAt(await freePort());
    stop.abort();
    await registry.exited;
    expect(() => process.kill(registry.pid, 0)).toThrow();
  });
});
