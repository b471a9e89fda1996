// What containers of the runc garden find besides their image: volumes, bound files, an identity, and a disk of the size they asked for.
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Container } from "@muster/garden";
import { namesOnMachine } from "@muster/garden/runc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerSpec, leftovers, never, recorder, runScript, shell, startGarden, type TestGarden } from "../support/garden.js";
import { app, registry, test, useGarden, withContainer } from "../support/garden-suite.js";

const run = promisify(execFile);

useGarden();

const local = (volumeId: string, containerDir: string, mode = "rw") => ({ driver: "local", containerDir, mode, volumeId });

describe("volumes", () => {
  let folder = "";
  let own: TestGarden;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "muster-volumes-"));
    await mkdir(join(folder, "data"));
    await writeFile(join(folder, "data", "old"), "from the machine\n");
    // Containers are no users of this machine: what they may write says so itself.
    await chmod(join(folder, "data"), 0o777);
    await symlink("data", join(folder, "link"));
    await writeFile(join(folder, "file"), "");
    own = await startGarden({
      insecureRegistries: [registry.host],
      cellId: "cell-30",
      localVolumes: {
        data: { folder: join(folder, "link"), access: "rw" },
        fixed: { folder: join(folder, "data"), access: "r" },
        gone: { folder: join(folder, "gone"), access: "rw" },
        file: { folder: join(folder, "file"), access: "rw" },
      },
    });
  });
  afterAll(async () => {
    await own[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it("are shared with the machine and between containers, written to or only read, and stay when the container goes", async () => {
    expect(own.garden.volumeDrivers()).toEqual(["local"]);
    const a = await own.garden.create(
      containerSpec("a", app, { volumes: [local("data", "/srv/data/deep"), local("fixed", "/srv/fixed", "r")] }),
      never,
    );
    const { text } = await runScript(
      a,
      "cat /srv/data/deep/old; echo new > /srv/data/deep/new; cat /srv/fixed/new; echo x 2>&1 > /srv/fixed/x",
    );
    expect(text).toMatch(/^from the machine\nnew\n.*Read-only file system/s);
    const b = await own.garden.create(containerSpec("b", app, { volumes: [local("data", "/mnt", "r")] }), never);
    expect((await runScript(b, "cat /mnt/new; echo y 2>&1 > /mnt/old")).text).toMatch(/^new\n.*Read-only/s);
    for (const handle of ["a", "b"]) await own.garden.destroy(handle);
    expect(await readFile(join(folder, "data", "new"), "utf8")).toBe("new\n");
    expect(await leftovers(own.home, "cell-30", "a")).toEqual([]);
  });

  it("hold neither devices nor setuid programs that work", async () => {
    await run("mknod", [join(folder, "data", "zero"), "c", "1", "5"]);
    await chmod(join(folder, "data", "zero"), 0o666);
    const container = await own.garden.create(containerSpec("d", app, { volumes: [local("data", "/mnt")] }), never);
    expect((await runScript(container, "head -c 1 /mnt/zero 2>&1")).text).toMatch(/Permission denied/);
    await own.garden.destroy("d");
    await rm(join(folder, "data", "zero"));
  });

  it.each<[string, Parameters<typeof local> | { driver: string }, string, RegExp]>([
    [
      "of a driver the cell has not",
      { driver: "nfs" },
      "volume-failed",
      /failed to mount volume, errors: .*no volume driver "nfs"/,
    ],
    ["that are not on the list", ["secret", "/mnt"], "volume-failed", /offers no local volume "secret"/],
    ["named by a path", ["../data", "/mnt"], "volume-failed", /offers no local volume/],
    ["named like a property of every object", ["constructor", "/mnt"], "volume-failed", /offers no local volume/],
    ["whose folder is gone", ["gone", "/mnt"], "volume-failed", /not there/],
    ["that are files", ["file", "/mnt"], "volume-failed", /no folder/],
    ["to be written that may only be read", ["fixed", "/mnt"], "volume-failed", /only be read/],
    ["of another mode", ["data", "/mnt", "x"], "volume-failed", /unrecognized volume mount mode/],
    ["over the root", ["data", "/"], "spec-invalid", /no place/],
    ["over /proc", ["data", "/proc/sys"], "spec-invalid", /no place/],
    ["that go up", ["data", "/srv/../etc"], "spec-invalid", /no place/],
  ])("%s are refused, and nothing is left", async (_what, volume, code, message) => {
    const asked = Array.isArray(volume) ? local(...volume) : { ...local("data", "/mnt"), ...volume };
    await expect(own.garden.create(containerSpec("v", app, { volumes: [asked] }), never)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(await leftovers(own.home, "cell-30", "v")).toEqual([]);
  });

  it("a cell without any has no driver", async () => {
    expect(test.garden.volumeDrivers()).toEqual([]);
    await expect(test.garden.create(containerSpec("n", app, { volumes: [local("data", "/mnt")] }), never)).rejects.toMatchObject({
      code: "volume-failed",
    });
  });
});

const text = (content: string): Uint8Array => Buffer.from(content);

describe("bound files", () => {
  it("are there before the first process, for every user inside, for no other user of the machine, and cannot be changed", async () => {
    const files = [
      { path: "db/password", content: text("secret") },
      { path: "db/deep/er", content: text("x") },
      { path: "vcap_services", content: text("{}") },
    ];
    await withContainer(
      async (container) => {
        const { text: seen } = await runScript(
          container,
          "cd /etc/cf-service-bindings; cat db/password; stat -c '%a %n' . db db/password; echo 2>&1 > db/password; rm vcap_services 2>&1",
          { user: "web" },
        );
        expect(seen).toMatch(/^secret755 \.\n755 db\n644 db\/password\n.*Read-only.*\n.*Read-only/s);
        const { runDir } = namesOnMachine(test.home, "cell-1");
        const record = await readFile(join(runDir, "c", container.handle, "record.json"), "utf8");
        expect(record).not.toContain("password");
        const file = join(runDir, "c", container.handle, "secret", "bindings", "db", "password");
        await expect(run("setpriv", ["--reuid", "65534", "--clear-groups", "cat", file])).rejects.toThrow(/Permission denied/);
      },
      { files },
    );
  });

  it.each(["/etc/passwd", "../x", "a/../../x", "a//b", "", "a/"])("of the path %j are refused", async (path) => {
    const files = [{ path, content: text("") }];
    await expect(test.garden.create(containerSpec("f", app, { files }), never)).rejects.toMatchObject({ code: "spec-invalid" });
  });

  it("are at most a mebibyte", async () => {
    const files = [{ path: "a", content: new Uint8Array(1_048_577) }];
    await expect(test.garden.create(containerSpec("f", app, { files }), never)).rejects.toMatchObject({ code: "spec-invalid" });
  });
});

describe("an identity", () => {
  it("is there before the first process and is renewed under it, also by a restarted rep", async () => {
    const own = await startGarden({ insecureRegistries: [registry.host], cellId: "cell-31" });
    try {
      const container = await own.garden.create(containerSpec("a", app, { hasIdentity: true }), never);
      await container.writeIdentity({ certificate: "cert 1\n", key: "key 1\n" });
      const look = "cat /etc/cf-instance-credentials/instance.crt /etc/cf-instance-credentials/instance.key";
      const output = recorder();
      await container.run(shell(`${look}; sleep 1000`, { user: "web" }), output.sink);
      const seen = async (one: Container, id: string) => (await runScript(one, look, { id, user: "web" })).text;
      expect(await seen(container, "one")).toBe("cert 1\nkey 1\n");
      expect(output.text()).toBe("cert 1\nkey 1\n");
      await container.writeIdentity({ certificate: "cert 2\n", key: "key 2\n" });
      expect(await seen(container, "two")).toBe("cert 2\nkey 2\n");
      await own.garden[Symbol.asyncDispose]();
      const adopted = (await own.restart()).lookup("a") as Container;
      await adopted.writeIdentity({ certificate: "cert 3\n", key: "key 3\n" });
      expect(await seen(adopted, "three")).toBe("cert 3\nkey 3\n");
      expect((await runScript(adopted, "echo 2>&1 > /etc/cf-instance-credentials/instance.key", { id: "w" })).text).toMatch(
        /Read-only/,
      );
      const file = join(namesOnMachine(own.home, "cell-31").runDir, "c", "a", "secret", "identity", "instance.key");
      await expect(run("setpriv", ["--reuid", "65534", "--clear-groups", "cat", file])).rejects.toThrow(/Permission denied/);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });

  it("has no place in a container that was made without", async () => {
    await withContainer(async (container) => {
      await expect(container.writeIdentity({ certificate: "", key: "" })).rejects.toMatchObject({ code: "spec-invalid" });
    });
  });
});

describe("folders the cell lends", () => {
  it("are read and never written", async () => {
    const folder = await mkdtemp(join(tmpdir(), "muster-certs-"));
    try {
      await chmod(folder, 0o755);
      await writeFile(join(folder, "ca.crt"), "trusted\n");
      await withContainer(
        async (container) => {
          const place = "/etc/cf-system-certificates";
          const { text: seen } = await runScript(container, `cat ${place}/ca.crt; echo 2>&1 > ${place}/x`, { user: "web" });
          expect(seen).toMatch(/^trusted\n.*(Read-only|denied)/s);
        },
        { folders: [{ folder, containerDir: "/etc/cf-system-certificates" }] },
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe("a disk limit", () => {
  it.each([16, 300])("of %i MB, less the image, is what the container can write, within half a percent", async (diskMb) => {
    await withContainer(
      async (container) => {
        const before = await container.usage();
        const { exit } = await runScript(container, "dd if=/dev/zero of=/fill bs=64k 2>/dev/null; stat -c %s /fill", {
          id: "fill",
        });
        expect(exit.exitStatus).toBe(0);
        const after = await container.usage();
        expect(after.diskBytes / 1_048_576).toBeGreaterThan(diskMb * 0.995 - 1);
        expect(after.diskBytes / 1_048_576).toBeLessThan(diskMb * 1.005 + 1);
        // The image counts from the beginning.
        expect(before.diskBytes).toBeGreaterThan(500_000);
      },
      { diskMb, memoryMb: 256 },
    );
  });

  it("bounds files too: one for each 4 KiB", async () => {
    await withContainer(
      async (container) => {
        const { text: said } = await runScript(
          container,
          "mkdir /many; i=0; while true > /many/$i; do i=$((i+1)); done 2>/dev/null; echo $i",
        );
        expect(Number(said.trim())).toBeGreaterThan(3_500);
        expect(Number(said.trim())).toBeLessThanOrEqual(16 * 256);
      },
      { diskMb: 16 },
    );
  });

  it("smaller than the image says so", async () => {
    await expect(test.garden.create(containerSpec("tiny", app, { diskMb: 1 }), never)).rejects.toMatchObject({
      code: "spec-invalid",
      message: expect.stringMatching(/the image takes \d+ MB, which leaves nothing of the container's disk limit of 1 MB/),
    });
    expect(await leftovers(test.home, "cell-1", "tiny")).toEqual([]);
  });
});
