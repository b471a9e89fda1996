// Faults of whole processes on a real etcd: the active BBS killed or frozen, the store away. Real programs, real signals.
import type { ActualLRP } from "@muster/proto/models/actual_lrp";
import { BbsError } from "@muster/shared/errors";
import { exitLostLeadership } from "@muster/shared/lifecycle";
import { collect, isTransient, serverStream, unary } from "@muster/shared/rpc";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type BbsClients,
  type BbsProcess,
  type BbsState,
  clientsOf,
  etcdHome,
  type StoreHome,
  spawnBbs,
  startBbs,
} from "../../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { desire, desired, eventually, outcome, refusal } from "./fixtures.js";

const ttlMs = 2_000;
/** Beyond the TTL: the standby hears of it, loads, serves; a client finds it. Generous, since test machines are busy. */
const takeoverMs = ttlMs + 5_000;

let etcd: EtcdCluster;
let home: StoreHome;
beforeEach(async () => {
  etcd = await startEtcd();
  home = await etcdHome(etcd);
});
afterEach(() => etcd[Symbol.asyncDispose]());

interface Pair extends AsyncDisposable {
  readonly active: BbsProcess;
  readonly standby: BbsProcess;
  /** Knows both addresses. */
  readonly operator: BbsClients;
}

/** A process that did not come up is not left behind. */
async function spawned(state: BbsState): Promise<BbsProcess> {
  const bbs = await spawnBbs(home, { leadershipTtlMs: ttlMs });
  try {
    await bbs.until(state);
    return bbs;
  } catch (error) {
    await bbs[Symbol.asyncDispose]();
    throw error;
  }
}

async function startPair(): Promise<Pair> {
  const active = await spawned("active");
  const standby = await spawned("standby").catch(async (error: unknown) => {
    await active[Symbol.asyncDispose]();
    throw error;
  });
  const operator = await clientsOf([active.address, standby.address], "operator");
  return {
    active,
    standby,
    operator,
    [Symbol.asyncDispose]: async () => {
      operator[Symbol.dispose]();
      await Promise.all([active[Symbol.asyncDispose](), standby[Symbol.asyncDispose]()]);
    },
  };
}

/** Desires one LRP after the other and tries each again until it is acknowledged; `ResourceExists` then says that it was written. */
class Desirer {
  readonly acknowledged: string[] = [];
  /** The longest time between two acknowledgements. */
  longestGapMs = 0;
  readonly #clients: BbsClients;
  readonly #running: Promise<void>;
  #stopped = false;

  constructor(clients: BbsClients, name: string) {
    this.#clients = clients;
    this.#running = this.#run(name);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(name: string): Promise<void> {
    let lastMs = performance.now();
    for (let number = 0; !this.#stopped; number += 1) {
      const processGuid = `${name}-${number}`;
      await this.#acknowledge(processGuid);
      this.acknowledged.push(processGuid);
      this.longestGapMs = Math.max(this.longestGapMs, performance.now() - lastMs);
      lastMs = performance.now();
    }
  }

