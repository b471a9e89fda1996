// Ports for servers that tests start as processes. Asking the kernel for a free port and letting go of it again hands it to the next
// one who asks, and to any client's connection; so these come from below the range of clients' ports, and each is locked for as long as
// this process lives. A server that can say which port it got is given port 0 instead.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";

/** The kernel gives clients 32768-60999 unless told otherwise; Muster's own defaults and their offsets are below 13,000. */
const [lowest, usuallyBelow] = [20_000, 32_768];

function highest(): number {
  const [clientsFrom = usuallyBelow] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split(/\s+/).map(Number);
  // A machine whose clients use all ports leaves no better choice.
  return (clientsFrom > lowest + 1_000 ? Math.min(clientsFrom, usuallyBelow) : usuallyBelow) - 1;
}

const count = highest() - lowest + 1;
/** Processes that start together look at different ones; beyond that nothing hangs on where it begins. */
let next = (process.pid * 97) % count;

/** Held until the process ends. An abstract Unix socket is the lock: the kernel frees it, and it is as wide as the ports, one namespace. */
const locks: Server[] = [];

const lockNamed = (name: string): Promise<Server | undefined> => listening({ path: `\0muster-test-${name}` });

/** Takes a name for as long as this process lives; `false` when another process of this machine has it, or this one already. */
export async function claim(name: string): Promise<boolean> {
  const lock = await lockNamed(name);
  if (lock !== undefined) locks.push(lock.unref());
  return lock !== undefined;
}

/** A port that nobody listens at and no other test will be given while this process lives. @throws when there is none left */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < count; tries += 1) {
    const port = lowest + next;
    next = (next + 1) % count;
    const lock = await lockNamed(`port-${port}`);
    if (lock === undefined) continue;
    const probe = await listening({ host: "127.0.0.1", port });
    if (probe === undefined) {
      // Somebody who does not ask here.
      lock.close();
      continue;
    }
    probe.close();
    await once(probe, "close");
    locks.push(lock.unref());
    return port;
  }
  throw new Error(`none of the ports ${lowest}-${lowest + count - 1} is free`);
}

/** `undefined` when it is taken. @throws for any other obstacle */
function listening(
  where: { readonly path: string } | { readonly host: string; readonly port: number },
): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => (error.code === "EADDRINUSE" ? resolve(undefined) : reject(error)));
    server.listen(where, () => resolve(server));
  });
}
