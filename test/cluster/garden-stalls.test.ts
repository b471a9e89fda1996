// A sample of tools of the runc garden that hang: one that makes, one that starts, one that takes away, and a lock's. Every tool at every step
// is in test/long/garden-stalls.test.ts.
import { expect, it } from "vitest";
import { leftovers, never, runScript, shell } from "../support/garden.js";
import { faulty, nextHandle, own, spec, stalledCell, useStalledGarden } from "../support/stalled-garden.js";

useStalledGarden(["mount", "runc", "umount", "flock"]);

it("a container whose mount hangs is refused in time, and nothing of it is left", async () => {
  const handle = nextHandle();
  await faulty.fail("mount", "overlay", "hangs");
  await expect(own.garden.create(spec(handle), never)).rejects.toMatchObject({ name: "GardenError" });
  await faulty.heal();
  expect(await leftovers(own.home, stalledCell, handle)).toEqual([]);
});

it("a process whose runc hangs after its work is refused in time, and its container can be taken away", async () => {
  const handle = nextHandle();
  await faulty.fail("runc", " create ", "hangs after its work");
  const container = await own.garden.create(spec(handle), never);
  await expect(container.run(shell("sleep 1000"), () => {})).rejects.toMatchObject({ name: "GardenError" });
  await faulty.heal();
  await own.garden.destroy(handle);
  expect(await leftovers(own.home, stalledCell, handle)).toEqual([]);
});

it("a container is taken away though umount hangs once, and the next one runs", async () => {
  const handle = nextHandle();
  const container = await own.garden.create(spec(handle), never);
  await container.run(shell("sleep 1000"), () => {});
  await faulty.fail("umount", "/disk", "hangs", true);
  await own.garden.destroy(handle);
  expect(await leftovers(own.home, stalledCell, handle)).toEqual([]);
  const next = nextHandle();
  expect((await runScript(await own.garden.create(spec(next), never), "echo fine")).text).toBe("fine\n");
  await own.garden.destroy(next);
});

it("a cell ends though flock hangs as it gives a lock back", async () => {
  await faulty.fail("flock", "muster/lock", "hangs after its work");
  await own.garden.removeEverything();
  await faulty.heal();
  expect(await leftovers(own.home, stalledCell)).toEqual([]);
});
