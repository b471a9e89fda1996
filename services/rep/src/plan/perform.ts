// Admission: which of the work an auctioneer brings this cell takes (cell.md, POST /work; rules P1 and P2).
import type { Resources } from "./container.js";

/** Asks for one LRP instance. MiB. */
export interface LRPAsk {
  readonly auctionId: string;
  readonly processGuid: string;
  readonly index: number;
  readonly domain: string;
  readonly rootFs: string;
  readonly memoryMb: number;
  readonly diskMb: number;
  readonly maxPids: number;
}

export interface TaskAsk {
  readonly auctionId: string;
  readonly taskGuid: string;
}

/** The cell as it stands when work comes. */
export interface Admission {
  /** Why nothing at all is taken now; `undefined` when the cell is open. */
  readonly closedBecause: string | undefined;
  readonly remaining: Resources;
  /** The schemes of root file systems this cell can run, lower case. */
  readonly rootFSSchemes: ReadonlySet<string>;
  /** Whether a container that is not completed holds this index. */
  holds(processGuid: string, index: number): boolean;
  /** Rule P1: whether this attempt was accepted before. */
  accepted(auctionId: string): boolean;
}

export type Verdict<Ask> =
  | { readonly ask: Ask; readonly take: "now" }
  /** Taken before, by the same attempt: nothing more to do. */
  | { readonly ask: Ask; readonly take: "before" }
  | { readonly ask: Ask; readonly take: "refused"; readonly reason: string };

const schemeOf = (rootFs: string): string => rootFs.slice(0, Math.max(0, rootFs.indexOf(":"))).toLowerCase();

/** Largest memory first, in the order given otherwise. Source: cell.md, POST /work, step 1. */
const byMemory = (asks: readonly LRPAsk[]): LRPAsk[] => asks.toSorted((a, b) => b.memoryMb - a.memoryMb);

function shortOf(ask: LRPAsk, left: Resources): string | undefined {
  if (ask.memoryMb > left.memoryMb) return `memory (asked ${ask.memoryMb} MB, free ${left.memoryMb} MB)`;
  if (ask.diskMb > left.diskMb) return `disk (asked ${ask.diskMb} MB, free ${left.diskMb} MB)`;
  return left.containers < 1 ? "containers" : undefined;
}

/** Decides every LRP asked for; later ones see what the earlier ones were given. The answer to one id is the same every time it is taken. */
export function planPerform(state: Admission, asks: readonly LRPAsk[]): readonly Verdict<LRPAsk>[] {
  let left = state.remaining;
  const taken = new Set<string>();
  const takenIds = new Set<string>();
  return byMemory(asks).map((ask): Verdict<LRPAsk> => {
    const refused = (reason: string): Verdict<LRPAsk> => ({ ask, take: "refused", reason });
    const slot = `${ask.processGuid}/${ask.index}`;
    if (state.accepted(ask.auctionId) || takenIds.has(ask.auctionId)) return { ask, take: "before" };
    if (state.closedBecause !== undefined) return refused(state.closedBecause);
    if (!state.rootFSSchemes.has(schemeOf(ask.rootFs))) return refused("found no compatible cell for required rootfs");
    if (state.holds(ask.processGuid, ask.index) || taken.has(slot))
      return refused("this index is held by another container of the cell");
    const short = shortOf(ask, left);
    if (short !== undefined) return refused(`insufficient resources available: ${short}`);
    left = { memoryMb: left.memoryMb - ask.memoryMb, diskMb: left.diskMb - ask.diskMb, containers: left.containers - 1 };
    taken.add(slot);
    takenIds.add(ask.auctionId);
    return { ask, take: "now" };
  });
}

/** Diego's instance guids are UUIDs cut to 28 characters. Source: cell.md, POST /work, step 3. */
export const instanceGuidOf = (uuid: string): string => uuid.slice(0, 28);
