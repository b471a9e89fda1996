// Sends what a seed draws to every rpc and route of a real BBS over real connections, and looks at what became of it.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Client, type ServiceError, status } from "@grpc/grpc-js";
import { requests } from "@muster/proto/shapes";
import { type Entropy, seededEntropy, systemClock } from "@muster/shared/clock";
import { decodeRecord, encodeRecord } from "@muster/shared/codec";
import { keyOf, type RecordKind, type Tables } from "@muster/shared/model";
import { dial, unary } from "@muster/shared/rpc";
import { clientsOf, type InProcessBbs, memoryHome, startBbs, tlsOf } from "../../../support/bbs.js";
import { HttpDoor } from "../../../support/diego-client.js";
import { decode } from "../../../support/diego-codec.js";
import { type Route, routes } from "../../../support/diego-routes.js";
import { drawRequest, type Request } from "./bytes.js";

export interface FuzzOptions {
  readonly seed: number;
  /** Ends at whichever comes first. */
  readonly seconds: number;
  readonly requests: number;
}

export interface FuzzReport {
  readonly seed: number;
  readonly requests: number;
  readonly seconds: number;
  /** How often each answer came: `ok`, an error type, or `cut`. */
  readonly answers: Readonly<Record<string, number>>;
  /** What must not be; each with the call, the harm and the bytes that did it. */
  readonly wrong: readonly string[];
  readonly records: number;
  readonly heap_growth_mib: number;
}

const inFlight = 16;
/** Nothing that is answered takes so long. */
const answerMs = 20_000;
const maxWrong = 20;

const served = [
  "/muster.v1.BBSService/",
  "/muster.v1.WatchService/",
  "/muster.v1.ReportService/",
  "/muster.v1.RepairService/",
  "/muster.v1.FeatureFlagService/",
  "/muster.v1.BackupService/",
  "/models.Locket/",
];
const rpcs = Object.entries(requests).filter(([path]) => served.some((service) => path.startsWith(service)));
const posts = [...routes.values()].filter(({ method, response }) => method === "POST" && response !== undefined);
/** Whose certificate a call needs, by its name; all others are the operator's. */
const roleOf = (path: string): string => {
  if (/Claim|StartActual|CrashActual|RemoveActual|Evacuat|StartTask|CompleteTask|Report|claim|start|crash|evacuat/.test(path))
    return "cell:cell-1";
  return /FailActual|RejectTask|Lock$|Release|lrps.fail|tasks.reject/.test(path) ? "auctioneer" : "operator";
};
const roles = ["operator", "cell:cell-1", "auctioneer"];

type Answer = { readonly said: string; readonly wrong?: string };

const same = (bytes: Buffer): Buffer => bytes;
const lists = new Set([...routes.values()].filter(({ stream }) => stream).map(({ rpc }) => rpc));
const streams = (path: string): "in" | "out" | "none" => {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name === "Report") return "in";
  return name === "Watch" || name === "Backup" || lists.has(name) ? "out" : "none";
};

/** Answers of grpc-js itself, which knows no types of ours: a message too large, or none at all. */
const untyped = new Set([status.RESOURCE_EXHAUSTED, status.UNIMPLEMENTED]);

function judge(error: ServiceError | null): Answer {
  if (error === null) return { said: "ok" };
  const type = error.metadata?.get("muster-error-type")[0];
  if (type === "UnknownError") return { said: type, wrong: `the server did not expect it: ${error.details}` };
  if (typeof type === "string") return { said: type };
  if (untyped.has(error.code)) return { said: status[error.code] ?? "" };
  if (error.code === status.UNAVAILABLE || error.code === status.CANCELLED) return { said: "cut" };
  return { said: status[error.code] ?? "", wrong: `an answer without a type: ${error.details}` };
}

function overGrpc(client: Client, path: string, bytes: Buffer): Promise<Answer> {
  const deadline = systemClock.nowMs() + answerMs;
  return new Promise((resolve) => {
    const how = streams(path);
    if (how === "none") {
      client.makeUnaryRequest(path, same, same, bytes, { deadline }, (error) => resolve(judge(error)));
      return;
    }
    const duplex = how === "in" ? client.makeBidiStreamRequest(path, same, same, { deadline }) : undefined;
    const call = duplex ?? client.makeServerStreamRequest(path, same, same, bytes, { deadline });
    call.on("error", (error) => resolve(judge(error as ServiceError)));
    call.on("end", () => resolve({ said: "ok" }));
    call.once("data", () => {
      resolve({ said: "ok" });
      call.cancel();
    });
    duplex?.write(bytes);
    duplex?.end();
  });
}

async function overHttp(door: HttpDoor, route: Route, bytes: Buffer): Promise<Answer> {
  const reply = await door.send("POST", route.path, bytes).catch(() => undefined);
  if (reply === undefined) return { said: "cut" };
  if (reply.status !== 200) return { said: `HTTP ${reply.status}`, ...(reply.status >= 500 ? { wrong: "a server error" } : {}) };
  const { error } = decode(route.response ?? "", reply.body);
  if (error === undefined) return { said: "ok" };
  // Diego's UnknownError: what nobody expected.
  return { said: `type ${error.type ?? 0}`, ...((error.type ?? 0) === 0 ? { wrong: `unexpected: ${error.message}` } : {}) };
}

