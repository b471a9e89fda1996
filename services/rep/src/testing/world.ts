// One cell on a fake clock with the simulated garden and the scripted BBS.
import { openSimulatedGarden, type SimulatedGarden, type SimulatedGardenOptions } from "@muster/garden/simulated";
import { Action, RunAction } from "@muster/proto/models/actions";
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { TaskDefinition } from "@muster/proto/models/task";
import type { LRPWork, TaskWork } from "@muster/proto/muster/v1/rep";
import { type FakeClock, fakeClock, seededEntropy } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import {
  type ActualLRP,
  asCellId,
  asDomainName,
  asInstanceGuid,
  asProcessGuid,
  asTaskGuid,
  type Task,
} from "@muster/shared/model";
import { noTransfers, type Transfers } from "../assets/transfers.js";
import { type ContainerStore, memoryContainerStore } from "../data/store.js";
import { Rep, type RepObserver, type RepOptions, type RepSettings } from "../rep.js";
import { FakeBBS, sinceTheEpoch } from "./fake-bbs.js";

export const cellId = "cell-1";

export const settings: RepSettings = {
  cellId,
  cellIndex: 0,
  zone: "z1",
  repAddress: "127.0.0.1:1801",
  rootFSSchemes: ["docker"],
  placementTags: [],
  optionalPlacementTags: [],
  capacity: { memoryMb: 0, diskMb: 0, containers: 0 },
  presenceTtlMs: 5_000,
  pollingMs: 30_000,
  gracefulShutdownMs: 10_000,
  adoptionTimeoutMs: 50_000,
  evacuationTimeoutMs: 600_000,
  containerCheckMs: 600_000,
};

export const action = (run: Partial<RunAction> = {}): Action => ({
  ...Action.decode(new Uint8Array(0)),
  runAction: { ...RunAction.decode(new Uint8Array(0)), path: "/app", user: "root", logSource: "APP/PROC/WEB", ...run },
});

export const desiredLRP = (processGuid: string, over: Partial<DesiredLRP> = {}): DesiredLRP => ({
  ...DesiredLRP.decode(new Uint8Array(0)),
  processGuid,
  domain: "apps",
  rootFs: "docker:///library/app",
  instances: 1,
  memoryMb: 64,
  diskMb: 64,
  ports: [8080],
  action: action(),
  checkDefinition: {
    checks: [{ tcpCheck: { port: 8080, connectTimeoutMs: 0n, intervalMs: 0n }, httpCheck: undefined }],
    logSource: "",
    readinessChecks: [],
  },
  startTimeoutMs: 60_000n,
  ...over,
});

export const row = (processGuid: string, index = 0, over: Partial<ActualLRP> = {}): ActualLRP => ({
  processGuid: asProcessGuid(processGuid),
  index,
  domain: asDomainName("apps"),
  presence: "ORDINARY",
  state: "UNCLAIMED",
  instanceKey: undefined,
  netInfo: undefined,
  crashCount: 0,
  crashReason: "",
  placementError: "",
  sinceNs: sinceTheEpoch,
  modificationTag: { epoch: "e", index: 0 },
  internalRoutes: [],
  metricTags: new Map(),
  routable: false,
  availabilityZone: "",
  stopMarked: false,
  updateMarked: false,
  ...over,
});

export const heldBy = (instanceGuid: string) => ({ instanceGuid: asInstanceGuid(instanceGuid), cellId: asCellId(cellId) });

export const work = (processGuid: string, index = 0, over: Partial<LRPWork> = {}): LRPWork => ({
  auctionId: `${processGuid}/${index}/e/0`,
  processGuid,
  index,
  domain: "apps",
  rootFs: "docker:///library/app",
  memoryMb: 64,
  diskMb: 64,
  maxPids: 0,
  placementTags: [],
  volumeDrivers: [],
  ...over,
});

export const taskDefinition = (over: Partial<TaskDefinition> = {}): TaskDefinition => ({
  ...TaskDefinition.decode(new Uint8Array(0)),
  rootFs: "docker:///library/app",
  memoryMb: 64,
  diskMb: 64,
  action: action({ logSource: "TASK" }),
  ...over,
});

