// The BBS with a whole fleet on record: how soon it serves, what it weighs, how it lists and writes, how long a failover takes.
import { type ActiveBbs, type Command, claimActualLRP, desireLRP, startActualLRP } from "@muster/bbs";
import { systemClock } from "@muster/shared/clock";
import { netInfoFromWire } from "@muster/shared/codec";
import { asCellId, asDomainName, asInstanceGuid, asProcessGuid } from "@muster/shared/model";
import { collect, serverStream } from "@muster/shared/rpc";
import { type BbsClients, type BbsProcess, clientsOf, type StoreHome, spawnBbs } from "../support/bbs.js";
import { claimCall, desireCall, startCall } from "./calls.js";
import { startActive } from "./in-process.js";
import { type Call, type LoadFigures, saturate } from "./load.js";
import { cellOf, desired, guidOf, netInfo } from "./messages.js";

export interface FleetOptions {
  /** Instances on record, all RUNNING; a multiple of 5. */
  readonly instances: number;
  /** Unary calls of each kind once they are there. */
  readonly calls: number;
}

interface ListFigures extends LoadFigures {
  readonly rows_per_list: number;
  readonly rows_per_second: number;
  /** Longest time that the BBS's event loop was held up meanwhile. */
  readonly event_loop_delay_max_ms: number;
}

const instancesPerProcess = 5;
const cells = 1_250;
const connections = 4;
const leadershipTtlMs = 10_000;
/** Loading and listing a quarter of a million rows, on a machine that has other things to do. */
const patienceMs = 120_000;

const tell = (what: string): void => {
  process.stderr.write(`bench bbs: ${what}\n`);
};

/** Fills the home's empty store, serves it with real processes, and measures. Returns JSON-able figures; throws when calls fail. */
export async function benchFleet(home: StoreHome, { instances, calls }: FleetOptions): Promise<object> {
  tell(`${home.name}: ${instances} instances: fill`);
  const fillSeconds = await fill(home, instances);
  const startedMs = systemClock.elapsedMs();
  await using bbs = await spawnBbs(home, { leadershipTtlMs });
  await bbs.until("active", patienceMs);
  const servingMs = systemClock.elapsedMs() - startedMs;
  const loaded = await memoryOf(bbs);
  using operator = await clientsOf([bbs.address], "operator");
  const controllers = await Promise.all(Array.from({ length: connections }, () => clientsOf([bbs.address], "controller")));
  const asCells = await Promise.all(Array.from({ length: connections }, (_, n) => clientsOf([bbs.address], `cell:cell-${n}`)));
  tell(`${home.name}: ${instances} instances: lists and calls`);
  const lists = {
    list_by_cell: await measureList(bbs, 200, (n) => rowsOfCell(operator, `cell-${n % cells}`)),
    list_all_rows: await measureList(bbs, 3, () => rowsOfCell(operator, "")),
    scheduling_infos: await measureList(bbs, 3, () => schedulingInfos(operator)),
  };
  const inFlight = 100;
  const unaries = {
    desire: await saturate(desireCall(controllers, "fleet"), { calls, inFlight }),
    claim: await saturate(claimCall(asCells, "fleet"), { calls, inFlight }),
    start: await saturate(startCall(asCells, "fleet"), { calls, inFlight }),
  };
  const busy = await memoryOf(bbs);
  for (const clients of [...controllers, ...asCells]) clients[Symbol.dispose]();
  const failover = home.name === "etcd" ? { failover: await measureFailover(home, bbs) } : {};
  return {
    instances,
    desired_lrps: instances / instancesPerProcess,
    fill_seconds: fillSeconds,
    // From the start of the process, Node's own start included.
    process_to_serving_ms: Math.round(servingMs),
    memory_mib: { after_loading: loaded, after_calls: busy },
    ...lists,
    ...unaries,
    ...failover,
  };
}

