// Which host port belongs to which container: the pool of one cell, in memory; the containers' own records are its memory on disk.
import type { MappedPort } from "../garden.js";
import { GardenError } from "../garden.js";

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Hands out host ports in turn, so that a port just given back is the last to be used again. */
export class PortPool {
  readonly #range: PortRange;
  readonly #owners = new Map<number, string>();
  #next: number;

  constructor(range: PortRange) {
    this.#range = range;
    this.#next = range.first;
  }

  /** Marks ports as a container's own (adoption). */
  adopt(handle: string, ports: readonly MappedPort[]): void {
    for (const { hostPort } of ports) this.#owners.set(hostPort, handle);
  }

  /**
   * Takes one host port for each container port, leaving out those of `busy` (in use by others on this machine).
   * @throws GardenError `port-exhausted`; then nothing was taken.
   */
  take(handle: string, containerPorts: readonly number[], busy: (port: number) => boolean = () => false): readonly MappedPort[] {
    const taken: MappedPort[] = [];
    for (const containerPort of new Set(containerPorts)) {
      const hostPort = this.#takeOne(handle, busy);
      if (hostPort === undefined) {
        for (const port of taken) this.#owners.delete(port.hostPort);
        const { first, last } = this.#range;
        throw new GardenError("port-exhausted", `every host port of ${first} to ${last} is in use on this cell`);
      }
      taken.push({ containerPort, hostPort });
    }
    return taken;
  }

  giveBack(handle: string): void {
    for (const [port, owner] of this.#owners) if (owner === handle) this.#owners.delete(port);
  }

  #takeOne(handle: string, busy: (port: number) => boolean): number | undefined {
    const size = this.#range.last - this.#range.first + 1;
    for (let tried = 0; tried < size; tried += 1) {
      const port = this.#next;
      this.#next = port >= this.#range.last ? this.#range.first : port + 1;
      if (this.#owners.has(port) || busy(port)) continue;
      this.#owners.set(port, handle);
      return port;
    }
    return undefined;
  }
}
