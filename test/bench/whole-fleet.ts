// The whole platform under a whole fleet: BBS with a standby, auctioneer and converger as real processes, a fleet of real reps over
// simulated gardens in a few processes more, and controllers that desire everything at once. How soon all of it runs, what it takes of
// each process, what it takes when nothing happens, and what becomes of it when the active BBS is killed.
import { cpus, loadavg } from "node:os";
import { systemClock } from "@muster/shared/clock";
import { unary } from "@muster/shared/rpc";
import { type BbsClients, type BbsProcess, clientsOf, etcdHome, lmdbHome, type StoreHome, spawnBbs } from "../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { freePort } from "../support/ports.js";
import { sampleOf } from "../support/service.js";
import { desireCall } from "./calls.js";
import { CellHosts } from "./cell-hosts.js";
import { KeptService } from "./kept-service.js";
import { saturate } from "./load.js";
import { readUse, troublesIn } from "./processes.js";

export interface WholeFleetOptions {
  /** Instances to desire, each time on a platform of its own; multiples of 5. */
  readonly sizes: readonly number[];
  readonly store: "etcd" | "lmdb";
  /** As many as it takes for 200 instances each when absent. */
  readonly cells?: number | undefined;
  /** Every process leaves its CPU profile there; then nothing is killed. */
  readonly profileDir?: string | undefined;
}

export const wholeFleetDefaults: WholeFleetOptions = { sizes: [10_000, 250_000], store: "etcd" };

const instancesPerProcess = 5;
const instancesPerCell = 200;
const cellHosts = 2;
/** A fifth of a full cell stays free, as it does in a fleet whose operator sleeps well. */
const capacity = { memoryMb: 65_536, diskMb: 131_072, containers: 250 };
const controllers = 4;
const desiresInFlight = 64;
const leadershipTtlMs = 10_000;
const presenceTtlMs = 5_000;
const idleMs = 10_000;
const readyMs = 300_000;
/** Without one more instance running for so long, it is given up. */
const stuckMs = 120_000;

const tell = (what: string): void => {
  process.stderr.write(`bench fleet: ${what}\n`);
};
const round = (value: number, digits = 2): number => Number(value.toFixed(digits));
const secondsSince = (ms: number): number => (systemClock.elapsedMs() - ms) / 1_000;

interface Platform {
  readonly home: StoreHome;
  readonly etcd: EtcdCluster | undefined;
  readonly active: BbsProcess;
  readonly standby: BbsProcess | undefined;
  readonly auctioneer: KeptService;
  readonly converger: KeptService;
  readonly cells: CellHosts;
  /** Of the active BBS and of the standby. */
  readonly addresses: readonly string[];
}

/** Runs each size on a platform of its own. Returns JSON-able figures; throws when something does not come to run. */
export async function benchWholeFleet(options: Partial<WholeFleetOptions> = {}): Promise<object> {
  const settings = { ...wholeFleetDefaults, ...options };
  const load = loadavg().map((one) => round(one, 1));
  const fleets: Awaited<ReturnType<typeof measure>>[] = [];
  for (const size of settings.sizes) fleets.push(await measure(size, settings));
  const [first, last] = [fleets[0], fleets.at(-1)];
  const share = first === undefined || last === undefined ? 1 : last.running_per_second / first.running_per_second;
  return {
    bench: "fleet",
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
    cpus: cpus().length,
    // Of this machine when it began: others may use it.
    load_average: load,
    store: settings.store,
    target: { seconds_to_running_at_250000: 120, rate_share: 0.7, failover_ms: leadershipTtlMs + 10_000 },
    ...(fleets.length < 2 ? {} : { rate_of_last_over_first: round(share) }),
    fleets,
  };
}

async function measure(instances: number, { store, cells, profileDir }: WholeFleetOptions) {
  const count = cells ?? Math.ceil(instances / instancesPerCell);
  const nodeArgs = profileDir === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", profileDir];
  await using stack = new Stack();
  const startedMs = systemClock.elapsedMs();
  tell(`${instances} instances on ${count} cells, ${store}: start`);
  const platform = await start(stack, { store, count, nodeArgs, standby: profileDir === undefined });
  await ready(platform, count);
  const readySeconds = secondsSince(startedMs);
  const run = await unlessBbsEnds(platform, desireAll(platform, instances));
  tell(`${instances} instances run after ${run.seconds_to_running} s; idle`);
  const idle = await useOver(platform, () => systemClock.sleep(idleMs));
  const troubles = troublesOf(platform);
  const failover = platform.standby === undefined ? undefined : await failOver(platform, platform.standby, instances, count);
  if (profileDir !== undefined) await endOrderly(platform);
  return {
    instances,
    desired_lrps: instances / instancesPerProcess,
    cells: count,
    cells_ready_seconds: round(readySeconds),
    ...run,
    idle: { seconds: idle.seconds, cpu_share: idle.cpuShare },
    troubles,
    ...(failover === undefined ? {} : { failover }),
  };
}

