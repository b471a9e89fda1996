// What followers cost: calls beside a steady stream of changes, without followers, with watchers by cell, with as many watchers of
// everything, and with as many of Diego's event streams. The service, the followers and this load each are a process of their own;
// followers count bytes and decode nothing, so that what is measured is the service, and TLS and HTTP at both ends.
import { fork } from "node:child_process";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { fileURLToPath } from "node:url";
import { Client } from "@grpc/grpc-js";
import { WatchRequest, WatchResponse, WatchServiceService } from "@muster/proto/muster/v1/watch";
import { dial } from "@muster/shared/rpc";
import { type BbsClients, type BbsProcess, clientsOf, lmdbHome, spawnBbs, tlsOf } from "../support/bbs.js";
import { freePort } from "../support/ports.js";
import { patient } from "./calls.js";
import { fill } from "./fleet.js";
import { type Call, paced, saturateFor } from "./load.js";
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

const followerKinds = ["by cell", "of everything", "event streams"] as const;
type Followers = "none" | (typeof followerKinds)[number];
/** Each kind is measured so often, each time between two measurements without followers: the machine may have other things to do. */
const rounds = 2;

interface Counted {
  readonly messages: number;
  readonly bytes: number;
  readonly ended: number;
  readonly cpuMs: number;
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
  const httpPort = await freePort();
  const more = { leadershipTtlMs: 10_000, nodeArgs, settings: { http_address: `127.0.0.1:${httpPort}` } };
  await using bbs = await spawnBbs(home, more);
  await bbs.until("active", 120_000);
  const controllers = await Promise.all(Array.from({ length: connections }, () => clientsOf([bbs.address], "controller")));
  const cells = await Promise.all(Array.from({ length: changingCells }, (_, n) => clientsOf([bbs.address], `cell:cell-${n}`)));
  const measure = (followers: Followers) => measureWith(followers, bbs, { controllers, cells, settings, httpPort });
  // Warms up.
  await measure("none");
  const without = [await measure("none")];
  const kinds: Record<string, object[]> = {};
  for (let round = 0; round < rounds; round += 1) {
    for (const followers of followerKinds) {
      const before = without.at(-1) as Measured;
      const beside = await measure(followers);
      const after = await measure("none");
      without.push(after);
      kinds[followers] = [...(kinds[followers] ?? []), { ...beside, ...compared(beside, [before, after]) }];
    }
  }
  for (const clients of [...controllers, ...cells]) clients[Symbol.dispose]();
  bbs.kill("SIGTERM");
  await bbs.exited;
  return {
    bench: "watch",
    watchers: settings.watchers,
    instances: settings.lrps,
    target: { calls_of_those_without: 0.8 },
    ...kinds,
    none: without,
  };
}

type Measured = Awaited<ReturnType<typeof measureWith>>;

/** Beside the same without followers, just before and just after. */
function compared(beside: Measured, without: readonly Measured[]): object {
  const mean = (of: (one: Measured) => number): number => without.reduce((sum, one) => sum + of(one), 0) / without.length;
  const share = (of: (one: Measured) => number): number => Number((of(beside) / mean(of)).toFixed(3));
  const extra = beside.service_cpu_ms_per_call - mean((one) => one.service_cpu_ms_per_call);
  return {
    // On this machine, with its followers.
    calls_of_those_without: share((one) => one.calls.per_second),
    // What would be left of the calls if followers ran elsewhere: by the CPU time that the service takes for one.
    calls_by_service_cpu: Number((1 / share((one) => one.service_cpu_ms_per_call)).toFixed(3)),
    service_cpu_ms_per_second_for_followers: Math.round((extra * beside.answered) / beside.seconds),
  };
}

interface Load {
  readonly controllers: readonly BbsClients[];
  readonly cells: readonly BbsClients[];
  readonly settings: WatchBenchOptions;
  readonly httpPort: number;
}

