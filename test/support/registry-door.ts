// A registry seen through a door, which may answer itself, and break what comes through.
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";

export interface Door {
  /** Answers a request itself and returns true. */
  readonly refuse?: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Asked before each piece of an answer is passed on: `soFar` bytes of it have been. */
  readonly onChunk?: (url: string, soFar: number, bytes: number) => "break" | "pass";
}

/** Opens the door before the registry `host` for the time of `work`, which is given the door's host. */
export async function withDoor<Result>(host: string, door: Door, work: (host: string) => Promise<Result>): Promise<Result> {
  const [hostname, port] = host.split(":");
  const server = createServer((request, response) => {
    if (door.refuse?.(request, response) === true) return;
    const { method, url = "", headers } = request;
    const onward = httpRequest({ hostname, port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      let soFar = 0;
      answer.on("data", (chunk: Buffer) => {
        if (door.onChunk?.(url, soFar, chunk.length) === "break") response.destroy();
        soFar += chunk.length;
      });
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  try {
    return await work(`127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
