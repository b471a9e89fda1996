// A task's result: one small file, read as root out of its container (cell.md section 3).
import type { Container } from "@muster/garden";
import type { Clock } from "@muster/shared/clock";
import { maxResultBytes, texts } from "../plan/index.js";
import { onlyFileOf } from "./tar.js";

export type ResultRead = { readonly text: string } | { readonly fault: string };

/** Reading it takes a moment; a container whose files cannot be read in this time gives no result. */
const readMs = 60_000;

/** Never throws: what cannot be read, or is no file (a folder, a pipe, a device), is a fault that is told. */
export async function readResult(clock: Clock, container: Container, path: string): Promise<ResultRead> {
  const late = new AbortController();
  const cancel = clock.after(readMs, () => late.abort(new Error("reading the result took too long")));
  try {
    const file = await onlyFileOf(container.streamOut({ path, user: "root" }, late.signal), maxResultBytes);
    if (file === undefined) return { fault: texts.resultFetchFailed };
    return file === "too-large" ? { fault: texts.resultTooLarge(maxResultBytes) } : { text: file.toString("utf8") };
  } catch {
    return { fault: texts.resultFetchFailed };
  } finally {
    cancel();
  }
}
