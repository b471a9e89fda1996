// The cell's locked data folder: who the cell is (R6), whether it evacuates (E2), and a record for each of its containers (R2).
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import type { Entropy } from "@muster/shared/clock";
import { OperatorError } from "@muster/shared/errors";
import type { Log } from "@muster/shared/log";
import { type ContainerStore, decodeContainer, encodeContainer } from "./store.js";

const ownerFile = "owner";
const evacuatingFile = "evacuating";
const containersFolder = "containers";
const recordSuffix = ".json";
/** Guids make file names; anything else is not ours. */
const guidPattern = /^[A-Za-z0-9_-]{1,64}$/;

export interface DataFolder {
  readonly path: string;
  /** Random, made once with the folder. */
  readonly owner: string;
  readonly evacuating: boolean;
  readonly containers: ContainerStore;
  setEvacuating(evacuating: boolean): void;
  /** Gives the lock up; the kernel does so too when the process dies. */
  release(): void;
}

/** Node cannot lock a file: an abstract Unix socket named after the folder is freed by the kernel on kill -9. */
function lockFolder(path: string): Promise<Server> {
  const hash = createHash("sha256").update(realpathSync(path)).digest("hex").slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code === "EADDRINUSE"
          ? new OperatorError(
              `the data folder ${path} is in use by another process`,
              "stop the other rep, or give this one a folder of its own",
              cause,
            )
          : new OperatorError(`the data folder ${path} cannot be locked`, "see the cause", cause),
      ),
    );
    server.listen({ path: `\0muster-rep-${hash}`, exclusive: true }, () => {
      server.unref();
      resolve(server);
    });
  });
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Opens, or makes, the folder and locks it. @throws OperatorError when it is in use or cannot be written. */
export async function openDataFolder(path: string, entropy: Entropy, log: Log): Promise<DataFolder> {
  try {
    mkdirSync(join(path, containersFolder), { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new OperatorError(`the data folder ${path} cannot be made`, "give the rep a folder it may write to", cause);
  }
  const lock = await lockFolder(path);
  const owner = readIfThere(join(path, ownerFile))?.trim() || entropy.guid();
  writeWhole(join(path, ownerFile), `${owner}\n`);
  return {
    path,
    owner,
    evacuating: readIfThere(join(path, evacuatingFile)) !== undefined,
    containers: fileContainerStore(join(path, containersFolder), log),
    setEvacuating: (evacuating) => {
      if (evacuating) writeWhole(join(path, evacuatingFile), "");
      else rmSync(join(path, evacuatingFile), { force: true });
    },
    release: () => void lock.close(),
  };
}

/**
 * One file for each container, replaced as a whole. Written without fsync: what it must outlive is the rep, not the machine,
 * whose end is the containers' end too.
 */
export function fileContainerStore(folder: string, log: Log): ContainerStore {
  const fileOf = (guid: string): string => join(folder, guid + recordSuffix);
  return {
    load: async (nowMs) => {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const names = (await readdir(folder)).filter((name) => name.endsWith(recordSuffix)).sort();
      const records = await Promise.all(
        names.map(async (name) => {
          const record = decodeContainer(await readFile(join(folder, name), "utf8"), nowMs);
          if (record === undefined) {
            log.warn({ reason: name }, "a container's record cannot be read and is dropped");
            await rm(join(folder, name), { force: true });
          }
          return record;
        }),
      );
      return records.filter((record) => record !== undefined);
    },
    put: async (record) => {
      if (!guidPattern.test(record.instanceGuid)) throw new Error("an instance guid is no file name");
      const file = fileOf(record.instanceGuid);
      await writeFile(`${file}.new`, encodeContainer(record), { mode: 0o600 });
      await rename(`${file}.new`, file);
    },
    delete: async (guid) => {
      if (guidPattern.test(guid)) await rm(fileOf(guid), { force: true });
    },
  };
}
