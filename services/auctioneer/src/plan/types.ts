// What an auction is about: cells as they stand, work that waits, and the plan that answers both. Plain data, no I/O.
import type { CellId, DomainName, ProcessGuid, TaskGuid } from "@muster/shared/model";

/** Memory and disk in MiB, containers as a count. */
export interface Amount {
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly containers: number;
}

export interface RootFSProvider {
  /** The rootfs scheme, lower case: docker, preloaded, … */
  readonly scheme: string;
  /** False: any rootfs of that scheme; true: only those in `names`. */
  readonly fixedSet: boolean;
  readonly names: readonly string[];
}

/** Only a healthy cell takes part in an auction; the others are kept so that a refusal can name them. */
export type CellStatus = "healthy" | "unhealthy" | "evacuating" | "silent";

/** One cell as the auctioneer sees it when the auction starts. */
export interface CellState {
  readonly cellId: CellId;
  /** The empty string is a zone too. */
  readonly zone: string;
  /** Orders the cells of a zone for the bin-pack weight. */
  readonly cellIndex: number;
  readonly status: CellStatus;
  /** Why it takes no work; empty when healthy. */
  readonly statusReason: string;
  readonly total: Amount;
  readonly available: Amount;
  readonly startingContainerCount: number;
  readonly rootFSProviders: readonly RootFSProvider[];
  readonly volumeDrivers: readonly string[];
  readonly placementTags: readonly string[];
  readonly optionalPlacementTags: readonly string[];
  /** Added to every LRP's memory; 0 on a cell without container proxy. */
  readonly proxyMemoryMb: number;
  /** Instances on this cell for each process, completed ones that are not yet destroyed included. */
  readonly lrpsByProcess: ReadonlyMap<string, number>;
  readonly taskCount: number;
}

/** What a piece of work needs of a cell. Items of one process share one `Ask` object, which is what makes large auctions cheap. */
export interface Ask {
  readonly rootFs: string;
  readonly memoryMb: number;
  readonly diskMb: number;
  /** Never takes part in placement; carried to the cell. */
  readonly maxPids: number;
  readonly placementTags: readonly string[];
  readonly volumeDrivers: readonly string[];
}

interface Waiting {
  /** Unique among all that waits: `lrp/<process guid>/<index>` or `task/<task guid>`. */
  readonly key: string;
  readonly domain: DomainName;
  /** Rule P1: names this attempt. */
  readonly auctionId: string;
  readonly ask: Ask;
}

export interface WaitingLRP extends Waiting {
  readonly kind: "lrp";
  readonly processGuid: ProcessGuid;
  readonly index: number;
}

export interface WaitingTask extends Waiting {
  readonly kind: "task";
  readonly taskGuid: TaskGuid;
}

export type Work = WaitingLRP | WaitingTask;

export const lrpWorkKey = (processGuid: string, index: number): string => `lrp/${processGuid}/${index}`;
export const taskWorkKey = (taskGuid: string): string => `task/${taskGuid}`;

/** Diego's three scoring options, and what bounds the explanations. */
export interface AuctionOptions {
  /** Score added for each starting container of a cell. */
  readonly startingContainerWeight: number;
  /** Cluster-wide cap on starting containers; 0 or less: none. */
  readonly startingContainerCountMaximum: number;
  /** Above 0: cells of a zone fill in the order of their cell index. LRPs only. */
  readonly binPackFirstFitWeight: number;
  /** Different refusals explained in one plan; further ones carry their error alone. */
  readonly maxExplanations: number;
  /** Cells named in one explanation, those that came closest first. */
  readonly maxVerdicts: number;
}

/** Source of the first three: auction.md section 1, as Diego ships them. */
export const defaultAuctionOptions: AuctionOptions = {
  startingContainerWeight: 0.25,
  startingContainerCountMaximum: 0,
  binPackFirstFitWeight: 0,
  maxExplanations: 200,
  maxVerdicts: 100,
};

/** The filters in the order in which a cell is asked. */
export const filterNames = [
  "silent",
  "evacuating",
  "unhealthy",
  "rootfs",
  "volume-drivers",
  "placement-tags",
  "memory",
  "disk",
  "containers",
] as const;
export type FilterName = (typeof filterNames)[number];

/** One cell's first refusal of one piece of work. */
export interface CellVerdict {
  readonly cellId: CellId;
  readonly zone: string;
  /** `refused`: the cell itself, when it was handed the work. */
  readonly filter: FilterName | "refused";
  readonly asked: string;
  readonly available: string;
}

/** Why a piece of work fits nowhere, once the auction was over. Work that asks the same shares it. */
export interface Explanation {
  readonly verdicts: readonly CellVerdict[];
  /** Refusing cells that the bound left out. */
  readonly omitted: number;
}

export interface Placement {
  readonly work: Work;
  readonly cellId: CellId;
}

export interface Failure {
  readonly work: Work;
  /** Diego's text, byte for byte (auction.md section 9). Never empty. */
  readonly error: string;
  readonly explanation: Explanation;
}

/** Leaves its doer no choices: every piece of waiting work is in exactly one of the two, in the order of the auction. */
export interface AuctionPlan {
  readonly placements: readonly Placement[];
  readonly failures: readonly Failure[];
}
