// What suites of tools that hang or die share: a garden whose tools are wrapped, and the proof that nothing is left of it.
import { rootFSOfImage } from "@muster/garden/image-ref";
import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { type FaultyTools, wrapTools } from "./faulty-tools.js";
import { containerSpec, leftovers, never, startGarden, type TestGarden } from "./garden.js";
import { pushImage } from "./images.js";
import { startRegistry, type TestRegistry } from "./registry.js";

/** Long for a tool that works, also on a machine out of breath. */
export const toolDeadlineMs = 4_000;
export const stalledCell = "cell-50";

// Set before the first test of a suite runs.
export let faulty: FaultyTools;
export let registry: TestRegistry;
export let own: TestGarden;
/** Rootfs URL of an image that the garden has already. */
export let app = "";
let handles = 0;

export const nextHandle = (): string => {
  handles += 1;
  return `s${handles}`;
};

export const spec = (handle: string, rootFs = app) =>
  containerSpec(handle, rootFs, { ports: [{ containerPort: 8080 }], egress: [] });

/** Registers the suite's set-up, the healing of its tools after each test, and its end. */
export function useStalledGarden(tools: readonly string[]): void {
  beforeAll(async () => {
    registry = await startRegistry();
    app = rootFSOfImage(await pushImage(registry.host, { name: "stalls/app" }));
    faulty = await wrapTools(tools);
    own = await startGarden({
      insecureRegistries: [registry.host],
      cellId: stalledCell,
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
    expect(await leftovers(own.home, stalledCell)).toEqual([]);
    await own[Symbol.asyncDispose]();
    await registry.stop();
    await faulty[Symbol.asyncDispose]();
  });
}
