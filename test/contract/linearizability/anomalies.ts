// Two counts that need no search: acknowledged writes that are gone, and reads older than a write that was acknowledged before them.
// They rest on every write's annotation being its own. Pure; less sharp than the checker, but plain to read.
import type { Call, History } from "./history.js";
import type { Op } from "./ops.js";

export interface Anomalies {
  /** Reads that show a state from before a write that was acknowledged before they began. */
  readonly staleReads: number;
  /** Acknowledged writes that the last reads, made when all was quiet, contradict. */
  readonly lostWrites: number;
  /** Reads of what nobody ever wrote. */
  readonly inventedReads: number;
}

type Written = Call<Op> & { readonly op: Extract<Op, { readonly annotation: string }> };

const acknowledged = (call: Call<Op>): boolean => call.answer?.result === "ok";
const overBefore = (a: Call<Op>, b: Call<Op>): boolean => a.answer !== undefined && a.answer.atMs < b.invokedMs;
const isRemoval = ({ op }: Call<Op>): boolean => op.do === "remove" || op.do === "deleteTask";
/** What they answer ends with the annotation of the last write. */
const showsAnnotation: ReadonlySet<Op["do"]> = new Set<Op["do"]>(["read", "readTask", "listTask"]);
const isWrite = (call: Call<Op>): call is Written => "annotation" in call.op;

/** `quietFromMs`: reads invoked from then on are the last ones, after everything else was over. */
export function countAnomalies(history: History<Op>, quietFromMs: number): Anomalies {
  const writes = history.filter(isWrite);
  const removals = history.filter(isRemoval);
  let [staleReads, lostWrites, inventedReads] = [0, 0, 0];
  for (const read of history) {
    const result = read.answer?.result;
    if (!showsAnnotation.has(read.op.do) || result === undefined) continue;
    const source = writes.find((write) => result.endsWith(` ${write.op.annotation}`));
    if (result !== "ResourceNotFound" && source === undefined) {
      inventedReads += 1;
      continue;
    }
    const missed = [...writes, ...removals].filter(
      (write) =>
        acknowledged(write) &&
        overBefore(write, read) &&
        (source === undefined ? removedSince(write, read, removals) : overBefore(source, write)),
    );
    if (missed.length === 0) continue;
    if (read.invokedMs >= quietFromMs) lostWrites += missed.length;
    else staleReads += 1;
  }
  return { staleReads, lostWrites, inventedReads };
}

/** Nothing is there: a desire before it is missed unless a removal may have come between. A removal or an update misses nothing. */
const removedSince = (write: Call<Op>, read: Call<Op>, removals: History<Op>): boolean =>
  (write.op.do === "desire" || write.op.do === "desireTask") &&
  !removals.some(
    (removal) =>
      (removal.answer === undefined || (acknowledged(removal) && !overBefore(removal, write))) && !overBefore(read, removal),
  );