interface StartOptions {
  readonly store: "etcd" | "lmdb";
  readonly count: number;
  readonly nodeArgs: readonly string[];
  readonly standby: boolean;
}

/** Lets go of what was begun, the last first, also when a later one does not begin. */
class Stack implements AsyncDisposable {
  readonly #used: AsyncDisposable[] = [];

  use<Used extends AsyncDisposable>(one: Used): Used {
    this.#used.push(one);
    return one;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#used.toReversed()) await one[Symbol.asyncDispose]();
  }
}

async function start(stack: Stack, options: StartOptions): Promise<Platform> {
  const { store, count, nodeArgs } = options;
  // An embedded store is used by one BBS at a time.
  const withStandby = options.standby && store === "etcd";
  const etcd = store === "etcd" ? stack.use(await startEtcd()) : undefined;
  const home = stack.use(etcd === undefined ? await lmdbHome() : await etcdHome(etcd));
  const ports = [await freePort(), await freePort()] as const;
  const addresses = ports.map((port) => `127.0.0.1:${port}`).slice(0, withStandby ? 2 : 1);
  const bbs = { leadershipTtlMs, presenceTtlMs, nodeArgs };
  const active = stack.use(await spawnBbs(home, { ...bbs, port: ports[0] }));
  await active.until("active");
  const standby = withStandby ? stack.use(await spawnBbs(home, { ...bbs, port: ports[1] })) : undefined;
  await standby?.until("standby");
  const cells = stack.use(
    await CellHosts.start({ bbsAddresses: addresses, cells: count, processes: cellHosts, capacity, presenceTtlMs, nodeArgs }),
  );
  const keep = (service: "auctioneer" | "converger", own: object): Promise<KeptService> =>
    KeptService.start(service, { settings: { name: service, bbs_addresses: addresses, ...own }, nodeArgs });
  const auctioneer = stack.use(await keep("auctioneer", { grpc_address: `127.0.0.1:${await freePort()}` }));
  const converger = stack.use(await keep("converger", {}));
  return { home, etcd, active, standby, auctioneer, converger, cells, addresses };
}

/** Every cell has its session, and the auctioneer its state. */
async function ready({ auctioneer, converger, cells }: Platform, count: number): Promise<void> {
  await Promise.all([auctioneer.until("active", readyMs), converger.until("active", readyMs)]);
  await eventually("every cell takes work", readyMs, async () => {
    const { decided } = await cells.answer();
    return decided === count && followed(await auctioneer.metrics()) === count;
  });
}

/** @throws with the end of its log when the BBS ends meanwhile. */
async function unlessBbsEnds<Result>({ active }: Platform, work: Promise<Result>): Promise<Result> {
  work.catch(() => undefined);
  const ended = active.exited.then((how) => {
    throw new Error(`the bbs ended (${how}):\n${active.log().slice(-3_000)}`);
  });
  ended.catch(() => undefined);
  return Promise.race([work, ended]);
}

async function eventually(what: string, withinMs: number, holds: () => Promise<boolean>, everyMs = 100): Promise<void> {
  for (const untilMs = systemClock.elapsedMs() + withinMs; systemClock.elapsedMs() < untilMs; await systemClock.sleep(everyMs)) {
    if (await holds()) return;
  }
  throw new Error(`${what}: not within ${withinMs} ms`);
}

// --- desire to RUNNING

/** Looks at the BBS's rows: each look walks all of them, so a large fleet is looked at less often. */
const lookEveryMs = (instances: number): number => (instances <= 50_000 ? 200 : 1_000);

interface Look {
  readonly seconds: number;
  readonly claimed: number;
  readonly running: number;
}

