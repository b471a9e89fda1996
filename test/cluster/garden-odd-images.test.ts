// Images of every kind a registry may hold, through the runc garden: whole systems, odd layers, hostile ones, and registries that falter.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import type { Container } from "@muster/garden";
import { rootFSOfImage } from "@muster/garden/image-ref";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerSpec, leftovers, never, processSpec, recorder, runScript, startGarden } from "../support/garden.js";
import { app, registry, test, useGarden, withContainer } from "../support/garden-suite.js";
import { debianRoot, pushImage, type TestImage } from "../support/images.js";
import { withDoor } from "../support/registry-door.js";
import { type TarEntry, tar } from "../support/tar.js";

const run = promisify(execFile);

useGarden();

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "muster-odd-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let images = 0;
const push = async (image: Partial<TestImage>): Promise<string> => {
  images += 1;
  return rootFSOfImage(await pushImage(registry.host, { name: `odd/image-${images}`, ...image }));
};

/** Runs a script in a fresh container of an image of busybox and these layers. */
async function inside(layers: readonly (readonly TarEntry[])[], script: string, user = ""): Promise<string> {
  const image = await push({ layers: layers.map(tar) });
  return withContainer(async (container) => (await runScript(container, script, { user })).text, {}, image);
}

describe("an image", () => {
  it("of a whole Debian runs its shell, its package tool and its users", async () => {
    const image = await push({ bare: true, layers: [{ file: await debianRoot(folder) }], env: [], cmd: ["/bin/bash"] });
    await withContainer(
      async (container) => {
        const output = recorder();
        const script =
          'echo "bash $BASH_VERSION"; dpkg --version | head -1; perl -e \'print "perl\\n"\'; id daemon; su --version; stat -c %a /bin/su';
        const process = await container.run(processSpec("/bin/bash", ["-c", script]), output.sink);
        expect((await process.exited).exitStatus).toBe(0);
        expect(output.text()).toMatch(/^bash 5.*\nDebian 'dpkg'.*\nperl\nuid=1\(daemon\).*\nsu from util-linux.*\n4755\n$/s);
        const user = recorder();
        const second = await container
          .run(processSpec("/usr/bin/perl", ["-e", '$> = 0; print "$> $<\\n"'], { id: "as-daemon", user: "daemon" }), user.sink)
          .catch(() => undefined);
        // The container's first process has ended, and with it the container.
        expect(second).toBeUndefined();
      },
      { diskMb: 400 },
      image,
    );
  });

  it("of nothing but one program runs as root without a passwd", async () => {
    const busybox = await readFile("/bin/busybox");
    const root = tar([{ name: "bin/", type: "folder" }]);
    await mkdir(join(folder, "one", "bin"), { recursive: true });
    await writeFile(join(folder, "one", "bin", "busybox"), busybox, { mode: 0o755 });
    await run("tar", ["--create", "--file", join(folder, "one.tar"), "--directory", join(folder, "one"), "."]);
    const image = await push({ bare: true, layers: [root, { file: join(folder, "one.tar") }], env: [] });
    await withContainer(
      async (container) => {
        const output = recorder();
        const process = await container.run(
          processSpec("/bin/busybox", ["sh", "-c", "busybox id -u; echo $HOME $PATH"]),
          output.sink,
        );
        expect((await process.exited).exitStatus).toBe(0);
        expect(output.text()).toMatch(/^0\n\/root .*\/bin\n$/);
      },
      {},
      image,
    );
  });

  it("whose layers take away what those below brought", async () => {
    const text = await inside(
      [
        [
          { name: "a/", type: "folder" },
          { name: "a/kept", content: "kept" },
          { name: "a/gone", content: "x" },
          { name: "b/", type: "folder" },
          { name: "b/gone", content: "x" },
          { name: "c/", type: "folder" },
          { name: "c/deep/", type: "folder" },
          { name: "c/deep/gone", content: "x" },
          { name: "d", content: "file" },
        ],
        [
          { name: "a/.wh.gone" },
          { name: "b/.wh..wh..opq" },
          { name: "b/new", content: "new" },
          { name: ".wh.c" },
          { name: "d/", type: "folder" },
          { name: "d/now-a-folder", content: "" },
        ],
      ],
      "ls a b d; ls c 2>&1",
    );
    expect(text).toBe("a:\nkept\n\nb:\nnew\n\nd:\nnow-a-folder\nls: c: No such file or directory\n");
  });

  it("with hard links, symbolic ones, fifos and sticky, setgid and unreadable files keeps them as they are", async () => {
    const text = await inside(
      [
        [
          { name: "one", content: "same" },
          { name: "two", type: "hardlink", target: "one" },
          { name: "sym", type: "symlink", target: "/one" },
          { name: "pipe", type: "fifo" },
          { name: "sticky/", type: "folder", mode: 0o1777 },
          { name: "group", mode: 0o2755, gid: 2000 },
          { name: "closed", mode: 0o000, uid: 1000, gid: 1000 },
          { name: "last", uid: 65_535, gid: 65_535 },
        ],
      ],
      "stat -c '%h %n' one; cat two sym; echo; stat -c '%F %a %u %g %n' pipe sticky group closed last",
    );
    expect(text).toBe(
      "2 one\nsamesame\nfifo 644 0 0 pipe\ndirectory 1777 0 0 sticky\nregular empty file 2755 0 2000 group\nregular empty file 0 1000 1000 closed\nregular empty file 644 65535 65535 last\n",
    );
  });

  it("with setuid programs gives nobody their owner's rights", async () => {
    const busybox = await readFile("/bin/busybox");
    const program = { name: "setuid-id", mode: 0o4755, content: "" };
    const image = await push({ layers: [Buffer.concat([setuidCopy(program, busybox)])] });
    await withContainer(
      async (container) => {
        const { text } = await runScript(container, "stat -c %a /bin/busybox-of-root; /bin/busybox-of-root id -u", {
          user: "web",
        });
        expect(text).toBe("4755\n1000\n");
      },
      {},
      image,
    );
  });

  it("with device nodes gives no way to the devices", async () => {
    const text = await inside(
      [
        [
          { name: "zero", type: "char", device: [1, 5], mode: 0o666 },
          { name: "disk", type: "block", device: [254, 0], mode: 0o666 },
        ],
      ],
      "head -c 1 /zero 2>&1; head -c 1 /disk 2>&1; echo; mknod /own c 1 5 2>&1; busybox mknod /own c 1 5 2>&1",
    );
    expect(text.match(/Permission denied|Operation not permitted|No such device/g)?.length).toBeGreaterThanOrEqual(2);
    expect(text).not.toContain("\0");
  });

  it("with ids that a container does not have is refused with its reason", async () => {
    const image = await push({ layers: [tar([{ name: "foreign", uid: 70_000 }])] });
    await expect(test.garden.create(containerSpec("foreign", image), never)).rejects.toMatchObject({
      code: "image-invalid",
      message: expect.stringMatching(/cannot be unpacked.*(map|70000)/),
    });
    expect(await leftovers(test.home, "cell-1", "foreign")).toEqual([]);
  });

  it("with volumes has them as folders of its own, and with ranges of ports is refused as staging would", async () => {
    const image = await push({ volumes: ["/www"], exposedPorts: ["9000/tcp", "9001/udp"] });
    expect((await test.garden.inspectImage(image, undefined, never)).exposedTcpPorts).toEqual([9000]);
    await withContainer(
      async (container) => expect((await runScript(container, "echo x > /www/x; ls /www")).text).toBe("index.html\nx\n"),
      {},
      image,
    );
    const ranged = await push({ exposedPorts: ["9000-9010/tcp"] });
    await expect(test.garden.inspectImage(ranged, undefined, never)).rejects.toMatchObject({
      code: "image-invalid",
      message: expect.stringContaining("9000-9010/tcp"),
    });
  });

  it("with a manifest of schema 1 is refused with its reason", async () => {
    const door = (request: IncomingMessage, response: ServerResponse): boolean => {
      if (request.url?.includes("/manifests/") !== true) return false;
      const manifest = {
        schemaVersion: 1,
        name: "odd/old",
        tag: "v1",
        architecture: "amd64",
        fsLayers: [],
        history: [],
        signatures: [],
      };
      response
        .writeHead(200, { "content-type": "application/vnd.docker.distribution.manifest.v1+json" })
        .end(JSON.stringify(manifest));
      return true;
    };
    await withDoor(registry.host, { refuse: door }, async (host) => {
      const own = await startGarden({ insecureRegistries: [host], cellId: "cell-45" });
      try {
        await expect(own.garden.inspectImage(rootFSOfImage(`${host}/odd/old:v1`), undefined, never)).rejects.toMatchObject({
          code: "image-unsupported",
          message: expect.stringContaining("schema 1"),
        });
      } finally {
        await own[Symbol.asyncDispose]();
      }
    });
  });

  it("for several machines gives this one's, whatever the others are", async () => {
    const host = registry.host;
    const architectures = [process.arch === "arm64" ? "amd64" : "arm64", process.arch === "arm64" ? "arm64" : "amd64"];
    const manifests: { mediaType: string; digest: string | null; size: number; platform: object }[] = [];
    for (const architecture of architectures) {
      await pushImage(host, { name: "odd/multi", tag: architecture, architecture, page: `${architecture}\n` });
      const answer = await fetch(`http://${host}/v2/odd/multi/manifests/${architecture}`, {
        headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
      });
      const bytes = Buffer.from(await answer.arrayBuffer());
      manifests.push({
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        digest: answer.headers.get("docker-content-digest"),
        size: bytes.length,
        platform: { os: "linux", architecture },
      });
    }
    const mediaType = "application/vnd.oci.image.index.v1+json";
    const put = await fetch(`http://${host}/v2/odd/multi/manifests/all`, {
      method: "PUT",
      headers: { "content-type": mediaType },
      body: JSON.stringify({ schemaVersion: 2, mediaType, manifests }),
    });
    expect(put.status).toBe(201);
    const index = put.headers.get("docker-content-digest") ?? "";
    for (const image of [`${host}/odd/multi:all`, `${host}/odd/multi@${index}`]) {
      await withContainer(
        async (container) => {
          expect((await runScript(container, "cat /www/index.html")).text).toBe(`${architectures[1]}\n`);
          expect(container.info().imageDigest).toBe(manifests[1]?.digest);
        },
        {},
        rootFSOfImage(image),
      );
    }
  });
});

