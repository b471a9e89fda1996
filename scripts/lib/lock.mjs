// One bootstrap at a time in one folder: the kernel holds the lock and frees it however its holder ends.
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { platform } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { Refusal, say } from "./run.mjs";

const waitMs = 15 * 60_000; // A first installation over a slow line; then something is wrong and a person should look.

function listen(name) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => (error.code === "EADDRINUSE" ? resolve(undefined) : reject(error)));
    server.listen({ path: `\0${name}` }, () => resolve(server));
  });
}

/**
 * Runs `work` while no other bootstrap does so under the same name; waits for the other one first, and says so.
 * Abstract sockets exist on Linux only: elsewhere two bootstraps at once are the user's own doing.
 */
export async function withLock(subject, work) {
  if (platform !== "linux") return await work();
  const name = `muster-bootstrap-${createHash("sha256").update(subject).digest("hex").slice(0, 24)}`;
  const deadline = performance.now() + waitMs;
  let server = await listen(name);
  if (server === undefined) say("another npm start or npm test is preparing this; waiting for it");
  while (server === undefined) {
    if (performance.now() > deadline)
      throw new Refusal("the other npm start or npm test did not finish preparing; end it and try again");
    await sleep(200);
    server = await listen(name);
  }
  try {
    return await work();
  } finally {
    server.close();
  }
}
