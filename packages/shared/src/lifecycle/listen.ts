// Listening at an address from the settings. What is wrong with such an address a person must mend, so it is told as that.
import type { AddressInfo, Server } from "node:net";
import { OperatorError } from "../errors/index.js";

/** `host:port` as a setting gives it, and the setting's name. */
export interface ListenAt {
  readonly address: string;
  readonly setting: string;
}

/** Connections that wait to be accepted; the kernel cuts it to its own bound. */
const backlog = 1_024;

/** Splits `host:port`; an IPv6 address stands in brackets. */
export function splitAddress(address: string): [string, number] {
  const colon = address.lastIndexOf(":");
  return [address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"), Number(address.slice(colon + 1))];
}

/**
 * Listens and resolves with the port (port 0 picks one). From then on the server outlives what goes wrong with single connections.
 * @throws OperatorError naming address and setting where another program, the machine or its rights are in the way
 */
export async function listenAt(server: Server, at: ListenAt): Promise<number> {
  const [host, port] = splitAddress(at.address);
  await new Promise<void>((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException): void => reject(forOperators(error, at));
    server.once("error", refuse);
    server.listen({ host, port, backlog }, () => {
      server.removeListener("error", refuse);
      resolve();
    });
  });
  // Accepting may fail for want of file descriptors; those that are open go on.
  server.on("error", () => undefined);
  return (server.address() as AddressInfo).port;
}

/** What stands in the way, and what to do, by the system's own codes. */
const obstacles: Readonly<Record<string, readonly [is: string, mend: string]>> = {
  EADDRINUSE: ["another program listens there", "stop that program (`ss -ltnp` names it)"],
  EADDRNOTAVAIL: ["this machine has no such address", "give an address of this machine, or 0.0.0.0 for all of them"],
  EACCES: ["this user may not listen there", "give a port from 1024 on, or the capability CAP_NET_BIND_SERVICE"],
  ENOTFOUND: ["its host has no address", "give an IP address, or a name that this machine can resolve"],
  EAI_AGAIN: ["nobody answers what address its host has", "give an IP address, or mend this machine's name service"],
};

function forOperators(error: NodeJS.ErrnoException, { address, setting }: ListenAt): Error {
  const obstacle = obstacles[error.code ?? ""];
  if (obstacle === undefined) return error;
  const [is, mend] = obstacle;
  return new OperatorError(`cannot listen at ${address} (${setting}): ${is}`, `${mend}, or change ${setting}`, error);
}
