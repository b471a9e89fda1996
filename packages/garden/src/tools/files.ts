// Small work on files: written whole or not at all, and read inside a container's root without ever leaving it.
import { constants } from "node:fs";
import { chmod, lstat, mkdir, open, readFile, readlink, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

export const isMissing = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");

let written = 0;

/** Writes a file so that a reader, or a crash, sees the old content or the new, never a part. */
export async function writeWhole(file: string, content: string, mode = 0o600): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  written += 1;
  const temporary = `${file}.${process.pid}-${written}.tmp`;
  try {
    await writeFile(temporary, content, { mode });
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A folder with exactly this mode, whatever this process's umask: containers' users must get through some of them. */
export async function makeFolder(folder: string, mode: number): Promise<void> {
  await mkdir(folder, { recursive: true, mode });
  await chmod(folder, mode);
}

/** A file that everybody may read, whatever this process's umask. */
export async function writeOpen(file: string, content: string): Promise<void> {
  await writeFile(file, content, { mode: 0o644 });
  await chmod(file, 0o644);
}

/** `undefined` when it is not there. */
export async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** `undefined` when it is not there or cannot be read as JSON: a torn record counts as none. */
export async function readJson(file: string): Promise<unknown> {
  const text = await readIfThere(file);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const maxLinks = 20;

/** Resolves a path inside `root` as a process in that root would see it; links never lead out. `undefined` when a link loops. */
async function resolveInside(root: string, path: string): Promise<string | undefined> {
  let waiting = path.split("/");
  let seen: string[] = [];
  let links = 0;
  while (waiting.length > 0) {
    const [part, ...rest] = waiting;
    waiting = rest;
    if (part === undefined || part === "" || part === ".") continue;
    if (part === "..") {
      seen = seen.slice(0, -1);
      continue;
    }
    const here = join(root, ...seen, part);
    const stat = await lstat(here).catch(() => undefined);
    if (stat?.isSymbolicLink() !== true) {
      seen.push(part);
      continue;
    }
    links += 1;
    if (links > maxLinks) return undefined;
    const target = await readlink(here);
    if (target.startsWith("/")) seen = [];
    waiting = [...target.split("/"), ...waiting];
  }
  return join(root, ...seen);
}

/** The first `maxBytes` of a regular file inside a container's root; `undefined` when there is none. */
export async function readInside(root: string, path: string, maxBytes: number): Promise<string | undefined> {
  const file = await resolveInside(root, path);
  if (file === undefined) return undefined;
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    if (!(await handle.stat()).isFile()) return undefined;
    const buffer = Buffer.alloc(maxBytes);
    const { bytesRead } = await handle.read(buffer, 0, maxBytes, 0);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await handle.close();
  }
}
