// The cell's state as the auctioneer sees it, and its presence.
import type { CellPresence } from "@muster/proto/models/cells";
import type { LRPState, RootFSProvider, StateResponse, TaskState } from "@muster/proto/muster/v1/rep";
import type { ContainerRecord, Resources } from "./container.js";

/** What does not change while the rep runs. */
export interface CellIdentity {
  readonly cellId: string;
  readonly cellIndex: number;
  readonly zone: string;
  /** host:port of the rep's gRPC interface. */
  readonly repAddress: string;
  readonly rootFSSchemes: readonly string[];
  /** Stacks that `preloaded:<stack>` may name. */
  readonly stacks?: readonly string[];
  readonly volumeDrivers?: readonly string[];
  readonly placementTags: readonly string[];
  readonly optionalPlacementTags: readonly string[];
  readonly total: Resources;
}

/** What does. */
export interface CellCondition {
  readonly available: Resources;
  readonly startingContainerCount: number;
  readonly evacuating: boolean;
  /** Why the cell takes no work; `undefined` when it does. */
  readonly unhealthyReason: string | undefined;
}

/** Source: cell.md section 1, LRPs[]. */
export function lrpStateName(record: Pick<ContainerRecord, "state" | "ending">): string {
  if (record.state === "running") return "RUNNING";
  if (record.state !== "completed") return "CLAIMED";
  return record.ending === "crashed" ? "CRASHED" : "SHUTDOWN";
}

export const lrpState = (record: ContainerRecord): LRPState => ({
  processGuid: record.key.processGuid,
  index: record.key.index,
  domain: record.key.domain,
  instanceGuid: record.instanceGuid,
  state: lrpStateName(record),
  memoryMb: record.memoryMb,
  diskMb: record.diskMb,
});

export const taskState = (record: ContainerRecord): TaskState => ({
  taskGuid: record.task?.guid ?? "",
  domain: record.key.domain,
  state: record.state === "completed" ? "COMPLETED" : "RUNNING",
  memoryMb: record.memoryMb,
  diskMb: record.diskMb,
});

/** What changed since the last message, or everything; containers of LRPs and of tasks alike. */
export interface StateChange {
  readonly full: boolean;
  readonly containers: readonly ContainerRecord[];
  readonly removedLRPs: readonly string[];
  readonly removedTasks: readonly string[];
}

const providers = ({ rootFSSchemes, stacks = [] }: CellIdentity): RootFSProvider[] => [
  ...rootFSSchemes.map((scheme) => ({ scheme, fixedSet: false, names: [] })),
  ...(stacks.length === 0 ? [] : [{ scheme: preloaded, fixedSet: true, names: [...stacks] }]),
];

/** The scheme of roots that the cell itself has. */
const preloaded = "preloaded";

/** One message of the state stream; with `full` the reader forgets what it knew. */
export function cellState(identity: CellIdentity, condition: CellCondition, change: StateChange): StateResponse {
  return {
    full: change.full,
    cellId: identity.cellId,
    cellIndex: identity.cellIndex,
    zone: identity.zone,
    total: { ...identity.total },
    available: { ...condition.available },
    startingContainerCount: condition.startingContainerCount,
    evacuating: condition.evacuating,
    healthy: condition.unhealthyReason === undefined,
    unhealthyReason: condition.unhealthyReason ?? "",
    rootFsProviders: providers(identity),
    volumeDrivers: [...(identity.volumeDrivers ?? [])],
    placementTags: [...identity.placementTags],
    optionalPlacementTags: [...identity.optionalPlacementTags],
    proxyMemoryAllocationMb: 0,
    lrps: change.containers.filter((record) => record.task === undefined).map(lrpState),
    removedLrps: [...change.removedLRPs],
    tasks: change.containers.filter((record) => record.task !== undefined).map(taskState),
    removedTasks: [...change.removedTasks],
  };
}

/** The content of the cell's presence: where its rep is reached and what it could hold when empty. */
export const cellPresence = (identity: CellIdentity): CellPresence => ({
  cellId: identity.cellId,
  repAddress: identity.repAddress,
  repUrl: `https://${identity.repAddress}`,
  zone: identity.zone,
  capacity: { ...identity.total },
  rootfsProviders: providers(identity).map(({ scheme, names }) => ({ name: scheme, properties: names })),
  placementTags: [...identity.placementTags],
  optionalPlacementTags: [...identity.optionalPlacementTags],
  annotations: {},
});