/** Draws and sends until the time or the number is over; throws nothing for what the BBS does. */
export async function runFuzz(options: FuzzOptions): Promise<FuzzReport> {
  await using home = await memoryHome();
  await using bbs = await startBbs(home);
  const entropy = seededEntropy(`fuzz:${options.seed}`);
  const clients = new Map<string, Client>();
  const doors = new Map<string, HttpDoor>();
  for (const role of roles) {
    clients.set(role, dial(Client, [bbs.address], await tlsOf(role)));
    doors.set(role, new HttpDoor(bbs.httpAddress, await tlsOf(role)));
  }
  const answers: Record<string, number> = {};
  const wrong: string[] = [];
  const unexpected = (error: unknown): void => void wrong.push(`not caught: ${String(error)}`);
  process.on("unhandledRejection", unexpected);
  process.on("uncaughtExceptionMonitor", unexpected);
  const heapBefore = heapMib();
  const startedMs = systemClock.elapsedMs();
  let sent = 0;
  const over = (): boolean =>
    sent >= options.requests || systemClock.elapsedMs() - startedMs > options.seconds * 1_000 || wrong.length >= maxWrong;
  const one = async (): Promise<void> => {
    while (!over()) {
      sent += 1;
      const { path, request, answer } = next(entropy, clients, doors);
      const { said, wrong: why } = await answer();
      answers[said] = (answers[said] ?? 0) + 1;
      if (why !== undefined) wrong.push(`${path} (${request.harm}): ${why}: ${request.bytes.subarray(0, 400).toString("hex")}`);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  await stillServing(bbs, wrong);
  wrong.push(...faultsOf(bbs.active.state.tables));
  for (const client of clients.values()) client.close();
  for (const door of doors.values()) door[Symbol.dispose]();
  process.off("unhandledRejection", unexpected);
  process.off("uncaughtExceptionMonitor", unexpected);
  return {
    seed: options.seed,
    requests: sent,
    seconds: Math.round((systemClock.elapsedMs() - startedMs) / 1_000),
    answers: Object.fromEntries(Object.entries(answers).sort(([a], [b]) => (a < b ? -1 : 1))),
    wrong,
    records: recordsOf(bbs.active.state.tables).length,
    heap_growth_mib: heapMib() - heapBefore,
  };
}

/** One call in three goes over HTTP; a few are made with a role that may not. */
function next(entropy: Entropy, clients: ReadonlyMap<string, Client>, doors: ReadonlyMap<string, HttpDoor>) {
  const route = entropy.below(3) === 0 ? (posts[entropy.below(posts.length)] as Route) : undefined;
  const [path, name] =
    route === undefined
      ? (rpcs[entropy.below(rpcs.length)] as [string, string])
      : [route.path, route.request === undefined ? "" : `models.${route.request}`];
  const request: Request = drawRequest(entropy, name);
  const role = entropy.below(20) === 0 ? (roles[entropy.below(roles.length)] as string) : roleOf(path);
  const answer = (): Promise<Answer> =>
    route === undefined
      ? overGrpc(clients.get(role) as Client, path, request.bytes)
      : overHttp(doors.get(role) as HttpDoor, route, request.bytes);
  return { path, request, answer };
}

async function stillServing(bbs: InProcessBbs, wrong: string[]): Promise<void> {
  using operator = await clientsOf([bbs.address], "operator");
  const pong = await unary(operator.bbs.ping.bind(operator.bbs), {}, { deadlineMs: 5_000 }).catch((error: unknown) => error);
  if (!(pong as { available?: boolean }).available) wrong.push(`ping does not answer: ${String(pong)}`);
}

const kinds = ["desiredLRP", "actualLRP", "task", "domain", "cell", "featureFlag", "lock", "runInfo", "taskDefinition"] as const;

const recordsOf = (tables: Tables): [RecordKind, string, unknown][] =>
  kinds.flatMap((kind) => [...tables.all(kind)].map(([key, record]): [RecordKind, string, unknown] => [kind, key, record]));

const guid = /^[A-Za-z0-9_-]+$/;
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;

/** Records that no valid request could have made. */
function faultsOf(tables: Tables): string[] {
  const faults: string[] = [];
  for (const [kind, key, record] of recordsOf(tables)) {
    const again = decodeRecord(kind, encodeRecord(kind, record as never));
    if (keyOf[kind](again as never) !== key) faults.push(`${kind} ${key} is stored as ${keyOf[kind](again as never)}`);
    const told = JSON.stringify(record, (_name, value: unknown) => (typeof value === "bigint" ? String(value) : value));
    if (told.includes("\ufffd")) faults.push(`${kind} ${key} holds broken text`);
  }
  for (const { processGuid, instances, memoryMb, diskMb } of tables.desiredLRPs.values()) {
    if (!guid.test(processGuid)) faults.push(`a process is called ${processGuid}`);
    if (![instances, memoryMb, diskMb].every(isCount)) faults.push(`${processGuid} has ${instances} instances of ${memoryMb} MB`);
  }
  for (const row of tables.actualLRPs.values()) {
    if (!isCount(row.index) || !guid.test(row.processGuid)) faults.push(`there is a row ${row.processGuid}/${row.index}`);
    if ((row.state === "CLAIMED" || row.state === "RUNNING") && (row.instanceKey?.cellId ?? "") === "")
      faults.push(`${row.processGuid}/${row.index} is ${row.state} nowhere`);
  }
  for (const { taskGuid } of tables.tasks.values()) if (!guid.test(taskGuid)) faults.push(`a task is called ${taskGuid}`);
  return faults;
}

/** After a full collection. */
function heapMib(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return Math.round(process.memoryUsage().heapUsed / 1024 ** 2);
}
