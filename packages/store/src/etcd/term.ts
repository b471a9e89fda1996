// One term of leadership in etcd: its lease is kept alive, its TTL is watched on elapsed time, and it ends once.
import type { Clock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import { Term } from "../term.js";
import type { EtcdClient } from "./client.js";
import { confirmRequest, type Fence } from "./requests.js";

export interface TermFacts {
  readonly name: string;
  readonly key: Buffer;
  readonly createRevision: string;
  readonly lease: string;
  readonly ttlMs: number;
  /** On elapsed time, before the lease was asked for. */
  readonly grantedAtMs: number;
}

export class EtcdTerm extends Term implements Fence {
  readonly key: Buffer;
  readonly createRevision: string;
  readonly #facts: TermFacts;
  readonly #client: EtcdClient;
  readonly #clock: Clock;
  readonly #log: Log;
  #vouchedAtMs: number;
  #stopWatch = (): void => undefined;
  #revoked: Promise<void> | undefined;

  constructor(facts: TermFacts, client: EtcdClient, clock: Clock, log: Log) {
    super(`${facts.name}/${facts.createRevision}`);
    this.key = facts.key;
    this.createRevision = facts.createRevision;
    this.#facts = facts;
    this.#client = client;
    this.#clock = clock;
    this.#log = log;
    this.#vouchedAtMs = facts.grantedAtMs;
    this.#watchTtl();
    void this.#keepAlive();
    this.lost.addEventListener("abort", () => this.#end(), { once: true });
  }

  override async resign(): Promise<void> {
    this.lose("resigned");
    this.#revoked ??= this.#revoke();
    await this.#revoked;
  }

  /** Asks the store, once. @throws when it does not answer. */
  async look(tryMs: number): Promise<boolean> {
    const answer = await this.#client.once((options) => this.#client.kv.txn(confirmRequest(this), options), tryMs);
    if (!answer.succeeded) this.lose("the leadership key is gone or somebody else's");
    return answer.succeeded && this.open;
  }

  /** Sets off `lost` when the TTL has passed since the last renewal that was answered was sent. */
  #watchTtl(): void {
    const leftMs = this.#vouchedAtMs + this.#facts.ttlMs - this.#clock.elapsedMs();
    if (leftMs <= 0) this.lose("the TTL has passed without a confirmed renewal");
    else this.#stopWatch = this.#clock.after(leftMs, () => this.#watchTtl());
  }

  /** However it was lost, the lease goes if the store can be reached. */
  #end(): void {
    this.#stopWatch();
    void this.resign();
  }

  /** Renews every fifth of the TTL and looks whether the key is still there; after a failure sooner. */
  async #keepAlive(): Promise<void> {
    const everyMs = this.#facts.ttlMs / 5;
    let pauseMs = everyMs;
    while (this.open) {
      try {
        await this.#clock.sleep(pauseMs, this.lost);
        await this.#renew(everyMs);
        pauseMs = everyMs;
      } catch (err) {
        if (!this.open) return;
        pauseMs = Math.min(everyMs, 100);
        this.#log.warn({ err, step: "keep-alive", retry_ms: pauseMs }, "etcd leadership was not renewed");
      }
    }
  }

  async #renew(tryMs: number): Promise<void> {
    const sentAtMs = this.#clock.elapsedMs();
    const leftSeconds = await this.#client.keepAlive(this.#facts.lease, tryMs);
    if (leftSeconds <= 0) this.lose("the lease has expired");
    else this.#vouchedAtMs = sentAtMs;
    if (this.open) await this.look(tryMs);
  }

  /** One try: the lease ends by itself if it fails. */
  async #revoke(): Promise<void> {
    try {
      await this.#client.once((options) => this.#client.lease.leaseRevoke({ ID: this.#facts.lease }, options), 1_000);
    } catch (err) {
      this.#log.debug({ err, step: "revoke" }, "etcd lease was not revoked");
    }
  }
}
