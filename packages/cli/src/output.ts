// What a verb prints: aligned tables and colours for people, one JSON document for scripts, progress and errors on stderr.

export interface Stream {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export interface OutputOptions {
  readonly json: boolean;
  readonly stdout: Stream;
  readonly stderr: Stream;
  /** Colours even on a terminal are unwanted where NO_COLOR is set. */
  readonly color: boolean;
}

export type Paint = "green" | "yellow" | "red" | "dim" | "bold";
const codes: Readonly<Record<Paint, number>> = { green: 32, yellow: 33, red: 31, dim: 2, bold: 1 };

export class Output {
  readonly json: boolean;
  readonly #stdout: Stream;
  readonly #stderr: Stream;
  readonly #color: boolean;

  constructor(options: OutputOptions) {
    this.json = options.json;
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
    this.#color = options.color && options.stdout.isTTY === true;
  }

  /** One JSON document with --json, else what `people` prints. */
  show(document: unknown, people: () => void): void {
    if (this.json) this.#stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
    else people();
  }

  /** One object a line, for streams. */
  event(document: unknown): void {
    this.#stdout.write(`${JSON.stringify(document)}\n`);
  }

  /** A line for people; nothing with --json. */
  line(text = ""): void {
    if (!this.json) this.#stdout.write(`${text}\n`);
  }

  raw(text: string): void {
    this.#stdout.write(text);
  }

  /** A line on stderr: progress, warnings, errors. */
  note(text: string): void {
    this.#stderr.write(`${text}\n`);
  }

  /** Progress that only somebody watching wants. */
  progress(text: string): void {
    if (!this.json && this.#stderr.isTTY === true) this.note(this.paint("dim", text));
  }

  table(header: readonly string[], rows: readonly (readonly string[])[]): void {
    if (this.json) return;
    for (const [n, line] of alignColumns([header, ...rows]).entries()) this.line(n === 0 ? this.paint("bold", line) : line);
  }

  paint(paint: Paint, text: string): string {
    return this.#color ? `\u001b[${codes[paint]}m${text}\u001b[0m` : text;
  }
}

/** Columns as wide as their widest cell, three spaces apart; no trailing spaces. Colours are put on afterwards or not at all. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("   ")
      .trimEnd(),
  );
}
