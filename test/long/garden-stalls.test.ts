// Tools of the runc garden that hang or die at every step: each call is bounded and says so, and nothing is left once the tool works again.
import { rootFSOfImage } from "@muster/garden/image-ref";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Fault, type FaultyTools, wrapTools } from "../support/faulty-tools.js";
import {
  containerSpec,
  eventually,
  leftovers,
  never,
  runScript,
  shell,
  startGarden,
  type TestGarden,
} from "../support/garden.js";
import { pushImage } from "../support/images.js";
import { countMachine } from "../support/machine.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";

/** Long for a tool that works, also on a machine out of breath. */
const toolDeadlineMs = 4_000;
const tools = ["runc", "conmon", "skopeo", "umoci", "mount", "umount", "mkfs.ext4", "iptables-restore", "nsenter", "unshare"];
const cell = "cell-50";

let faulty: FaultyTools;
let registry: TestRegistry;
let own: TestGarden;
let app = "";
let handles = 0;

beforeAll(async () => {
  registry = await startRegistry();
  app = rootFSOfImage(await pushImage(registry.host, { name: "stalls/app" }));
  faulty = await wrapTools(tools);
  own = await startGarden({
    insecureRegistries: [registry.host],
    cellId: cell,
    toolDeadlineMs,
    cniPluginDirs: [faulty.cniPluginDir],
    portRange: { first: 41_701, last: 41_720 },
  });
  await own.garden.create(containerSpec("first", app), never);
  await own.garden.destroy("first");
});
afterEach(() => faulty.heal());
afterAll(async () => {
  await own.garden.removeEverything();
  expect(await leftovers(own.home, cell)).toEqual([]);
  await own[Symbol.asyncDispose]();
  await registry.stop();
  await faulty[Symbol.asyncDispose]();
});

const nextHandle = (): string => {
  handles += 1;
  return `s${handles}`;
};
const spec = (handle: string, rootFs = app) => containerSpec(handle, rootFs, { ports: [{ containerPort: 8080 }], egress: [] });

/** The garden is well: it says so, and another container comes and goes. */
async function expectWell(): Promise<void> {
  await own.garden.ping(never);
  const handle = nextHandle();
  const container = await own.garden.create(spec(handle), never);
  expect((await runScript(container, "echo fine")).text).toBe("fine\n");
  await own.garden.destroy(handle);
  expect(await leftovers(own.home, cell, handle)).toEqual([]);
}

/** The worst two: one that never answers, and one that has done its work and says it has not. The other two were seen to be no different. */
const faults: readonly Fault[] = ["hangs", "dies after its work"];
const each = (steps: readonly (readonly [string, string])[]) =>
  steps.flatMap(([tool, pattern]) => faults.map((fault) => [tool, pattern, fault] as const));

describe("a container is not made", () => {
  it.each(
    each([
      ["mkfs.ext4", "disk.img"],
      ["mount", "loop"],
      ["mount", "overlay"],
      ["mount", "/userns"],
      ["nsenter", "link"],
      ["bridge", "ADD"],
      ["unshare", "cat"],
    ]),
  )("when %s (%s) %s, and nothing of it is left", async (tool, pattern, fault) => {
    const handle = nextHandle();
    const before = await countMachine(own.home, cell);
    await faulty.fail(tool, pattern, fault);
    await expect(own.garden.create(spec(handle), never)).rejects.toMatchObject({ name: "GardenError" });
    await faulty.heal();
    await own.garden.destroy(handle);
    expect(await leftovers(own.home, cell, handle)).toEqual([]);
    // A tool that was killed may still be on its way out.
    const same = async (): Promise<boolean> => JSON.stringify(await countMachine(own.home, cell)) === JSON.stringify(before);
    await eventually(`the machine is as before: ${JSON.stringify(before)}`, same);
  });

  it.each(
    each([
      ["skopeo", "inspect"],
      ["skopeo", "copy"],
      ["umoci", "unpack"],
    ]),
  )("of an image that is new when %s %s %s, and the next try makes it", async (tool, pattern, fault) => {
    const handle = nextHandle();
    const image = rootFSOfImage(await pushImage(registry.host, { name: `stalls/${handle}`, page: handle }));
    await faulty.fail(tool, pattern, fault);
    await expect(own.garden.create(spec(handle, image), never)).rejects.toMatchObject({ name: "GardenError" });
    await faulty.heal();
    expect(await leftovers(own.home, cell, handle)).toEqual([]);
    const container = await own.garden.create(spec(handle, image), never);
    expect((await runScript(container, "cat /www/index.html")).text).toBe(handle);
    await own.garden.destroy(handle);
  });
});

