// One process at a time in a folder. Node cannot lock a file, so the lock is an abstract Unix socket named after the folder: the
// kernel frees it however its holder dies. It is seen only by processes of the same network namespace.
import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import { createServer, connect as dial, type Server } from "node:net";
import { OperatorError } from "../errors/index.js";

export interface FolderLock extends AsyncDisposable {
  /** Frees the folder. Idempotent. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** How long the holder may take to say who it is; it is asked only for the message. */
const askMs = 1_000;

/**
 * Locks an existing folder for as long as this process lives or until the lock is disposed of.
 * `holder` is how the next one is told who we are ("the store of muster-bbs"). Symbolic links are followed first.
 * @throws OperatorError naming the holder and its process id when the folder is locked already.
 */
export async function lockFolder(path: string, holder: string): Promise<FolderLock> {
  const folder = realpathSync(path);
  const address = `\0muster-${createHash("sha256").update(folder).digest("hex").slice(0, 32)}`;
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(`${holder}, process ${process.pid}\n`);
  });
  try {
    await listen(server, address);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    const who = await askHolder(address);
    throw new OperatorError(
      `the folder ${folder} is in use by ${who}`,
      "stop that process first, or choose another folder",
      error,
    );
  }
  server.unref();
  return { [Symbol.asyncDispose]: () => close(server) };
}

const listen = (server: Server, address: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ path: address }, () => {
      server.off("error", reject);
      resolve();
    });
  });

const close = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));

function askHolder(address: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = dial({ path: address });
    const done = (): void => {
      socket.destroy();
      resolve(answer.trim() === "" ? "another process" : answer.trim());
    };
    socket.setEncoding("utf8").setTimeout(askMs, done);
    socket.on("data", (text: string) => {
      answer = (answer + text).slice(0, 300);
    });
    socket.once("end", done).once("error", done);
  });
}
