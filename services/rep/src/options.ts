// What a rep is made of: its ways to the BBS, its settings, and what it is told of.
import type { Container, Garden } from "@muster/garden";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import type { Task } from "@muster/proto/models/task";
import type { WatchRequest, WatchResponse } from "@muster/proto/muster/v1/watch";
import type { Clock, Entropy } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { Transfers } from "./assets/transfers.js";
import type { ContainerStore } from "./data/store.js";
import type { IdentitySource } from "./executor/identities.js";
import type { Check } from "./plan/index.js";
import type { ReportConnection } from "./report/session.js";

/** How the rep reaches the BBS. */
export interface RepIO {
  openReport(signal: AbortSignal): ReportConnection;
  openWatch(request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchResponse>;
  /** @throws BbsError */
  fetchDesiredLRP(processGuid: string, signal: AbortSignal): Promise<DesiredLRP>;
  /** @throws BbsError */
  fetchTask(taskGuid: string, signal: AbortSignal): Promise<Task>;
}

export interface RepSettings {
  readonly cellId: string;
  readonly cellIndex: number;
  readonly zone: string;
  /** host:port of the rep's gRPC interface. */
  readonly repAddress: string;
  readonly rootFSSchemes: readonly string[];
  /** Stacks that `preloaded:<stack>` may name; none when left out. */
  readonly stacks?: readonly string[];
  readonly volumeDrivers?: readonly string[];
  /** A folder of this machine with certificates that containers are lent, at the path their owner says. */
  readonly trustedCertificatesDir?: string | undefined;
  readonly placementTags: readonly string[];
  readonly optionalPlacementTags: readonly string[];
  /** 0: the garden's. MiB. */
  readonly capacity: { readonly memoryMb: number; readonly diskMb: number; readonly containers: number };
  readonly presenceTtlMs: number;
  readonly pollingMs: number;
  readonly gracefulShutdownMs: number;
  readonly adoptionTimeoutMs: number;
  /** After this long an evacuation stops what is left. */
  readonly evacuationTimeoutMs: number;
  /** Between checks of the cell with a container of its own; 0: none are made. */
  readonly containerCheckMs: number;
}

/** What is counted; the shell makes metrics of it. */
export interface RepObserver {
  completed(): void;
  exitedOnTimeout(): void;
  /** Building one plan over everything took this long. */
  bulkSync(durationMs: number): void;
  gardenCheck(ok: boolean): void;
  /** Evacuating rows left when an evacuation's time was over. */
  stranded(count: number): void;
}

export interface RepOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly log: Log;
  readonly garden: Garden;
  readonly io: RepIO;
  readonly store: ContainerStore;
  /** Rule R6: the random id in the cell's data folder. */
  readonly owner: string;
  /** Rule E2: remembered in the cell's data folder. */
  readonly evacuating: boolean;
  /** Writes that down; nothing is remembered without it. */
  readonly rememberEvacuating?: (evacuating: boolean) => void;
  readonly settings: RepSettings;
  readonly probeHttp: (container: Container, check: Check) => Promise<string | undefined>;
  /** Downloads and uploads; without it such actions fail. */
  readonly transfers?: Transfers;
  /** Where instances' certificates come from; without it they get none. */
  readonly identity?: IdentitySource | undefined;
  readonly observer?: RepObserver;
}
