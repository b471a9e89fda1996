// Opens the garden that the settings name, and knows what this machine can give.
import { readdirSync, statfsSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";
import type { Container, Garden } from "@muster/garden";
import { openRuncGarden } from "@muster/garden/runc";
import { openSimulatedGarden } from "@muster/garden/simulated";
import type { Clock, Entropy } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import type { RepConfig } from "./config.js";
import { probeHttp } from "./executor/http-probe.js";
import type { Check } from "./plan/index.js";

export interface OpenGarden {
  readonly garden: Garden;
  readonly probeHttp: (container: Container, check: Check) => Promise<string | undefined>;
  /** Stacks that `preloaded:<stack>` may name; sorted. */
  readonly stacks: readonly string[];
  readonly volumeDrivers: readonly string[];
  /** Destroys every container and what the cell has on the machine. */
  removeEverything(): Promise<void>;
}

const bytesPerMb = 1_048_576;
/** Diego's default maximum of 250, less one for its own check. Source: cell.md section 12. */
const defaultContainers = 249;

/** What the cell may hand out: the settings' word, else the machine's. */
export function capacityOf(config: Pick<RepConfig, "home" | "memory_mb" | "disk_mb" | "containers">) {
  const disk = (): number => {
    const { bavail, bsize } = statfsSync(config.home);
    return Math.floor((bavail * bsize) / bytesPerMb);
  };
  return {
    memoryMb: config.memory_mb || Math.floor(totalmem() / bytesPerMb),
    diskMb: config.disk_mb || disk(),
    containers: config.containers || defaultContainers,
  };
}

const stackFile = /^(.+)\.(?:tar|tar\.gz|tgz)$/;

/** @throws OperatorError when the folder cannot be read. */
function stacksIn(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (cause) {
    throw new OperatorError(
      `the preloaded roots' folder ${folder} cannot be read`,
      "see `preloaded_dir` in the rep's settings",
      cause,
    );
  }
  return [...new Set(names.flatMap((name) => stackFile.exec(name)?.[1] ?? []))].sort();
}

export function openGarden(
  config: RepConfig,
  parts: { readonly clock: Clock; readonly entropy: Entropy; readonly log: Log },
): OpenGarden {
  const { clock } = parts;
  const portRange = { first: config.host_port_first, last: config.host_port_last };
  const capacity = capacityOf(config);
  if (config.runtime === "simulated") {
    const garden = openSimulatedGarden({ ...parts, capacity, hostAddress: config.host_address, portRange });
    return {
      garden,
      stacks: [],
      volumeDrivers: [],
      // Nothing listens anywhere: a simulated process that is up answers whatever it is asked.
      probeHttp: (container, check) => container.probeTcp(check.port, check.timeoutMs),
      removeEverything: () => Promise.resolve(),
    };
  }
  const garden = openRuncGarden({
    ...parts,
    home: config.home,
    cellId: config.cell_id,
    hostAddress: config.host_address,
    portRange,
    capacity,
    insecureRegistries: config.insecure_registries,
    registryCaFiles: config.registry_ca_files,
    imageCacheDir: join(config.home, "images"),
    protectedAddresses: config.protected_addresses,
    localVolumes: config.local_volumes,
    ...(config.preloaded_dir === undefined ? {} : { preloadedDir: config.preloaded_dir }),
  });
  return {
    garden,
    stacks: config.preloaded_dir === undefined ? [] : stacksIn(config.preloaded_dir),
    volumeDrivers: garden.volumeDrivers(),
    probeHttp: (container, check) => probeHttp(clock, container.info().containerIp, check),
    removeEverything: () => garden.removeEverything(),
  };
}
