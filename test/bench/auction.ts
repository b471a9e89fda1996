// How fast the pure auction is: whole fleets desired at once on empty cells, every filter at work, no I/O.
import { cpus } from "node:os";
import {
  type Ask,
  type CellState,
  defaultAuctionOptions,
  faultsOf,
  lrpWorkKey,
  planAuction,
  type Work,
} from "@muster/auctioneer";
import { type Entropy, seededEntropy, systemClock } from "@muster/shared/clock";
import { asCellId, asDomainName, asProcessGuid } from "@muster/shared/model";

export interface AuctionBenchOptions {
  /** One round for each of these. */
  readonly instances: readonly number[];
  /** Instances per cell of the fleet: 200 makes 1,250 cells for 250,000. */
  readonly instancesPerCell: number;
  readonly instancesPerProcess: number;
  /** The best of so many runs counts; the first one warms the compiler. */
  readonly runs: number;
  readonly seed: string;
}

export const auctionBenchDefaults: AuctionBenchOptions = {
  instances: [10_000, 100_000, 250_000],
  instancesPerCell: 200,
  instancesPerProcess: 5,
  runs: 3,
  seed: "auction bench",
};

export interface AuctionBenchRound {
  /** `mixed`: a few sizes, as real fleets have; `every-size-different`: nothing to share between items, the worst case. */
  readonly load: "mixed" | "every-size-different";
  readonly instances: number;
  readonly processes: number;
  readonly cells: number;
  readonly zones: number;
  readonly placed: number;
  readonly failed: number;
  readonly seconds: number;
  readonly placements_per_second: number;
  readonly faults: number;
}

export interface AuctionBenchFigures {
  readonly bench: "auction";
  readonly node: string;
  readonly cpu: string;
  readonly filters: readonly string[];
  readonly target_placements_per_second: number;
  readonly rounds: readonly AuctionBenchRound[];
}

/** Measures the pure auction. Returns JSON-able figures; throws when a plan has a fault. */
export function benchAuction(options: Partial<AuctionBenchOptions> = {}): AuctionBenchFigures {
  const settings = { ...auctionBenchDefaults, ...options };
  const rounds = (["mixed", "every-size-different"] as const).flatMap((load) =>
    settings.instances.map((instances) => round(load, instances, settings)),
  );
  return {
    bench: "auction",
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
    filters: ["rootfs", "volume-drivers", "placement-tags", "memory", "disk", "containers"],
    target_placements_per_second: 100_000,
    rounds,
  };
}

function round(load: AuctionBenchRound["load"], instances: number, settings: AuctionBenchOptions): AuctionBenchRound {
  const entropy = seededEntropy(`${settings.seed} ${load} ${instances}`);
  const cells = fleet(Math.ceil(instances / settings.instancesPerCell));
  const waiting = desire(load, instances, settings.instancesPerProcess, entropy);
  let seconds = Number.POSITIVE_INFINITY;
  let plan = planAuction([], []);
  for (let run = 0; run < settings.runs; run += 1) {
    const start = systemClock.elapsedMs();
    plan = planAuction(cells, waiting, defaultAuctionOptions);
    seconds = Math.min(seconds, (systemClock.elapsedMs() - start) / 1_000);
  }
  const faults = faultsOf(plan, cells, waiting).length;
  if (faults > 0) throw new Error(`the auction of ${instances} instances made a plan with faults`);
  return {
    load,
    instances,
    processes: Math.ceil(instances / settings.instancesPerProcess),
    cells: cells.length,
    zones: new Set(cells.map(({ zone }) => zone)).size,
    placed: plan.placements.length,
    failed: plan.failures.length,
    seconds: Math.round(seconds * 1_000) / 1_000,
    placements_per_second: Math.round(plan.placements.length / seconds),
    faults,
  };
}

/** Cells over three zones: every fifth is dedicated to a tag, every third offers a volume driver, all have a proxy. */
function fleet(count: number): CellState[] {
  return Array.from({ length: count }, (_, i) => ({
    cellId: asCellId(`cell-${String(i).padStart(5, "0")}`),
    zone: `z${(i % 3) + 1}`,
    cellIndex: i,
    status: "healthy",
    statusReason: "",
    total: { memoryMb: 131_072, diskMb: 524_288, containers: 250 },
    available: { memoryMb: 131_072, diskMb: 524_288, containers: 250 },
    startingContainerCount: 0,
    rootFSProviders: [
      { scheme: "docker", fixedSet: false, names: [] },
      { scheme: "preloaded", fixedSet: true, names: ["cflinuxfs3", "cflinuxfs4"] },
    ],
    volumeDrivers: i % 3 === 0 ? ["nfsv3driver"] : [],
    placementTags: i % 5 === 0 ? ["isolated"] : [],
    optionalPlacementTags: i % 5 === 1 ? ["batch"] : [],
    proxyMemoryMb: 32,
    lrpsByProcess: new Map(),
    taskCount: 0,
  }));
}

function desire(load: AuctionBenchRound["load"], instances: number, perProcess: number, entropy: Entropy): Work[] {
  const waiting: Work[] = [];
  for (let p = 0; waiting.length < instances; p += 1) {
    const processGuid = asProcessGuid(entropy.guid());
    const ask = askOf(load, p, entropy);
    for (let index = 0; index < perProcess && waiting.length < instances; index += 1) {
      const key = lrpWorkKey(processGuid, index);
      waiting.push({ kind: "lrp", key, processGuid, index, domain: asDomainName("bench"), auctionId: `${key}@0.0`, ask });
    }
  }
  return waiting;
}

function askOf(load: AuctionBenchRound["load"], p: number, entropy: Entropy): Ask {
  const memoryMb = load === "mixed" ? ([64, 128, 256, 512, 1_024][entropy.below(5)] ?? 64) : 64 + (p % 701);
  const diskMb = load === "mixed" ? ([256, 512, 1_024][entropy.below(3)] ?? 256) : 256 + (p % 2_203);
  const isolated = entropy.below(6) === 0;
  return {
    rootFs: entropy.below(4) === 0 ? "preloaded:cflinuxfs4" : `docker://registry.example.com/app-${p}#v1`,
    memoryMb,
    diskMb,
    maxPids: 1_024,
    placementTags: isolated ? ["isolated"] : entropy.below(20) === 0 ? ["batch"] : [],
    volumeDrivers: !isolated && entropy.below(20) === 0 ? ["nfsv3driver"] : [],
  };
}
