// Tools of the runc garden that hang or die at every step: each call is bounded and says so, and nothing is left once the tool works again.
// A sample is in test/cluster/garden-stalls.test.ts.
import { rootFSOfImage } from "@muster/garden/image-ref";
import { describe, expect, it } from "vitest";
import type { Fault } from "../support/faulty-tools.js";
import { containerSpec, eventually, leftovers, never, runScript, shell, startGarden } from "../support/garden.js";
import { pushImage } from "../support/images.js";
import { countMachine } from "../support/machine.js";
import {
  app,
  stalledCell as cell,
  faulty,
  nextHandle,
  own,
  registry,
  spec,
  toolDeadlineMs,
  useStalledGarden,
} from "../support/stalled-garden.js";

useStalledGarden([
  "runc",
  "conmon",
  "skopeo",
  "umoci",
  "mount",
  "umount",
  "mkfs.ext4",
  "iptables-restore",
  "iptables-save",
  "ip",
  "nsenter",
  "unshare",
  "flock",
  "du",
  "sync",
  "ldd",
]); // prettier-ignore

/** The garden is well: it says so, and another container comes and goes. */
async function expectWell(): Promise<void> {
  await own.garden.ping(never);
  const handle = nextHandle();
  const container = await own.garden.create(spec(handle), never);
  expect((await runScript(container, "echo fine")).text).toBe("fine\n");
  await own.garden.destroy(handle);
  expect(await leftovers(own.home, cell, handle)).toEqual([]);
}

const faults: readonly Fault[] = ["hangs", "dies", "hangs after its work", "dies after its work"];
const each = (steps: readonly (readonly [string, string])[]) =>
  steps.flatMap(([tool, pattern]) => faults.map((fault) => [tool, pattern, fault] as const));

describe("a container is not made", () => {
  it.each(
    each([
      ["mkfs.ext4", "disk.img"],
      ["mount", "loop"],
      ["mount", "overlay"],
      ["mount", "/userns"],
      ["mount", "/run/netns/"],
      ["nsenter", "link"],
      ["bridge", "ADD"],
      ["host-local", "ADD"],
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
      ["sync", "roots"],
      ["du", "root"],
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
    // conmon that dies after its work has told of a process that has ended; one that hangs then has told of one that runs.
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
      ["umount", "/run/netns/"],
      ["bridge", "DEL"],
      ["host-local", "DEL"],
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

describe("files are not moved", () => {
  async function* nothing(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(1_024);
  }

  it.each(each([["unshare", "--mount"]]))("when %s (%s) %s, and the container goes on", async (tool, pattern, fault) => {
    const handle = nextHandle();
    const container = await own.garden.create(spec(handle), never);
    const first = await container.run(shell("sleep 1000"), () => {});
    await faulty.fail(tool, pattern, fault);
    // Streams are as long as what is moved: their callers bound them.
    const place = { path: "/tmp", user: "" };
    await expect(container.streamIn(place, nothing(), AbortSignal.timeout(toolDeadlineMs))).rejects.toBeInstanceOf(Error);
    await faulty.heal();
    await container.streamIn(place, nothing(), never);
    expect((await runScript(container, "echo well", { id: "second" })).text).toBe("well\n");
    await first.signal("SIGKILL");
    await own.garden.destroy(handle);
    expect(await leftovers(own.home, cell, handle)).toEqual([]);
  });
});

describe("a cell", () => {
  const other = "cell-51";
  const open = () =>
    startGarden({
      insecureRegistries: [registry.host],
      cellId: other,
      toolDeadlineMs,
      cniPluginDirs: [faulty.cniPluginDir],
      portRange: { first: 41_721, last: 41_740 },
      home: own.home,
    });

  it.each(
    each([
      ["ip", "address show"],
      ["ip", "address replace"],
      ["ip", " up"],
      ["ip", "route show"],
      ["iptables-save", ""],
      ["iptables-restore", "--noflush"],
      ["runc", " list "],
    ]),
  )("does not begin when %s (%s) %s, and does so once it works", async (tool, pattern, fault) => {
    await faulty.fail(tool, pattern, fault);
    await expect(open()).rejects.toBeInstanceOf(Error);
    await faulty.heal();
    const second = await open();
    await second.garden.create(containerSpec("one", app), never);
    await second.garden.removeEverything();
    expect(await leftovers(own.home, other)).toEqual([]);
    await second.garden[Symbol.asyncDispose]();
  });

  it.each(
    each([
      ["ip", "link delete"],
      ["iptables-save", ""],
      ["iptables-restore", "--noflush"],
    ]),
  )("that is taken away when %s (%s) %s goes the second time", async (tool, pattern, fault) => {
    const second = await open();
    await second.garden.create(containerSpec("one", app), never);
    await faulty.fail(tool, pattern, fault);
    await second.garden.removeEverything().catch((error: unknown) => expect(error).toBeInstanceOf(Error));
    await faulty.heal();
    await second.garden.removeEverything();
    expect(await leftovers(own.home, other)).toEqual([]);
    await second.garden[Symbol.asyncDispose]();
  });

  it.each(faults)("says it is unwell while runc %s", async (fault) => {
    await faulty.fail("runc", "--version", fault);
    await expect(own.garden.ping(never)).rejects.toBeInstanceOf(Error);
    await faulty.heal();
    await own.garden.ping(never);
  });

  it.each(faults)("gives its locks back though flock %s", async (fault) => {
    const handle = nextHandle();
    const image = rootFSOfImage(await pushImage(registry.host, { name: `stalls/${handle}`, page: handle }));
    await faulty.fail("flock", "tidy", fault, true);
    const making = own.garden.create(spec(handle, image), AbortSignal.timeout(3 * toolDeadlineMs));
    await making.catch((error: unknown) => expect(error).toBeInstanceOf(Error));
    await faulty.heal();
    await own.garden.destroy(handle);
    const again = await own.garden.create(spec(handle, image), never);
    expect((await runScript(again, "cat /www/index.html")).text).toBe(handle);
    await own.garden.destroy(handle);
    expect(await leftovers(own.home, cell, handle)).toEqual([]);
  });
});

it("after all of that the garden is well", async () => {
  await expectWell();
});
