// `pnpm bench store|bbs|auction|converge|recovery|garden|cell|watch|fleet|evacuation`: measures, and prints one JSON document and nothing else on stdout.
import { mkdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { auctionBenchDefaults, benchAuction } from "./auction.js";
import { bbsBenchDefaults, benchBbs } from "./bbs.js";
import { benchCell, cellBenchDefaults } from "./cell.js";
import { benchConverge, convergeBenchDefaults } from "./converge.js";
import { benchEvacuation, evacuationBenchDefaults } from "./evacuation.js";
import { benchGarden } from "./garden.js";
import { benchRecovery, recoveryBenchDefaults } from "./recovery.js";
import { benchStore } from "./store.js";
import { benchWatch, watchBenchDefaults } from "./watch.js";
import { benchWholeFleet, wholeFleetDefaults } from "./whole-fleet.js";

const usage = `usage: pnpm bench store [--store lmdb|etcd] [--size BYTES]
       pnpm bench bbs [--store lmdb|etcd] [--size CALLS] [--fleet INSTANCES] [--profile DIR]
       pnpm bench auction [--size INSTANCES]
       pnpm bench converge [--size INSTANCES]
       pnpm bench recovery [--size INSTANCES]
       pnpm bench garden [--size CONTAINERS]
       pnpm bench cell [--store lmdb|etcd] [--rounds N] [--burst INSTANCES] [--bursts N] [--crashes N]
       pnpm bench evacuation [--size INSTANCES]
       pnpm bench watch [--watchers N] [--lrps INSTANCES] [--changes PER_SECOND] [--seconds N] [--profile DIR]
       pnpm bench fleet [--store lmdb|etcd] [--size INSTANCES] [--cells N] [--profile DIR]

store     commits of 1, 16 and 127 puts on each driver, or on the one named; --size  bytes of each value
bbs       unary calls beside a bare echo, reported items, lists, and core with journal alone; both stores unless one is named.
          --size  unary calls of each kind (${bbsBenchDefaults.calls}); twice as many items are reported
          --fleet  instances on record for lists, memory and failover (${bbsBenchDefaults.fleets.join(" and ")}; 0: none)
          --profile  the service writes its CPU profile into this folder
garden    a cached image from create to process started, beside a bare \`runc run\`, and what a row of containers (100) leaves; as root
cell      a cached image from desire to RUNNING through all services, one at a time (${cellBenchDefaults.rounds} rounds) and many at once
          (${cellBenchDefaults.bursts} bursts of ${cellBenchDefaults.burst}), crash to running, stop to gone; beside runc, and beside Docker where dockerd is on PATH; as root
watch     calls beside changes, without and with watchers (${watchBenchDefaults.watchers} watchers, ${watchBenchDefaults.lrps} instances, ${watchBenchDefaults.changes} changes/s)
auction   the pure auction over whole fleets (${auctionBenchDefaults.instances.join(", ")} instances)
converge  CPU time of the converger over whole fleets (${convergeBenchDefaults.instances.join(", ")} instances): idle, full, half of the cells lost
recovery  from a cell's falling silent to its instances placed elsewhere (${recoveryBenchDefaults.instances} instances), in one process, on LMDB
fleet     all services and a fleet of simulated cells: from desire to all RUNNING, then idle, then the active BBS killed
          (${wholeFleetDefaults.sizes.join(" and ")} instances, ${wholeFleetDefaults.store}; several GiB of memory)
          --cells  so many; else one for 200 instances.  --profile  every process writes its CPU profile; then nothing is killed
evacuation  a cell emptied, and another pulled, while requests come in (${evacuationBenchDefaults.instances} real instances on three cells); as root
`;

const fail = (message: string): never => {
  process.stderr.write(`${message}\n\n${usage}`);
  process.exit(2);
};

function sizeOf(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const size = Number(given);
  return Number.isInteger(size) && size >= 100 && size <= 5_000_000 ? size : fail("--size is a number from 100 to 5000000");
}

function fleetsOf(given: string): number[] {
  const instances = Number(given);
  if (instances === 0) return [];
  return Number.isInteger(instances) && instances % 5 === 0 && instances <= 1_000_000
    ? [instances]
    : fail("--fleet is a multiple of 5");
}

const multipleOf5 = (size: number): number => (size % 5 === 0 ? size : fail("--size is a multiple of 5"));

function numberOf(name: string, given: string | undefined, otherwise: number): number {
  const number = Number(given ?? otherwise);
  return Number.isInteger(number) && number > 0 && number <= 1_000_000 ? number : fail(`${name} is a number from 1 to 1000000`);
}

function storeOf(given: string | undefined): "lmdb" | "etcd" | undefined {
  if (given === undefined || given === "lmdb" || given === "etcd") return given;
  return fail(`no store is called ${given}`);
}

async function run(): Promise<object> {
  const options = {
    store: { type: "string" },
    size: { type: "string" },
    fleet: { type: "string" },
    profile: { type: "string" },
    watchers: { type: "string" },
    lrps: { type: "string" },
    cells: { type: "string" },
    changes: { type: "string" },
    seconds: { type: "string" },
    rounds: { type: "string" },
    burst: { type: "string" },
    bursts: { type: "string" },
    crashes: { type: "string" },
  } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const size = sizeOf(values.size);
  const store = storeOf(values.store);
  switch (positionals[0]) {
    case "store":
      return benchStore({
        ...(store === undefined ? {} : { drivers: [store] }),
        ...(size === undefined ? {} : { valueBytes: size }),
      });
    case "bbs":
      if (values.profile !== undefined) mkdirSync(values.profile, { recursive: true });
      return benchBbs({
        ...(store === undefined ? {} : { stores: [store] }),
        ...(size === undefined ? {} : { calls: size, reported: size * 2 }),
        ...(values.fleet === undefined ? {} : { fleets: fleetsOf(values.fleet) }),
        profileDir: values.profile,
      });
    case "garden":
      return benchGarden(size === undefined ? {} : { cycles: size });
    case "cell":
      return benchCell({
        ...(store === undefined ? {} : { stores: [store] }),
        rounds: numberOf("--rounds", values.rounds, cellBenchDefaults.rounds),
        burst: numberOf("--burst", values.burst, cellBenchDefaults.burst),
        bursts: numberOf("--bursts", values.bursts, cellBenchDefaults.bursts),
        crashes: numberOf("--crashes", values.crashes, cellBenchDefaults.crashes),
      });
    case "watch":
      if (values.profile !== undefined) mkdirSync(values.profile, { recursive: true });
      return benchWatch({
        watchers: numberOf("--watchers", values.watchers, watchBenchDefaults.watchers),
        lrps: numberOf("--lrps", values.lrps, watchBenchDefaults.lrps),
        changes: numberOf("--changes", values.changes, watchBenchDefaults.changes),
        seconds: numberOf("--seconds", values.seconds, watchBenchDefaults.seconds),
        profileDir: values.profile,
      });
    case "fleet":
      if (values.profile !== undefined) mkdirSync(values.profile, { recursive: true });
      return benchWholeFleet({
        ...(store === undefined ? {} : { store }),
        ...(size === undefined ? {} : { sizes: [multipleOf5(size)] }),
        cells: values.cells === undefined ? undefined : numberOf("--cells", values.cells, 1),
        profileDir: values.profile,
      });
    case "auction":
      return benchAuction(size === undefined ? {} : { instances: [size] });
    case "converge":
      return benchConverge(size === undefined ? {} : { instances: [size] });
    case "recovery":
      return benchRecovery(size === undefined ? {} : { instances: size });
    case "evacuation":
      return benchEvacuation(size === undefined ? {} : { instances: size });
    default:
      return fail(positionals[0] === undefined ? "say what to measure" : `there is no bench called ${positionals[0]}`);
  }
}

run().then(
  (figures) => {
    process.stdout.write(`${JSON.stringify(figures, undefined, 2)}\n`);
  },
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    if (error instanceof Error && error.cause !== undefined) process.stderr.write(`caused by ${String(error.cause)}\n`);
    process.exit(1);
  },
);
