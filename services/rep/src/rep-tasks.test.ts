// Tasks on a cell: from work to result, and through cancels, failures, restarts and a BBS that is away.
import type { TaskDefinition } from "@muster/proto/models/task";
import { BbsError } from "@muster/shared/errors";
import { type Pack, pack } from "tar-stream";
import { describe, expect, it } from "vitest";
import { action, cellId, openWorld, task, taskDefinition, taskWork, type World } from "./testing/world.js";

const exit = (exitStatus: number, afterMs = 100) => ({
  behaviour: () => ({ afterMs, exit: { exitStatus, signal: undefined, outOfMemory: false } }),
});

const file = (text: string): Promise<Uint8Array> => tarOf((tar) => tar.entry({ name: "result.json" }, text));
const tarOf = async (fill: (tar: Pack) => void): Promise<Uint8Array> => {
  const tar = pack();
  fill(tar);
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
};

/** Desires the task and brings it to the cell. */
const placed = async (world: World, guid = "t", over: Partial<TaskDefinition> = {}, ms = 1_000): Promise<void> => {
  world.bbs.definitions.set(guid, taskDefinition(over));
  world.bbs.putTask(task(guid));
  expect(world.rep.perform({ cellId, lrps: [], tasks: [taskWork(guid)] })).toEqual({ refused: [] });
  await world.clock.advance(ms);
  // Files are read by real streams, which the fake clock does not drive.
  for (let turn = 0; turn < 50; turn += 1) await world.clock.advance(0);
};
const held = (world: World) => [...world.rep.registry.all()];
const free = (world: World) => world.rep.registry.remaining().memoryMb;

describe("a task", () => {
  it("runs, gives its result, and leaves nothing", async () => {
    const result = await file('{"answer":42}');
    const world = await openWorld({ ...exit(0), files: (_spec, path) => (path === "/tmp/result.json" ? result : undefined) });
    await placed(world, "t", { resultFile: "/tmp/result.json" });
    expect(world.bbs.cases).toEqual(["taskStarted", "taskCompleted"]);
    expect(world.bbs.tasks.get("t")).toMatchObject({
      state: "COMPLETED",
      failed: false,
      failureReason: "",
      result: '{"answer":42}',
    });
    await world.clock.advance(1_000);
    expect(held(world)).toEqual([]);
    expect(await world.garden.containers()).toEqual([]);
    await world.stop();
  });

  it("holds what it asked for until it is gone, and is seen in the cell's state", async () => {
    const world = await openWorld();
    const before = free(world);
    await placed(world);
    expect(free(world)).toBe(before - 64);
    const stop = new AbortController();
    const state = await world.rep.state(stop.signal).next();
    expect(state.value).toMatchObject({ lrps: [], tasks: [{ taskGuid: "t", domain: "jobs", state: "RUNNING", memoryMb: 64 }] });
    expect(world.rep.perform({ cellId, lrps: [], tasks: [taskWork("t", { auctionId: "another" })] }).refused).toEqual([
      { auctionId: "another", reason: "container guid not available" },
    ]);
    expect(world.rep.perform({ cellId, lrps: [], tasks: [taskWork("u", { memoryMb: 2_000 })] }).refused[0]?.reason).toMatch(
      /^insufficient resources available: memory/,
    );
    stop.abort();
    await world.stop();
  });

  it.each([
    { what: "that fails", code: 3, files: {}, reason: "TASK: Exited with status 3", result: "" },
    { what: "that fails with a result", code: 3, files: { "/r": "why" }, reason: "TASK: Exited with status 3", result: "why" },
    { what: "without its result file", code: 0, files: {}, reason: "failed to fetch result", result: "" },
    {
      what: "with too much to say",
      code: 0,
      files: { "/r": "x".repeat(51_201) },
      reason: "result file is too large (over 51200 bytes)",
      result: "",
    },
  ])("$what is failed with the reference's reason", async ({ code, files, reason, result }) => {
    const tars = new Map<string, Uint8Array>();
    for (const [path, text] of Object.entries(files)) tars.set(path, await file(text));
    const world = await openWorld({ ...exit(code), files: (_spec, path) => tars.get(path) });
    await placed(world, "t", { resultFile: "/r" });
    expect(world.bbs.tasks.get("t")).toMatchObject({ state: "COMPLETED", failed: true, failureReason: reason, result });
    await world.stop();
  });

  it.each([
    { what: "a folder, with a file in it", type: "directory", inside: "in/file" },
    { what: "a pipe", type: "fifo", inside: undefined },
    { what: "a device", type: "character-device", inside: undefined },
  ] as const)("whose result is $what has none", async ({ type, inside }) => {
    const tar = await tarOf((to) => {
      to.entry({ name: "in", type });
      if (inside !== undefined) to.entry({ name: inside }, "not the result");
    });
    const world = await openWorld({ ...exit(0), files: () => tar });
    await placed(world, "t", { resultFile: "/in" });
    expect(world.bbs.tasks.get("t")).toMatchObject({ failed: true, failureReason: "failed to fetch result", result: "" });
    await world.stop();
  });

  it("whose container cannot be made goes back to be placed elsewhere", async () => {
    const world = await openWorld({ images: () => undefined });
    await placed(world);
    expect(world.bbs.cases).toEqual(["taskStarted", "taskRejected"]);
    expect(world.bbs.tasks.get("t")).toMatchObject({
      state: "PENDING",
      rejectionReason: "failed to create container: there is no image docker:///library/app",
    });
    expect(held(world)).toEqual([]);
    await world.stop();
  });

  it("that cannot be run is failed with what is wrong", async () => {
    const world = await openWorld();
    await placed(world, "t", { privileged: true });
    expect(world.bbs.tasks.get("t")?.failureReason).toBe("failed to run container: this cell runs no privileged containers");
    await world.stop();
  });

  it("that somebody else has is dropped without a word", async () => {
    const world = await openWorld();
    world.bbs.refusals.set("taskStarted", "RunningOnDifferentCell");
    await placed(world);
    expect(world.bbs.cases).toEqual(["taskStarted"]);
    expect(held(world)).toEqual([]);
    await world.stop();
  });

  it("that is cancelled, by the end of its row, is told to end and has ten seconds", async () => {
    const world = await openWorld();
    await placed(world);
    const [record] = held(world);
    const container = world.garden.lookup(record?.instanceGuid ?? "");
    world.bbs.dropTask("t");
    await world.clock.advance(1_000);
    expect(container?.info().state).toBe("stopped");
    expect(held(world)).toEqual([]);
    expect(world.bbs.cases).not.toContain("taskCompleted");
    await world.stop();
  });

  it("is not ended by a BBS that does not answer", async () => {
    const world = await openWorld();
    await placed(world);
    world.bbs.refuseHello = new BbsError("Unavailable");
    world.bbs.cut();
    world.bbs.tasks.clear();
    await world.clock.advance(60_000);
    expect(held(world).map((record) => record.state)).toEqual(["running"]);
    await world.stop();
  });

  it("without a container is completed as failed", async () => {
    const world = await openWorld({}, {}, (bbs) => bbs.putTask(task("lost", { state: "RUNNING", cellId: cellId as never })));
    await world.clock.advance(1_000);
    expect(world.bbs.tasks.get("lost")).toMatchObject({
      state: "COMPLETED",
      failed: true,
      failureReason: "task container does not exist",
      result: "task container does not exist",
    });
    await world.stop();
  });

  it("is in the inventory by its guid", async () => {
    const world = await openWorld();
    await placed(world);
    world.bbs.cut();
    await world.clock.advance(1_000);
    const inventory = world.bbs.received.filter((request) => request.message?.$case === "inventory").at(-1);
    expect(inventory?.message?.value).toMatchObject({ containers: [{ taskGuid: "t", actualLrpKey: undefined, state: 2 }] });
    expect(world.bbs.cases).not.toContain("taskCompleted");
    await world.stop();
  });
});