  async #acknowledge(processGuid: string): Promise<void> {
    const { bbs } = this.#clients;
    for (let tries = 0; ; tries += 1) {
      try {
        await unary(
          bbs.desireDesiredLrp.bind(bbs),
          { desiredLrp: desired(processGuid, { instances: 2 }) },
          { deadlineMs: 3_000 },
        );
        return;
      } catch (error) {
        if (error instanceof BbsError && error.code === "ResourceExists" && tries > 0) return;
        const again = isTransient(error) || (error instanceof BbsError && error.code === "OutcomeUnknown");
        if (!again || tries > 500) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }
}

const listed = async ({ bbs }: BbsClients): Promise<{ readonly guids: Set<string>; readonly rows: readonly ActualLRP[] }> => {
  const everything = { domain: "", processGuids: [], appGuids: [] };
  const guids = await collect(serverStream(bbs.desiredLrpSchedulingInfos.bind(bbs), everything), (chunk) =>
    chunk.desiredLrpSchedulingInfos.map((info) => info.desiredLrpKey?.processGuid ?? ""),
  );
  const all = { domain: "", cellId: "", processGuid: "", optionalIndex: undefined };
  const rows = await collect(serverStream(bbs.actualLrPs.bind(bbs), all), (chunk) => chunk.actualLrps);
  return { guids: new Set(guids), rows };
};

describe("two BBS processes on one etcd", () => {
  it.each([
    { when: "while its store answers", hangMs: 0 },
    // Whatever was acknowledged without being written cannot have been written now.
    { when: "while its store hangs", hangMs: 200 },
  ])("kill -9 of the active one $when: the other takes over, and every acknowledged LRP is there", async ({ hangMs }) => {
    await using pair = await startPair();
    const desirers = Array.from({ length: 8 }, (_, number) => new Desirer(pair.operator, `loop-${number}`));
    await eventually("the loops are under way", () => desirers.every((one) => one.acknowledged.length > 20) || undefined);
    if (hangMs > 0) home.faults.hang();
    await new Promise((resolve) => setTimeout(resolve, hangMs));
    pair.active.kill("SIGKILL");
    home.faults.goOn();
    const before = desirers.map((one) => one.acknowledged.length);
    await eventually(
      "the loops go on at the other",
      () => desirers.every((one, at) => one.acknowledged.length > (before[at] ?? 0) + 20) || undefined,
      takeoverMs + 10_000,
    );
    expect(Math.max(...desirers.map((one) => one.longestGapMs))).toBeLessThan(takeoverMs);
    await Promise.all(desirers.map((one) => one.stop()));
    expect(await pair.standby.state()).toBe("active");
    const { guids, rows } = await listed(pair.operator);
    const acknowledged = desirers.flatMap((one) => one.acknowledged);
    expect(acknowledged.filter((guid) => !guids.has(guid))).toEqual([]);
    // Each with its two rows: a command is written whole or not at all.
    expect(rows).toHaveLength(guids.size * 2);
  });

  it("SIGSTOP of the active one past its TTL: thawed, it answers nothing and ends as one that lost", async () => {
    await using pair = await startPair();
    using old = await clientsOf([pair.active.address], "operator");
    await desire(old, desired("before"));
    pair.active.kill("SIGSTOP");
    // Asked while frozen: the questions wait in its socket for the thaw.
    const read = unary(old.bbs.desiredLrpByProcessGuid.bind(old.bbs), { processGuid: "before" }, { deadlineMs: 30_000 });
    const write = unary(old.bbs.desireDesiredLrp.bind(old.bbs), { desiredLrp: desired("stale") }, { deadlineMs: 30_000 });
    const answers = Promise.all([refusal(read), refusal(write)]);
    await pair.standby.until("active", takeoverMs + 5_000);
    using fresh = await clientsOf([pair.standby.address], "operator");
    await unary(fresh.bbs.removeDesiredLrp.bind(fresh.bbs), { processGuid: "before" });
    pair.active.kill("SIGCONT");
    expect((await answers).map((one) => one.status)).toEqual(["UNAVAILABLE", "UNAVAILABLE"]);
    expect(await pair.active.exited).toBe(exitLostLeadership);
    expect([...(await listed(fresh)).guids]).toEqual([]);
  });

  it("SIGTERM of the active one: the other need not wait for the TTL", async () => {
    await using pair = await startPair();
    await desire(pair.operator, desired("kept"));
    const askedAt = performance.now();
    pair.active.kill("SIGTERM");
    expect(await pair.active.exited).toBe(0);
    await pair.standby.until("active");
    expect(performance.now() - askedAt).toBeLessThan(takeoverMs);
    await eventually("the client finds the other", async () =>
      (await outcome(unary(pair.operator.bbs.ping.bind(pair.operator.bbs), {}))) === "ok" ? true : undefined,
    );
    expect([...(await listed(pair.operator)).guids]).toEqual(["kept"]);
  });
});

describe("etcd away", () => {
  it("calls fail fast with UNAVAILABLE, and go on when it is back; what was admitted has landed", async () => {
    await using bbs = await startBbs(home, { leadershipTtlMs: 30_000 });
    using operator = await clientsOf([bbs.address], "operator");
    await desire(operator, desired("before"));
    home.faults.hang();
    const timed = async (
      call: Promise<unknown>,
    ): Promise<{ status: string | undefined; type: string | undefined; ms: number }> => {
      const startedAt = performance.now();
      const { status, type } = await refusal(call);
      return { status, type, ms: performance.now() - startedAt };
    };
    // The first is admitted: nobody can say what becomes of it. A read says nothing that it cannot vouch for.
    const admitted = timed(desire(operator, desired("admitted")));
    const ping = timed(unary(operator.bbs.ping.bind(operator.bbs), {}));
    expect(await admitted).toMatchObject({ status: "UNAVAILABLE", type: "OutcomeUnknown" });
    expect((await admitted).ms).toBeLessThan(3_000);
    expect(await ping).toMatchObject({ status: "UNAVAILABLE" });
    const late = await timed(desire(operator, desired("late")));
    expect(late).toMatchObject({ status: "UNAVAILABLE", type: "Unavailable" });
    expect(late.ms).toBeLessThan(500);
    home.faults.goOn();
    await eventually("the store is back", async () =>
      (await outcome(desire(operator, desired("after")))) === "ok" ? true : undefined,
    );
    expect([...(await listed(operator)).guids].sort()).toEqual(["admitted", "after", "before"]);
  });
});
