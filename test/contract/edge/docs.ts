// Tables of the docs, read as people read them, so that a test can hold them against the running thing.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const operations = fileURLToPath(new URL("../../../docs/operations.md", import.meta.url));

/** The first table under a heading: its head and its rows, cell by cell. @throws when there is none. */
export function tableUnder(heading: string): { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] } {
  const lines = readFileSync(operations, "utf8").split("\n");
  const at = lines.indexOf(`## ${heading}`);
  const first = lines.findIndex((line, index) => index > at && line.startsWith("|"));
  if (at < 0 || first < 0) throw new Error(`docs/operations.md has no table under ${heading}`);
  const length = lines.slice(first).findIndex((line) => !line.startsWith("|"));
  const cells = lines.slice(first, length < 0 ? undefined : first + length).map((line) =>
    line
      .slice(1, line.lastIndexOf("|"))
      .split("|")
      .map((cell) => cell.trim()),
  );
  return { head: cells[0] ?? [], rows: cells.slice(2) };
}

/** What stands in backticks. */
export const coded = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? "");
