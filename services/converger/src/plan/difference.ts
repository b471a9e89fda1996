// Whether two plans over the same records and time are the same. Pure.
import type { Findings, Repair } from "@muster/shared/rules";
import { repairKey } from "./due-queue.js";

export interface Difference {
  /** What the whole look found and the kept keys did not. */
  readonly overlooked: readonly Repair[];
  /** What the kept keys gave and the whole look did not. */
  readonly imagined: readonly Repair[];
}

/** A finding is a repair and when it is due, or that it is due now. */
const textsOf = (findings: Findings): Map<string, Repair> =>
  new Map([
    ...findings.repairs.map((repair) => [`now ${repairKey(repair)}`, repair] as const),
    ...findings.due.map(({ repair, dueAtMs }) => [`${dueAtMs} ${repairKey(repair)}`, repair] as const),
  ]);

/** Returns `undefined` when both found the same. */
export function differenceOf(kept: Findings, whole: Findings): Difference | undefined {
  const [a, b] = [textsOf(kept), textsOf(whole)];
  const without = (of: Map<string, Repair>, other: Map<string, Repair>): Repair[] =>
    [...of].filter(([text]) => !other.has(text)).map(([, repair]) => repair);
  const difference = { overlooked: without(b, a), imagined: without(a, b) };
  return difference.overlooked.length === 0 && difference.imagined.length === 0 ? undefined : difference;
}
