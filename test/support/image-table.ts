// One table for every kind of image: what each must do is a row, and what an image has of its own is a record of facts.
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Container, OutputSink } from "@muster/garden";
import { rootFSOfImage } from "@muster/garden/image-ref";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  containerSpec,
  eventually,
  leftovers,
  never,
  processSpec,
  recorder,
  runScript,
  shell,
  startGarden,
  type TestGarden,
} from "./garden.js";
import { pushImage, type TestImage } from "./images.js";
import { startRegistry, type TestRegistry } from "./registry.js";

export interface TableImage {
  readonly what: string;
  /** Without entrypoint and command, which are the table's; `folder` is for what it is made of. */
  readonly image: (folder: string) => Promise<Partial<TestImage>>;
  /** What its own command says, run as its own user in its own folder with its own environment: ids, groups, folder, `$SAYS`. */
  readonly says: string;
  /** Files of the image, as its user reads them. */
  readonly files: Readonly<Record<string, string>>;
  /** Folders its own user may write to. */
  readonly folders: readonly string[];
  /** Users asked for, and what they then are: `uid:gid groups`. */
  readonly users: Readonly<Record<string, string>>;
  readonly exposes: readonly number[];
  /** A script that answers GET / on a port with `page`. */
  readonly serve: (port: number) => string;
  readonly page: string;
}

const identity = 'echo "$(id -u):$(id -g) $(id -G)"';
const ownCommand = { entrypoint: ["/bin/sh", "-c"], cmd: ['echo "$(id -u):$(id -g) $(id -G) $PWD $SAYS"'] };
const cell = "cell-60";
/** A mirror may be slow. */
const makeTimeoutMs = 900_000;
const mib = 1_048_576;

