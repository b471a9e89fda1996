// One BBS of the conformance suite, with both of its doors, a client in every role at each, a clock that can leap, and every event
// stream open from the start.

import type { Clock } from "@muster/shared/clock";
import { systemClock } from "@muster/shared/clock";
import { type BbsClients, clientsOf, type InProcessBbs, type StoreHome, startBbs, tlsOf } from "../../support/bbs.js";
import { type DiegoClient, grpcClient, HttpDoor, httpClient } from "../../support/diego-client.js";
import { type EventStream, openEvents } from "../../support/diego-events.js";

export const roles = ["operator", "controller", "auctioneer", "converger", "cell-1", "cell-2", "cell-3", "cell-9"] as const;
export type Role = (typeof roles)[number];
export type Transport = "http" | "grpc";
export const transports: readonly Transport[] = ["http", "grpc"];

export const commonNameOf = (role: Role): string => (role.startsWith("cell-") ? `cell:${role}` : role);

export interface LeapingClock extends Clock {
  /** Moves the BBS's time on. What waits on a timer waits on. */
  leap(ms: number): void;
}

export function leapingClock(): LeapingClock {
  let ahead = 0;
  return {
    ...systemClock,
    nowMs: () => (systemClock.nowMs() + ahead) as ReturnType<Clock["nowMs"]>,
    elapsedMs: () => systemClock.elapsedMs() + ahead,
    leap: (ms) => {
      ahead += ms;
    },
  };
}

/** Longer than the grace after an election (three presence TTLs of 30 s): from then on a cell without presence is a lost one. */
const pastGraceMs = 120_000;

export type Streams = Readonly<Record<"instance" | "group" | "task", EventStream>>;

const openStreams = async (door: HttpDoor): Promise<Streams> => ({
  instance: await openEvents(door, "LRPInstanceEventStream"),
  group: await openEvents(door, "LRPGroupEventStream"),
  task: await openEvents(door, "TaskEventStream"),
});

export class World implements AsyncDisposable {
  readonly bbs: InProcessBbs;
  readonly clock: LeapingClock;
  readonly door: HttpDoor;
  readonly streams: Streams;
  /** Muster's own calls, for what Diego does by itself: convergence, presences, flags. */
  readonly own: Readonly<Record<"operator" | "converger" | "cell-9", BbsClients>>;
  readonly #home: StoreHome;
  readonly #clients: ReadonlyMap<string, DiegoClient>;

  private constructor(
    facts: Pick<World, "bbs" | "clock" | "door" | "streams" | "own">,
    home: StoreHome,
    clients: Map<string, DiegoClient>,
  ) {
    this.bbs = facts.bbs;
    this.clock = facts.clock;
    this.door = facts.door;
    this.streams = facts.streams;
    this.own = facts.own;
    this.#home = home;
    this.#clients = clients;
  }

  static async open(home: StoreHome): Promise<World> {
    const clock = leapingClock();
    const bbs = await startBbs(home, { clock });
    clock.leap(pastGraceMs);
    const clients = new Map<string, DiegoClient>();
    for (const role of roles) {
      const tls = await tlsOf(commonNameOf(role));
      clients.set(`http ${role}`, httpClient(bbs.httpAddress, tls));
      clients.set(`grpc ${role}`, grpcClient(bbs.address, tls));
    }
    const door = new HttpDoor(bbs.httpAddress, await tlsOf("operator"));
    const streams = await openStreams(door);
    const ownOf = (role: Role): Promise<BbsClients> => clientsOf([bbs.address], commonNameOf(role));
    const own = {
      operator: await ownOf("operator"),
      converger: await ownOf("converger"),
      "cell-9": await ownOf("cell-9"),
    };
    return new World({ bbs, clock, door, streams, own }, home, clients);
  }

  as(transport: Transport, role: Role): DiegoClient {
    const client = this.#clients.get(`${transport} ${role}`);
    if (client === undefined) throw new Error(`no client for ${role}`);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stream of Object.values(this.streams)) stream[Symbol.dispose]();
    for (const client of this.#clients.values()) client[Symbol.dispose]();
    for (const clients of Object.values(this.own)) clients[Symbol.dispose]();
    this.door[Symbol.dispose]();
    await this.bbs[Symbol.asyncDispose]();
    await this.#home[Symbol.asyncDispose]();
  }
}
