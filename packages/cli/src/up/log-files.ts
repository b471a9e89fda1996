// A child's log file. Children write to it themselves, so that their last words are kept also when the supervisor is killed; it is
// rotated by copying and cutting, which is safe because they append.
import { closeSync, copyFileSync, existsSync, openSync, readSync, renameSync, statSync, truncateSync } from "node:fs";

export const logBounds = { rotateBytes: 10 * 1_048_576, keep: 2 } as const;

/** Opens the file for a child's stdout and stderr. The caller closes it once the child has it. */
export const openLogFile = (file: string): number => openSync(file, "a", 0o600);

export { closeSync as closeLogFile };

/** Moves a file that grew too long to `.1`, and `.1` to `.2`; lines written during the copy may be lost. */
export function rotateLogFile(file: string, rotateBytes: number = logBounds.rotateBytes): boolean {
  if (!existsSync(file) || statSync(file).size < rotateBytes) return false;
  for (let n = logBounds.keep; n > 1; n -= 1) {
    if (existsSync(`${file}.${n - 1}`)) renameSync(`${file}.${n - 1}`, `${file}.${n}`);
  }
  copyFileSync(file, `${file}.1`);
  truncateSync(file, 0);
  return true;
}

const tailBytes = 16_384;

/** The last part of a log file as text; empty when there is none. */
export function readTail(file: string): string {
  if (!existsSync(file)) return "";
  const size = statSync(file).size;
  const length = Math.min(size, tailBytes);
  const fd = openSync(file, "r");
  try {
    const buffer = Buffer.alloc(length);
    readSync(fd, buffer, 0, length, size - length);
    return buffer.toString("utf8");
  } finally {
    closeSync(fd);
  }
}

/** What a service last complained of, in one line, from its log: the newest error with its hint, else the last line. Pure. */
export function lastComplaint(tail: string): string {
  const lines = tail.split("\n").filter((line) => line.trim() !== "");
  for (const line of lines.toReversed()) {
    const complaint = complaintIn(line);
    if (complaint !== undefined) return complaint;
  }
  return lines.at(-1)?.trim().slice(0, 500) ?? "it wrote nothing";
}

/** pino's level of `error`. */
const errorLevel = 50;

function complaintIn(line: string): string | undefined {
  try {
    const entry = JSON.parse(line) as { level?: number; msg?: string; hint?: string; err?: { message?: string } };
    if ((entry.level ?? 0) < errorLevel) return undefined;
    const what = [entry.msg, entry.err?.message].filter((part) => part !== undefined && part !== "").join(": ");
    return entry.hint === undefined ? what : `${what} (${entry.hint})`;
  } catch {
    // Node's own words for an uncaught error, or an assertion of a library.
    return /^(\w*Error|node:|Uncaught)/.test(line.trim()) ? line.trim().slice(0, 500) : undefined;
  }
}
