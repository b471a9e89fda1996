// One process guid as the calls see it, written down a second time from races.md and bbs-semantics.md, not from the BBS's code: the
// desire, and the row of index 0. No converger runs beside it, and nobody vouches for the domain.
import type { Model } from "./checker.js";

export type LRPOp =
  | { readonly do: "desire"; readonly instances: number; readonly annotation: string }
  | { readonly do: "update"; readonly instances: number | undefined; readonly annotation: string }
  | { readonly do: "remove" }
  | { readonly do: "read" }
  | { readonly do: "claim"; readonly instance: string }
  | { readonly do: "start"; readonly instance: string }
  | { readonly do: "retire" }
  | { readonly do: "removeInstance"; readonly instance: string }
  | { readonly do: "readRows" };

interface Row {
  readonly state: "UNCLAIMED" | "CLAIMED" | "RUNNING";
  readonly instance: string | undefined;
  /** S1: it is to stop. Nobody can read this. */
  readonly marked: boolean;
}

export interface LRPState {
  readonly desired: { readonly instances: number; readonly annotation: string } | undefined;
  readonly row: Row | undefined;
  /** Index 1 is never claimed: its row is there or not. */
  readonly second: boolean;
}

type Step = { readonly state: LRPState; readonly result: string };

const waiting: Row = { state: "UNCLAIMED", instance: undefined, marked: false };

export const desireText = (instances: number, annotation: string): string => `${instances} ${annotation}`;

/** The rows of a process as one text; index 1 is told by `+1`. */
export const rowsText = (row: Pick<Row, "state" | "instance"> | undefined, second: boolean): string =>
  `${row === undefined ? "none" : `${row.state} ${row.instance ?? ""}`.trim()}${second ? " +1" : ""}`;

/** S1: a row without an instance goes at once, another is marked. */
const stopped = (row: Row | undefined): Row | undefined =>
  row === undefined || row.instance === undefined ? undefined : { ...row, marked: true };

function scaled(state: LRPState, before: number, instances: number, annotation: string): LRPState {
  const first =
    before < 1 && instances >= 1 ? (state.row ?? waiting) : before >= 1 && instances < 1 ? stopped(state.row) : state.row;
  return { desired: { instances, annotation }, row: first, second: instances >= 2 };
}

function step(state: LRPState, op: LRPOp): Step {
  const { desired, row } = state;
  const refuse = (result: string): Step => ({ state, result });
  const become = (changed: Partial<LRPState>): Step => ({ state: { ...state, ...changed }, result: "ok" });
  const wanted = desired !== undefined && desired.instances >= 1;
  switch (op.do) {
    case "desire":
      return desired === undefined ? become(scaled(state, 0, op.instances, op.annotation)) : refuse("ResourceExists");
    case "update":
      return desired === undefined
        ? refuse("ResourceNotFound")
        : become(scaled(state, desired.instances, op.instances ?? desired.instances, op.annotation));
    case "remove":
      return desired === undefined
        ? refuse("ResourceNotFound")
        : become({ desired: undefined, row: stopped(row), second: false });
    case "read":
      return refuse(desired === undefined ? "ResourceNotFound" : desireText(desired.instances, desired.annotation));
    case "readRows":
      return refuse(rowsText(row, state.second));
    case "claim": {
      if (row === undefined) return refuse("ResourceNotFound");
      const mine = row.instance === op.instance;
      if (!wanted || (row.instance !== undefined && !mine)) return refuse("ActualLRPCannotBeClaimed");
      return row.state === "CLAIMED" ? refuse("ok") : become({ row: { ...row, state: "CLAIMED", instance: op.instance } });
    }
    case "start": {
      // W2: nobody vouches for the domain, so a start without a row makes one.
      if (row === undefined) return become({ row: { state: "RUNNING", instance: op.instance, marked: false } });
      const mine = row.instance === op.instance;
      if (row.state === "RUNNING") return refuse(mine ? "ok" : "ActualLRPCannotBeStarted");
      if (!wanted) return refuse("ActualLRPCannotBeStarted");
      return become({ row: { state: "RUNNING", instance: op.instance, marked: mine && row.marked } });
    }
    case "retire":
      if (row === undefined) return refuse("ResourceNotFound");
      if (row.instance === undefined) return become({ row: wanted ? waiting : undefined });
      return become({ row: { ...row, marked: true } });
    case "removeInstance":
      if (row === undefined || row.instance !== op.instance) return refuse("ResourceNotFound");
      return become({ row: wanted && !row.marked ? waiting : undefined });
  }
}

export const lrpModel: Model<LRPState, LRPOp> = {
  initial: { desired: undefined, row: undefined, second: false },
  step,
  nameOf: ({ desired, row, second }) =>
    `${desired === undefined ? "" : desireText(desired.instances, desired.annotation)}|${rowsText(row, second)}${row?.marked ? "!" : ""}`,
};
