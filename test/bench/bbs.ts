// How fast the BBS is: unary calls beside a bare echo of the same run, reported items, lists; and its core and journal without gRPC.
// The service, the echo, etcd and this load each are a process of their own.
import { cpus, totalmem } from "node:os";
import { type Command, claimActualLRP, desireLRP, startActualLRP } from "@muster/bbs";
import { ClaimActualLRPRequest } from "@muster/proto/models/actual_lrp_requests";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { systemClock } from "@muster/shared/clock";
import { netInfoFromWire } from "@muster/shared/codec";
import { asCellId, asDomainName, asInstanceGuid, asProcessGuid } from "@muster/shared/model";
import { collect, serverStream, unary } from "@muster/shared/rpc";
import {
  type BbsClients,
  type BbsProcess,
  clientsOf,
  etcdHome,
  lmdbHome,
  type StoreHome,
  spawnBbs,
  tlsOf,
} from "../support/bbs.js";
import { startEtcd } from "../support/etcd.js";
import { claimCall, claimRequest, desireCall, startCall } from "./calls.js";
import { echoCall, startEcho } from "./echo.js";
import { benchFleet } from "./fleet.js";
import { startActive } from "./in-process.js";
import { type Call, type LoadFigures, paced, saturate } from "./load.js";
import { cellOf, desired, guidOf, netInfo } from "./messages.js";
import { type ReportFigures, reportItems } from "./report-load.js";

export interface BbsBenchOptions {
  readonly stores: readonly ("lmdb" | "etcd")[];
  /** Unary calls of each kind. */
  readonly calls: number;
  /** Instances that cells report as claimed, and then as started. */
  readonly reported: number;
  readonly inFlight: number;
  readonly connections: number;
  /** The service writes its CPU profile into this folder. */
  readonly profileDir: string | undefined;
  /** Fleets on record to measure with, in instances. */
  readonly fleets: readonly number[];
}

/** Unary calls on etcd are to reach this share of a bare echo's. */
const unaryShareTarget = 0.35;
const settleMs = 3_000;

export const bbsBenchDefaults: BbsBenchOptions = {
  stores: ["lmdb", "etcd"],
  calls: 20_000,
  reported: 40_000,
  inFlight: 200,
  connections: 4,
  profileDir: undefined,
  fleets: [10_000, 250_000],
};

interface UnaryFigures {
  readonly saturated: LoadFigures;
  /** Share of the mean of the echoes before and after. */
  readonly of_echo: number;
  readonly at_half_of_it: LoadFigures;
  readonly at_half_of_target: LoadFigures;
}

export interface BbsBenchFigures {
  readonly bench: "bbs";
  readonly machine: { readonly cpu: string; readonly cores: number; readonly memory_gib: number; readonly node: string };
  readonly targets: object;
  readonly stores: readonly object[];
  readonly in_process_lmdb: InProcessFigures;
}

/** Measures everything. Returns JSON-able figures; throws when calls fail. */
export async function benchBbs(options: Partial<BbsBenchOptions> = {}): Promise<BbsBenchFigures> {
  const settings = { ...bbsBenchDefaults, ...options };
  const stores: object[] = [];
  for (const store of settings.stores) {
    const service = await withHome(store, (home) => benchService(home, settings));
    const fleets: object[] = [];
    for (const instances of settings.fleets)
      fleets.push(await withHome(store, (home) => benchFleet(home, { instances, calls: settings.calls / 4 })));
    stores.push({ ...service, fleets });
  }
  return {
    bench: "bbs",
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      memory_gib: Math.round(totalmem() / 1024 ** 3),
      node: process.version,
    },
    targets: {
      unary_of_echo: unaryShareTarget,
      p99_ms_at_half: 50,
      reported_items_per_second: 20_000,
      in_process_commands_per_second: 50_000,
      memory_mib_at_250000: 2_048,
      failover_ms_at_250000: "leadership TTL + 10,000",
    },
    stores,
    in_process_lmdb: await benchInProcess(settings.calls),
  };
}

