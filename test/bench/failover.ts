// How long callers wait when the active BBS is killed: from kill -9 to the first read and the first write that the standby answers.
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { systemClock } from "@muster/shared/clock";
import { unary } from "@muster/shared/rpc";
import { type BbsClients, type BbsProcess, clientsOf, etcdHome, spawnBbs } from "../support/bbs.js";
import { startEtcd } from "../support/etcd.js";

export interface FailoverOptions {
  /** ActualLRP rows on record, five to a DesiredLRP. */
  readonly records: number;
  /** TTL of the leadership. */
  readonly ttlMs: number;
}

/** All times from the kill. */
export interface FailoverFigures {
  readonly bench: "failover";
  readonly records: number;
  readonly ttl_ms: number;
  readonly kill_to_elected_ms: number;
  readonly kill_to_serving_ms: number;
  readonly kill_to_first_read_ms: number;
  readonly kill_to_first_write_ms: number;
  /** Design section 8: TTL + 10 s. */
  readonly target_ms: number;
  /** What the records take in etcd, history included. */
  readonly store_bytes: number;
  readonly rss_bytes: number;
  /** CPU time that the standby took from the kill to serving: what its load costs on a machine that has other work. */
  readonly takeover_cpu_seconds: number;
}

const instances = 5;
const inFlight = 64;
const settleMs = 120_000;

/** Fills an etcd through one BBS, kills it with -9 beside a standby, and measures. @throws when the standby does not serve in time. */
export async function measureFailover({ records, ttlMs }: FailoverOptions): Promise<FailoverFigures> {
  await using etcd = await startEtcd();
  const home = await etcdHome(etcd);
  await using first = await spawnBbs(home, { leadershipTtlMs: ttlMs });
  await first.until("active");
  await using standby = await spawnBbs(home, { leadershipTtlMs: ttlMs });
  await standby.until("standby");
  using operator = await clientsOf([first.address, standby.address], "operator");
  await fill(operator, Math.ceil(records / instances));
  const storeBytes = await metricOnce(first, "bbs_store_used_bytes");
  const cpuBefore = await standby.metric("process_cpu_seconds_total");
  const killedMs = systemClock.elapsedMs();
  const sinceKill = (): number => Math.round(systemClock.elapsedMs() - killedMs);
  first.kill("SIGKILL");
  await first.exited;
  const states = followStates(standby, sinceKill);
  const read = untilAnswered(() => unary(operator.bbs.ping.bind(operator.bbs), {}, { deadlineMs: 1_000 })).then(sinceKill);
  const write = untilAnswered(() => desire(operator, "after-the-kill", 1)).then(sinceKill);
  const [readMs, writeMs, { electedMs, servingMs }] = await Promise.all([read, write, states]);
  return {
    bench: "failover",
    records,
    ttl_ms: ttlMs,
    kill_to_elected_ms: electedMs,
    kill_to_serving_ms: servingMs,
    kill_to_first_read_ms: readMs,
    kill_to_first_write_ms: writeMs,
    target_ms: ttlMs + 10_000,
    store_bytes: storeBytes,
    rss_bytes: await standby.metric("process_resident_memory_bytes"),
    takeover_cpu_seconds: Number(((await standby.metric("process_cpu_seconds_total")) - cpuBefore).toFixed(2)),
  };
}

const desire = ({ bbs }: BbsClients, processGuid: string, count: number): Promise<unknown> =>
  unary(
    bbs.desireDesiredLrp.bind(bbs),
    {
      desiredLrp: DesiredLRP.fromPartial({
        processGuid,
        domain: "bench",
        rootFs: "preloaded:none",
        instances: count,
        memoryMb: 64,
        metricTags: { source_id: { static: processGuid } },
        action: { runAction: { path: "/bin/server", user: "vcap" } },
      }),
    },
    { deadlineMs: 10_000 },
  );

async function fill(operator: BbsClients, count: number): Promise<void> {
  let next = 0;
  const loop = async (): Promise<void> => {
    for (let n = next++; n < count; n = next++) await untilAnswered(() => desire(operator, `failover-${n}`, instances));
  };
  await Promise.all(Array.from({ length: inFlight }, loop));
}

/** Makes a call until it is answered; one that says the LRP exists was done before. @throws when that takes two minutes. */
async function untilAnswered(call: () => Promise<unknown>): Promise<void> {
  for (const deadlineMs = systemClock.elapsedMs() + settleMs; ; ) {
    try {
      await call();
      return;
    } catch (error) {
      if ((error as { code?: string }).code === "ResourceExists") return;
      if (systemClock.elapsedMs() > deadlineMs) throw error;
      await systemClock.sleep(10);
    }
  }
}

/** The housekeeper looks every two seconds. */
async function metricOnce(bbs: BbsProcess, name: string): Promise<number> {
  await systemClock.sleep(2_500);
  return bbs.metric(name);
}

/** When the standby was elected (it loads), and when it served. */
async function followStates(
  standby: BbsProcess,
  sinceKill: () => number,
): Promise<{ readonly electedMs: number; readonly servingMs: number }> {
  let electedMs: number | undefined;
  for (; sinceKill() < settleMs; await systemClock.sleep(5)) {
    const state = await standby.state();
    if (state === undefined || state === "standby") continue;
    electedMs ??= sinceKill();
    if (state === "active") return { electedMs, servingMs: sinceKill() };
  }
  throw new Error(`the standby does not serve:\n${standby.log().slice(-2_000)}`);
}