describe("a process is not started", () => {
  it.each(
    each([
      ["conmon", "--bundle"],
      ["runc", " create "],
      ["runc", " start "],
      ["iptables-restore", "--noflush"],
    ]),
  )("when %s (%s) %s, and its container can be taken away", async (tool, pattern, fault) => {
    const handle = nextHandle();
    await faulty.fail(tool, pattern, fault);
    const container = await own.garden.create(spec(handle), never);
    const started = await container
      .run(shell("sleep 1000"), () => {})
      .then(
        () => "started",
        (error: { name: string }) => error.name,
      );
    // conmon that dies after its work has told of a process that has ended.
    if (tool !== "conmon" || !fault.endsWith("after its work")) expect(started).toBe("GardenError");
    await faulty.heal();
    await own.garden.destroy(handle);
    expect(await leftovers(own.home, cell, handle)).toEqual([]);
  });

  it.each(faults)("in a container that runs when runc exec %s, and the container goes on", async (fault) => {
    const handle = nextHandle();
    const container = await own.garden.create(spec(handle), never);
    const first = await container.run(shell("while true; do sleep 1; done"), () => {});
    await faulty.fail("runc", " exec ", fault);
    const second = container.run(shell("true", { id: "second" }), () => {});
    await second.then(
      () => {},
      (error: { name: string }) => expect(error.name).toBe("GardenError"),
    );
    await faulty.heal();
    expect((await runScript(container, "echo well", { id: "third" })).text).toBe("well\n");
    expect(container.info().state).toBe("active");
    await first.signal("SIGKILL");
    await own.garden.destroy(handle);
    expect(await leftovers(own.home, cell, handle)).toEqual([]);
  });
});

describe("a container is taken away", () => {
  it.each(
    each([
      ["runc", "delete"],
      ["umount", "/rootfs"],
      ["umount", "/disk"],
      ["umount", "/userns"],
      ["bridge", "DEL"],
      ["iptables-restore", "--noflush"],
    ]),
  )("though %s (%s) %s once", async (tool, pattern, fault) => {
    const handle = nextHandle();
    const container = await own.garden.create(spec(handle), never);
    await container.run(shell("sleep 1000"), () => {});
    await faulty.fail(tool, pattern, fault, true);
    await own.garden.destroy(handle);
    expect(await leftovers(own.home, cell, handle)).toEqual([]);
  });

  it.each([
    ["runc", "delete"],
    ["umount", "/disk"],
    ["bridge", "DEL"],
    ["iptables-restore", "--noflush"],
  ])("when %s (%s) works again; until then the garden says it is unwell and why", async (tool, pattern) => {
    const handle = nextHandle();
    const container = await own.garden.create(spec(handle), never);
    await container.run(shell("sleep 1000"), () => {});
    await faulty.fail(tool, pattern, "dies");
    await expect(own.garden.destroy(handle)).rejects.toMatchObject({ name: "GardenError" });
    await expect(own.garden.ping(never)).rejects.toMatchObject({
      message: expect.stringContaining(`container ${handle} could not be removed`),
    });
    await expect(own.garden.create(spec(handle), never)).rejects.toMatchObject({ code: "handle-exists" });
    await faulty.heal();
    await eventually(
      "the garden is well again",
      () =>
        own.garden.ping(never).then(
          () => true,
          () => false,
        ),
      60_000,
    );
    expect(await leftovers(own.home, cell, handle)).toEqual([]);
    expect(own.garden.lookup(handle)).toBeUndefined();
  });
});

it("after all of that the garden is well", async () => {
  await expectWell();
});
