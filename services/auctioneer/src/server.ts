// The auctioneer's gRPC interface: why something waits, whether something would fit, and every cell as it is seen now.
import type { Server } from "@grpc/grpc-js";
import {
  type AuctioneerServiceServer,
  AuctioneerServiceService,
  type CellSummary,
  type ExplainRequest,
  type ExplainResponse,
  type PlanResponse,
  type Ask as WireAsk,
  type CellVerdict as WireVerdict,
} from "@muster/proto/muster/v1/auctioneer";
import { BbsError } from "@muster/shared/errors";
import { asDomainName, asProcessGuid } from "@muster/shared/model";
import { type CallInfo, type ServeOptions, unaryHandler } from "@muster/shared/rpc";
import {
  type AuctionPlan,
  type CellState,
  defaultAuctionOptions,
  type Explanation,
  explain,
  lrpWorkKey,
  taskWorkKey,
  type Work,
} from "./plan/index.js";
import type { AuctionRunner } from "./runner/index.js";

/** What these calls read of the runner. */
export type RunnerView = Pick<AuctionRunner, "book" | "cellStates" | "dryRun">;

const maxPlannedIndices = 10_000;

/** People, and the controller that acts for them. @throws BbsError PermissionDenied */
function allow({ peer }: CallInfo): void {
  if (peer.role !== "operator" && peer.role !== "controller") {
    throw new BbsError("PermissionDenied", undefined, { role: peer.role });
  }
}

export function auctioneerHandlers(runner: RunnerView, options: ServeOptions): AuctioneerServiceServer {
  return {
    explain: unaryHandler("Explain", options, async (request, info) => {
      allow(info);
      return explainWork(runner, request);
    }),
    plan: unaryHandler("Plan", options, async ({ ask }, info) => {
      allow(info);
      return planResponse(runner.dryRun(workOf(ask)));
    }),
    cellStates: unaryHandler("CellStates", options, async (_request, info) => {
      allow(info);
      return { cells: runner.cellStates().map(summaryOf).sort(byCellId) };
    }),
  };
}

export function registerAuctioneer(server: Server, runner: RunnerView, options: ServeOptions): void {
  server.addService(AuctioneerServiceService, auctioneerHandlers(runner, options));
}

const byCellId = (a: CellSummary, b: CellSummary): number => (a.cellId < b.cellId ? -1 : 1);

const verdictsOf = ({ verdicts }: Explanation): WireVerdict[] => verdicts.map((verdict) => ({ ...verdict }));

/** Everything is empty for what does not wait. @throws BbsError InvalidRequest */
export function explainWork(runner: RunnerView, request: ExplainRequest): ExplainResponse {
  const { processGuid, index, taskGuid } = request;
  if ((processGuid === "") === (taskGuid === "")) {
    throw new BbsError("InvalidRequest", "name a process guid with an index, or a task guid");
  }
  const entry = runner.book.entry(taskGuid === "" ? lrpWorkKey(processGuid, index) : taskWorkKey(taskGuid));
  const verdict = entry?.verdict;
  const placedOn = entry?.cellId ?? "";
  if (entry === undefined || verdict === undefined) return { judgedAtMs: 0n, placementError: "", cells: [], placedOn };
  // The last auction explains only so many; the rest is explained from the cells as they are now.
  const { kind, ask } = entry.work;
  const kept = verdict.explanation.verdicts.length > 0;
  const told = kept ? verdict.explanation : explain(runner.cellStates(), kind, ask, defaultAuctionOptions.maxVerdicts);
  return {
    judgedAtMs: BigInt(Math.round(verdict.judgedAtMs)),
    placementError: verdict.error,
    cells: verdictsOf(told),
    placedOn,
  };
}

/** @throws BbsError InvalidRequest naming every fault. */
function workOf(ask: WireAsk | undefined): Work[] {
  const faults: string[] = [];
  if (ask === undefined) throw new BbsError("InvalidRequest", "Invalid field: ask");
  if (ask.indices.length === 0 || ask.indices.length > maxPlannedIndices || ask.indices.some((index) => index < 0)) {
    faults.push(`indices (1 to ${maxPlannedIndices}, none negative)`);
  }
  if (ask.rootFs === "") faults.push("root_fs");
  if (ask.memoryMb < 0) faults.push("memory_mb");
  if (ask.diskMb < 0) faults.push("disk_mb");
  if (faults.length > 0) throw new BbsError("InvalidRequest", faults.map((field) => `Invalid field: ${field}`).join(", "));
  const { rootFs, memoryMb, diskMb, maxPids, placementTags, volumeDrivers } = ask;
  const shared = { rootFs, memoryMb, diskMb, maxPids, placementTags, volumeDrivers };
  const processGuid = asProcessGuid(ask.processGuid);
  const domain = asDomainName(ask.domain);
  return [...new Set(ask.indices)].map((index) => {
    const key = lrpWorkKey(processGuid, index);
    return { kind: "lrp", key, processGuid, index, domain, auctionId: key, ask: shared };
  });
}

function planResponse({ placements, failures }: AuctionPlan): PlanResponse {
  const indexOf = (work: Work): number => (work.kind === "lrp" ? work.index : 0);
  const answers = [
    ...placements.map(({ work, cellId }) => ({ index: indexOf(work), cellId, placementError: "" })),
    ...failures.map(({ work, error }) => ({ index: indexOf(work), cellId: "", placementError: error })),
  ];
  const [failure] = failures;
  const cells = failure === undefined ? [] : verdictsOf(failure.explanation);
  return { placements: answers.sort((a, b) => a.index - b.index), cells };
}

function summaryOf(cell: CellState): CellSummary {
  const { cellId, zone, status, total, available, taskCount, lrpsByProcess } = cell;
  let lrps = 0;
  for (const instances of lrpsByProcess.values()) lrps += instances;
  return {
    cellId,
    zone,
    state: status,
    totalMemoryMb: total.memoryMb,
    freeMemoryMb: available.memoryMb,
    totalDiskMb: total.diskMb,
    freeDiskMb: available.diskMb,
    totalContainers: total.containers,
    freeContainers: available.containers,
    lrps,
    tasks: taskCount,
  };
}
