// A cached image: from create to process started through the garden, beside a bare `runc run` of the same bundle; and what many containers
// in a row leave behind. Root, real tools.
import { pinRootFS, rootFSOfImage } from "@muster/garden/image-ref";
import { containerSpec, never, shell, startGarden } from "../support/garden.js";
import { type SoakResult, soakGarden } from "../support/garden-soak.js";
import { pushImage } from "../support/images.js";
import { startRegistry } from "../support/registry.js";
import { bareRun } from "./bare-runc.js";
import { type Spread, spreadOf, timed } from "./spread.js";

export interface GardenBenchOptions {
  /** Starts to measure; the first, which pulls, is left out. Default 20. */
  readonly rounds?: number;
  /** Containers to start and end in a row, counting what is left of them. Default 100. */
  readonly cycles?: number;
}

export interface GardenBenchResult {
  readonly rounds: number;
  readonly started_ms: Spread;
  readonly bare_runc_run_ms: Spread;
  readonly destroyed_ms: Spread;
  /** Medians; the target is at most 4. */
  readonly started_over_bare: number;
  readonly soak: SoakResult;
}

/** Measures one start after the other on a garden of its own; leaves nothing behind. */
export async function benchGarden({ rounds = 20, cycles = 100 }: GardenBenchOptions = {}): Promise<GardenBenchResult> {
  const registry = await startRegistry();
  const test = await startGarden({ insecureRegistries: [registry.host] });
  const started: number[] = [];
  const bare: number[] = [];
  const destroyed: number[] = [];
  let soak: SoakResult;
  try {
    const app = rootFSOfImage(await pushImage(registry.host, { name: "bench/app" }));
    const pinned = pinRootFS(app, (await test.garden.inspectImage(app, undefined, never)).digest);
    for (let round = 0; round <= rounds; round += 1) {
      const handle = `bench-${round}`;
      const spec = containerSpec(handle, pinned, { ports: [{ containerPort: 8080 }] });
      const begun = performance.now();
      const container = await test.garden.create(spec, never);
      await container.run(shell("sleep 100"), () => undefined);
      const tookMs = performance.now() - begun;
      const bareMs = await bareRun(test.home, "cell-1", handle);
      const destroyMs = await timed(() => test.garden.destroy(handle));
      if (round === 0) continue;
      started.push(tookMs);
      bare.push(bareMs);
      destroyed.push(destroyMs);
    }
    soak = await soakGarden(test, "cell-1", pinned, cycles);
  } finally {
    await test.garden.removeEverything();
    await registry.stop();
    await test[Symbol.asyncDispose]();
  }
  const [ours, theirs] = [spreadOf(started), spreadOf(bare)];
  return {
    rounds,
    started_ms: ours,
    bare_runc_run_ms: theirs,
    destroyed_ms: spreadOf(destroyed),
    started_over_bare: ours.p50 / theirs.p50,
    soak,
  };
}
