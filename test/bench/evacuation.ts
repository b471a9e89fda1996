// A cell of a real platform that goes away under load: emptied in order, then another pulled without warning. Real containers, as root.
import { systemClock } from "@muster/shared/clock";
import { type Emptying, emptyCell, type Pull, pullCell } from "../support/evacuation.js";
import { pushImage, webCommand } from "../support/images.js";
import { Platform } from "../support/platform.js";
import { startRegistry } from "../support/registry.js";
import { Router } from "../support/router.js";

export interface EvacuationBenchOptions {
  /** Over three cells; a third of them is on the cell that goes. */
  readonly instances: number;
  readonly requestsPerSecond: number;
}

export const evacuationBenchDefaults: EvacuationBenchOptions = { instances: 150, requestsPerSecond: 100 };

export interface EvacuationBenchResult {
  readonly bench: "evacuation";
  readonly cells: number;
  readonly instances: number;
  readonly requests_per_second: number;
  readonly presence_ttl_ms: number;
  /** From `push` to all instances running, with an image that no cell had yet. */
  readonly pushed_ms: number;
  readonly emptied: Emptying;
  readonly pulled: Pull;
}

const cells = 3;
const presenceTtlMs = 5_000;
const patienceMs = 600_000;

/** @throws when instances are not replaced within ten minutes */
export async function benchEvacuation(over: Partial<EvacuationBenchOptions> = {}): Promise<EvacuationBenchResult> {
  const { instances, requestsPerSecond } = { ...evacuationBenchDefaults, ...over };
  const registry = await startRegistry();
  try {
    const image = await pushImage(registry.host, { name: "bench/app", cmd: webCommand, exposedPorts: ["8080/tcp"] });
    await using platform = await Platform.start([
      ...["--cells", String(cells), "--presence-ttl", `${presenceTtlMs / 1_000}s`],
      ...["--insecure-registry", registry.host],
    ]);
    await platform.muster("enable-feature-flag", "diego_docker");
    await using router = await Router.follow(platform.home);
    const push = async (): Promise<number> => {
      const begunMs = systemClock.elapsedMs();
      await platform.muster(
        ...["push", "web", "--docker-image", image, "-i", String(instances), "-m", "32M", "-k", "32M", "--no-wait"],
      );
      await platform.eventually("all run", async () => router.backends.length === instances, patienceMs, 50);
      return Math.round(systemClock.elapsedMs() - begunMs);
    };
    const pushedMs = await push();
    const options = { requestsPerSecond, patienceMs };
    const emptied = await emptyCell(platform, router, "cell-1", options);
    // Spread evenly again, for the second cell to hold a third as well.
    await platform.muster("evacuate", "cell-1", "--cancel");
    await platform.muster("delete", "web", "-f");
    await platform.eventually("all are gone", async () => router.mirror.tables.actualLRPs.size === 0, patienceMs);
    await push();
    const pulled = await pullCell(platform, router, "cell-2", options);
    return {
      bench: "evacuation",
      cells,
      instances,
      requests_per_second: requestsPerSecond,
      presence_ttl_ms: presenceTtlMs,
      pushed_ms: pushedMs,
      emptied,
      pulled,
    };
  } finally {
    await registry.stop();
  }
}