async function desireAll(platform: Platform, instances: number) {
  const { active, auctioneer, converger, cells, addresses } = platform;
  const clients = await Promise.all(Array.from({ length: controllers }, () => clientsOf(addresses, "controller")));
  const delays: Record<string, number> = { bbs: 0, auctioneer: 0, converger: 0 };
  const note = (name: string, page: string): void => {
    delays[name] = Math.max(delays[name] ?? 0, Math.round(sampleOf(page, "nodejs_eventloop_lag_max_seconds") * 1_000));
  };
  let retries = 0;
  const looks: Look[] = [];
  const startedMs = systemClock.elapsedMs();
  const call = desireCall(clients, "fleet", instancesPerProcess, () => {
    retries += 1;
  });
  const use = await useOver(platform, async () => {
    const desiring = saturate(call, { calls: instances / instancesPerProcess, inFlight: desiresInFlight });
    let advancedMs = startedMs;
    for (let running = 0; running < instances; ) {
      await systemClock.sleep(lookEveryMs(instances));
      const [page, ...pages] = await Promise.all([pageOf(active), auctioneer.metrics(), converger.metrics(), cells.answer()]);
      note("bbs", page);
      note("auctioneer", pages[0]);
      note("converger", pages[1]);
      if (page === "") continue;
      const rows = (state: string): number => sampleOf(page, "bbs_lrps", `state="${state}"`, 'presence="ordinary"');
      if (rows("running") > running) advancedMs = systemClock.elapsedMs();
      running = rows("running");
      looks.push({ seconds: round(secondsSince(startedMs)), claimed: rows("claimed") + running, running });
      if (systemClock.elapsedMs() - advancedMs > stuckMs) {
        throw new Error(`${running} of ${instances} run, and no more: ${JSON.stringify(troublesOf(platform))}`);
      }
    }
    return desiring;
  });
  for (const one of clients) one[Symbol.dispose]();
  const when = (of: (look: Look) => number, share: number): number =>
    looks.find((look) => of(look) >= instances * share)?.seconds ?? Number.NaN;
  const seconds = when(({ running }) => running, 1);
  const performs = await auctioneer.metrics();
  const answer = await cells.answer();
  return {
    desires: { ...use.result, tried_again: retries },
    seconds_to_claimed: when(({ claimed }) => claimed, 1),
    seconds_to_running: seconds,
    running_per_second: Math.round(instances / seconds),
    looked_every_ms: lookEveryMs(instances),
    seconds_to_share_running: Object.fromEntries(
      [0.1, 0.25, 0.5, 0.75, 0.9].map((share) => [share, when(({ running }) => running, share)]),
    ),
    cpu_seconds: use.cpuSeconds,
    cpu_share: use.cpuShare,
    cpu_us_per_instance: Object.fromEntries(
      Object.entries(use.cpuSeconds).map(([name, cpu]) => [name, Math.round((cpu * 1e6) / instances)]),
    ),
    memory_mib: Object.fromEntries(
      pidsOf(platform).map(([name, pid]) => {
        const { residentMib, residentPeakMib } = readUse(pid);
        return [name, { resident: residentMib, peak: residentPeakMib }];
      }),
    ),
    event_loop_delay_max_ms: { ...delays, cells: cells.eventLoopDelayMaxMs },
    commits: sampleOf(await active.metrics(), "bbs_journal_commit_duration_seconds_count"),
    performs: {
      answered: sampleOf(performs, "auctioneer_perform_duration_seconds_count", 'result="answered"'),
      failed: sampleOf(performs, "auctioneer_perform_duration_seconds_count", 'result="failed"'),
    },
    auctions: {
      count: sampleOf(performs, "auctioneer_auction_duration_seconds_count"),
      seconds: round(sampleOf(performs, "auctioneer_auction_duration_seconds_sum")),
      placed: sampleOf(performs, "auctioneer_lrp_auctions_total", 'result="placed"'),
      failed: sampleOf(performs, "auctioneer_lrp_auctions_total", 'result="failed"'),
      refused: sampleOf(performs, "auctioneer_lrp_auctions_total", 'result="refused"'),
    },
    /** More than instances: some were placed twice; more than cells: sessions were cut. */
    containers_reserved: answer.reserved,
    sessions_opened: answer.sessions,
    /** Services that lost their lock and were started anew. */
    restarts: { auctioneer: auctioneer.restarts, converger: converger.restarts },
    journal_resends: sampleOf(await active.metrics(), "bbs_journal_resends_total"),
  };
}

// --- what processes use

const pidsOf = ({ active, standby, auctioneer, converger, cells, etcd }: Platform): [string, number][] => [
  ["bbs", active.pid],
  ...(standby === undefined ? [] : [["standby", standby.pid] as [string, number]]),
  ["auctioneer", auctioneer.pid],
  ["converger", converger.pid],
  ...cells.pids.map((pid, n): [string, number] => [`cells_${n + 1}`, pid]),
  ...(etcd?.pids ?? []).map((pid, n): [string, number] => [`etcd_${n + 1}`, pid]),
  ["load", process.pid],
];

