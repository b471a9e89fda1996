// Clients that desire one LRP after the other and remember how each call ended and how long it took.
import { setTimeout as sleep } from "node:timers/promises";
import { BbsError } from "@muster/shared/errors";
import { collect, serverStream, unary } from "@muster/shared/rpc";
import type { BbsClients } from "../../support/bbs.js";
import { desired, eventually } from "../bbs/fixtures.js";

export interface Heard {
  readonly processGuid: string;
  /** `ok`, or the code of the refusal. */
  readonly outcome: string;
  readonly askedMs: number;
  readonly tookMs: number;
}

let callers = 0;

export class Caller implements AsyncDisposable {
  readonly heard: Heard[] = [];
  readonly #clients: BbsClients;
  readonly #loops: Promise<unknown>;
  #stopped = false;

  /** Starts so many loops at once. */
  constructor(clients: BbsClients, loops = 4) {
    this.#clients = clients;
    callers += 1;
    const name = `caller-${callers}`;
    this.#loops = Promise.all(Array.from({ length: loops }, (_, n) => this.#run(`${name}-${n}`)));
  }

  get acknowledged(): string[] {
    return this.heard.filter(({ outcome }) => outcome === "ok").map(({ processGuid }) => processGuid);
  }

  /** What was asked from then on, on the scale of `performance.now()`. */
  since(atMs: number): Heard[] {
    return this.heard.filter(({ askedMs }) => askedMs >= atMs);
  }

  /** So many more calls have been acknowledged. */
  async goesOn(calls = 50, withinMs = 20_000): Promise<void> {
    const before = this.acknowledged.length;
    await eventually(`${calls} more calls are done`, () => this.acknowledged.length >= before + calls || undefined, withinMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loops;
  }

  /** Acknowledged LRPs that are not on record. */
  async missing(): Promise<string[]> {
    const { bbs } = this.#clients;
    const everything = { domain: "", processGuids: [], appGuids: [] };
    const guids = await collect(serverStream(bbs.desiredLrpSchedulingInfos.bind(bbs), everything), (chunk) =>
      chunk.desiredLrpSchedulingInfos.map((info) => info.desiredLrpKey?.processGuid),
    );
    const there = new Set(guids);
    return this.acknowledged.filter((guid) => !there.has(guid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #run(name: string): Promise<void> {
    const { bbs } = this.#clients;
    for (let n = 0; !this.#stopped; n += 1) {
      const processGuid = `${name}-${n}`;
      const askedMs = performance.now();
      const outcome = await unary(
        bbs.desireDesiredLrp.bind(bbs),
        { desiredLrp: desired(processGuid) },
        { deadlineMs: 10_000 },
      ).then(
        () => "ok",
        (error: unknown) => (error instanceof BbsError ? error.code : String(error)),
      );
      this.heard.push({ processGuid, outcome, askedMs, tookMs: performance.now() - askedMs });
      await sleep(outcome === "ok" ? 5 : 50);
    }
  }
}
