// A yes-or-no question on a terminal; where nobody can answer it counts as answered with yes, as scripts expect.
import { createInterface } from "node:readline/promises";

export async function confirm(question: string): Promise<boolean> {
  if (process.stdin.isTTY !== true || process.stdout.isTTY !== true) return true;
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await reader.question(`${question} [yN] `)).trim());
  } finally {
    reader.close();
  }
}
