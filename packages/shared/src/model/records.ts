// The records as the core, the rules and every mirror see them: readonly, replaced as a whole, never mutated.
// Names, states and limits are Diego's. `packages/shared/codec` turns them into bytes and back.
import type { CellId, DomainName, EpochMs, EpochNs, InstanceGuid, ProcessGuid, TaskGuid } from "./ids.js";

export interface ModificationTag {
  /** Random UUID made with the row. */
  readonly epoch: string;
  /** Starts at 0, one more for each effective write. */
  readonly index: number;
}

export type UpdateStrategy = "ROLLING" | "RECREATE";

export type MetricTagValue = { readonly static: string } | { readonly dynamic: "INDEX" | "INSTANCE_GUID" };

/** What schedulers need of a DesiredLRP. Environment, actions and credentials are in its run information, which stays sealed. */
export interface DesiredLRP {
  readonly processGuid: ProcessGuid;
  readonly domain: DomainName;
  readonly logGuid: string;
  readonly annotation: string;
  readonly instances: number;
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly maxPids: number;
  /** A URL: `docker://host/path#tag`, `preloaded:stack`, … */
  readonly rootFs: string;
  /** Each value is one JSON document, compact, as bytes. */
  readonly routes: ReadonlyMap<string, Uint8Array>;
  readonly modificationTag: ModificationTag;
  readonly volumeDrivers: readonly string[];
  readonly placementTags: readonly string[];
  readonly metricTags: ReadonlyMap<string, MetricTagValue>;
  readonly updateStrategy: UpdateStrategy;
  readonly createdAtNs: EpochNs;
}

export type LRPState = "UNCLAIMED" | "CLAIMED" | "RUNNING" | "CRASHED";
export const lrpStates: readonly LRPState[] = ["UNCLAIMED", "CLAIMED", "RUNNING", "CRASHED"];

export type Presence = "ORDINARY" | "EVACUATING" | "SUSPECT";
export const presences: readonly Presence[] = ["ORDINARY", "EVACUATING", "SUSPECT"];

export interface ActualLRPKey {
  readonly processGuid: ProcessGuid;
  readonly index: number;
  readonly domain: DomainName;
}

export interface ActualLRPInstanceKey {
  readonly instanceGuid: InstanceGuid;
  readonly cellId: CellId;
}

export interface PortMapping {
  readonly containerPort: number;
  readonly hostPort: number;
  readonly containerTlsProxyPort: number;
  readonly hostTlsProxyPort: number;
}

export interface ActualLRPNetInfo {
  /** The cell's address; with `hostPort` it is where the instance answers. */
  readonly address: string;
  readonly ports: readonly PortMapping[];
  /** The container's own address. */
  readonly instanceAddress: string;
  readonly instanceIpv6Address: string;
  readonly preferredAddress: "UNKNOWN" | "INSTANCE" | "HOST";
}

/**
 * One row: at most one for each (process guid, index, presence).
 * `instanceKey` is set exactly in CLAIMED and RUNNING, `netInfo` exactly in RUNNING; EVACUATING rows are RUNNING,
 * SUSPECT rows are CLAIMED or RUNNING.
 */
export interface ActualLRP extends ActualLRPKey {
  readonly presence: Presence;
  readonly state: LRPState;
  readonly instanceKey: ActualLRPInstanceKey | undefined;
  readonly netInfo: ActualLRPNetInfo | undefined;
  readonly crashCount: number;
  readonly crashReason: string;
  readonly placementError: string;
  /** Time of the last state write, or placement failure. A change of presence alone leaves it. */
  readonly sinceNs: EpochNs;
  readonly modificationTag: ModificationTag;
  readonly internalRoutes: readonly string[];
  readonly metricTags: ReadonlyMap<string, string>;
  readonly routable: boolean;
  readonly availabilityZone: string;
  /** Rule S1: this very instance is to be stopped. Only on rows with an instance key; never taken back. */
  readonly stopMarked: boolean;
  /** The DesiredLRP's internal routes or metric tags are newer than what this instance reported. Only on rows with an instance key. */
  readonly updateMarked: boolean;
}

export type TaskState = "PENDING" | "RUNNING" | "COMPLETED" | "RESOLVING";

/** A task without its definition's secrets, which stay sealed. */
export interface Task {
  readonly taskGuid: TaskGuid;
  readonly domain: DomainName;
  readonly createdAtNs: EpochNs;
  readonly updatedAtNs: EpochNs;
  readonly firstCompletedAtNs: EpochNs;
  readonly state: TaskState;
  readonly cellId: CellId | undefined;
  readonly result: string;
  readonly failed: boolean;
  readonly failureReason: string;
  readonly rejectionCount: number;
  readonly rejectionReason: string;
  readonly rootFs: string;
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly maxPids: number;
  readonly placementTags: readonly string[];
  readonly volumeDrivers: readonly string[];
  readonly completionCallbackUrl: string;
  readonly annotation: string;
  /** Commit sequence of the last change; part of the auction id (rule P1). */
  readonly changedAt: bigint;
}

export interface Domain {
  readonly name: DomainName;
  /** `undefined` never expires. */
  readonly expiresAtMs: EpochMs | undefined;
}

export interface RootFSProvider {
  readonly name: string;
  /** Empty: any rootfs of that scheme. */
  readonly properties: readonly string[];
}

/** A cell's presence. Live while `lostAtMs` is undefined; afterwards the `missing` record of rules C1 and C2. */
export interface Cell {
  readonly cellId: CellId;
  readonly repAddress: string;
  readonly repUrl: string;
  readonly zone: string;
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly containers: number;
  readonly rootfsProviders: readonly RootFSProvider[];
  readonly placementTags: readonly string[];
  readonly optionalPlacementTags: readonly string[];
  readonly annotations: ReadonlyMap<string, string>;
  readonly owner: string;
  readonly ttlMs: number;
  readonly evacuating: boolean;
  readonly lostAtMs: EpochMs | undefined;
}

export interface Lock {
  readonly key: string;
  readonly owner: string;
  readonly value: string;
  readonly ttlMs: number;
}

export interface FeatureFlag {
  readonly name: string;
  readonly enabled: boolean;
}

/** Every flag Muster knows, with its default. */
export const featureFlagDefaults = { diego_docker: false } as const satisfies Record<string, boolean>;
export type FeatureFlagName = keyof typeof featureFlagDefaults;

/** Rule S4: the rest of a command that needed more than 100 records. */
export interface Continuation {
  readonly processGuid: ProcessGuid;
  readonly domain: DomainName;
  readonly work: "STOP" | "CREATE" | "UPDATE";
  /** The first index that is left; how far it goes is what is wanted by then. */
  readonly fromIndex: number;
}

/** Bytes that only the shell can open (AES-256-GCM under a labelled key). */
export type SealedBytes = Uint8Array;

export interface RunInfo {
  readonly processGuid: ProcessGuid;
  readonly sealed: SealedBytes;
}

export interface TaskDefinition {
  readonly taskGuid: TaskGuid;
  readonly sealed: SealedBytes;
}