describe("a restarted rep", () => {
  it("goes on with its tasks, and tells their ends", async () => {
    const world = await openWorld();
    await placed(world);
    const guid = held(world)[0]?.instanceGuid ?? "";
    await world.stop();
    world.garden.crash(guid, { exitStatus: 0 });
    world.restart();
    await world.clock.advance(1_000);
    expect(world.bbs.tasks.get("t")).toMatchObject({ state: "COMPLETED", failed: false });
    await world.stop();
  });

  it("keeps a result until the BBS has answered for it", async () => {
    const result = await file("kept");
    const world = await openWorld({ ...exit(0), files: () => result });
    world.bbs.unanswered.add("taskCompleted");
    await placed(world, "t", { resultFile: "/r" });
    expect(world.bbs.tasks.get("t")?.state).toBe("RUNNING");
    await world.stop();
    world.bbs.unanswered.clear();
    world.restart();
    await world.clock.advance(1_000);
    expect(world.bbs.tasks.get("t")).toMatchObject({ state: "COMPLETED", failed: false, result: "kept" });
    expect(await world.store.load(0)).toEqual([]);
    await world.stop();
  });

  it("gives a task back of which nothing had run", async () => {
    const world = await openWorld({ createMs: { min: 5_000, max: 5_000 } });
    await placed(world);
    await world.stop();
    world.restart();
    await world.clock.advance(1_000);
    expect(world.bbs.cases.at(-1)).toBe("taskRejected");
    await world.stop();
  });
});

describe("looking at an image", () => {
  const inspect = {
    action: { ...action(), runAction: undefined, inspectImageAction: { imageUrl: "docker:///library/app#1", logSource: "STG" } },
  };

  it("needs no container, and gives what the stager gives, with the digest", async () => {
    const world = await openWorld();
    await placed(world, "s", inspect);
    const found = world.bbs.tasks.get("s");
    expect(found).toMatchObject({ state: "COMPLETED", failed: false });
    const result = JSON.parse(found?.result ?? "") as Record<string, unknown>;
    expect(result).toMatchObject({
      lifecycle_type: "docker",
      lifecycle_metadata: { docker_image: "library/app:1" },
      process_types: { web: "/bin/app" },
      image: { cmd: ["/bin/app"], exposed_tcp_ports: [8080] },
    });
    expect((result.image as { digest: string }).digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(JSON.parse(String(result.execution_metadata))).toEqual({
      cmd: ["/bin/app"],
      ports: [{ Port: 8080, Protocol: "tcp" }],
    });
    expect(await world.garden.containers()).toEqual([]);
    expect(held(world)).toEqual([]);
    await world.stop();
  });

  it("fails with the garden's words when there is none", async () => {
    const world = await openWorld({ images: () => undefined });
    await placed(world, "s", inspect);
    expect(world.bbs.tasks.get("s")).toMatchObject({
      failed: true,
      failureReason: "failed to inspect image: there is no image docker:///library/app#1",
    });
    await world.stop();
  });
});