async function withHome<Result>(store: "lmdb" | "etcd", use: (home: StoreHome) => Promise<Result>): Promise<Result> {
  if (store === "lmdb") {
    await using home = await lmdbHome();
    return await use(home);
  }
  await using etcd = await startEtcd();
  await using home = await etcdHome(etcd);
  return await use(home);
}

/** People see where it stands; stdout is for the figures alone. */
const tell = (what: string): void => {
  process.stderr.write(`bench bbs: ${what}\n`);
};

// --- the service over gRPC

async function benchService(home: StoreHome, settings: BbsBenchOptions): Promise<object> {
  const { calls, connections, profileDir } = settings;
  const nodeArgs = profileDir === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", profileDir];
  await using echo = await startEcho();
  await using bbs = await spawnBbs(home, { nodeArgs, leadershipTtlMs: 10_000 });
  await bbs.until("active");
  const controllers = await Promise.all(Array.from({ length: connections }, () => clientsOf([bbs.address], "controller")));
  const cells = await Promise.all(Array.from({ length: connections }, (_, n) => clientsOf([bbs.address], `cell:cell-${n}`)));
  const payload = Buffer.from(ClaimActualLRPRequest.encode(claimRequest("claim", 0, connections)).finish());
  const yardstick = echoCall(echo.address, await tlsOf("operator"), connections, payload);
  const total = calls + Math.ceil(calls / 2) + Math.ceil(calls / 4);
  await saturate(yardstick.call, { calls: 3_000, inFlight: settings.inFlight });
  await saturate(desireCall(controllers, "warm"), { calls: 1_500, inFlight: settings.inFlight });
  tell(`${home.name}: echo, desire, claim, start`);
  const before = await saturate(yardstick.call, { calls, inFlight: settings.inFlight });
  const halfOfTarget = (before.per_second * unaryShareTarget) / 2;
  const [desire, claim, start] = [
    await measure(desireCall(controllers, "unary"), settings, halfOfTarget),
    await measure(claimCall(cells, "unary"), settings, halfOfTarget),
    await measure(startCall(cells, "unary"), settings, halfOfTarget),
  ];
  const after = await saturate(yardstick.call, { calls, inFlight: settings.inFlight });
  yardstick.close();
  const echoPerSecond = (before.per_second + after.per_second) / 2;
  const ofEcho = (one: Measured): UnaryFigures => ({
    ...one,
    of_echo: Number((one.saturated.per_second / echoPerSecond).toFixed(3)),
  });
  tell(`${home.name}: report`);
  const journal = await journalMeter(bbs);
  const report: ReportFigures = await reportItems(bbs.address, settings.reported, {
    desire: (processGuid, instances) => desireOne(controllers[0], desired(processGuid, instances)),
    netInfo,
  });
  const commits = await journal();
  tell(`${home.name}: list`);
  const list = await benchList(bbs.address);
  for (const clients of [...controllers, ...cells]) clients[Symbol.dispose]();
  // An orderly end, so that a profile gets written.
  bbs.kill("SIGTERM");
  await bbs.exited;
  return {
    store: home.name,
    rows: total + settings.reported,
    echo: [before, after],
    desire: ofEcho(desire),
    claim: ofEcho(claim),
    start: ofEcho(start),
    report: { ...report, ...commits },
    list_by_cell: list,
  };
}

/** What the journal did from here to the call of what is returned. */
async function journalMeter(bbs: BbsProcess): Promise<() => Promise<object>> {
  const read = async () => ({
    commits: await bbs.metric("bbs_journal_commit_duration_seconds_count"),
    seconds: await bbs.metric("bbs_journal_commit_duration_seconds_sum"),
    writes: await bbs.metric("bbs_journal_batch_writes_sum"),
  });
  const before = await read();
  return async () => {
    const now = await read();
    const commits = now.commits - before.commits;
    return {
      commits,
      mean_writes_per_commit: Math.round((now.writes - before.writes) / commits),
      mean_commit_ms: Number((((now.seconds - before.seconds) / commits) * 1_000).toFixed(2)),
    };
  };
}

