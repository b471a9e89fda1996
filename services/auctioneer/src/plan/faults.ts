// Finds fault with a plan, with none of the auction's own shortcuts: the runner asks before it acts, tests ask always.
import { verdictOf } from "./filters.js";
import type { AuctionPlan, CellState, Work } from "./types.js";

export interface PlanFault {
  readonly fault: "unknown-cell" | "unfit-cell" | "overfull-cell" | "key-twice" | "not-waiting" | "unanswered" | "silent-failure";
  /** The work or the cell it is about. */
  readonly about: string;
}

/** Faults listed at most; one is enough to refuse a plan. */
const maxFaults = 100;

/** Says what is wrong with a plan: nothing, when it may be carried out. */
export function faultsOf(plan: AuctionPlan, cells: readonly CellState[], waiting: readonly Work[]): readonly PlanFault[] {
  return [...answerFaults(plan, waiting), ...cellFaults(plan, cells)].slice(0, maxFaults);
}

/** Every waiting key is answered once, and nothing else is. */
function answerFaults(plan: AuctionPlan, waiting: readonly Work[]): PlanFault[] {
  const faults: PlanFault[] = [];
  const asked = new Set(waiting.map(({ key }) => key));
  const answered = new Set<string>();
  for (const { work } of [...plan.placements, ...plan.failures]) {
    if (!asked.has(work.key)) faults.push({ fault: "not-waiting", about: work.key });
    if (answered.has(work.key)) faults.push({ fault: "key-twice", about: work.key });
    answered.add(work.key);
  }
  for (const key of asked) if (!answered.has(key)) faults.push({ fault: "unanswered", about: key });
  for (const { work, error } of plan.failures) if (error === "") faults.push({ fault: "silent-failure", about: work.key });
  return faults;
}

/** Each placement would be accepted by its cell, after all placements before it on that cell. */
function cellFaults(plan: AuctionPlan, cells: readonly CellState[]): PlanFault[] {
  const faults: PlanFault[] = [];
  const byId = new Map(cells.map((cell) => [cell.cellId, { cell, left: { ...cell.available } }]));
  for (const { work, cellId } of plan.placements) {
    const place = byId.get(cellId);
    if (place === undefined) {
      faults.push({ fault: "unknown-cell", about: work.key });
      continue;
    }
    const { cell, left } = place;
    const refusal = verdictOf({ kind: work.kind, ask: work.ask, cell, left });
    if (refusal !== undefined) {
      const room = refusal.filter === "memory" || refusal.filter === "disk" || refusal.filter === "containers";
      faults.push(room ? { fault: "overfull-cell", about: cellId } : { fault: "unfit-cell", about: work.key });
    }
    left.memoryMb -= work.ask.memoryMb + (work.kind === "lrp" ? cell.proxyMemoryMb : 0);
    left.diskMb -= work.ask.diskMb;
    left.containers -= 1;
  }
  return faults;
}
