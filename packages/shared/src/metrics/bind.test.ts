// A bound server outlives what may go wrong with single connections.
import { createServer } from "node:http";
import { expect, it } from "vitest";
import { bindServer } from "./index.js";

it("a server that cannot accept for a while goes on", async () => {
  const server = createServer((_request, response) => response.end("here"));
  const bound = await bindServer(server, { address: "127.0.0.1:0", setting: "metrics_address" });
  // As Node tells it, once for each connection, while there are no file descriptors left.
  for (let n = 0; n < 3; n += 1) server.emit("error", new Error("accept EMFILE"));
  expect(await (await fetch(`http://127.0.0.1:${bound.port}/`)).text()).toBe("here");
  await bound.close();
});