/** Registers the table for these images. Needs a garden's tools and a registry. */
export function describeImages(images: readonly TableImage[]): void {
  let registry: TestRegistry;
  let own: TestGarden;
  let folder = "";
  let handles = 0;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "muster-table-"));
    // Containers are no users of this machine: what they may write says so itself.
    await mkdir(join(folder, "shared"));
    await chmod(join(folder, "shared"), 0o777);
    registry = await startRegistry();
    own = await startGarden({
      insecureRegistries: [registry.host],
      cellId: cell,
      portRange: { first: 41_801, last: 41_840 },
      localVolumes: { shared: { folder: join(folder, "shared"), access: "rw" } },
    });
  });
  afterAll(async () => {
    await own.garden.removeEverything();
    expect(await leftovers(own.home, cell)).toEqual([]);
    await own[Symbol.asyncDispose]();
    await registry.stop();
    await rm(folder, { recursive: true, force: true });
  });

  describe.each(images.map((image) => [image.what, image] as const))("an image of %s", (what, facts) => {
    let rootFs = "";
    beforeAll(async () => {
      const name = `table/${what.replaceAll(/[^a-z]+/g, "-")}`;
      rootFs = rootFSOfImage(await pushImage(registry.host, { name, ...(await facts.image(folder)), ...ownCommand }));
    }, makeTimeoutMs);

    /** Each row has a container of its own, and leaves nothing of it. */
    async function row(work: (container: Container) => Promise<void>, over: Parameters<typeof containerSpec>[2] = {}) {
      handles += 1;
      const handle = `t${handles}`;
      const container = await own.garden.create(containerSpec(handle, rootFs, { diskMb: 0, ...over }), never);
      try {
        await work(container);
      } finally {
        await own.garden.destroy(handle);
      }
      expect(await leftovers(own.home, cell, handle)).toEqual([]);
    }

    const runOwn = async (container: Container, output: OutputSink) => {
      const { entrypoint, cmd } = container.info().image;
      const [path = "", ...args] = [...entrypoint, ...cmd];
      return container.run(processSpec(path, args), output);
    };

    it("starts by its own command, as its own user, in its own folder, with its own environment", async () => {
      await row(async (container) => {
        const output = recorder();
        expect(await (await runOwn(container, output.sink)).exited).toMatchObject({ exitStatus: 0 });
        expect(output.text()).toBe(`${facts.says}\n`);
      });
    });

    it("has its files, may be written to, and what one container writes no other sees", async () => {
      const names = Object.keys(facts.files);
      const written = facts.folders.map((path) => join(path, "written"));
      await row(async (container) => {
        const { exit, text } = await runScript(
          container,
          `cat ${names.join(" ")} && for file in ${written.join(" ")}; do echo mine > $file && cat $file || exit 9; done`,
        );
        expect(exit.exitStatus, text).toBe(0);
        expect(text).toBe([...Object.values(facts.files), ...written.map(() => "mine\n")].join(""));
      });
      await row(async (container) => {
        const { text } = await runScript(
          container,
          `cat ${names.join(" ")}; for file in ${written.join(" ")}; do cat $file; done`,
        );
        expect(text.startsWith(Object.values(facts.files).join(""))).toBe(true);
        expect(text.match(/No such file/g)?.length).toBe(written.length);
      });
    });

    it("runs as users by name and by number, with their groups", async () => {
      await row(async (container) => {
        // It holds the container while the others come and go.
        await container.run(shell("sleep 1000", { id: "first" }), () => {});
        const seen: Record<string, string> = {};
        for (const user of Object.keys(facts.users))
          seen[user] = (await runScript(container, identity, { id: `as ${user}`, user })).text.trim();
        expect(seen).toEqual(facts.users);
        await expect(container.run(shell("true", { id: "ghost", user: "ghost" }), () => {})).rejects.toMatchObject({
          message: expect.stringContaining("unable to find user ghost"),
        });
      });
    });

    it("takes a volume of the cell", async () => {
      const volumes = [{ driver: "local", containerDir: "/srv/shared/deep", mode: "rw", volumeId: "shared" }];
      const file = `/srv/shared/deep/${what.replaceAll(" ", "-")}`;
      await row(
        async (container) => {
          expect((await runScript(container, `echo word > ${file}; cat ${file}`)).text).toBe("word\n");
        },
        { volumes },
      );
      await row(async (container) => expect((await runScript(container, `cat ${file}`)).text).toBe("word\n"), {
        volumes,
      });
    });

    it("answers on a host port for each port it exposes", async () => {
      expect((await own.garden.inspectImage(rootFs, undefined, never)).exposedTcpPorts).toEqual(facts.exposes);
      const listed = [...new Set([facts.exposes[0] ?? 0, facts.exposes.at(-1) ?? 0])];
      await row(
        async (container) => {
          const script = listed.map((port) => `(${facts.serve(port)}) &`).join(" ");
          // Ports below 1024 are anybody's inside, whoever the image's user is.
          await container.run(shell(`${script} wait`), () => {});
          for (const { containerPort, hostPort } of container.info().ports) {
            await eventually("it listens", async () => (await container.probeTcp(containerPort, 1_000)) === undefined);
            expect(await (await fetch(`http://127.0.0.1:${hostPort}/`)).text()).toBe(facts.page);
          }
          expect(container.info().ports.map((port) => port.containerPort)).toEqual(listed);
        },
        { ports: listed.map((containerPort) => ({ containerPort })) },
      );
    });

    it("sees its disk full at its limit, the image included", async () => {
      let imageMb = 0;
      await row(async (container) => {
        imageMb = Math.ceil((await container.usage()).diskBytes / mib);
      });
      const big = join(facts.folders[0] ?? "/", "big");
      await row(
        async (container) => {
          const { exit, text } = await runScript(container, `dd if=/dev/zero of=${big} bs=1M count=40 2>&1`);
          expect(text).toContain("No space left on device");
          expect(exit.exitStatus).not.toBe(0);
        },
        { diskMb: imageMb + 24 },
      );
    });

    it("is stopped, with a word to say", async () => {
      await row(async (container) => {
        const output = recorder();
        const process = await container.run(
          shell("trap 'echo bye; exit 3' TERM; echo ready; while true; do sleep 0.05; done"),
          output.sink,
        );
        await eventually("it is ready", () => output.text().includes("ready"));
        await process.signal("SIGTERM");
        expect(await process.exited).toMatchObject({ exitStatus: 3 });
        expect(output.text()).toContain("bye");
      });
    });
  });
}
