// A look at the data file before LMDB opens it: the library ends the whole process where it cannot open one.
import { constants } from "node:fs";
import { access, open, stat, statfs } from "node:fs/promises";
import { join } from "node:path";

const pageBytes = 4_096;
/** Page flags at 18 of a meta page's head, then the format's magic number and version. Source: lmdb's mdb.c, MDB_page and MDB_meta. */
const layout = { flagsAt: 18, metaFlag: 0x08, magicAt: 24, magic: 0xbeef_c0de, versionAt: 28, version: 2 } as const;
/** What a new file and its lock file need, with room to spare. */
const newFileBytes = 1024 ** 2;

/** @throws an Error saying what is wrong with the data file in `folder`, or with the place where it is to be made. */
export async function checkDataFile(folder: string): Promise<void> {
  const file = join(folder, "data.mdb");
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  );
  await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  if (size === 0) {
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize < newFileBytes) throw new Error(`its disk is full: a new store needs ${newFileBytes} bytes`);
    return;
  }
  await access(file, constants.R_OK | constants.W_OK);
  await checkMetaPages(file);
}

/** The data file's size, and what its disk has left for this user. Bytes. */
export async function diskRoom(folder: string): Promise<{ readonly fileBytes: number; readonly freeBytes: number }> {
  const [file, disk] = await Promise.all([stat(join(folder, "data.mdb")), statfs(folder)]);
  return { fileBytes: file.size, freeBytes: disk.bavail * disk.bsize };
}

async function checkMetaPages(file: string): Promise<void> {
  const head = Buffer.alloc(pageBytes * 2);
  const handle = await open(file, "r");
  try {
    const { bytesRead } = await handle.read(head, 0, head.length, 0);
    if (bytesRead < head.length) throw new Error(`${file} is cut short`);
  } finally {
    await handle.close();
  }
  for (const page of [head.subarray(0, pageBytes), head.subarray(pageBytes)]) {
    const isMeta =
      (page.readUInt16LE(layout.flagsAt) & layout.metaFlag) !== 0 && page.readUInt32LE(layout.magicAt) === layout.magic;
    if (!isMeta) throw new Error(`${file} is damaged or is not an LMDB file`);
    const version = page.readUInt32LE(layout.versionAt);
    if (version !== layout.version) throw new Error(`${file} has format ${version}, where ${layout.version} is understood`);
  }
}
