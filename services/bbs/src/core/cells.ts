// Presences: taken, changed, lost, forgotten (races.md C1-C4, R6).
import type { PresenceContent } from "@muster/shared/codec";
import { encodeRecord } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { type Cell, type CellId, drop, put, type Write } from "@muster/shared/model";
import { removed } from "./actual-lrp.js";
import { type Command, maxCommandRecords, unchanged } from "./decision.js";
import { failedTask, lostCellReason } from "./task.js";

export interface PresenceRequest {
  readonly content: PresenceContent;
  readonly owner: string;
  readonly ttlMs: number;
  readonly evacuating: boolean;
}

const sameRecord = (a: Cell, b: Cell): boolean => Buffer.compare(encodeRecord("cell", a), encodeRecord("cell", b)) === 0;

/** Thousands of presences are listed in one message: none may be large. Diego's bound of a lock's value. */
const maxPresenceBytes = 4_096;

/** R6: the same owner takes over at once, another collides while the presence lives. @throws BbsError LockCollision, InvalidRequest */
export const registerPresence =
  ({ content, owner, ttlMs, evacuating }: PresenceRequest): Command<void> =>
  (state) => {
    const held = state.tables.cell(content.cellId);
    if (held !== undefined && held.lostAtMs === undefined && held.owner !== owner) {
      throw new BbsError("LockCollision", `cell ${content.cellId} is held by another rep`, { cell_id: content.cellId });
    }
    const cell: Cell = { ...content, owner, ttlMs, evacuating, lostAtMs: undefined };
    const bytes = encodeRecord("cell", cell).byteLength;
    if (bytes > maxPresenceBytes) {
      throw new BbsError(
        "InvalidRequest",
        `the presence of cell ${content.cellId} has ${bytes} bytes, where ${maxPresenceBytes} are allowed: shorten its tags, annotations or stacks`,
      );
    }
    return held !== undefined && sameRecord(held, cell)
      ? unchanged(undefined)
      : { writes: [put("cell", cell)], reply: undefined };
  };

/** The presence's time has passed, or its rep said goodbye: from now on it is a `missing` record. Another owner's is left alone. */
export const losePresence =
  (cellId: CellId, owner: string): Command<void> =>
  (state, context) => {
    const cell = state.tables.cell(cellId);
    if (cell === undefined || cell.owner !== owner || cell.lostAtMs !== undefined) return unchanged(undefined);
    return { writes: [put("cell", { ...cell, lostAtMs: context.nowMs })], reply: undefined };
  };

/**
 * C2: one step of forgetting a cell for good: its rows go, the tasks it ran fail, then its record goes. `done`
 * says whether it is over.
 * @throws BbsError ResourceConflict while the presence lives, ResourceNotFound for a cell nothing knows of.
 */
export const forgetCell =
  (cellId: CellId): Command<{ readonly done: boolean }> =>
  (state, context) => {
    const cell = state.tables.cell(cellId);
    if (cell !== undefined && cell.lostAtMs === undefined) {
      throw new BbsError("ResourceConflict", `cell ${cellId} is alive; drain it with \`evacuate\`, or stop its rep first`, {
        cell_id: cellId,
      });
    }
    const rows = [...state.tables.rowsOnCell(cellId)];
    const tasks = [...state.tables.tasksOnCell(cellId)].filter((task) => task.state === "RUNNING");
    if (cell === undefined && rows.length === 0 && tasks.length === 0)
      throw new BbsError("ResourceNotFound", `no cell is called ${cellId}`);
    const all: Write[] = [
      // An Ordinary row (the loss is held back, or not yet seen to) is as a removed one: a wanted index asks for another place.
      ...rows.map((row) => removed(state, row, context)),
      ...tasks.map((task) => put("task", failedTask(task, lostCellReason, context))),
    ];
    const step = all.slice(0, maxCommandRecords - 1);
    const done = step.length === all.length;
    return { writes: done && cell !== undefined ? [...step, drop("cell", cell)] : step, reply: { done } };
  };
