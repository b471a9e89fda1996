// A service that is started anew when it ends, as whoever runs the platform does: a busy machine costs it its lock now and then.
import { tlsOf } from "../support/bbs.js";
import { type ServiceOptions, ServiceProcess, spawnService } from "../support/service.js";

type KeptName = "auctioneer" | "converger";

export class KeptService implements AsyncDisposable {
  readonly #name: KeptName;
  readonly #options: ServiceOptions;
  #process: ServiceProcess;
  #logs = "";
  #stopped = false;
  restarts = 0;

  private constructor(name: KeptName, options: ServiceOptions, process: ServiceProcess) {
    this.#name = name;
    this.#options = options;
    this.#process = process;
    void this.#keep();
  }

  static async start(name: KeptName, options: Omit<ServiceOptions, "tls">): Promise<KeptService> {
    const all = { ...options, tls: await tlsOf(name) };
    return new KeptService(name, all, new ServiceProcess(await spawnService(name, all)));
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Of every process so far. */
  log(): string {
    return this.#logs + this.#process.log();
  }

  /** All of `/metrics`; empty while nothing answers. */
  metrics(): Promise<string> {
    return this.#process.metrics().catch(() => "");
  }

  until(state: string, withinMs: number): Promise<void> {
    return this.#process.until(state, withinMs);
  }

  /** An orderly end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#process.running) this.#process.kill("SIGTERM");
    await this.#process.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    await this.#process[Symbol.asyncDispose]();
  }

  async #keep(): Promise<void> {
    await this.#process.exited;
    while (!this.#stopped) {
      const ended = this.#process;
      this.#logs += ended.log();
      this.restarts += 1;
      this.#process = new ServiceProcess(await spawnService(this.#name, this.#options));
      await ended[Symbol.asyncDispose]();
      await this.#process.exited;
    }
  }
}
