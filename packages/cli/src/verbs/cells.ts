// Verbs about cells: cells, cell, forget.
import type { CellSummary } from "@muster/proto/muster/v1/auctioneer";
import type { Cell } from "@muster/shared/model";
import { serverStream, unary } from "@muster/shared/rpc";
import { dialAuctioneer, dialRep, repAddressOf } from "../client/peers.js";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";
import { RefusedError } from "../exit.js";

interface Amount {
  readonly total: number;
  readonly free: number;
}

export interface CellShape {
  readonly cell_id: string;
  readonly zone: string;
  readonly state: "healthy" | "unhealthy" | "evacuating" | "missing";
  readonly memory_mb: Amount;
  readonly disk_mb: Amount;
  readonly containers: Amount;
  readonly instances: number;
  readonly tasks: number;
  readonly rep_address: string;
}

const askMs = 3_000;

/** What is known of a cell beyond its presence. */
export interface Seen {
  readonly healthy: boolean;
  readonly freeMemoryMb: number;
  readonly freeDiskMb: number;
  readonly freeContainers: number;
}

/** Every cell the BBS knows, missing ones too, with what is free on it as the auctioneer last heard, or as the cell itself says. */
export async function readCells(platform: Platform): Promise<CellShape[]> {
  const [{ tables }, rows, heard] = await Promise.all([
    platform.snapshot(["cell", "task"]),
    platform.actualLRPs({}),
    askAuctioneer(platform),
  ]);
  const instances = new Map<string, number>();
  for (const row of rows) {
    const cellId = row.actualLrpInstanceKey?.cellId ?? "";
    if (cellId !== "") instances.set(cellId, (instances.get(cellId) ?? 0) + 1);
  }
  const shapes = await Promise.all(
    [...tables.cells.values()].map(async (cell) => {
      const live = cell.lostAtMs === undefined;
      const seen = live ? (heard.get(cell.cellId) ?? (await askCell(platform, cell))) : undefined;
      const tasks = [...tables.tasksOnCell(cell.cellId)].length;
      return cellShape(cell, seen, instances.get(cell.cellId) ?? 0, tasks);
    }),
  );
  return shapes.sort((a, b) => a.cell_id.localeCompare(b.cell_id, "en", { numeric: true }));
}

/** Nobody placing work is no reason not to list the cells. Cells it has not heard of lately are left out. */
async function askAuctioneer(platform: Platform): Promise<ReadonlyMap<string, Seen>> {
  try {
    const auctioneer = await dialAuctioneer(platform);
    try {
      const bounds = { deadlineMs: askMs, signal: platform.signal };
      const { cells } = await unary(auctioneer.cellStates.bind(auctioneer), {}, bounds);
      return new Map(cells.filter((cell) => cell.state !== "silent").map((cell) => [cell.cellId, seenBy(cell)]));
    } finally {
      auctioneer.close();
    }
  } catch {
    platform.signal.throwIfAborted();
    return new Map();
  }
}

const seenBy = (cell: CellSummary): Seen => ({ ...cell, healthy: cell.state !== "unhealthy" });

/** The first message of the cell's own state stream; `undefined` when it does not answer. */
async function askCell(platform: Platform, cell: Cell): Promise<Seen | undefined> {
  const rep = dialRep(platform, { cellId: cell.cellId, address: repAddressOf(cell) });
  try {
    const bounds = { deadlineMs: askMs, signal: platform.signal };
    for await (const { available, healthy } of serverStream(rep.state.bind(rep), {}, bounds)) {
      return {
        healthy,
        freeMemoryMb: available?.memoryMb ?? 0,
        freeDiskMb: available?.diskMb ?? 0,
        freeContainers: available?.containers ?? 0,
      };
    }
  } catch {
    platform.signal.throwIfAborted();
  } finally {
    rep.close();
  }
  return undefined;
}

/** Pure. A cell that nobody hears of is unhealthy: no work gets there. */
export function cellShape(cell: Cell, seen: Seen | undefined, instances: number, tasks: number): CellShape {
  const gone = cell.lostAtMs !== undefined;
  const amount = (total: number, free: number | undefined): Amount => ({ total, free: gone ? 0 : (free ?? 0) });
  return {
    cell_id: cell.cellId,
    zone: cell.zone,
    state: gone ? "missing" : cell.evacuating ? "evacuating" : seen?.healthy === true ? "healthy" : "unhealthy",
    memory_mb: amount(cell.memoryMb, seen?.freeMemoryMb),
    disk_mb: amount(cell.diskMb, seen?.freeDiskMb),
    containers: amount(cell.containers, seen?.freeContainers),
    instances,
    tasks,
    rep_address: repAddressOf(cell),
  };
}

const ofTotal = ({ free, total }: Amount): string => `${free}/${total}`;

export async function cells(context: Context): Promise<void> {
  using session = openSession(context);
  const shapes = await readCells(session.platform);
  context.out.show(shapes, () =>
    context.out.table(
      ["CELL", "ZONE", "STATE", "FREE MEMORY MB", "FREE DISK MB", "FREE CONTAINERS", "INSTANCES", "TASKS", "REP"],
      shapes.map((cell) => [
        cell.cell_id,
        cell.zone,
        cell.state,
        ofTotal(cell.memory_mb),
        ofTotal(cell.disk_mb),
        ofTotal(cell.containers),
        String(cell.instances),
        String(cell.tasks),
        cell.rep_address,
      ]),
    ),
  );
}

export async function cell(context: Context, cellId: string): Promise<void> {
  using session = openSession(context);
  const shape = (await readCells(session.platform)).find((each) => each.cell_id === cellId);
  if (shape === undefined) throw new RefusedError(`cell ${cellId} not found`, "see `muster cells`");
  context.out.show(shape, () => {
    for (const [name, value] of Object.entries(shape)) {
      context.out.line(`${name.padEnd(14)}${typeof value === "object" ? `${ofTotal(value as Amount)} free` : String(value)}`);
    }
  });
}

export async function forget(context: Context, cellId: string): Promise<void> {
  using session = openSession(context);
  await session.platform.forgetCell(cellId);
  context.out.show({ cell_id: cellId, forgotten: true }, () => context.out.line(`${cellId} is forgotten`));
}