interface Measured {
  readonly saturated: LoadFigures;
  /** Half as fast as it went at saturation. */
  readonly at_half_of_it: LoadFigures;
  /** Half as fast as the target asks for. */
  readonly at_half_of_target: LoadFigures;
}

/** At saturation, and then at two steady paces; a pause before each lets all processes put away what saturation has left. */
async function measure(call: Call, { calls, inFlight }: BbsBenchOptions, halfOfTarget: number): Promise<Measured> {
  const saturated = await saturate(call, { calls, inFlight });
  let done = calls;
  const steadily = async (share: number, perSecond: number): Promise<LoadFigures> => {
    const [first, count] = [done, Math.ceil(calls * share)];
    done += count;
    await systemClock.sleep(settleMs);
    return await paced((n, over) => call(first + n, over), { calls: count, perSecond });
  };
  return {
    saturated,
    at_half_of_it: await steadily(0.5, saturated.per_second / 2),
    at_half_of_target: await steadily(0.25, halfOfTarget),
  };
}

const desireOne = (clients: BbsClients | undefined, desiredLrp: DesiredLRP): Promise<unknown> => {
  if (clients === undefined) throw new Error("no clients");
  return unary(clients.bbs.desireDesiredLrp.bind(clients.bbs), { desiredLrp });
};

/** Lists what one cell holds, four at a time. */
async function benchList(address: string): Promise<object> {
  using operator = await clientsOf([address], "operator");
  const { bbs } = operator;
  let rows = 0;
  const list: Call = (n, done) => {
    const request = { domain: "", cellId: `report-cell-${n % 16}`, processGuid: "", optionalIndex: undefined };
    collect(serverStream(bbs.actualLrPs.bind(bbs), request), (chunk) => chunk.actualLrps).then((all) => {
      rows += all.length;
      done(null);
    }, done);
  };
  const figures = await saturate(list, { calls: 40, inFlight: 4 });
  return { ...figures, rows_per_list: rows / figures.calls, rows_per_second: Math.round(rows / figures.seconds) };
}

// --- core and journal alone

interface InProcessFigures {
  readonly commands: number;
  readonly desires_per_second: number;
  readonly claims_per_second: number;
  readonly starts_per_second: number;
  /** Claims and starts together. */
  readonly commands_per_second: number;
}

/** Submits to a journal on LMDB with 2,000 commands outstanding; no gRPC, sealing included. */
export async function benchInProcess(calls: number): Promise<InProcessFigures> {
  tell("core and journal in process");
  await using home = await lmdbHome();
  await using store = await home.open();
  const active = await startActive(store);
  const submit = (command: (n: number) => Command<unknown>, count: number): Promise<LoadFigures> =>
    saturate((n, done) => void active.journal.submit(command(n)).then(() => done(null), done), { calls: count, inFlight: 2_000 });
  const rows = Math.max(calls, 50_000);
  const key = (n: number) => ({ processGuid: asProcessGuid(guidOf("core", n)), index: 0, domain: asDomainName("bench") });
  const instanceKey = (n: number) => ({ instanceGuid: asInstanceGuid(guidOf("i", n)), cellId: asCellId(cellOf(n, 1_250)) });
  const at = netInfoFromWire(netInfo);
  if (at === undefined) throw new Error("no net info");
  const desires = await submit((n) => desireLRP(desired(guidOf("core", n))), rows);
  const claims = await submit((n) => claimActualLRP({ ...key(n), instanceKey: instanceKey(n) }), rows);
  const started = { netInfo: at, internalRoutes: [], metricTags: new Map(), routable: true, availabilityZone: "z1" };
  const starts = await submit((n) => startActualLRP({ key: key(n), instanceKey: instanceKey(n), ...started }), rows);
  await active.drain();
  return {
    commands: rows * 3,
    desires_per_second: desires.per_second,
    claims_per_second: claims.per_second,
    starts_per_second: starts.per_second,
    commands_per_second: Math.round((rows * 2) / (claims.seconds + starts.seconds)),
  };
}