/** busybox under a name of its own, setuid. */
function setuidCopy(entry: TarEntry, busybox: Buffer): Buffer {
  const script = tar([{ ...entry, name: "bin/busybox-of-root" }]);
  const header = Buffer.from(script.subarray(0, 512));
  // The size, and the sum of the header again.
  header.write(`${busybox.length.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  header.write("        ", 148, "latin1");
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
    "latin1",
  );
  const padding = Buffer.alloc((512 - (busybox.length % 512)) % 512);
  return Buffer.concat([header, busybox, padding, Buffer.alloc(1_024)]);
}

describe("a hostile layer", () => {
  const marker = `muster-escape-${process.pid}`;
  const places = () => [`/${marker}`, `/tmp/${marker}`, `/etc/${marker}`, join(folder, marker)];

  it.each<[string, () => readonly TarEntry[]]>([
    ["that goes up", () => [{ name: `../../../../../../../../tmp/${marker}`, content: "x" }]],
    ["with an absolute name", () => [{ name: `/tmp/${marker}`, content: "x" }]],
    [
      "that writes through a link to the root",
      () => [
        { name: "out", type: "symlink", target: "/" },
        { name: `out/tmp/${marker}`, content: "x" },
      ],
    ],
    [
      "that writes through a link upwards",
      () => [
        { name: "out", type: "symlink", target: "../../../../../../../../.." },
        { name: `out/etc/${marker}`, content: "x" },
      ],
    ],
    [
      "that replaces a folder with a link and goes on in it",
      () => [
        { name: "etc", type: "symlink", target: "/tmp" },
        { name: `etc/${marker}`, content: "x" },
      ],
    ],
    [
      "that removes through a link",
      () => [{ name: "out", type: "symlink", target: folder }, { name: "out/.wh.keep" }, { name: "out/.wh..wh..opq" }],
    ],
    [
      "that changes modes through a hard link",
      () => [
        { name: "link", type: "hardlink", target: join(folder, "keep") },
        { name: "link", mode: 0o777, content: "changed" },
      ],
    ],
    [
      "that links to a file of the machine",
      () => [{ name: "shadow", type: "hardlink", target: "../../../../../../../../etc/shadow" }],
    ],
  ])("%s reaches nothing outside", async (_what, entries) => {
    await writeFile(join(folder, "keep"), "mine", { mode: 0o600 });
    const image = await push({ layers: [tar(entries())] });
    images += 1;
    const handle = `hostile-${images}`;
    const made = await test.garden
      .create(containerSpec(handle, image), never)
      .catch((error: unknown) => error as { code: string });
    // Either it is refused, or it stays inside.
    if ("run" in made) {
      const { text } = await runScript(made as Container, `cat /shadow 2>/dev/null; cat ${join(folder, "keep")} 2>/dev/null`);
      expect(text).not.toContain("root:");
      expect(text).not.toContain("mine");
      await test.garden.destroy(handle);
    } else expect(made).toMatchObject({ code: "image-invalid" });
    for (const place of places()) expect(await stat(place).catch(() => undefined), place).toBeUndefined();
    expect(await readFile(join(folder, "keep"), "utf8")).toBe("mine");
    expect((await stat(join(folder, "keep"))).mode & 0o777).toBe(0o600);
    expect(await leftovers(test.home, "cell-1", handle)).toEqual([]);
  });
});

describe("an image that is too large", () => {
  it("is refused by what its manifest says, or stopped while it unpacks, and leaves no room taken", async () => {
    const own = await startGarden({ insecureRegistries: [registry.host], cellId: "cell-40", maxImageBytes: 100_000_000 });
    try {
      const plain = await own.garden.create(containerSpec("a", app), never);
      expect((await runScript(plain, "echo fine")).text).toBe("fine\n");
      const zeros = join(folder, "zeros.tar");
      await run("sh", [
        "-c",
        `head -c 700000000 /dev/zero > ${join(folder, "zeros")} && tar -C ${folder} -cf ${zeros} zeros && rm ${join(folder, "zeros")}`,
      ]);
      const bomb = await push({ layers: [{ file: zeros }] });
      await rm(zeros);
      await expect(own.garden.create(containerSpec("b", bomb), never)).rejects.toMatchObject({
        code: "image-unsupported",
        message: expect.stringMatching(/too large: it unpacks to more, and 96 MB/),
      });
      expect(await readdir(join(own.home, "images", "tmp"))).toEqual([]);
      expect(await leftovers(own.home, "cell-40", "b")).toEqual([]);
      const small = await startGarden({ insecureRegistries: [registry.host], cellId: "cell-41", maxImageBytes: 100_000 });
      try {
        await expect(small.garden.create(containerSpec("c", app), never)).rejects.toMatchObject({
          code: "image-unsupported",
          message: expect.stringMatching(/its layers are \d+ MB/),
        });
      } finally {
        await small[Symbol.asyncDispose]();
      }
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});

describe("preloaded roots", () => {
  it("come from the cell's folder, once for each archive, and change with it", async () => {
    const dir = join(folder, "stacks");
    await mkdir(dir);
    const archive = async (page: string): Promise<Buffer> => {
      const root = join(folder, "stack-root");
      await mkdir(join(root, "bin"), { recursive: true });
      await run("cp", ["/bin/busybox", join(root, "bin", "sh")]);
      await writeFile(join(root, "page"), page);
      await run("tar", ["--create", "--file", join(folder, "stack.tar"), "--directory", root, "."]);
      return readFile(join(folder, "stack.tar"));
    };
    await writeFile(join(dir, "plain.tar"), await archive("one"));
    await writeFile(join(dir, "packed.tgz"), gzipSync(await archive("packed")));
    await writeFile(join(dir, ".hidden.tar"), "");
    const own = await startGarden({ insecureRegistries: [], cellId: "cell-42", preloadedDir: dir });
    try {
      expect(await own.garden.preloadedStacks()).toEqual(["packed", "plain"]);
      const page = async (handle: string, stack: string): Promise<string> => {
        const container = await own.garden.create(containerSpec(handle, `preloaded:${stack}`), never);
        const { text } = await runScript(container, "read -r line < /page; echo $line; echo $PATH");
        await own.garden.destroy(handle);
        return text.split("\n")[0] ?? "";
      };
      expect(await page("a", "plain")).toBe("one");
      expect(await page("b", "packed")).toBe("packed");
      const records = await readdir(join(own.home, "images", "images"));
      expect(await page("c", "plain")).toBe("one");
      expect(await readdir(join(own.home, "images", "images"))).toEqual(records);
      await writeFile(join(dir, "plain.tar"), await archive("two!"));
      expect(await page("d", "plain")).toBe("two!");
      for (const stack of ["none", "../stacks/plain", ".hidden", ""])
        await expect(own.garden.create(containerSpec("e", `preloaded:${stack}`), never)).rejects.toMatchObject({
          code: "image-not-found",
        });
      await writeFile(join(dir, "torn.tar"), "this is no archive");
      await expect(own.garden.create(containerSpec("f", "preloaded:torn"), never)).rejects.toMatchObject({ name: "GardenError" });
      expect(await leftovers(own.home, "cell-42", "f")).toEqual([]);
    } finally {
      await own[Symbol.asyncDispose]();
    }
  });
});