export const task = (taskGuid: string, over: Partial<Task> = {}): Task => ({
  taskGuid: asTaskGuid(taskGuid),
  domain: asDomainName("jobs"),
  createdAtNs: sinceTheEpoch,
  updatedAtNs: sinceTheEpoch,
  firstCompletedAtNs: sinceTheEpoch,
  state: "PENDING",
  cellId: undefined,
  result: "",
  failed: false,
  failureReason: "",
  rejectionCount: 0,
  rejectionReason: "",
  rootFs: "docker:///library/app",
  memoryMb: 64,
  diskMb: 64,
  maxPids: 0,
  placementTags: [],
  volumeDrivers: [],
  completionCallbackUrl: "",
  annotation: "",
  changedAt: 1n,
  ...over,
});

export const taskWork = (taskGuid: string, over: Partial<TaskWork> = {}): TaskWork => ({
  auctionId: `${taskGuid}/1`,
  taskGuid,
  domain: "jobs",
  rootFs: "docker:///library/app",
  memoryMb: 64,
  diskMb: 64,
  maxPids: 0,
  placementTags: [],
  volumeDrivers: [],
  ...over,
});

const noObserver: RepObserver = {
  completed: () => undefined,
  exitedOnTimeout: () => undefined,
  bulkSync: () => undefined,
  gardenCheck: () => undefined,
  stranded: () => undefined,
};

export interface World {
  readonly clock: FakeClock;
  readonly bbs: FakeBBS;
  readonly garden: SimulatedGarden;
  readonly store: ContainerStore;
  rep: Rep;
  /** Ends the rep as SIGTERM does: its containers stay. */
  stop(): Promise<void>;
  /** Starts another rep on the same cell, garden and folder. */
  restart(): void;
  /** Places one instance and lets it become RUNNING; its guid. */
  placed(processGuid: string, over?: Partial<DesiredLRP>): Promise<string>;
}

export async function openWorld(
  garden: Partial<SimulatedGardenOptions> = {},
  over: Partial<RepSettings> = {},
  prepare: (bbs: FakeBBS) => void = () => undefined,
  observer: Partial<RepObserver> = {},
  transfers: Transfers = noTransfers,
  identity?: RepOptions["identity"],
): Promise<World> {
  const clock = fakeClock();
  const bbs = new FakeBBS();
  prepare(bbs);
  const simulated = openSimulatedGarden({
    clock,
    entropy: seededEntropy("1:garden"),
    capacity: { memoryMb: 1_024, diskMb: 1_024, containers: 10 },
    hostAddress: "127.0.0.1",
    portRange: { first: 61_001, last: 61_020 },
    ...garden,
  });
  const store = memoryContainerStore();
  let lives = 0;
  // What the cell's folder remembers.
  let evacuating = false;
  let stopRep = new AbortController();
  let ended: Promise<void> = Promise.resolve();
  const start = (): Rep => {
    lives += 1;
    stopRep = new AbortController();
    const rep = new Rep({
      clock,
      entropy: seededEntropy(`1:rep:${lives}`),
      log: silentLog(),
      garden: simulated,
      io: bbs.io,
      store,
      owner: "owner-1",
      evacuating,
      transfers,
      identity,
      observer: { ...noObserver, ...observer },
      rememberEvacuating: (now) => {
        evacuating = now;
      },
      settings: { ...settings, ...over },
      probeHttp: (container, check) => container.probeTcp(check.port, check.timeoutMs),
    });
    ended = rep.run(stopRep.signal);
    ended.catch(() => undefined);
    return rep;
  };
  const world: World = {
    clock,
    bbs,
    garden: simulated,
    store,
    rep: start(),
    stop: async () => {
      stopRep.abort("SIGTERM");
      await clock.advance(0);
      await ended;
    },
    restart: () => {
      world.rep = start();
    },
    placed: async (processGuid, desired) => {
      bbs.desired.set(processGuid, desiredLRP(processGuid, desired));
      bbs.put(row(processGuid));
      world.rep.perform({ cellId, lrps: [work(processGuid)], tasks: [] });
      await clock.advance(1_000);
      const found = [...bbs.rows.values()].find((one) => one.processGuid === processGuid);
      return found?.instanceKey?.instanceGuid ?? "";
    },
  };
  await clock.advance(10);
  return world;
}
