// Fleets and loads drawn by fast-check: small, so that cells fill up, tags collide and scores draw level.
import { asCellId, asDomainName, asProcessGuid, asTaskGuid } from "@muster/shared/model";
import fc from "fast-check";
import {
  type Ask,
  type AuctionOptions,
  type CellState,
  defaultAuctionOptions,
  lrpWorkKey,
  taskWorkKey,
  type Work,
} from "../types.js";

const someOf = <T>(...values: T[]) => fc.subarray(values);

const amount = fc.record({
  memoryMb: fc.constantFrom(0, 50, 100, 200),
  diskMb: fc.constantFrom(0, 100, 300),
  containers: fc.constantFrom(0, 3, 10),
});

const asks: fc.Arbitrary<Ask> = fc.record({
  rootFs: fc.constantFrom("docker:///library/redis", "preloaded:linux", "preloaded:windows", "preloaded:none", "garbage"),
  memoryMb: fc.constantFrom(0, 5, 10, 40),
  diskMb: fc.constantFrom(0, 10, 30),
  maxPids: fc.constant(0),
  placementTags: someOf("a", "b", "unheard-of"),
  volumeDrivers: someOf("nfs", "unheard-of"),
});

const cellStates: fc.Arbitrary<CellState[]> = fc
  .array(
    fc.record({
      zone: fc.constantFrom("", "z1", "z2", "z3"),
      cellIndex: fc.nat(3),
      status: fc.constantFrom("healthy", "healthy", "healthy", "healthy", "unhealthy", "evacuating", "silent"),
      statusReason: fc.constant(""),
      total: amount,
      used: fc.record({ memoryMb: fc.nat(60), diskMb: fc.nat(60), containers: fc.nat(2) }),
      startingContainerCount: fc.nat(3),
      rootFSProviders: someOf(
        { scheme: "docker", fixedSet: false, names: [] },
        { scheme: "preloaded", fixedSet: true, names: ["linux"] },
        { scheme: "preloaded", fixedSet: true, names: ["windows"] },
      ),
      volumeDrivers: someOf("nfs"),
      placementTags: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: someOf("a", "b") }),
      optionalPlacementTags: someOf("a", "b"),
      proxyMemoryMb: fc.constantFrom(0, 0, 4),
      lrps: fc.dictionary(fc.constantFrom("p0", "p1", "p2"), fc.nat(3)),
      taskCount: fc.nat(2),
    }),
    { maxLength: 120, size: "+1" },
  )
  .map((drawn) =>
    drawn.map(({ used, lrps, ...rest }, i) => ({
      ...rest,
      cellId: asCellId(`cell-${i}`),
      available: {
        memoryMb: rest.total.memoryMb - used.memoryMb,
        diskMb: rest.total.diskMb - used.diskMb,
        containers: rest.total.containers - used.containers,
      },
      lrpsByProcess: new Map(Object.entries(lrps)),
    })),
  );

/** Cells that all offer the same, in few zones: the shape in which the auction skips most. */
const uniformStates: fc.Arbitrary<CellState[]> = cellStates.map((cells) => {
  const offer = {
    rootFSProviders: cells[0]?.rootFSProviders ?? [],
    volumeDrivers: [],
    placementTags: [],
    optionalPlacementTags: [],
  };
  return cells.map((cell) => ({ ...cell, ...offer, zone: cell.zone === "z3" ? "z3" : "z1" }));
});

const processes = fc.array(fc.record({ ask: asks, indices: fc.uniqueArray(fc.nat(8), { minLength: 1 }) }), { maxLength: 12 });

const works: fc.Arbitrary<Work[]> = fc.record({ processes, tasks: fc.array(asks, { maxLength: 6 }) }).map((drawn) => [
  ...drawn.processes.flatMap(({ ask, indices }, p) =>
    indices.map((index): Work => {
      const key = lrpWorkKey(`p${p}`, index);
      return {
        kind: "lrp",
        key,
        processGuid: asProcessGuid(`p${p}`),
        index,
        domain: asDomainName("d"),
        auctionId: `${key}@e.0`,
        ask,
      };
    }),
  ),
  ...drawn.tasks.map((ask, t): Work => {
    const key = taskWorkKey(`t${t}`);
    return { kind: "task", key, taskGuid: asTaskGuid(`t${t}`), domain: asDomainName("d"), auctionId: `${key}@1`, ask };
  }),
]);

const options: fc.Arbitrary<AuctionOptions> = fc.record({
  startingContainerWeight: fc.constantFrom(0, 0.25, 1),
  startingContainerCountMaximum: fc.constantFrom(0, 0, -1, 20),
  binPackFirstFitWeight: fc.constantFrom(0, 0.5),
  maxExplanations: fc.constant(defaultAuctionOptions.maxExplanations),
  maxVerdicts: fc.constantFrom(2, 100),
});

export interface Scene {
  readonly cells: CellState[];
  readonly waiting: Work[];
  readonly options: AuctionOptions;
}

export const scenes: fc.Arbitrary<Scene> = fc.record({ cells: fc.oneof(cellStates, uniformStates), waiting: works, options });

/** A scene and the same one with everything in another order and some work given twice. */
export const shuffledScenes: fc.Arbitrary<{ readonly scene: Scene; readonly shuffled: Scene }> = scenes.chain((scene) =>
  fc
    .record({
      cells: fc.shuffledSubarray(scene.cells, { minLength: scene.cells.length, maxLength: scene.cells.length }),
      waiting: fc.shuffledSubarray(scene.waiting, { minLength: scene.waiting.length, maxLength: scene.waiting.length }),
      repeated: fc.subarray(scene.waiting),
    })
    .map(({ cells, waiting, repeated }) => ({
      scene,
      shuffled: { cells, waiting: [...waiting, ...repeated], options: scene.options },
    })),
);
