// Two BBS processes on a real etcd, each at an address it keeps, and what is done to them.
import { setTimeout as sleep } from "node:timers/promises";
import type { Entropy } from "@muster/shared/clock";
import { type BbsProcess, etcdHome, type StoreHome, spawnBbs } from "../../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { freePort } from "../../support/ports.js";

/** Short, so that a run sees many terms; a busy machine costs a leader such a term now and then. */
const defaultTtlMs = 2_000;
/** From a loss to a serving standby: the TTL, etcd's own lateness, a load; generous, since a busy machine costs leaders their short terms. */
const takeoverMs = 60_000;

interface Seat {
  readonly port: number;
  bbs: BbsProcess;
}

export class Pair implements AsyncDisposable {
  readonly etcd: EtcdCluster;
  /** How processes ended by themselves: exit status → count. */
  readonly exits: Record<string, number> = {};
  readonly #home: StoreHome;
  readonly #seats: Seat[] = [];
  #supervising: Promise<void> | undefined;

  readonly #ttlMs: number;

  private constructor(etcd: EtcdCluster, home: StoreHome, ttlMs: number) {
    this.etcd = etcd;
    this.#home = home;
    this.#ttlMs = ttlMs;
  }

  /** `members` of etcd; `ttlMs` of a leadership. */
  static async start(members: 1 | 3 = 1, ttlMs: number = defaultTtlMs): Promise<Pair> {
    const etcd = await startEtcd({ members });
    const pair = new Pair(etcd, await etcdHome(etcd), ttlMs);
    try {
      for (let n = 0; n < 2; n += 1) {
        const port = await freePort();
        pair.#seats.push({ port, bbs: await pair.#spawn(port) });
      }
      await pair.active();
      return pair;
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** One member of etcd, or the only one. */
  anyMember(entropy: Entropy): number {
    return entropy.below(this.etcd.endpoints.length);
  }

  /** All of etcd stops answering. */
  freezeEtcd(): void {
    this.etcd.endpoints.forEach((_, n) => void this.etcd.freeze(n));
  }

  thawEtcd(): void {
    this.etcd.endpoints.forEach((_, n) => void this.etcd.thaw(n));
  }

  get addresses(): string[] {
    return this.#seats.map(({ bbs }) => bbs.address);
  }

  /** The one that serves; whoever has ended is started anew meanwhile. @throws when none does in time */
  async active(except?: BbsProcess): Promise<BbsProcess> {
    for (const deadline = performance.now() + takeoverMs; performance.now() < deadline; await sleep(20)) {
      await this.supervise();
      for (const { bbs } of this.#seats) if (bbs !== except && bbs.running && (await bbs.state()) === "active") return bbs;
    }
    const logs = this.#seats.map(({ bbs }) => bbs.log().slice(-1_500));
    throw new Error(`no bbs became active in ${takeoverMs} ms:\n${logs.join("\n---\n")}`);
  }

  /** Starts anew whoever has ended: by a fault, or because the machine was too busy for its short term. */
  supervise(): Promise<void> {
    // Whoever asks meanwhile waits for the same: a seat is for one.
    this.#supervising ??= this.#startEnded().finally(() => {
      this.#supervising = undefined;
    });
    return this.#supervising;
  }

  async #startEnded(): Promise<void> {
    for (const seat of this.#seats) {
      if (seat.bbs.running) continue;
      this.#count(await seat.bbs.exited);
      await seat.bbs[Symbol.asyncDispose]();
      seat.bbs = await this.#spawn(seat.port);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#seats.map(({ bbs }) => bbs[Symbol.asyncDispose]()));
    await this.etcd[Symbol.asyncDispose]();
  }

  #spawn(port: number): Promise<BbsProcess> {
    return spawnBbs(this.#home, { leadershipTtlMs: this.#ttlMs, port });
  }

  #count(status: number | NodeJS.Signals): void {
    this.exits[status] = (this.exits[status] ?? 0) + 1;
  }
}

// --- what is done

type Fault = (pair: Pair, entropy: Entropy) => Promise<void>;

export const faults = {
  "kill the active bbs": async (pair) => {
    const bbs = await pair.active();
    bbs.kill("SIGKILL");
    await bbs.exited;
  },
  /** What it has acknowledged by then without writing it cannot have been written. */
  "kill the active bbs while etcd is frozen": async (pair, entropy) => {
    const bbs = await pair.active();
    pair.freezeEtcd();
    await sleep(entropy.below(300));
    bbs.kill("SIGKILL");
    await bbs.exited;
    pair.thawEtcd();
  },
  "freeze the active bbs until the other leads": async (pair, entropy) => {
    const bbs = await pair.active();
    bbs.kill("SIGSTOP");
    try {
      await pair.active(bbs);
      // The successor writes; whatever the thawed one says now is old.
      await sleep(300 + entropy.below(500));
    } finally {
      bbs.kill("SIGCONT");
    }
    const status = await Promise.race([bbs.exited, sleep(10_000, "still running" as const)]);
    if (status === 0 || status === "still running") throw new Error(`a deposed bbs ended with ${status}`);
  },
  "freeze the active bbs for a moment": async (pair, entropy) => {
    const bbs = await pair.active();
    bbs.kill("SIGSTOP");
    await sleep(100 + entropy.below(900));
    bbs.kill("SIGCONT");
  },
  "freeze etcd": async (pair, entropy) => {
    pair.freezeEtcd();
    await sleep(500 + entropy.below(1_500));
    pair.thawEtcd();
  },
  "freeze a member of etcd": async (pair, entropy) => {
    const member = pair.anyMember(entropy);
    pair.etcd.freeze(member);
    await sleep(200 + entropy.below(1_300));
    pair.etcd.thaw(member);
  },
  "kill a member of etcd and start it again": async (pair, entropy) => {
    const member = pair.anyMember(entropy);
    await pair.etcd.kill9(member);
    await sleep(entropy.below(500));
    await pair.etcd.start(member);
  },
} as const satisfies Record<string, Fault>;

export type FaultName = keyof typeof faults;
export const faultNames = Object.keys(faults) as readonly FaultName[];

export interface Hurting {
  readonly until: () => boolean;
  /** Resolves when clients have got something done since they were last hurt. */
  readonly atWork: () => Promise<void>;
  readonly onFault: (name: FaultName) => void;
}

/**
 * All kinds in an order of chance, then again until told to stop, but each kind once at least; after each fault one of the pair must
 * serve, and before the next its clients get to work.
 */
export async function hurt(pair: Pair, entropy: Entropy, { until, atWork, onFault }: Hurting): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const eachWasHad = (): boolean => Object.keys(counts).length === faultNames.length;
  for (let order: FaultName[] = []; !(eachWasHad() && until()); ) {
    if (order.length === 0) order = shuffled(faultNames, entropy);
    const name = order.pop();
    if (name === undefined) break;
    await atWork();
    await sleep(entropy.below(500));
    onFault(name);
    await faults[name](pair, entropy);
    await pair.active();
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

function shuffled<Item>(items: readonly Item[], entropy: Entropy): Item[] {
  const rest = [...items];
  const order: Item[] = [];
  while (rest.length > 0) order.push(...rest.splice(entropy.below(rest.length), 1));
  return order;
}
