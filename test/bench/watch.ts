// What followers cost: calls beside a steady stream of changes, without watchers, with watchers by cell, and with as many watchers of
// everything. The service, the watchers and this load each are a process of their own.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client } from "@grpc/grpc-js";
import { WatchRequest, WatchResponse, WatchServiceService } from "@muster/proto/muster/v1/watch";
import { dial } from "@muster/shared/rpc";
import { type BbsClients, type BbsProcess, clientsOf, lmdbHome, spawnBbs, tlsOf } from "../support/bbs.js";
import { patient } from "./calls.js";
import { fill } from "./fleet.js";
import { type Call, type LoadFigures, paced, saturate } from "./load.js";
import { guidOf, netInfo } from "./messages.js";

export interface WatchBenchOptions {
  readonly watchers: number;
  /** Instances on record, all RUNNING; a multiple of 5. */
  readonly lrps: number;
  /** Changes of rows per second. */
  readonly changes: number;
  readonly seconds: number;
  readonly profileDir: string | undefined;
}

export const watchBenchDefaults: WatchBenchOptions = {
  watchers: 200,
  lrps: 250_000,
  changes: 1_000,
  seconds: 10,
  profileDir: undefined,
};

/** Rows change on so many cells in turn; each needs a certificate of its own. */
const changingCells = 20;
const fleetCells = 1_250;
const connections = 4;

type Followers = "none" | "by cell" | "of everything";

interface Counted {
  readonly messages: number;
  readonly bytes: number;
  readonly ended: number;
}

const tell = (what: string): void => {
  process.stderr.write(`bench watch: ${what}\n`);
};

/** Returns JSON-able figures; throws when calls fail. */
export async function benchWatch(options: Partial<WatchBenchOptions> = {}): Promise<object> {
  const settings = { ...watchBenchDefaults, ...options };
  await using home = await lmdbHome();
  tell(`${settings.lrps} instances: fill`);
  await fill(home, settings.lrps);
  const nodeArgs = settings.profileDir === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", settings.profileDir];
  await using bbs = await spawnBbs(home, { leadershipTtlMs: 10_000, nodeArgs });
  await bbs.until("active", 120_000);
  const controllers = await Promise.all(Array.from({ length: connections }, () => clientsOf([bbs.address], "controller")));
  const cells = await Promise.all(Array.from({ length: changingCells }, (_, n) => clientsOf([bbs.address], `cell:cell-${n}`)));
  const measure = (followers: Followers) => measureWith(followers, bbs, { controllers, cells, settings });
  await measure("none");
  const without = await measure("none");
  const byCell = await measure("by cell");
  const everything = await measure("of everything");
  const after = await measure("none");
  for (const clients of [...controllers, ...cells]) clients[Symbol.dispose]();
  bbs.kill("SIGTERM");
  await bbs.exited;
  const share = (one: { readonly calls: LoadFigures }): number =>
    Number((one.calls.per_second / ((without.calls.per_second + after.calls.per_second) / 2)).toFixed(3));
  return {
    bench: "watch",
    watchers: settings.watchers,
    instances: settings.lrps,
    target: { calls_of_those_without_watchers: 0.8 },
    without_watchers: [without, after],
    by_cell: { ...byCell, calls_of_those_without_watchers: share(byCell) },
    of_everything: { ...everything, calls_of_those_without_watchers: share(everything) },
  };
}

interface Load {
  readonly controllers: readonly BbsClients[];
  readonly cells: readonly BbsClients[];
  readonly settings: WatchBenchOptions;
}

async function measureWith(followers: Followers, bbs: BbsProcess, { controllers, cells, settings }: Load) {
  tell(`${settings.watchers} watchers: ${followers}`);
  await using watchers = await startWatchers(bbs.address, followers === "none" ? 0 : settings.watchers, followers);
  const before = await watchers.count();
  const cpuBefore = await bbs.metric("process_cpu_seconds_total");
  const { changes, seconds } = settings;
  const changing = paced(changeCall(cells, settings.lrps), { calls: changes * seconds, perSecond: changes });
  const calls = await saturateFor(readCall(controllers, settings.lrps), seconds * 1_000);
  const changed = await changing;
  const cpu = (await bbs.metric("process_cpu_seconds_total")) - cpuBefore;
  const after = await watchers.count();
  return {
    followers,
    calls,
    // Of the service, for all of the above: comparable also where others use the machine.
    cpu_ms_per_call: Number(((cpu * 1_000) / (calls.calls + changed.calls)).toFixed(3)),
    changes: changed,
    delivered: {
      messages_per_second: Math.round((after.messages - before.messages) / seconds),
      mib_per_second: Number(((after.bytes - before.bytes) / seconds / 1024 ** 2).toFixed(1)),
      watches_ended: after.ended,
    },
    lag_commits_max: await bbs.metric("bbs_watch_lag_commits"),
  };
}

