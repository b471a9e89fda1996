// `lrps`: rows as the BBS holds them, of whatever domain.
import { instanceShape } from "../apps/shapes.js";
import { type Context, openSession } from "../context.js";
import { UsageError } from "../exit.js";

export interface LrpsOptions {
  readonly cell?: string;
  readonly state?: string;
}

const states: ReadonlySet<string> = new Set(["UNCLAIMED", "CLAIMED", "RUNNING", "CRASHED"]);

export async function lrps(context: Context, options: LrpsOptions): Promise<void> {
  const state = options.state?.toUpperCase();
  if (state !== undefined && !states.has(state))
    throw new UsageError(`--state: "${options.state}" is none of ${[...states].join(", ")}`);
  using session = openSession(context);
  const rows = await session.platform.actualLRPs(options.cell === undefined ? {} : { cellId: options.cell });
  const shapes = rows
    .filter((row) => state === undefined || row.state === state)
    .map((row) => ({
      process_guid: row.actualLrpKey?.processGuid ?? "",
      domain: row.actualLrpKey?.domain ?? "",
      ...instanceShape(row, new Map()),
    }))
    .sort((a, b) => (a.process_guid < b.process_guid ? -1 : a.process_guid > b.process_guid ? 1 : a.index - b.index));
  context.out.show(shapes, () =>
    context.out.table(
      ["PROCESS GUID", "INDEX", "STATE", "PRESENCE", "CELL", "CRASHES", "DETAILS"],
      shapes.map((row) => [
        row.process_guid,
        String(row.index),
        row.state,
        row.presence,
        row.cell_id || "-",
        String(row.crash_count),
        row.placement_error || row.crash_reason,
      ]),
    ),
  );
}
