// The report as a picture: one bar for each cell, by zone; what ran before, what was placed, what is free. Pure.
import type { CellReport, SimulationReport } from "./report.js";

/** Pixels. Small fleets have wide bars with names; large ones go on in further rows, so that the picture stays as wide as a page. */
const page = { width: 1_200, left: 56, right: 24, head: 92, foot: 44 };
const bar = { height: 160, most: 64, least: 4 };
const row = { above: 22, below: 62 };
const gapBetweenZones = 28;
/** What a character of the widest usual sans serif takes, at 12 and at 10 pixels. */
const charWidth = { label: 7.4, small: 6.2 };
const longestText = 150;
const failuresTold = 2;

const escaped = (text: string): string => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
const short = (text: string, most: number): string => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);
const cellsText = (count: number): string => `${count} cell${count === 1 ? "" : "s"}`;
const text = (x: number, y: number, content: string, kind = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${kind === "" ? "" : ` class="${kind}"`}>${escaped(content)}</text>`;

/** Cells of one zone that stand side by side. */
interface Block {
  readonly label: string;
  readonly cells: readonly CellReport[];
}

interface PlacedBlock extends Block {
  readonly x: number;
  readonly y: number;
}

const room = page.width - page.left - page.right;

/** From one bar to the next: as wide as the largest zone allows. */
function stepOf(report: SimulationReport): number {
  const largest = report.zones.reduce((most, { cells }) => Math.max(most, cells), 1);
  return Math.min(bar.most, Math.max(bar.least, Math.floor(room / largest)));
}

/** A zone that is wider than the page goes on in the next row. */
function blocksOf(report: SimulationReport, step: number): Block[] {
  const inRow = Math.floor(room / step);
  return report.zones.flatMap(({ zone, placed }) => {
    const cells = report.cells.filter((cell) => cell.zone === zone);
    const name = short(zone === "" ? "(no zone)" : zone, 40);
    return Array.from({ length: Math.ceil(cells.length / inRow) }, (_, n) => ({
      label: n === 0 ? `${name}: ${placed} placed on ${cellsText(cells.length)}` : `${name}, continued`,
      cells: cells.slice(n * inRow, (n + 1) * inRow),
    }));
  });
}

/** Side by side while there is room for bars and label, else below. */
function layOut(blocks: readonly Block[], step: number): { readonly placed: readonly PlacedBlock[]; readonly height: number } {
  const placed: PlacedBlock[] = [];
  let x = page.left;
  let y = page.head;
  for (const block of blocks) {
    const width = Math.max(block.cells.length * step, block.label.length * charWidth.label);
    if (x > page.left && x + width > page.width - page.right) {
      x = page.left;
      y += row.above + bar.height + row.below;
    }
    placed.push({ ...block, x, y: y + row.above });
    x += width + gapBetweenZones;
  }
  return { placed, height: y + row.above + bar.height + row.below + page.foot };
}

/** A complete SVG document. */
export function svgOf(report: SimulationReport): string {
  const step = stepOf(report);
  const { placed, height } = layOut(blocksOf(report, step), step);
  const { placed: count, asked, failed, distribution_score: spread } = report;
  const failures = report.failures.slice(0, failuresTold).map((each) => `${each.count} × ${each.placement_error}`);
  const more = report.failures.length > failuresTold ? "; …" : "";
  const lines = [
    `${count} of ${asked} placed, ${failed} without a place${failed === 0 ? "" : `: ${failures.join("; ")}${more}`}`,
    `Memory of each cell. Spread over cells (0 is even): ${spread.before} before, ${spread.after} after.`,
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${page.width}" height="${height}" viewBox="0 0 ${page.width} ${height}">
<style>text{font:12px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}.small{font-size:10px;fill:#555}.old{fill:#8aa2b8}.new{fill:#2f7d4f}.free{fill:#e8edf1}.out{fill:#c9b3b3}.line{stroke:#d5dade}</style>
<rect width="100%" height="100%" fill="#fff"/>
${text(24, 28, short(report.scenario, 100), "title")}
${lines.map((line, n) => text(24, 50 + 18 * n, short(line, longestText))).join("\n")}
${[...new Set(placed.map(({ y }) => y))].map(scale).join("\n")}
${placed.map((block) => drawn(block, step)).join("\n")}
${legend(height - 20)}
</svg>
`;
}

/** The lines of 0, 50 and 100 % of a cell's memory. */
const scale = (top: number): string =>
  [100, 50, 0]
    .map((percent) => {
      const y = top + bar.height * (1 - percent / 100);
      const line = `<line class="line" x1="${page.left - 4}" x2="${page.width - page.right}" y1="${y}" y2="${y}"/>`;
      return line + text(page.left - 44, y + 4, `${percent} %`, "small");
    })
    .join("");

function drawn({ label, cells, x, y }: PlacedBlock, step: number): string {
  const gap = Math.min(8, step / 4);
  const fits = (content: string): boolean => content.length * charWidth.small <= step;
  // All or none: a name here and there would look like a mistake.
  const names = cells.every(({ cell_id: id }) => fits(id));
  const counts = cells.every(({ placed }) => fits(`+${placed}`));
  const bars = cells.map((cell, n) => {
    const left = x + n * step;
    const name = names ? text(left, y + bar.height + 16, cell.cell_id, "small") : "";
    const count = counts && cell.placed > 0 ? text(left, y - 6, `+${cell.placed}`, "small") : "";
    return barOf(cell, left, y, step - gap) + name + count;
  });
  return [...bars, text(x, y + bar.height + 38, label, "zone")].join("\n");
}

function barOf(cell: CellReport, x: number, top: number, width: number): string {
  const { before, after, total } = cell.memory_mb;
  const scaled = (mb: number): number => (total === 0 ? 0 : (mb / total) * bar.height);
  const bottom = top + bar.height;
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
    .map(([kind, content], n) => {
      const x = page.left + n * 130;
      return `<rect class="${kind}" x="${x}" y="${y - 10}" width="12" height="12"/>${text(x + 18, y, content)}`;
    })
    .join("");
}
