// An HTTP health check made from the cell (cell.md section 7): GET, only 200 is healthy.
import { request } from "node:http";
import type { Clock } from "@muster/shared/clock";
import type { Check } from "../plan/index.js";

/** As many as Diego's probe makes, and the answers it follows. */
const maxRequests = 10;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** A page that is longer is not read to its end. */
const maxBodyBytes = 1_048_576;

type Answer = { readonly status: number; readonly location: string | undefined };

function get(host: string, port: number, path: string, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let answered = false;
    const call = request(
      {
        host,
        port,
        path,
        method: "GET",
        signal,
        agent: false,
        headers: { "user-agent": "diego-healthcheck", "x-forwarded-proto": "https", connection: "close" },
      },
      (response) => {
        let bytes = 0;
        answered = true;
        const finish = (): void => {
          resolve({ status: response.statusCode ?? 0, location: response.headers.location });
          call.destroy();
        };
        // Servers complain of a reader that goes away in the middle; but neither its length nor its end makes the answer another.
        response.on("data", (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > maxBodyBytes) finish();
        });
        for (const end of ["end", "error", "close"]) response.on(end, finish);
      },
    );
    call.on("error", (error) => {
      if (!answered) reject(error);
    });
    call.end();
  });
}

/** Redirects are followed on the container itself only: a health check must not leave it. */
function pathOf(location: string, base: string): string | undefined {
  try {
    const target = new URL(location, `http://container${base}`);
    return target.pathname + target.search;
  } catch {
    return undefined;
  }
}

/** Resolves to `undefined` when healthy, else to Diego's text. */
export async function probeHttp(clock: Clock, host: string, check: Check): Promise<string | undefined> {
  const startedMs = clock.elapsedMs();
  const failed = (detail: string): string => `failed to make HTTP request to '${check.path}' on port ${check.port}: ${detail}`;
  const abort = new AbortController();
  const cancel = clock.after(check.timeoutMs, () => abort.abort());
  try {
    let path = check.path;
    for (let hop = 0; hop < maxRequests; hop += 1) {
      const answer = await get(host, check.port, path, abort.signal);
      if (answer.status === 200) return undefined;
      const next = redirects.has(answer.status) && answer.location !== undefined ? pathOf(answer.location, path) : undefined;
      if (next === undefined)
        return failed(`received status code ${answer.status} in ${Math.round(clock.elapsedMs() - startedMs)}ms`);
      path = next;
    }
    return failed("too many redirects");
  } catch (error) {
    if (abort.signal.aborted) return failed(`timed out after ${(check.timeoutMs / 1_000).toFixed(2)} seconds`);
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return failed(code === "ECONNREFUSED" ? "connection refused" : error instanceof Error ? error.message : String(error));
  } finally {
    cancel();
  }
}
