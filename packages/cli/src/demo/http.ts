// One bounded GET on loopback, for the demo registry.
import type { Clock } from "@muster/shared/clock";

/** A registry on the same machine answers within milliseconds; one that hangs must not hang `up`. */
const answerLimitMs = 5_000;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** Reads the whole answer, whatever its status. Throws when there is none in time, or the signal's reason. */
export async function get(
  url: string,
  { clock, signal, accept }: { clock: Clock; signal: AbortSignal; accept?: string },
): Promise<Answer> {
  const deadline = new AbortController();
  const cancel = clock.after(answerLimitMs, () => deadline.abort(new Error(`${url} did not answer in ${answerLimitMs} ms`)));
  try {
    const response = await fetch(url, {
      headers: accept === undefined ? {} : { accept },
      signal: AbortSignal.any([signal, deadline.signal]),
    });
    return { status: response.status, headers: response.headers, body: await response.text() };
  } finally {
    cancel();
  }
}
