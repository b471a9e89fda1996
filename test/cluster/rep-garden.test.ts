// What the rep needs of a real container beside processes: files in and out as a user of it, and a life longer than its first process.
import { execFileSync } from "node:child_process";
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Container, type ContainerSpec, type Garden, lentShell } from "@muster/garden";
import { checkGarden } from "@muster/rep";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { afterAll, describe, expect, it } from "vitest";
import { eventually, never, runScript, shell } from "../support/garden.js";
import { app, test, useGarden, withContainer } from "../support/garden-suite.js";

useGarden();

const scratch = mkdtempSync(join(tmpdir(), "muster-stream-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

let made = 0;
/** A tar of a folder that `fill` fills. */
function tarOf(fill: (folder: string) => void, ...flags: string[]): AsyncIterable<Uint8Array> {
  made += 1;
  const folder = join(scratch, String(made));
  mkdirSync(folder);
  chmodSync(folder, 0o755);
  fill(folder);
  const bytes = execFileSync("tar", ["--create", "--file=-", "-P", ...flags, "-C", folder, "."], { maxBuffer: 200 * 1_048_576 });
  return (async function* () {
    yield bytes;
  })();
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const read = async (container: Container, path: string, user = "root"): Promise<string> =>
  execFileSync("tar", ["--extract", "--to-stdout", "--file=-"], {
    input: await collect(container.streamOut({ path, user }, never)),
  }).toString("utf8");

describe("files", () => {
  it("go in before anything runs, belong to the user, and come out again", async () => {
    await withContainer(async (container) => {
      const tar = tarOf((folder) => {
        mkdirSync(join(folder, "deep"));
        writeFileSync(join(folder, "deep", "file"), "hello\n");
        symlinkSync("deep/file", join(folder, "link"));
      });
      await container.streamIn({ path: "/new/place", user: "1000:1000" }, tar, never);
      expect(await read(container, "/new/place/deep/file", "1000:1000")).toBe("hello\n");
      expect(await read(container, "/new/place/link", "1000:1000")).toBe("hello\n");
      const { text } = await runScript(
        container,
        "stat -c '%u:%g %n' /new /new/place /new/place/deep/file; ls /proc/self/stat; echo end",
      );
      expect(text).toBe("0:0 /new\n1000:1000 /new/place\n1000:1000 /new/place/deep/file\n/proc/self/stat\nend\n");
    });
  });

  it("never leave the container, by .. or by links of the stream or of the container", async () => {
    const victim = join(scratch, "victim");
    writeFileSync(victim, "safe");
    await withContainer(async (container) => {
      await runScriptIn(container, `mkdir -p ${scratch} /in; ln -s / /in/root; ln -s ${scratch} /in/away`);
      const through = tarOf((folder) => {
        mkdirSync(join(folder, "away"));
        writeFileSync(join(folder, "away", "victim"), "broken");
      }, "--keep-directory-symlink");
      await container.streamIn({ path: "/in", user: "root" }, through, never).catch(() => undefined);
      const dots = tarOf(
        (folder) => writeFileSync(join(folder, "x"), "broken"),
        `--transform=s,x,../../../../../../..${victim},`,
      );
      await container.streamIn({ path: "/in", user: "root" }, dots, never).catch(() => undefined);
      expect(readFileSync(victim, "utf8")).toBe("safe");
      await expect(read(container, `/in/root${victim}`)).rejects.toThrow();
      expect(lstatSync(victim).isFile()).toBe(true);
    });
  });

  it("are refused where the user may not write, and where there is nothing to read", async () => {
    await withContainer(async (container) => {
      const tar = tarOf((folder) => writeFileSync(join(folder, "file"), "x"));
      await expect(container.streamIn({ path: "/etc", user: "1000:1000" }, tar, never)).rejects.toThrow(/Permission denied/i);
      await expect(collect(container.streamOut({ path: "/none", user: "root" }, never))).rejects.toMatchObject({
        code: "stream-failed",
      });
      await expect(container.streamIn({ path: "/x", user: "nobody-here" }, tar, never)).rejects.toThrow(/unable to find user/);
    });
  });

  it("fill the container's own disk and no more", async () => {
    await withContainer(async (container) => {
      const big = (async function* () {
        yield* tarOf((folder) => writeFileSync(join(folder, "big"), Buffer.alloc(80 * 1_048_576)));
      })();
      await expect(container.streamIn({ path: "/big", user: "root" }, big, never)).rejects.toMatchObject({ code: "no-space" });
    });
  });
});

const runScriptIn = async (container: Container, script: string): Promise<void> => {
  const { exit } = await runScript(container, script, { id: "prepare" });
  expect(exit.exitStatus).toBe(0);
};

describe("a lasting container", () => {
  it("runs one process after another, and ends when it is destroyed", async () => {
    await withContainer(
      async (container) => {
        const first = await runScript(container, "echo one > /file; exit 3", { id: "first" });
        expect(first.exit.exitStatus).toBe(3);
        expect(container.info().state).toBe("active");
        const second = await runScript(container, "cat /file; readlink /proc/1/exe >/dev/null; echo $$", { id: "second" });
        expect(second.text).toMatch(/^one\n\d+\n$/);
        const third = await container.run(shell("sleep 100"), () => {});
        await third.signal("SIGTERM");
        expect((await third.exited).exitStatus).toBe(143);
      },
      { lasting: true },
    );
  });
});

describe("processes that pass", () => {
  it("leave nothing of themselves, however many there are", async () => {
    await withContainer(
      async (container) => {
        const app = await container.run(shell("sleep 100"), () => {});
        for (let round = 0; round < 5; round += 1) {
          const { exit, text } = await runScript(container, `echo ${round}; exit ${round}`, {
            id: `check-${round}`,
            passing: true,
          });
          expect([exit.exitStatus, text]).toEqual([round, `${round}\n`]);
        }
        const own = await runScript(container, "", { id: "own", passing: true, path: lentShell, args: ["-c", "echo own"] });
        expect(own.text).toBe("own\n");
        await eventually("they are forgotten", async () => (await container.attach("check-4", () => {})) === undefined);
        expect(await container.attach("app", () => {})).toBeDefined();
        await app.signal("SIGKILL");
        await app.exited;
      },
      { lasting: true },
    );
  });
});

describe("the cell's check with a container", () => {
  it("finds a sound cell sound, a broken one broken, and leaves nothing", async () => {
    const check = { clock: systemClock, entropy: systemEntropy, garden: test.garden };
    expect(await checkGarden({ ...check, rootFs: () => app }, never)).toBeUndefined();
    expect(await checkGarden({ ...check, rootFs: () => `${app}-not-there` }, never)).toBeUndefined();
    const broken = {
      containers: () => test.garden.containers(),
      destroy: (handle: string) => test.garden.destroy(handle),
      create: (spec: ContainerSpec, signal: AbortSignal) => test.garden.create({ ...spec, memoryMb: 1 }, signal),
    } as Garden;
    // In one megabyte no process starts.
    expect(await checkGarden({ ...check, garden: broken, rootFs: () => app }, never)).toMatch(
      /^the cell cannot run a container: /,
    );
    expect(await test.garden.containers()).toEqual([]);
  });
});
