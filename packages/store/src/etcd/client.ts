// The etcd3 client as the driver uses it: one try with a deadline, or reads tried again with patience.
import { type Clock, systemClock } from "@muster/shared/clock";
import {
  type CallOptionsFactory,
  Etcd3,
  type ILeaseKeepAliveResponse,
  isRecoverableError,
  type KVClient,
  type LeaseClient,
} from "etcd3";
import type { StoreUsage } from "../driver.js";
import { refusalOf } from "./errors.js";
import { NotThisHost, StickyHosts } from "./hosts.js";
import { clientOptions, type EtcdStoreOptions, type EtcdTiming } from "./options.js";

/** The library hands in grpc-js's options; only the deadline is ours to set. */
type CallOptions = { readonly deadline: number };
type Call<T> = (options: CallOptions) => Promise<T>;

/** How often a call is dealt out anew because the endpoint in use had just changed; endpoints fail slower than that. */
const maxDeals = 10;

export class EtcdClient {
  readonly #etcd: Etcd3;
  readonly #hosts: StickyHosts;
  readonly #clock: Clock;
  readonly #timing: EtcdTiming;

  constructor(options: EtcdStoreOptions, timing: EtcdTiming) {
    this.#hosts = new StickyHosts(options.endpoints);
    this.#clock = options.clock;
    this.#timing = timing;
    const deadlines: CallOptionsFactory = ({ isStream }) => (isStream ? {} : { deadline: deadlineIn(timing.callMs) });
    this.#etcd = new Etcd3({ ...clientOptions(options, this.#hosts.faultHandling), defaultCallOptions: deadlines });
  }

  get kv(): KVClient {
    return this.#etcd.kv;
  }

  get lease(): LeaseClient {
    return this.#etcd.leaseClient;
  }

  /** How many there are. */
  get endpoints(): number {
    return this.#hosts.count;
  }

  /** The endpoint in use. */
  get endpoint(): string {
    return this.#hosts.current;
  }

  /** The member in use: what its file holds, how large it is, and whether an alarm has shut out writes. */
  async databaseStatus(signal: AbortSignal): Promise<Pick<StoreUsage, "usedBytes" | "fileBytes" | "closed">> {
    const { dbSize, dbSizeInUse, errors } = await this.persist((options) => this.#etcd.maintenance.status(options), signal);
    const fileBytes = Number(dbSize);
    // 0: a server before 3.4, which does not tell.
    const usedBytes = Number(dbSizeInUse) || fileBytes;
    return { usedBytes, fileBytes, closed: errors.some((error) => error.includes("NOSPACE")) };
  }

  /** Sends once and answers within `ms`. @throws what etcd or the connection said. */
  async once<T>(call: Call<T>, ms: number = this.#timing.callMs): Promise<T> {
    for (let deals = 1; ; deals += 1) {
      try {
        return await call({ deadline: deadlineIn(ms) });
      } catch (error) {
        // Another call moved to the next endpoint while this one was being dealt out: it was not sent.
        if (!(error instanceof NotThisHost) || deals === maxDeals) throw error;
      }
    }
  }

  /** Sends once, and waits no longer than until the signal aborts. @throws what etcd or the connection said, or the signal's reason. */
  ask<T>(call: Call<T>, signal: AbortSignal): Promise<T> {
    return unlessAborted(this.once(call), signal);
  }

  /** For what may be asked again at will. @throws the last error once patience has run out, or the signal's reason. */
  async persist<T>(call: Call<T>, signal?: AbortSignal, tryMs: number = this.#timing.callMs): Promise<T> {
    const untilMs = this.#clock.elapsedMs() + this.#timing.patienceMs;
    for (let pauseMs = 25; ; pauseMs = Math.min(pauseMs * 2, 500)) {
      signal?.throwIfAborted();
      try {
        return await unlessAborted(this.once(call, tryMs), signal);
      } catch (error) {
        const passing = error instanceof Error && isRecoverableError(error) && refusalOf(error) === undefined && !signal?.aborted;
        if (!passing || this.#clock.elapsedMs() + pauseMs > untilMs) throw error;
        await this.#clock.sleep(pauseMs, signal);
      }
    }
  }

  /**
   * Renews a lease once, on a stream of its own with its own deadline: a stream held open hangs for its whole TTL on a frozen
   * member. Resolves to the seconds left, 0 for a lease that is gone.
   */
  async keepAlive(lease: string, ms: number): Promise<number> {
    const endpoint = this.#hosts.current;
    const stream = await this.once((options) => this.#etcd.leaseClient.leaseKeepAlive(options), ms);
    return new Promise((resolve, reject) => {
      let answered = false;
      stream.on("data", (answer: ILeaseKeepAliveResponse) => {
        answered = true;
        resolve(Number(answer.TTL));
        stream.end();
      });
      stream.on("error", (error: Error) => {
        if (!answered) this.#hosts.leave(endpoint);
        reject(error);
      });
      stream.on("end", () => reject(new Error("etcd ended the keep-alive without an answer")));
      stream.write({ ID: lease });
    });
  }

  close(): void {
    this.#etcd.close();
  }
}

/** gRPC takes deadlines on the machine's wall clock, whatever clock the driver runs on, and turns them into a duration at once. */
const deadlineIn = (ms: number): number => systemClock.nowMs() + ms;

/** Stops waiting for a call once the signal aborts; the call itself ends by its deadline. */
async function unlessAborted<T>(call: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return call;
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([call, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
