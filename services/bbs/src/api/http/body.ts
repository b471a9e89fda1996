// The body of one request, bounded.
import type { IncomingMessage } from "node:http";
import { BbsError } from "@muster/shared/errors";

/** The largest request that can be stored is 1.4 MiB; this leaves room for what is refused with a reason. */
export const maxBodyBytes = 4 * 1024 * 1024;
/** Of a body that is too large so much is read and dropped, so that its sender reads the refusal; beyond it the connection is cut. */
const maxDroppedBytes = 64 * 1024 * 1024;

/**
 * Reads the whole body; how slow it may be is the server's `requestTimeout`.
 * @throws BbsError InvalidRequest for one that is too large, UnknownError when the client went away.
 */
export function readBody(request: IncomingMessage): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.byteLength;
      if (bytes <= maxBodyBytes) chunks.push(chunk);
      else chunks = [];
      if (bytes > maxDroppedBytes) request.destroy();
    });
    request.on("end", () => {
      if (bytes <= maxBodyBytes) resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
      else reject(new BbsError("InvalidRequest", `the request is larger than ${maxBodyBytes} bytes`));
    });
    // After `end` this rejects nothing any more.
    request.on("close", () => reject(new BbsError("UnknownError")));
    request.on("error", (cause) => reject(new BbsError("UnknownError", undefined, {}, cause)));
  });
}
