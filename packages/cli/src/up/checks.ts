// What must hold before anything is started: root, tools, free ports. Each fault is one message that says what to do.
import { createServer } from "node:net";
import { findTools } from "@muster/garden/runc";
import { OperatorError } from "@muster/shared/errors";
import type { UpOptions } from "./options.js";

/** @throws OperatorError naming what is missing and the command that installs it. */
export function checkMachine(options: Pick<UpOptions, "runtime">): void {
  if (options.runtime === "simulated") return;
  if (process.platform !== "linux") {
    throw new OperatorError("containers need Linux", "run on Linux, or without containers: --runtime simulated --no-demo");
  }
  findTools();
}

export interface NamedAddress {
  readonly name: string;
  readonly address: string;
}

/** @throws OperatorError naming every port that is taken. */
export async function checkPorts(addresses: readonly NamedAddress[]): Promise<void> {
  const taken = (await Promise.all(addresses.map(async (each) => ((await isFree(each.address)) ? [] : [each])))).flat();
  if (taken.length === 0) return;
  const names = taken.map(({ name, address }) => `${address} (${name})`).join(", ");
  throw new OperatorError(
    `${taken.length === 1 ? "a port is" : "ports are"} taken by another program: ${names}`,
    "stop that program, or move every port of Muster with --port-offset N (as in --port-offset 2000)",
  );
}

/** Whether the address can be listened on now. Another's listening socket on all addresses counts as taken too. */
function isFree(address: string): Promise<boolean> {
  const [host = "", port = ""] = address.split(":");
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host, port: Number(port), exclusive: true }, () => server.close(() => resolve(true)));
  });
}
