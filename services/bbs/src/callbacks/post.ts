// One POST of a callback, over HTTP, or over HTTPS with the BBS's own certificate and authority. No redirection is followed, and of an
// answer no more is read than lets the connection end in good order.
import { type ClientRequest, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { TlsMaterial } from "@muster/shared/tls";

/** Resolves with the answer's status. Rejects with Node's error when there is none, and when `signal` aborts before it. */
export type PostCallback = (url: URL, body: string, signal: AbortSignal) => Promise<number>;

const maxAnswerBytes = 64 * 1024;

export const httpPoster =
  (tls: TlsMaterial): PostCallback =>
  (url, body, signal) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    // A connection of its own for each: a kept one may be closed by the other side just as it is used again.
    const options = { method: "POST", headers, signal, agent: false as const };
    const request = url.protocol === "https:" ? httpsRequest(url, { ...options, ...tls }) : httpRequest(url, options);
    return answered(request, body);
  };

const answered = (request: ClientRequest, body: string): Promise<number> =>
  new Promise((resolve, reject) => {
    request.on("error", reject);
    request.once("response", (response) => {
      let bytes = 0;
      response.on("error", () => undefined);
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.byteLength;
        if (bytes > maxAnswerBytes) response.destroy();
      });
      response.once("close", () => resolve(response.statusCode ?? 0));
    });
    request.end(body);
  });
