// Archives of the three known kinds, told apart by their first bytes, as one tar stream each (cell.md section 6).
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { finished } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { pack } from "tar-stream";
import { type Entry, fromFd, type ZipFile } from "yauzl";

export type ArchiveKind = "tar" | "tgz" | "zip";

async function kindOf(file: string): Promise<ArchiveKind> {
  const handle = await open(file, "r");
  try {
    const head = Buffer.alloc(4);
    await handle.read(head, 0, 4, 0);
    if (head[0] === 0x1f && head[1] === 0x8b) return "tgz";
    // A zip begins with its first entry, or, when it is empty, with its end.
    return head[0] === 0x50 && head[1] === 0x4b && (head[2] === 3 || head[2] === 5) ? "zip" : "tar";
  } finally {
    await handle.close();
  }
}

/** The archive as a tar stream. @throws from the iteration when it is broken. */
export async function* asTar(file: string): AsyncGenerator<Uint8Array, void, undefined> {
  const kind = await kindOf(file);
  if (kind === "zip") {
    yield* zipAsTar(file);
    return;
  }
  const source = createReadStream(file);
  if (kind === "tar") {
    yield* source as AsyncIterable<Uint8Array>;
    return;
  }
  const unzipped = createGunzip();
  source.on("error", (error) => unzipped.destroy(error));
  try {
    yield* source.pipe(unzipped) as AsyncIterable<Uint8Array>;
  } finally {
    source.destroy();
    unzipped.destroy();
  }
}

const openZip = (fd: number): Promise<ZipFile> =>
  new Promise((resolve, reject) =>
    fromFd(fd, { lazyEntries: true, autoClose: false }, (error, zip) => (error === null ? resolve(zip) : reject(error))),
  );

const fileTypeMask = 0o170_000;
const linkType = 0o120_000;
const unixHost = 3;
/** As long as a path may be; more of a link than that is no target, and a few bytes of zip could become gigabytes of it. */
const maxTargetBytes = 4_096;

async function* zipAsTar(file: string): AsyncGenerator<Uint8Array, void, undefined> {
  const handle = await open(file, "r");
  const tar = pack();
  try {
    const zip = await openZip(handle.fd);
    const filling = fill(zip, tar).catch((error: unknown) =>
      tar.destroy(error instanceof Error ? error : new Error(String(error))),
    );
    yield* tar as AsyncIterable<Uint8Array>;
    await filling;
  } finally {
    tar.destroy();
    await handle.close();
  }
}

async function fill(zip: ZipFile, tar: ReturnType<typeof pack>): Promise<void> {
  for await (const entry of entriesOf(zip)) await copy(zip, entry, tar);
  tar.finalize();
}

function entriesOf(zip: ZipFile): AsyncIterable<Entry> {
  return (async function* () {
    for (let left = zip.entryCount; left > 0; left -= 1) {
      yield await new Promise<Entry>((resolve, reject) => {
        zip.once("entry", resolve);
        zip.once("error", reject);
        zip.readEntry();
      });
      zip.removeAllListeners("error");
    }
  })();
}

/** Listens rather than iterates: the library's streams end, but never close, and an iteration waits for that. */
const whole = (content: NodeJS.ReadableStream): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    content.on("data", (chunk: Buffer) => chunks.push(chunk));
    content.once("end", () => resolve(Buffer.concat(chunks)));
    content.once("error", reject);
  });

async function copy(zip: ZipFile, entry: Entry, tar: ReturnType<typeof pack>): Promise<void> {
  const name = entry.fileName;
  const mode = entry.versionMadeBy >> 8 === unixHost ? (entry.externalFileAttributes >>> 16) & 0xffff : 0;
  const mtime = entry.getLastModDate();
  const permissions = mode & 0o777;
  if (name.endsWith("/")) {
    tar.entry({ name, type: "directory", mode: permissions || 0o755, mtime });
    return;
  }
  const isLink = (mode & fileTypeMask) === linkType;
  if (isLink && entry.uncompressedSize > maxTargetBytes) throw new Error(`the target of link ${name} is no path`);
  const content = await new Promise<NodeJS.ReadableStream>((resolve, reject) =>
    zip.openReadStream(entry, (error, stream) => (error === null ? resolve(stream) : reject(error))),
  );
  if (isLink) {
    tar.entry({ name, type: "symlink", linkname: (await whole(content)).toString("utf8"), mtime });
    return;
  }
  const sink = tar.entry({ name, size: entry.uncompressedSize, mode: permissions || 0o644, mtime });
  content.pipe(sink);
  content.on("error", (error) => sink.destroy(error as Error));
  await finished(sink);
}
