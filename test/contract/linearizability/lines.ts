// Histories written by hand: a line for each call, each by a client of its own.
import { type Call, inOrder } from "./history.js";
import type { Op } from "./ops.js";

/** `[from, to, op, result]`; without `to` nobody ever told. */
export type Line = readonly [from: number, to: number | undefined, op: Op, result?: string];
export const historyOf = (...lines: readonly Line[]) =>
  inOrder(
    lines.map(
      ([invokedMs, atMs, op, result = "ok"], client): Call<Op> => ({
        client,
        op,
        invokedMs,
        answer: atMs === undefined ? undefined : { atMs, result },
      }),
    ),
  );

export const desire = (annotation: string, instances = 1): Op => ({ do: "desire", instances, annotation });
export const update = (annotation: string, instances?: number): Op => ({ do: "update", instances, annotation });
export const read: Op = { do: "read" };
export const rows: Op = { do: "readRows" };
export const claim = (instance: string): Op => ({ do: "claim", instance });

export const desireTask = (annotation: string): Op => ({ do: "desireTask", annotation });
export const startTask = (cell: "cell-1" | "cell-2"): Op => ({ do: "startTask", cell });
export const complete = (cell: "cell-1" | "cell-2", result: string): Op => ({ do: "completeTask", cell, result });
export const cancel: Op = { do: "cancelTask" };
export const resolve: Op = { do: "resolveTask" };
export const del: Op = { do: "deleteTask" };
export const readTask: Op = { do: "readTask" };
export const listTask: Op = { do: "listTask" };
