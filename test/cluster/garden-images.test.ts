// The runc garden on this machine: images, their cache, missing tools, and the way out of a container.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Container } from "@muster/garden";
import { pinRootFS, rootFSOfImage } from "@muster/garden/image-ref";
import { namesOnMachine } from "@muster/garden/runc";
import { describe, expect, it } from "vitest";
import { containerSpec, eventually, leftovers, never, runScript, startGarden, type TestGarden } from "../support/garden.js";
import { app, fetchText, hostPortOf, registry, test, useGarden, web, withContainer } from "../support/garden-suite.js";
import { pushImage } from "../support/images.js";
import { startRegistry } from "../support/registry.js";

const run = promisify(execFile);

useGarden();

describe("images", () => {
  it("tell their metadata, without a layer being fetched", async () => {
    const image = await pushImage(registry.host, {
      name: "check/described",
      entrypoint: ["/bin/httpd"],
      cmd: ["-f"],
      user: "web:extra",
      workingDir: "/www",
      exposedPorts: ["9090/tcp", "8080", "53/udp"],
      format: "v2s2",
    });
    const metadata = await test.garden.inspectImage(rootFSOfImage(image), undefined, never);
    expect(metadata).toMatchObject({
      entrypoint: ["/bin/httpd"],
      cmd: ["-f"],
      user: "web:extra",
      workingDir: "/www",
      exposedTcpPorts: [8080, 9090],
    });
    expect(metadata.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    const pinned = pinRootFS(rootFSOfImage(image), metadata.digest);
    await withContainer(
      async (container) => expect((await runScript(container, "pwd; id -gn")).text).toBe("/www\nextra\n"),
      {},
      pinned,
    );
    await registry.pause();
    try {
      await withContainer(async (container) => expect(container.info().imageDigest).toBe(metadata.digest), {}, pinned);
      expect(await test.garden.inspectImage(pinned, undefined, never)).toEqual(metadata);
      await expect(test.garden.inspectImage(rootFSOfImage(image), undefined, never)).rejects.toMatchObject({
        code: "image-unreachable",
      });
    } finally {
      await registry.resume();
    }
  });

  it("are pulled once for many containers at a time, and may be compressed with zstd", async () => {
    const image = rootFSOfImage(await pushImage(registry.host, { name: "check/zstd", compression: "zstd", page: "zstd\n" }));
    const made = await Promise.all(["z1", "z2", "z3"].map((handle) => test.garden.create(containerSpec(handle, image), never)));
    expect((await runScript(made[0] as Container, "cat /www/index.html")).text).toBe("zstd\n");
    await Promise.all(["z1", "z2", "z3"].map((handle) => test.garden.destroy(handle)));
  });

  it.each([
    ["that do not exist", () => `${registry.host}/check/none:v1`, "image-not-found", /there is no image/],
    ["of registries that do not answer", () => "127.0.0.1:1/check/app:v1", "image-unreachable", /127.0.0.1:1 cannot be reached/],
    [
      "of registries that speak plain HTTP unasked",
      () => `${registry.host.replace("127.0.0.1", "localhost")}/check/app:v1`,
      "image-unreachable",
      /insecure registry/,
    ],
  ])("%s are refused with a clear word", async (_what, image, code, words) => {
    const refused = test.garden.inspectImage(rootFSOfImage(image()), undefined, never);
    await expect(refused).rejects.toMatchObject({ code, message: expect.stringMatching(words) });
    await expect(test.garden.create(containerSpec("refused", rootFSOfImage(image())), never)).rejects.toMatchObject({ code });
    expect(await leftovers(test.home, "cell-1", "refused")).toEqual([]);
  });

  it("for other machines, and rootfs URLs that are none, are refused", async () => {
    const other = await pushImage(registry.host, { name: "check/other", architecture: "s390x" });
    await expect(test.garden.inspectImage(rootFSOfImage(other), undefined, never)).rejects.toMatchObject({
      code: "image-unsupported",
      message: expect.stringMatching(/no image for linux\/.*s390x/),
    });
    await expect(test.garden.inspectImage("preloaded:cflinuxfs4", undefined, never)).rejects.toMatchObject({
      code: "image-not-found",
    });
  });

  it("of a private registry need its password, which is left nowhere", async () => {
    // The bcrypt of "password".
    const htpasswd = "user:$2y$05$abcdefghijklmnopqrstuuWG29KuyeAicPCJODk1zjyGvyQUU2awu";
    const folder = await mkdtemp(join(tmpdir(), "muster-private-"));
    await using closed = await startRegistry({ htpasswd, dir: folder });
    const own = await startGarden({
      insecureRegistries: [closed.host],
      cellId: "cell-5",
      portRange: { first: 41_241, last: 41_260 },
    });
    try {
      const image = rootFSOfImage(
        await pushImage(closed.host, { name: "private/app" }, { username: "user", password: "password" }),
      );
      await expect(own.garden.inspectImage(image, undefined, never)).rejects.toMatchObject({ code: "image-unauthorized" });
      const wrong = { username: "user", password: "wrong" };
      await expect(own.garden.inspectImage(image, wrong, never)).rejects.toMatchObject({ code: "image-unauthorized" });
      const right = { username: "user", password: "password" };
      const container = await own.garden.create(containerSpec("private", image, { credentials: right }), never);
      expect((await runScript(container, "echo in")).text).toBe("in\n");
      const secret = Buffer.from("user:password").toString("base64");
      const found = await run("grep", [
        "-rlE",
        `${secret}|"password"`,
        namesOnMachine(own.home, "cell-5").runDir,
        join(own.home, "cells"),
      ]).catch(() => ({ stdout: "" }));
      expect(found.stdout).toBe("");
    } finally {
      await own[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe("an image cache", () => {
  it("gives up what is unused when it is too full, and fetches it again", async () => {
    const own = await startGarden({ insecureRegistries: [registry.host], cellId: "cell-6", imageCacheBytes: 1 });
    try {
      const container = await own.garden.create(containerSpec("a", app), never);
      const hex = container.info().imageDigest.slice("sha256:".length);
      const record = join(own.home, "images", "images", `${hex}.json`);
      const exists = (): Promise<boolean> =>
        readFile(record).then(
          () => true,
          () => false,
        );
      await utimes(record, 1_000, 1_000);
      await own.restart();
      expect(await exists()).toBe(true);
      const second = await own.restart();
      await second.destroy("a");
      await utimes(record, 1_000, 1_000);
      const third = await own.restart();
      expect(await exists()).toBe(false);
      expect(await readdir(join(own.home, "images", "roots"))).toEqual([]);
      expect(await readdir(join(own.home, "images", "blobs", "sha256"))).toEqual([]);
      const again = await third.create(containerSpec("b", app), never);
      expect((await runScript(again, "echo here")).text).toBe("here\n");
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });

  it("never takes another layer than the one asked for", async () => {
    const folder = await mkdtemp(join(tmpdir(), "muster-liar-"));
    await using liar = await startRegistry({ dir: folder });
    try {
      const image = rootFSOfImage(await pushImage(liar.host, { name: "check/liar", page: "honest\n" }));
      const blobs = (await run("find", [join(folder, "data"), "-name", "data", "-size", "+100k"])).stdout.trim().split("\n");
      for (const blob of blobs) {
        const bytes = await readFile(blob);
        bytes.fill(0x41, 1_000, 2_000);
        await writeFile(blob, bytes);
      }
      const own = await startGarden({ insecureRegistries: [liar.host], cellId: "cell-7" });
      try {
        await expect(own.garden.create(containerSpec("a", image), never)).rejects.toMatchObject({ code: "image-invalid" });
        expect(await readdir(join(own.home, "images", "roots"))).toEqual([]);
        expect(await leftovers(own.home, "cell-7", "a")).toEqual([]);
      } finally {
        await own[Symbol.asyncDispose]();
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe("a machine", () => {
  it("with a full disk says so, and has room again once containers are gone", async () => {
    const folder = await mkdtemp(join(tmpdir(), "muster-full-"));
    const disk = join(folder, "disk");
    const home = join(folder, "home");
    await mkdir(home);
    await run("truncate", ["-s", "24M", disk]);
    await run("mkfs.ext4", ["-q", disk]);
    await run("mount", ["-o", "loop", disk, home]);
    try {
      const own = await startGarden({
        insecureRegistries: [registry.host],
        cellId: "cell-8",
        home,
        imageCacheDir: join(home, "images"),
      });
      try {
        const container = await own.garden.create(containerSpec("a", app), never);
        await run("dd", ["if=/dev/zero", `of=${join(home, "ballast")}`, "bs=1M"]).catch(() => {});
        const other = rootFSOfImage(await pushImage(registry.host, { name: "check/big", page: "x".repeat(100_000) }));
        await expect(own.garden.create(containerSpec("b", other), never)).rejects.toMatchObject({ code: "no-space" });
        expect(await leftovers(home, "cell-8", "b")).toEqual([]);
        await rm(join(home, "ballast"));
        expect((await runScript(container, "echo alive")).text).toBe("alive\n");
        await own.garden.create(containerSpec("b", other), never);
      } finally {
        await own[Symbol.asyncDispose]();
      }
    } finally {
      await run("umount", [home]);
      await rm(folder, { recursive: true, force: true });
    }
  });

  it("starts many containers at once, on two cells of one home with one cache", async () => {
    const one = await startGarden({
      insecureRegistries: [registry.host],
      cellId: "many-1",
      portRange: { first: 41_301, last: 41_320 },
    });
    const shared = { home: one.home, imageCacheDir: join(one.home, "images"), insecureRegistries: [registry.host] };
    const two = await startGarden({ ...shared, cellId: "many-2", portRange: { first: 41_321, last: 41_340 } });
    const start = async (own: TestGarden, handle: string): Promise<string> => {
      const container = await own.garden.create(containerSpec(handle, app, { ports: [{ containerPort: 8080 }] }), never);
      await container.run(web, () => {});
      await eventually("it listens", async () => (await container.probeTcp(8080, 1_000)) === undefined);
      return fetchText(hostPortOf(container));
    };
    try {
      const names = ["a", "b", "c", "d", "e", "f"];
      const answers = await Promise.all(names.flatMap((name) => [start(one, name), start(two, name)]));
      expect(new Set(answers)).toEqual(new Set(["hello from muster\n"]));
      expect(namesOnMachine(one.home, "many-1").bridge).not.toBe(namesOnMachine(one.home, "many-2").bridge);
      await Promise.all(names.map((name) => one.garden.destroy(name)));
      expect(await one.garden.containers()).toEqual([]);
    } finally {
      await two[Symbol.asyncDispose]();
      await one[Symbol.asyncDispose]();
    }
  });

  it("answers on the address it was given, and on no other", async () => {
    const address = networkInterfaces();
    const outside = Object.values(address)
      .flat()
      .find((one) => one?.family === "IPv4" && !one.internal)?.address;
    expect(outside, "this test needs an address besides the loopback's").toBeDefined();
    const own = await startGarden({ insecureRegistries: [registry.host], cellId: "cell-9", hostAddress: outside ?? "" });
    try {
      const container = await own.garden.create(containerSpec("a", app, { ports: [{ containerPort: 8080 }] }), never);
      await container.run(web, () => {});
      await eventually("it listens", async () => (await container.probeTcp(8080, 1_000)) === undefined);
      expect(await (await fetch(`http://${outside}:${hostPortOf(container)}/`)).text()).toBe("hello from muster\n");
      await expect(fetchText(hostPortOf(container))).rejects.toThrow();
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});
