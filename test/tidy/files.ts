// The repository as a reader finds it: every file git tracks or would track.
import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

export interface RepoFile {
  /** From the root, with forward slashes. */
  readonly name: string;
  /** Empty for a binary file. */
  readonly text: string;
  readonly executable: boolean;
}

/** Sorted by name. A clone that belongs to somebody else (root testing a user's clone) is read all the same. */
export function repoFiles(): readonly RepoFile[] {
  const args = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const names = execFileSync("git", args, { cwd: root, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  return [...new Set(names.split("\0"))].sort().flatMap((name) => read(name));
}

function read(name: string): readonly RepoFile[] {
  const stat = name === "" ? undefined : statSync(path.join(root, name), { throwIfNoEntry: false });
  if (stat?.isFile() !== true) return [];
  const bytes = readFileSync(path.join(root, name));
  return [{ name, text: bytes.includes(0) ? "" : bytes.toString("utf8"), executable: (stat.mode & 0o100) !== 0 }];
}
