// What every suite of the real garden shares: a registry with one image, a garden, and containers that are taken away again.
import type { Container } from "@muster/garden";
import { rootFSOfImage } from "@muster/garden/image-ref";
import { afterAll, beforeAll, expect } from "vitest";
import { containerSpec, leftovers, never, processSpec, startGarden, type TestGarden } from "./garden.js";
import { pushImage, webCommand } from "./images.js";
import { startRegistry, type TestRegistry } from "./registry.js";

const [webPath = "", ...webArgs] = webCommand;
export const web = processSpec(webPath, webArgs);

// Set before the first test of a suite runs.
export let registry: TestRegistry;
export let test: TestGarden;
/** Rootfs URL of the image in the registry. */
export let app = "";
let handles = 0;

/** Makes a container, hands it over and takes it away again. */
export async function withContainer<Result>(
  work: (container: Container) => Promise<Result>,
  over: Parameters<typeof containerSpec>[2] = {},
  rootFs = app,
): Promise<Result> {
  handles += 1;
  const handle = `c${handles}`;
  const container = await test.garden.create(containerSpec(handle, rootFs, over), never);
  try {
    return await work(container);
  } finally {
    await test.garden.destroy(handle);
  }
}

export const hostPortOf = (container: Container): number => container.info().ports[0]?.hostPort ?? 0;
export const fetchText = async (port: number): Promise<string> => (await fetch(`http://127.0.0.1:${port}/`)).text();

/** Registers the suite's set-up, and its end with the proof that nothing is left. */
export function useGarden(): void {
  beforeAll(async () => {
    registry = await startRegistry();
    test = await startGarden({ insecureRegistries: [registry.host] });
    app = rootFSOfImage(
      await pushImage(registry.host, { name: "check/app", env: ["PATH=/bin", "FROM_IMAGE=yes", "BOTH=image"] }),
    );
  });

  afterAll(async () => {
    try {
      await test.garden.removeEverything();
      expect(await leftovers(test.home, "cell-1")).toEqual([]);
    } finally {
      await registry.stop();
      await test[Symbol.asyncDispose]();
    }
  });
}
