// What an LRP or task brings along: dependencies mounted into its container, layers of its own, what it may reach, its volumes and files.
import type { ContainerSpec } from "@muster/garden";
import { ImageLayer_DigestAlgorithm, ImageLayer_MediaType, ImageLayer_Type } from "@muster/proto/models/image_layer";
import { describe, expect, it } from "vitest";
import type { Transfers } from "./assets/transfers.js";
import { cellId, openWorld, task, taskDefinition, taskWork, type World } from "./testing/world.js";

const dependency = (name: string) => ({
  name,
  from: `http://blobs/${name}`,
  to: `/opt/${name}`,
  cacheKey: `key-${name}`,
  logSource: "DEP",
  checksumAlgorithm: "",
  checksumValue: "",
});
const layer = (name: string, layerType: ImageLayer_Type) => ({
  name,
  url: `http://blobs/${name}`,
  destinationPath: `/layer/${name}`,
  layerType,
  mediaType: ImageLayer_MediaType.TGZ,
  digestAlgorithm: ImageLayer_DigestAlgorithm.SHA256,
  digestValue: "abc",
});

/** Transfers that are written down; `broken` names fail. */
function recorded(broken: readonly string[] = []) {
  const did: string[] = [];
  const transfers: Transfers = {
    download: async (_container, action) => {
      did.push(`download ${action.artifact} ${action.cacheKey} ${action.checksumAlgorithm} to ${action.to} as ${action.user}`);
      return 1_024;
    },
    upload: async () => 0,
    prepare: async ({ name, cacheKey }, holder) => {
      if (broken.includes(name)) throw new Error(`Downloading ${name} failed`);
      did.push(`prepare ${cacheKey} for ${holder.length > 0}`);
      return { folder: `/cache/${name}`, bytes: 2_048 };
    },
    hold: (_holder, keys) => void did.push(`hold ${keys.join()}`),
    release: () => void did.push("release"),
  };
  return { did, transfers };
}

const opened = (transfers: Transfers) => openWorld({}, {}, undefined, undefined, transfers);
const theRow = (world: World) => [...world.bbs.rows.values()].find((one) => one.processGuid === "p");
const logged = (world: World): string[] =>
  world.rep.logs
    .recent({ processGuid: "p", instanceGuid: "" })
    .filter((line) => line.source === "DEP" || line.source === "CELL")
    .map((line) => `${line.source} ${line.stream} ${Buffer.from(line.line)}`);

/** What the garden was asked for. */
const specs = (world: World): ContainerSpec[] => {
  const seen: ContainerSpec[] = [];
  const create = world.garden.create.bind(world.garden);
  world.garden.create = (spec, signal) => {
    seen.push(spec);
    return create(spec, signal);
  };
  return seen;
};

describe("cached dependencies", () => {
  it("are ready before the container is made, mounted where they are wanted, and let go with it", async () => {
    const { did, transfers } = recorded();
    const world = await opened(transfers);
    const seen = specs(world);
    const guid = await world.placed("p", {
      cachedDependencies: [dependency("tools")],
      imageLayers: [layer("shared", ImageLayer_Type.SHARED)],
    });
    expect(seen[0]?.folders).toEqual([
      { folder: "/cache/shared", containerDir: "/layer/shared" },
      { folder: "/cache/tools", containerDir: "/opt/tools" },
    ]);
    expect(did).toEqual(["prepare sha256:abc for true", "prepare key-tools for true"]);
    expect(logged(world)).toContain("DEP stdout Downloaded tools (2K)");
    await world.stop();
    world.restart();
    await world.clock.advance(1_000);
    expect(did.at(-1)).toBe("hold sha256:abc,key-tools");
    world.rep.stopInstance("p", guid);
    await world.clock.advance(5_000);
    expect(did.at(-1)).toBe("release");
    await world.stop();
  });

  it("that cannot be had crash the instance, and give a task back", async () => {
    const { did, transfers } = recorded(["tools"]);
    const world = await opened(transfers);
    await world.placed("p", { cachedDependencies: [dependency("tools"), dependency("other")] });
    expect(theRow(world)?.crashReason).toBe("failed to download cached artifacts");
    expect(logged(world)).toContain("DEP stderr Downloading tools failed");
    expect(did.at(-1)).toBe("release");
    world.bbs.definitions.set("t", taskDefinition({ cachedDependencies: [dependency("tools")] }));
    world.bbs.putTask(task("t"));
    world.rep.perform({ cellId, lrps: [], tasks: [taskWork("t")] });
    await world.clock.advance(1_000);
    expect(world.bbs.tasks.get("t")).toMatchObject({
      state: "PENDING",
      rejectionReason: "failed to download cached artifacts",
    });
    await world.stop();
  });
});

it("layers of its own are downloaded by its user before anything of it runs", async () => {
  const { did, transfers } = recorded();
  const world = await opened(transfers);
  await world.placed("p", {
    imageLayers: [layer("own", ImageLayer_Type.EXCLUSIVE)],
    legacyDownloadUser: "vcap",
  });
  expect(did).toEqual(["download own sha256:abc sha256 to /layer/own as vcap"]);
  expect(theRow(world)?.state).toBe("RUNNING");
  await world.stop();
});

it("what it may reach, its volumes and its files are the garden's matter, as they were asked for", async () => {
  const world = await openWorld();
  const seen = specs(world);
  await world.placed("p", {
    egressRules: [
      {
        protocol: "tcp",
        destinations: ["10.0.0.0/8"],
        ports: [443],
        portRange: undefined,
        icmpInfo: undefined,
        log: true,
        annotations: [],
      },
    ],
    volumeMounts: [
      { driver: "local", containerDir: "/data", mode: "rw", shared: { volumeId: "v", mountConfig: "{}" }, dedicated: undefined },
    ],
    volumeMountedFiles: [{ path: "db/password", content: "secret" }],
  });
  expect(seen[0]).toMatchObject({
    egress: [{ protocol: "tcp", destinations: ["10.0.0.0/8"], ports: [443], log: true }],
    volumes: [{ driver: "local", containerDir: "/data", mode: "rw", volumeId: "v", config: "{}" }],
    files: [{ path: "db/password", content: Buffer.from("secret") }],
  });
  expect(JSON.stringify(await world.store.load(0))).not.toContain("secret");
  await world.stop();
});
