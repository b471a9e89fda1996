// `muster simulate FILE`: the auction over a described fleet and load, in this process; no platform is needed.
import { readFile, writeFile } from "node:fs/promises";
import { planAuction } from "@muster/auctioneer/plan";
import type { Context } from "../context.js";
import { UsageError } from "../exit.js";
import { type CellReport, reportOf, type SimulationReport } from "../simulate/report.js";
import { readScenario } from "../simulate/scenario.js";
import { svgOf } from "../simulate/svg.js";
import { verdictHeader, verdictRow, verdictShape } from "./verdicts.js";

export interface SimulateOptions {
  readonly svg?: string;
}

/** Cells printed one by one; of larger fleets the zones tell enough, and --json holds all. */
const maxCellRows = 60;

/** @throws UsageError for a file that cannot be read or says something else than a scenario. */
export async function simulate({ out, clock }: Context, file: string, options: SimulateOptions): Promise<void> {
  const scenario = readScenario(await textOf(file), file);
  out.progress(`placing ${scenario.work.length} instances and tasks on ${scenario.cells.length} cells …`);
  const startedMs = clock.elapsedMs();
  const plan = planAuction(scenario.cells, scenario.work, scenario.options);
  const report = reportOf(scenario, plan, clock.elapsedMs() - startedMs);
  if (options.svg !== undefined) await write(options.svg, svgOf(report));
  out.show({ ...report, verdicts: report.verdicts.map(verdictShape) }, () => {
    print(out, report);
    if (options.svg !== undefined) out.line(`picture: ${options.svg}`);
  });
}

async function textOf(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new UsageError(
      `${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      "packages/cli/scenarios holds files to begin with",
    );
  }
}

async function write(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text);
  } catch (cause) {
    throw new UsageError(`--svg: ${file} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

function print(out: Context["out"], report: SimulationReport): void {
  out.line(report.about === "" ? report.scenario : `${report.scenario}: ${report.about}`);
  out.line(`${report.placed} of ${report.asked} placed, in ${report.auction_ms} ms (${report.placements_per_second} a second)`);
  out.line();
  out.table(
    ["ZONE", "CELLS", "PLACED", "MEMORY BEFORE", "AFTER", "OF"],
    report.zones.map(({ zone, cells, placed, memory_mb: memory }) => [
      zone === "" ? "-" : zone,
      `${cells}`,
      `${placed}`,
      `${memory.before}M`,
      `${memory.after}M`,
      `${memory.total}M`,
    ]),
  );
  out.line();
  if (report.cells.length <= maxCellRows) {
    out.table(["CELL", "ZONE", "STATE", "PLACED", "CONTAINERS", "MEMORY", "DISK"], report.cells.map(cellRow));
    out.line();
  }
  const { least, most, mean, standard_deviation: deviation } = report.placed_per_cell;
  out.line(`placed on a cell: ${least} to ${most}, mean ${mean}, standard deviation ${deviation}`);
  out.line(`spread of memory (0 is even): ${report.distribution_score.before} before, ${report.distribution_score.after} after`);
  if (report.failed === 0) return;
  out.line();
  out.table(
    ["COUNT", "NO PLACE BECAUSE", "FOR EXAMPLE"],
    report.failures.map(({ count, placement_error: why, first }) => [`${count}`, why, first]),
  );
  if (report.verdicts.length === 0) return;
  out.line();
  out.table(verdictHeader, report.verdicts.slice(0, maxCellRows).map(verdictShape).map(verdictRow));
}

const cellRow = (cell: CellReport): string[] => [
  cell.cell_id,
  cell.zone === "" ? "-" : cell.zone,
  cell.state,
  `${cell.placed}`,
  `${cell.containers.after}/${cell.containers.total}`,
  `${cell.memory_mb.after}/${cell.memory_mb.total}M`,
  `${cell.disk_mb.after}/${cell.disk_mb.total}M`,
];