/** Desires, claims and starts through core and journal, as calls would, but in this process. Resolves with the seconds it took. */
export async function fill(home: StoreHome, instances: number): Promise<number> {
  const startedMs = systemClock.elapsedMs();
  await using store = await home.open();
  const active = await startActive(store);
  const at = netInfoFromWire(netInfo);
  if (at === undefined) throw new Error("no net info");
  const key = (n: number) => ({
    processGuid: asProcessGuid(guidOf("record", Math.floor(n / instancesPerProcess))),
    index: n % instancesPerProcess,
    domain: asDomainName("bench"),
  });
  const instanceKey = (n: number) => ({ instanceGuid: asInstanceGuid(guidOf("i", n)), cellId: asCellId(cellOf(n, cells)) });
  const started = { netInfo: at, internalRoutes: [], metricTags: new Map(), routable: true, availabilityZone: "z1" };
  await submit(active, instances / instancesPerProcess, (n) => desireLRP(desired(guidOf("record", n), instancesPerProcess)));
  await submit(active, instances, (n) => claimActualLRP({ ...key(n), instanceKey: instanceKey(n) }));
  await submit(active, instances, (n) => startActualLRP({ key: key(n), instanceKey: instanceKey(n), ...started }));
  await active.drain();
  return Number(((systemClock.elapsedMs() - startedMs) / 1_000).toFixed(1));
}

const submit = (active: ActiveBbs, calls: number, command: (n: number) => Command<unknown>): Promise<LoadFigures> =>
  saturate((n, done) => void active.journal.submit(command(n)).then(() => done(null), done), { calls, inFlight: 2_000 });

async function memoryOf(bbs: BbsProcess): Promise<object> {
  const mib = async (name: string): Promise<number> => Math.round((await bbs.metric(name)) / 1024 ** 2);
  return { resident: await mib("process_resident_memory_bytes"), heap_used: await mib("nodejs_heap_size_used_bytes") };
}

const rowsOfCell = async ({ bbs }: BbsClients, cellId: string): Promise<number> => {
  const request = { domain: "", cellId, processGuid: "", optionalIndex: undefined };
  return (await collect(serverStream(bbs.actualLrPs.bind(bbs), request), (chunk) => chunk.actualLrps)).length;
};

const schedulingInfos = async ({ bbs }: BbsClients): Promise<number> => {
  const request = { domain: "", processGuids: [], appGuids: [] };
  const all = serverStream(bbs.desiredLrpSchedulingInfos.bind(bbs), request);
  return (await collect(all, (chunk) => chunk.desiredLrpSchedulingInfos)).length;
};

/** Up to four lists at a time. */
async function measureList(bbs: BbsProcess, calls: number, list: (n: number) => Promise<number>): Promise<ListFigures> {
  let rows = 0;
  const call: Call = (n, done) =>
    void list(n).then((count) => {
      rows += count;
      done(null);
    }, done);
  // Reading the metric begins a new span of it.
  await bbs.metric("nodejs_eventloop_lag_max_seconds");
  const figures = await saturate(call, { calls, inFlight: Math.min(4, calls) });
  const delay = await bbs.metric("nodejs_eventloop_lag_max_seconds");
  return {
    ...figures,
    rows_per_list: Math.round(rows / calls),
    rows_per_second: Math.round(rows / figures.seconds),
    event_loop_delay_max_ms: Math.round(delay * 1_000),
  };
}

/** A standby waits; the active BBS is killed with -9; until the standby has answered its first call. */
async function measureFailover(home: StoreHome, active: BbsProcess): Promise<object> {
  tell(`${home.name}: failover`);
  await using standby = await spawnBbs(home, { leadershipTtlMs });
  await standby.until("standby", patienceMs);
  active.kill("SIGKILL");
  await active.exited;
  const killedMs = systemClock.elapsedMs();
  await standby.until("active", patienceMs);
  using operator = await clientsOf([standby.address], "operator");
  const rows = await rowsOfCell(operator, "cell-0");
  return {
    leadership_ttl_ms: leadershipTtlMs,
    killed_to_first_answer_ms: Math.round(systemClock.elapsedMs() - killedMs),
    rows_of_one_cell: rows,
  };
}
