// A container's root: the image below, a layer of its own above, on a sparse ext4 file of the size it may write (disk_mb) when it has
// such a limit. Everything is found again, and taken away, by its path.
import { chmod, chown, mkdir, open, readFile, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@muster/shared/clock";
import { GardenError } from "../garden.js";
import { type Exec, lastWords, ToolError } from "../tools/exec.js";
import { makeFolder } from "../tools/files.js";

export interface RootRequest {
  /** The unpacked image. */
  readonly imageRoot: string;
  /** Where the container's root appears. */
  readonly target: string;
  /** Where the disk file is mounted; below /run, as a container's user namespace may reach nothing below a 0700 folder. */
  readonly diskMount: string;
  /** Holds the disk file, or the upper layer itself without a limit; in the home folder. */
  readonly dataDir: string;
  /** What the container may write, its own tables aside; `undefined` means without limit. */
  readonly disk: DiskLimit | undefined;
  readonly idBase: number;
}

export interface DiskLimit {
  readonly bytes: number;
  readonly inodes: number;
}

const mib = 1_048_576;
/** Garden's limit. Source: cell.md section 10. */
const mostInodes = 200_000;
/** A small disk has one inode for each block, so that a file a block long never fails for want of an inode. */
const blockBytes = 4_096;
const inodeBytes = 256;
/** ext4's other tables: bitmaps, descriptors and the root's own folders, and a share that grows with the disk. */
const tableBytes = mib / 4;
const tableShare = 1 / 256;
/** What the kernel's ext4 keeps back for writes it has promised: a fiftieth, at most 4,096 blocks. */
const promisedShare = 1 / 50;
const mostPromisedBytes = 4_096 * blockBytes;

/** What is left of a container's disk limit for it to write: the image counts too, as in Diego. `undefined`: no limit, or no room at all. */
export function diskLimit(diskMb: number, imageBytes: number): DiskLimit | "too-small" | undefined {
  if (diskMb === 0) return undefined;
  const bytes = diskMb * mib - imageBytes;
  if (bytes < blockBytes) return "too-small";
  return { bytes, inodes: Math.min(mostInodes, Math.ceil((diskMb * mib) / blockBytes)) };
}

/** The mount points of this process's mount namespace, newest last, unescaped. */
export async function mountPoints(): Promise<string[]> {
  const text = await readFile("/proc/self/mountinfo", "utf8");
  return text
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path !== "")
    .map((path) => path.replace(/\\([0-7]{3})/g, (_all, code: string) => String.fromCharCode(Number.parseInt(code, 8))));
}

const unmountAttempts = 8;
const firstLazyAttempt = 5;

/** Takes a mount away, however often it was made. A busy one is tried again, then let go of lazily. @throws GardenError tool-failed */
export async function unmount(clock: Clock, exec: Exec, target: string): Promise<void> {
  for (let attempt = 0; attempt < unmountAttempts; attempt += 1) {
    if (!(await mountPoints()).includes(target)) return;
    const lazy = attempt >= firstLazyAttempt ? ["--lazy"] : [];
    try {
      await exec("umount", [...lazy, target], { timeoutMs: 10_000 });
    } catch (error) {
      // One that hung once will hang again: it is only let go of.
      if (error instanceof ToolError && error.fault === "timeout") attempt = Math.max(attempt, firstLazyAttempt - 1);
      await clock.sleep(10 * 2 ** attempt);
    }
  }
  if ((await mountPoints()).includes(target)) throw new GardenError("tool-failed", `${target} could not be unmounted`);
}

/** Makes the container's root. On failure `removeRoot` takes away what was made. @throws GardenError no-space, tool-failed */
export async function makeRoot(exec: Exec, request: RootRequest, signal: AbortSignal): Promise<void> {
  try {
    const layers = request.disk === undefined ? request.dataDir : await makeDisk(exec, request, request.disk, signal);
    const [upper, work] = [join(layers, "upper"), join(layers, "work")];
    await Promise.all([upper, work, request.target].map((folder) => mkdir(folder, { recursive: true, mode: 0o755 })));
    // The overlay takes owner and mode of its root from the upper layer, when it is mounted.
    const { mode } = await stat(request.imageRoot);
    await chmod(upper, mode & 0o7777);
    await chown(upper, request.idBase, request.idBase);
    const escaped = (path: string): string => path.replace(/[\\:,]/g, (found) => `\\${found}`);
    // Nothing of the upper layer outlives the container, so nothing needs to reach the disk.
    const options = `lowerdir=${escaped(request.imageRoot)},upperdir=${escaped(upper)},workdir=${escaped(work)},volatile,nodev`;
    await exec("mount", ["-t", "overlay", "muster", "-o", options, request.target], { signal, timeoutMs: 20_000 });
  } catch (error) {
    signal.throwIfAborted();
    throw rootError(error);
  }
}

async function makeDisk(exec: Exec, request: RootRequest, disk: DiskLimit, signal: AbortSignal): Promise<string> {
  const file = join(request.dataDir, "disk.img");
  await Promise.all([request.dataDir, request.diskMount].map((folder) => makeFolder(folder, 0o711)));
  const handle = await open(file, "wx", 0o600);
  try {
    // The file is sparse: its own tables take room of the file, but none of the container's and hardly any of the machine's.
    const tables = disk.inodes * inodeBytes + tableBytes + disk.bytes * tableShare;
    const size = disk.bytes + tables + Math.min(mostPromisedBytes, (disk.bytes + tables) * promisedShare);
    await handle.truncate(Math.ceil(size / blockBytes) * blockBytes);
  } finally {
    await handle.close();
  }
  const lazy = ["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-O", "^has_journal,^resize_inode", "-m", "0"];
  const shape = ["-b", String(blockBytes), "-I", String(inodeBytes), "-N", String(disk.inodes)];
  await exec("mkfs.ext4", ["-q", "-F", ...lazy, ...shape, file], { signal, timeoutMs: 20_000 });
  await exec("mount", ["-t", "ext4", "-o", "loop,nodev,noatime", file, request.diskMount], { signal, timeoutMs: 20_000 });
  return request.diskMount;
}

function rootError(error: unknown): GardenError {
  const words = lastWords(error);
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const full = code === "ENOSPC" || (error instanceof ToolError && /no space left/i.test(error.stderr));
  if (full) return new GardenError("no-space", "the cell has no disk space left for the container", error);
  return new GardenError("tool-failed", `the container's root could not be made (${words})`, error);
}

/** Takes the root away, with all that was written to it. Idempotent. */
export async function removeRoot(
  clock: Clock,
  exec: Exec,
  request: Pick<RootRequest, "target" | "diskMount" | "dataDir">,
): Promise<void> {
  await unmount(clock, exec, request.target);
  await unmount(clock, exec, request.diskMount);
  await rm(request.dataDir, { recursive: true, force: true });
}

/** What the container has written. */
export async function diskUsage(
  exec: Exec,
  request: Pick<RootRequest, "diskMount" | "dataDir"> & { readonly isLimited: boolean },
): Promise<number> {
  if (request.isLimited) {
    const { blocks, bfree, bsize } = await statfs(request.diskMount);
    return (blocks - bfree) * bsize;
  }
  const { stdout } = await exec("du", ["-sx", "-B1", join(request.dataDir, "upper")], { timeoutMs: 10_000 });
  return Number.parseInt(stdout.toString("utf8"), 10);
}
