// Admission: which of the work an auctioneer brings this cell takes (cell.md, POST /work; rules P1 and P2).
import type { Resources } from "./container.js";

/** What every kind of work asks for. MiB. */
interface Ask {
  readonly auctionId: string;
  readonly domain: string;
  readonly rootFs: string;
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly maxPids: number;
}

/** Asks for one LRP instance. */
export interface LRPAsk extends Ask {
  readonly processGuid: string;
  readonly index: number;
}

export interface TaskAsk extends Ask {
  readonly taskGuid: string;
}

/** The cell as it stands when work comes. */
export interface Admission {
  /** Why nothing at all is taken now; `undefined` when the cell is open. */
  readonly closedBecause: string | undefined;
  readonly remaining: Resources;
  /** The schemes of root file systems this cell can run, lower case. */
  readonly rootFSSchemes: ReadonlySet<string>;
  /** Stacks that `preloaded:<stack>` may name. */
  readonly stacks?: ReadonlySet<string>;
  /** Whether a container that is not completed holds this index. */
  holds(processGuid: string, index: number): boolean;
  /** Whether a container that is not completed holds this task. */
  holdsTask(taskGuid: string): boolean;
  /** Rule P1: whether this attempt was accepted before. */
  accepted(auctionId: string): boolean;
}

export type Verdict<Ask> =
  | { readonly ask: Ask; readonly take: "now" }
  /** Taken before, by the same attempt: nothing more to do. */
  | { readonly ask: Ask; readonly take: "before" }
  | { readonly ask: Ask; readonly take: "refused"; readonly reason: string };

const schemeOf = (rootFs: string): string => rootFs.slice(0, Math.max(0, rootFs.indexOf(":"))).toLowerCase();

const runs = ({ rootFSSchemes, stacks }: Admission, rootFs: string): boolean => {
  const scheme = schemeOf(rootFs);
  if (scheme === "preloaded") return stacks?.has(rootFs.slice(scheme.length + 1)) ?? false;
  return rootFSSchemes.has(scheme);
};

/** Largest memory first, in the order given otherwise. Source: cell.md, POST /work, step 1. */
const byMemory = (asks: readonly LRPAsk[]): LRPAsk[] => asks.toSorted((a, b) => b.memoryMb - a.memoryMb);

function shortOf(ask: Ask, left: Resources): string | undefined {
  if (ask.memoryMb > left.memoryMb) return `memory (asked ${ask.memoryMb} MB, free ${left.memoryMb} MB)`;
  if (ask.diskMb > left.diskMb) return `disk (asked ${ask.diskMb} MB, free ${left.diskMb} MB)`;
  return left.containers < 1 ? "containers" : undefined;
}

export interface PerformPlan {
  readonly lrps: readonly Verdict<LRPAsk>[];
  readonly tasks: readonly Verdict<TaskAsk>[];
}

/** Gives out what is left, one ask after another; the answer to one id is the same every time it is taken. */
class Counter {
  readonly #state: Admission;
  readonly #taken = new Set<string>();
  #left: Resources;

  constructor(state: Admission) {
    this.#state = state;
    this.#left = state.remaining;
  }

  /** `slot` is what one container alone may hold; `held`: it is held already. */
  decide<One extends Ask>(ask: One, slot: string, held: boolean, heldText: string): Verdict<One> {
    const refused = (reason: string): Verdict<One> => ({ ask, take: "refused", reason });
    const state = this.#state;
    const id = `id ${ask.auctionId}`;
    if (state.accepted(ask.auctionId) || this.#taken.has(id)) return { ask, take: "before" };
    if (state.closedBecause !== undefined) return refused(state.closedBecause);
    if (!runs(state, ask.rootFs)) return refused("found no compatible cell for required rootfs");
    if (held || this.#taken.has(slot)) return refused(heldText);
    const short = shortOf(ask, this.#left);
    if (short !== undefined) return refused(`insufficient resources available: ${short}`);
    const { memoryMb, diskMb, containers } = this.#left;
    this.#left = { memoryMb: memoryMb - ask.memoryMb, diskMb: diskMb - ask.diskMb, containers: containers - 1 };
    this.#taken.add(slot).add(id);
    return { ask, take: "now" };
  }
}

/** Decides everything asked for, LRPs before tasks as in Diego; later asks see what the earlier ones were given. */
export function planPerform(state: Admission, lrps: readonly LRPAsk[], tasks: readonly TaskAsk[] = []): PerformPlan {
  const counter = new Counter(state);
  return {
    lrps: byMemory(lrps).map((ask) =>
      counter.decide(ask, `lrp ${ask.processGuid}/${ask.index}`, state.holds(ask.processGuid, ask.index), indexHeld),
    ),
    tasks: tasks.map((ask) => counter.decide(ask, `task ${ask.taskGuid}`, state.holdsTask(ask.taskGuid), guidHeld)),
  };
}

const indexHeld = "this index is held by another container of the cell";
/** Diego's word for a container guid, there the task's own, that is taken. */
const guidHeld = "container guid not available";

/** Diego's instance guids are UUIDs cut to 28 characters. Source: cell.md, POST /work, step 3. */
export const instanceGuidOf = (uuid: string): string => uuid.slice(0, 28);
