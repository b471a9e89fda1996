// The report as a picture: one bar for each cell, by zone; what ran before, what was placed, what is free. Pure.
import type { CellReport, SimulationReport } from "./report.js";

const bar = { width: 14, gap: 4, height: 160 };
const margin = { left: 24, top: 64, bottom: 72 };
const gapBetweenZones = 28;
/** More bars than this are drawn thinner, so that the picture stays as wide as a page. */
const pageWidth = 1_600;

const escaped = (text: string): string => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** A complete SVG document. */
export function svgOf(report: SimulationReport): string {
  const zones = report.zones.map(({ zone }) => ({ zone, cells: report.cells.filter((cell) => cell.zone === zone) }));
  const natural = report.cells.length * (bar.width + bar.gap);
  const scale = Math.min(1, pageWidth / natural);
  const step = (bar.width + bar.gap) * scale;
  const parts: string[] = [];
  let x = margin.left;
  for (const { zone, cells } of zones) {
    const from = x;
    for (const cell of cells) {
      parts.push(barOf(cell, x, bar.width * scale));
      x += step;
    }
    const placed = cells.reduce((sum, cell) => sum + cell.placed, 0);
    parts.push(
      `<text x="${from.toFixed(1)}" y="${margin.top + bar.height + 20}" class="zone">${escaped(zone === "" ? "(no zone)" : zone)}: ${placed} placed on ${cells.length} cells</text>`,
    );
    x += gapBetweenZones;
  }
  const width = Math.ceil(Math.max(x, 640));
  const height = margin.top + bar.height + margin.bottom;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<style>text{font:12px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}.old{fill:#8aa2b8}.new{fill:#2f7d4f}.free{fill:#e8edf1}.out{fill:#c9b3b3}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="${margin.left}" y="24" class="title">${escaped(report.scenario)}</text>
<text x="${margin.left}" y="44">${report.placed} of ${report.asked} placed, ${report.failed} without a place; memory per cell, spread ${report.distribution_score.before} before and ${report.distribution_score.after} after</text>
${parts.join("\n")}
${legend(height - 22)}
</svg>
`;
}

function barOf(cell: CellReport, x: number, width: number): string {
  const { before, after, total } = cell.memory_mb;
  const scaled = (mb: number): number => (total === 0 ? 0 : (mb / total) * bar.height);
  const bottom = margin.top + bar.height;
  const rect = (kind: string, fromMb: number, toMb: number): string =>
    toMb <= fromMb
      ? ""
      : `<rect class="${kind}" x="${x.toFixed(1)}" y="${(bottom - scaled(toMb)).toFixed(1)}" width="${width.toFixed(1)}" height="${scaled(toMb - fromMb).toFixed(1)}"/>`;
  const free = cell.state === "healthy" ? "free" : "out";
  const title = `${cell.cell_id} (${cell.state}): ${cell.placed} placed, memory ${before} → ${after} of ${total} MiB`;
  return `<g><title>${escaped(title)}</title>${rect(free, after, total)}${rect("old", 0, before)}${rect("new", before, after)}</g>`;
}

function legend(y: number): string {
  const entries: readonly (readonly [string, string])[] = [
    ["old", "ran before"],
    ["new", "placed"],
    ["free", "free"],
    ["out", "takes no work"],
  ];
  return entries
    .map(([kind, text], n) => {
      const x = margin.left + n * 130;
      return `<rect class="${kind}" x="${x}" y="${y - 10}" width="12" height="12"/><text x="${x + 18}" y="${y}">${text}</text>`;
    })
    .join("");
}
