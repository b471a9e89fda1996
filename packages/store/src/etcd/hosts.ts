// Which endpoint is talked to: one at a time, the next when it fails. The library would draw one by lot for every call, so that a
// dead member spoils a third of all commits, and its breakers would hold calls back for seconds.
import { type IOptions, isRecoverableError } from "etcd3";

export type FaultHandling = NonNullable<IOptions["faultHandling"]>;
type HostPolicy = ReturnType<NonNullable<FaultHandling["host"]>>;
type Execute = HostPolicy["execute"];

/** The library offered a call to an endpoint that is not the present one: it was not sent. */
export class NotThisHost extends Error {
  override readonly name = "NotThisHost";
}

const alive = new AbortController().signal;

export class StickyHosts {
  readonly #hosts: readonly string[];
  #current = 0;

  constructor(hosts: readonly string[]) {
    this.#hosts = hosts;
  }

  get count(): number {
    return this.#hosts.length;
  }

  get current(): string {
    return this.#hosts[this.#current] ?? "";
  }

  /** The policies to give to the library, in place of its retries and breakers. */
  get faultHandling(): FaultHandling {
    const passOn: Execute = async (run, signal) => run({ signal: signal ?? alive });
    return { global: policy(passOn), host: (host) => policy((run, signal) => this.#execute(host, run, signal)) };
  }

  /** Moves on from `host`, unless somebody has done so already. */
  leave(host: string): void {
    if (host === this.current) this.#current = (this.#current + 1) % this.#hosts.length;
  }

  async #execute<T>(host: string, run: Parameters<Execute>[0], signal: AbortSignal | undefined): Promise<T> {
    if (host !== this.current) throw new NotThisHost(`${host} is not in use`);
    try {
      return (await run({ signal: signal ?? alive })) as T;
    } catch (error) {
      if (error instanceof Error && isRecoverableError(error)) this.leave(host);
      throw error;
    }
  }
}

/** The library calls nothing but `execute`; the events that the type asks for are its makers' own. */
const policy = (execute: Execute): HostPolicy => ({ execute }) as HostPolicy;
