// The simulated garden keeps the promises of the interface, deterministically.
import { fakeClock, seededEntropy } from "@muster/shared/clock";
import { describe, expect, it } from "vitest";
import type { ContainerSpec, ProcessSpec } from "../garden.js";
import { openSimulatedGarden, type SimulatedGardenOptions } from "./index.js";

const never = new AbortController().signal;
const spec = (handle: string, over: Partial<ContainerSpec> = {}): ContainerSpec => ({
  handle,
  rootFs: "docker:///library/app",
  credentials: undefined,
  memoryMb: 64,
  diskMb: 64,
  maxPids: 0,
  cpuWeight: 1,
  ports: [{ containerPort: 8080 }],
  env: [],
  properties: { owner: "test" },
  hostname: handle,
  ...over,
});
const app: ProcessSpec = { id: "app", path: "/bin/app", args: [], dir: "", user: "", env: [], nofile: undefined };

function world(over: Partial<SimulatedGardenOptions> = {}) {
  const clock = fakeClock();
  const garden = openSimulatedGarden({
    clock,
    entropy: seededEntropy("1:garden"),
    capacity: { memoryMb: 1_024, diskMb: 1_024, containers: 10 },
    hostAddress: "127.0.0.1",
    portRange: { first: 61_001, last: 61_002 },
    ...over,
  });
  return { clock, garden };
}

async function running(handle: string, over: Partial<SimulatedGardenOptions> = {}) {
  const { clock, garden } = world(over);
  const creating = garden.create(spec(handle), never);
  await clock.advance(200);
  const container = await creating;
  const process = await container.run(app, () => {});
  return { clock, garden, container, process };
}

describe("the simulated garden", () => {
  it("takes time to create, and answers probes only once ready", async () => {
    const { clock, container } = await running("a");
    expect(container.info()).toMatchObject({
      state: "active",
      ports: [{ containerPort: 8080, hostPort: 61_001 }],
      properties: { owner: "test" },
    });
    expect(await container.probeTcp(8080, 100)).toMatch(/connection refused/);
    await clock.advance(50);
    expect(await container.probeTcp(8080, 100)).toBeUndefined();
    expect(await container.probeTcp(9, 100)).toMatch(/connection refused/);
  });

  it("ends a process when told, once, and stops the container with it", async () => {
    const { garden, container, process } = await running("a");
    garden.crash("a", { exitStatus: 7 });
    garden.crash("a", { exitStatus: 9 });
    expect(await process.exited).toEqual({ exitStatus: 7, signal: undefined, outOfMemory: false });
    expect(container.info().state).toBe("stopped");
    await expect(container.run({ ...app, id: "again" }, () => {})).rejects.toMatchObject({ code: "process-failed" });
  });

  it("answers SIGTERM after a moment, SIGKILL at once", async () => {
    const { clock, process } = await running("a");
    await process.signal("SIGTERM");
    await clock.advance(30);
    expect(await process.exited).toMatchObject({ exitStatus: 143 });
    const other = await running("b");
    await other.process.signal("SIGKILL");
    expect(await other.process.exited).toMatchObject({ exitStatus: 137, signal: "SIGKILL" });
  });

  it("keeps containers when the rep detaches, and lets the next one attach", async () => {
    const { garden, container } = await running("a");
    await garden[Symbol.asyncDispose]();
    const again = await garden.containers();
    expect(again.map((one) => one.handle)).toEqual(["a"]);
    const lines: string[] = [];
    const process = await container.attach("app", (_stream, chunk) => lines.push(Buffer.from(chunk).toString()));
    expect(process?.id).toBe("app");
    expect(await container.attach("other", () => {})).toBeUndefined();
  });

  it("leaves nothing when a create is aborted or fails, and gives ports back", async () => {
    const { clock, garden } = world();
    const abort = new AbortController();
    const creating = garden.create(spec("a"), abort.signal);
    creating.catch(() => {});
    abort.abort(new Error("no longer wanted"));
    await expect(creating).rejects.toThrow("no longer wanted");
    const failing = world({ createFailuresPerThousand: 1_000 });
    const refused = failing.garden.create(spec("a"), never);
    refused.catch(() => {});
    await failing.clock.advance(200);
    await expect(refused).rejects.toMatchObject({ code: "tool-failed" });
    for (const handle of ["b", "c", "d", "e"]) {
      const made = garden.create(spec(handle), never);
      await clock.advance(200);
      await made;
      await garden.destroy(handle);
      await garden.destroy(handle);
    }
    expect(await garden.containers()).toEqual([]);
  });

  it("refuses a handle twice, an unknown image and a port too many", async () => {
    const { clock, garden } = world({ images: (rootFs) => (rootFs.includes("none") ? undefined : { ...plain }) });
    const create = async (handle: string, over: Partial<ContainerSpec> = {}) => {
      const made = garden.create(spec(handle, over), never);
      made.catch(() => {});
      await clock.advance(200);
      return made;
    };
    await create("a");
    await expect(create("a")).rejects.toMatchObject({ code: "handle-exists" });
    await expect(create("b", { rootFs: "docker:///library/none" })).rejects.toMatchObject({ code: "image-not-found" });
    await expect(create("c", { ports: [{ containerPort: 1 }, { containerPort: 2 }] })).rejects.toMatchObject({
      code: "port-exhausted",
    });
    await create("d");
    expect((await create("e", { rootFs: "preloaded:stack", ports: [] })).info().imageDigest).toMatch(/^sha256:/);
  });

  it("is the same for the same seed", async () => {
    const times = async (): Promise<number[]> => {
      const { clock, garden } = world();
      const seen: number[] = [];
      for (const handle of ["a", "b"]) void garden.create(spec(handle), never).then(() => seen.push(clock.elapsedMs()));
      await clock.advance(500);
      return seen;
    };
    expect(await times()).toEqual(await times());
  });

  it("hangs when told, and runs what a behaviour says", async () => {
    const end = { afterMs: 40, exit: { exitStatus: 3, signal: undefined, outOfMemory: false } };
    const { clock, garden, process } = await running("a", { behaviour: () => end });
    garden.hang(true);
    let answered = false;
    void garden.ping(never).then(() => {
      answered = true;
    });
    await clock.advance(40);
    expect(answered).toBe(false);
    garden.hang(false);
    await clock.advance(0);
    expect(answered).toBe(true);
    expect((await process.exited).exitStatus).toBe(3);
  });
});

const plain = { entrypoint: [], cmd: ["/app"], workingDir: "", user: "", env: [], exposedTcpPorts: [8080] };