/** CPU time of every process while `work` lasts; its share is of one CPU. */
async function useOver<Result>(platform: Platform, work: () => Promise<Result>) {
  // Of a service that was started anew meanwhile, only what the new process has used.
  const read = (): [string, number, number][] => pidsOf(platform).map(([name, pid]) => [name, pid, readUse(pid).cpuSeconds]);
  const before = new Map(read().map(([, pid, cpu]) => [pid, cpu]));
  const startedMs = systemClock.elapsedMs();
  const result = await work();
  const seconds = secondsSince(startedMs);
  const used = read().map(([name, pid, cpu]): [string, number] => [name, cpu - (before.get(pid) ?? 0)]);
  return {
    result,
    seconds: round(seconds),
    cpuSeconds: Object.fromEntries(used.map(([name, cpu]) => [name, round(cpu)])),
    cpuShare: Object.fromEntries(used.map(([name, cpu]) => [name, round(cpu / seconds)])),
  };
}

/** Empty when a busy BBS does not answer in time. */
const pageOf = (bbs: BbsProcess): Promise<string> => bbs.metrics().catch(() => "");

const followed = (page: string): number => sampleOf(page, "auctioneer_cells_followed");

const troublesOf = ({ active, standby, auctioneer, converger, cells }: Platform) => ({
  bbs: troublesIn(active.log()),
  ...(standby === undefined ? {} : { standby: troublesIn(standby.log()) }),
  auctioneer: troublesIn(auctioneer.log()),
  converger: troublesIn(converger.log()),
  cells: troublesIn(cells.log()),
});

// --- failover

/** All times from kill -9 of the active BBS. */
async function failOver(
  { active, cells, addresses, auctioneer }: Platform,
  standby: BbsProcess,
  instances: number,
  count: number,
) {
  tell("failover");
  using operator = await clientsOf(addresses, "operator");
  const { reserved, sessions } = await cells.answer();
  cells.eventLoopDelayMaxMs = 0;
  active.kill("SIGKILL");
  await active.exited;
  const killedMs = systemClock.elapsedMs();
  const sinceKill = (): number => Math.round(systemClock.elapsedMs() - killedMs);
  const [firstAnswerMs, reported] = await Promise.all([
    untilRead(operator).then(sinceKill),
    untilReported(cells, count, sinceKill),
  ]);
  await eventually("all rows run at the new leader", readyMs, async () => {
    const page = await pageOf(standby);
    return sampleOf(page, "bbs_lrps", 'state="running"', 'presence="ordinary"') === instances;
  });
  const runningMs = sinceKill();
  await eventually(
    "the auctioneer follows every cell again",
    readyMs,
    async () => followed(await auctioneer.metrics()) === count,
  );
  const after = await cells.answer();
  const use = readUse(standby.pid);
  return {
    leadership_ttl_ms: leadershipTtlMs,
    killed_to_first_answer_ms: firstAnswerMs,
    killed_to_cells_reported_ms: reported,
    // 99 % of the cells, from the first answer.
    answer_to_99_percent_reported_ms: reported[0.99] - firstAnswerMs,
    killed_to_all_rows_running_ms: runningMs,
    sessions_opened: after.sessions - sessions,
    containers_started_anew: after.reserved - reserved,
    containers_lost: instances - after.running,
    event_loop_delay_max_ms: {
      bbs: Math.round((await standby.metric("nodejs_eventloop_lag_max_seconds")) * 1_000),
      cells: cells.eventLoopDelayMaxMs,
    },
    bbs_memory_mib: { resident: use.residentMib, peak: use.residentPeakMib },
    bbs_cpu_seconds: use.cpuSeconds,
    troubles: { bbs: troublesIn(standby.log()) },
  };
}

const untilRead = ({ bbs }: BbsClients): Promise<void> =>
  eventually(
    "the standby answers",
    readyMs,
    () =>
      unary(bbs.cells.bind(bbs), {}, { deadlineMs: 1_000 }).then(
        () => true,
        () => false,
      ),
    20,
  );

/** When so many shares of the cells have had their inventories decided by a later leader than the first. */
async function untilReported(cells: CellHosts, count: number, sinceKill: () => number): Promise<Record<0.5 | 0.99 | 1, number>> {
  const reached = { 0.5: Number.NaN, 0.99: Number.NaN, 1: Number.NaN };
  await eventually(
    "every cell has reported",
    readyMs,
    async () => {
      const { decided } = await cells.answer(2n);
      for (const share of [0.5, 0.99, 1] as const) {
        if (Number.isNaN(reached[share]) && decided >= share * count) reached[share] = sinceKill();
      }
      return decided === count;
    },
    50,
  );
  return reached;
}

/** Profiles are written at an orderly end. */
async function endOrderly({ active, auctioneer, converger, cells }: Platform): Promise<void> {
  await Promise.all([auctioneer.stop(), converger.stop()]);
  await cells[Symbol.asyncDispose]();
  active.kill("SIGTERM");
  await active.exited;
}
