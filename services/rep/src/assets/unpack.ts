// Unpacks a dependency on the machine, into a folder that only this cell writes to. The machine's tar is trusted with strangers' archives: it
// takes leading slashes away, refuses `..`, and makes links last, so that nothing is written through one.
import { spawn } from "node:child_process";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { asTar } from "./archive.js";

/** Everything can be read in every container, and nothing of it runs with another's rights. */
const flags = ["--extract", "--file=-", "--no-same-owner", "--no-same-permissions", "--delay-directory-restore"];
const keptWords = 4_096;

/** @throws Error with tar's words, or for more than `maxBytes`. */
export async function unpackArchive(archive: string, folder: string, maxBytes: number, signal: AbortSignal): Promise<void> {
  const child = spawn("tar", [...flags, `--directory=${folder}`], { stdio: ["pipe", "ignore", "pipe"], signal });
  let words = "";
  child.stderr.on("data", (chunk: Buffer) => {
    words = (words + chunk.toString("utf8")).slice(0, keptWords);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  ended.catch(() => undefined);
  let bytes = 0;
  const bounded = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of asTar(archive)) {
      bytes += chunk.length;
      if (bytes > maxBytes) throw new Error("the archive unpacks to more than the cell's cache holds");
      yield chunk;
    }
  };
  try {
    await feed(bounded(), child.stdin);
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
  if ((await ended) !== 0) throw new Error(words.trim().split("\n")[0] ?? "tar failed");
  await run("chmod", ["-R", "a+rX", folder], signal);
}

/** How a pipe fails whose reader has ended; Node takes it away at that moment, perhaps before it has told of the last write. */
const readerEnded: ReadonlySet<unknown> = new Set(["EPIPE", "ECONNRESET", "ERR_STREAM_PREMATURE_CLOSE"]);

/**
 * Writes all of it, as far as the reading process wants it: one that ends early has what it needs, or says why itself by its status.
 * @throws what `content` throws.
 */
export async function feed(content: AsyncIterable<Uint8Array>, stdin: Writable): Promise<void> {
  let fault: { readonly error: unknown } | undefined;
  const source = async function* (): AsyncGenerator<Uint8Array> {
    try {
      yield* content;
    } catch (error) {
      fault = { error };
      throw error;
    }
  };
  try {
    await pipeline(Readable.from(source()), stdin);
  } catch (error) {
    if (fault !== undefined) throw fault.error;
    if (!readerEnded.has((error as NodeJS.ErrnoException).code)) throw error;
  }
}

function run(tool: string, args: readonly string[], signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, { stdio: "ignore", signal });
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`${tool} ended with status ${code}`))));
  });
}