async function measureWith(followers: Followers, bbs: BbsProcess, { controllers, cells, settings, httpPort }: Load) {
  tell(`${settings.watchers} watchers: ${followers}`);
  await using watchers = await startWatchers({
    address: followers === "event streams" ? `127.0.0.1:${httpPort}` : bbs.address,
    count: followers === "none" ? 0 : settings.watchers,
    followers,
  });
  const before = await watchers.count();
  const cpuBefore = await bbs.metric("process_cpu_seconds_total");
  const { changes, seconds } = settings;
  const startedMs = performance.now();
  const changing = paced(changeCall(cells, settings.lrps), { calls: changes * seconds, perSecond: changes });
  const calls = await saturateFor(readCall(controllers, settings.lrps), { ms: seconds * 1_000, inFlight: 50 });
  const changed = await changing;
  const tookSeconds = (performance.now() - startedMs) / 1_000;
  const cpu = (await bbs.metric("process_cpu_seconds_total")) - cpuBefore;
  const after = await watchers.count();
  const answered = calls.calls + changed.calls;
  return {
    followers,
    seconds: Number(tookSeconds.toFixed(1)),
    calls,
    changes: changed,
    answered,
    // Comparable also where others use the machine.
    service_cpu_ms_per_call: Number(((cpu * 1_000) / answered).toFixed(3)),
    service_cpu_ms_per_second: Math.round((cpu * 1_000) / tookSeconds),
    followers_cpu_ms_per_second: Math.round((after.cpuMs - before.cpuMs) / tookSeconds),
    delivered: {
      messages_per_second: Math.round((after.messages - before.messages) / tookSeconds),
      mib_per_second: Number(((after.bytes - before.bytes) / tookSeconds / 1024 ** 2).toFixed(1)),
      streams_ended: after.ended,
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
    const processGuid = guidOf("record", (n * 7_919) % processes);
    controllers[n % controllers.length]?.bbs.desiredLrpSchedulingInfoByProcessGuid({ processGuid }, done);
  });
};

// --- the watchers' process

interface Facts {
  readonly address: string;
  readonly count: number;
  readonly followers: Followers;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
}

async function startWatchers(what: Omit<Facts, "tls">) {
  const { ca, cert, key } = await tlsOf("operator");
  const child = fork(fileURLToPath(import.meta.url), ["watchers"]);
  const ask = async (message: object): Promise<Counted> => {
    const answered = once(child, "message") as Promise<[Counted]>;
    child.send(message);
    return (await answered)[0];
  };
  const tls = { ca: ca.toString(), cert: cert.toString(), key: key.toString() };
  await ask({ ...what, tls } satisfies Facts);
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

type Counter = { messages: number; bytes: number; ended: number };

/** Resolves when all have their headers. A chunk of the body counts as a message. */
async function followEvents({ address, count, tls }: Facts, counted: Counter): Promise<void> {
  const [host = "", port = ""] = address.split(":");
  for (let n = 0; n < count; n += 1) {
    const path = "/v1/events/lrp_instances.r1";
    const asked = request({ host, port, path, method: "POST", ...tls, agent: false, checkServerIdentity: () => undefined });
    asked.end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    if (response.statusCode !== 200) throw new Error(`the event stream was answered with ${response.statusCode}`);
    response.on("data", (bytes: Buffer) => {
      counted.messages += 1;
      counted.bytes += bytes.byteLength;
    });
    response.on("close", () => {
      counted.ended += 1;
    });
    response.on("error", () => undefined);
  }
}

/** Resolves when all have their snapshot. */
async function follow({ address, count, followers, tls }: Facts, counted: Counter): Promise<void> {
  const material = { ca: Buffer.from(tls.ca), cert: Buffer.from(tls.cert), key: Buffer.from(tls.key) };
  let client = dial(Client, [address], material);
  for (let n = 0; n < count; n += 1) {
    if (n % watchesEach === 0) client = dial(Client, [address], material);
    // As a fleet has it: one watcher a cell.
    const cellId = followers === "by cell" ? `cell-${n}` : "";
    // Only what changes: the snapshot of flags is empty, and that of everything is another bench's matter.
    const first = WatchRequest.encode({ after: undefined, kinds: followers === "by cell" ? [2] : [6], cellId }).finish();
    const synced = await watchOnce(client, Buffer.from(first), () => undefined);
    const asked = WatchRequest.encode({ after: synced, kinds: [2], cellId }).finish();
    const call = client.makeServerStreamRequest(WatchServiceService.watch.path, same, same, Buffer.from(asked));
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

function watchOnce(client: Client, asked: Buffer, seen: (bytes: Buffer) => void) {
  return new Promise<{ incarnation: string; sequence: bigint } | undefined>((resolve, reject) => {
    const call = client.makeServerStreamRequest(WatchServiceService.watch.path, same, same, asked);
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
  const counted: Counter = { messages: 0, bytes: 0, ended: 0 };
  const begin = (facts: Facts): Promise<void> => (facts.followers === "event streams" ? followEvents : follow)(facts, counted);
  const cpuMs = (): number => (process.cpuUsage().user + process.cpuUsage().system) / 1_000;
  process.on("message", (facts: Partial<Facts>) => {
    const ready = facts.address === undefined ? Promise.resolve() : begin(facts as Facts);
    ready.then(
      () => process.send?.({ ...counted, cpuMs: cpuMs() } satisfies Counted),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      },
    );
  });
  process.once("disconnect", () => process.exit(0));
}