let round = 0;
/** Each call starts a running instance anew with another port, which is a change of its row. */
function changeCall(cells: readonly BbsClients[], lrps: number): Call {
  round += 1;
  const port = 61_001 + round;
  const perCell = Math.max(1, Math.floor(lrps / fleetCells));
  return patient((n, done) => {
    const cell = n % cells.length;
    const lrp = ((Math.floor(n / cells.length) % perCell) * fleetCells + cell) % lrps;
    const turn = Math.floor(n / (cells.length * perCell));
    const ports = netInfo.ports.map((one) => ({ ...one, hostPort: port + 1_000 * ((turn % 3) + 1) }));
    cells[cell]?.bbs.startActualLrp(
      {
        actualLrpKey: { processGuid: guidOf("record", Math.floor(lrp / 5)), index: lrp % 5, domain: "bench" },
        actualLrpInstanceKey: { instanceGuid: guidOf("i", lrp), cellId: `cell-${cell}` },
        actualLrpNetInfo: { ...netInfo, ports },
        actualLrpInternalRoutes: [],
        metricTags: {},
        optionalRoutable: { $case: "Routable", value: true },
        availabilityZone: "z1",
      },
      done,
    );
  });
}

const readCall = (controllers: readonly BbsClients[], lrps: number): Call => {
  const processes = lrps / 5;
  return patient((n, done) => {
    const request = { processGuid: guidOf("record", (n * 7_919) % processes) };
    controllers[n % controllers.length]?.bbs.desiredLrpSchedulingInfoByProcessGuid(request, done);
  });
};

/** A closed loop for so long. */
async function saturateFor(call: Call, ms: number): Promise<LoadFigures> {
  const probe = await saturate(call, { calls: 1_000, inFlight: 50 });
  return saturate(call, { calls: Math.max(1_000, Math.round((probe.per_second * ms) / 1_000)), inFlight: 50 });
}

// --- the watchers' process

interface Facts {
  readonly address: string;
  readonly count: number;
  readonly followers: Followers;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
}

async function startWatchers(address: string, count: number, followers: Followers) {
  const { ca, cert, key } = await tlsOf("operator");
  const child = fork(fileURLToPath(import.meta.url), ["watchers"]);
  const ask = async (message: object): Promise<Counted> => {
    const answered = once(child, "message") as Promise<[Counted]>;
    child.send(message);
    return (await answered)[0];
  };
  const tls = { ca: ca.toString(), cert: cert.toString(), key: key.toString() };
  await ask({ address, count, followers, tls } satisfies Facts);
  return {
    count: () => ask({}),
    [Symbol.asyncDispose]: async () => {
      const exited = once(child, "exit");
      child.kill();
      await exited;
    },
  };
}

const same = (bytes: Buffer): Buffer => bytes;
/** Watches over one connection. */
const watchesEach = 25;

/** Resolves when all have their snapshot. */
async function follow({ address, count, followers, tls }: Facts, counted: { messages: number; bytes: number; ended: number }) {
  const material = { ca: Buffer.from(tls.ca), cert: Buffer.from(tls.cert), key: Buffer.from(tls.key) };
  let client = dial(Client, [address], material);
  for (let n = 0; n < count; n += 1) {
    if (n % watchesEach === 0) client = dial(Client, [address], material);
    // As a fleet has it: one watcher a cell.
    const cellId = followers === "by cell" ? `cell-${n}` : "";
    // Only what changes: the snapshot of flags is empty, and that of everything is another bench's matter.
    const first = WatchRequest.encode({ after: undefined, kinds: followers === "by cell" ? [2] : [6], cellId }).finish();
    const synced = await watchOnce(client, Buffer.from(first), () => undefined);
    const request = WatchRequest.encode({ after: synced, kinds: [2], cellId }).finish();
    const call = client.makeServerStreamRequest(WatchServiceService.watch.path, same, same, Buffer.from(request));
    call.on("data", (bytes: Buffer) => {
      counted.messages += 1;
      counted.bytes += bytes.byteLength;
    });
    call.on("error", (error) => {
      if (counted.ended === 0) tell(`a watch ended: ${error.message}`);
      counted.ended += 1;
    });
  }
}

function watchOnce(client: Client, request: Buffer, seen: (bytes: Buffer) => void) {
  return new Promise<{ incarnation: string; sequence: bigint } | undefined>((resolve, reject) => {
    const call = client.makeServerStreamRequest(WatchServiceService.watch.path, same, same, request);
    call.on("data", (bytes: Buffer) => {
      seen(bytes);
      const { message } = WatchResponse.decode(bytes);
      if (message?.$case !== "synced") return;
      resolve(message.value.token);
      call.cancel();
    });
    call.on("error", reject);
  });
}

if (process.argv[2] === "watchers" && process.send !== undefined) {
  const counted = { messages: 0, bytes: 0, ended: 0 };
  process.on("message", (facts: Partial<Facts>) => {
    const ready = facts.address === undefined ? Promise.resolve() : follow(facts as Facts, counted);
    ready.then(
      () => process.send?.({ ...counted }),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      },
    );
  });
  process.once("disconnect", () => process.exit(0));
}
