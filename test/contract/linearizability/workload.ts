// Clients that call a BBS about a few process guids and tasks at once, each in a loop, and write down what they asked and heard.
import { setTimeout as sleep } from "node:timers/promises";
import { credentials, type ServiceError } from "@grpc/grpc-js";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { type Entropy, systemClock } from "@muster/shared/clock";
import { BbsError } from "@muster/shared/errors";
import { collect, dial, serverStream, targetOf, unary } from "@muster/shared/rpc";
import { tlsOf } from "../../support/bbs.js";
import { desired, instance, keyOf, startOf, updateOf } from "../bbs/fixtures.js";
import { drawWeighted, type Weighted } from "./draw.js";
import type { Call } from "./history.js";
import { desireText, type LRPOp, rowsText } from "./lrp-model.js";
import { isRead, isTaskOp, type Op } from "./ops.js";
import { callTask, drawTaskOp, type TaskDoors } from "./task-calls.js";
import { type TaskCell, taskCells } from "./task-model.js";

/** The cell in whose name all instances are claimed and started. */
const cell = taskCells[0];

export interface Doors extends TaskDoors, Disposable {}

/** As Muster's own clients: every address, and the next one when a server falls silent. */
export async function openDoors(addresses: readonly string[]): Promise<Doors> {
  const open = async (name: string) => dial(BBSServiceClient, addresses, await tlsOf(name));
  return doors(open, 3_000);
}

/** One address and no other, without keep-alive: what is asked of a frozen BBS waits in its socket for the thaw. */
export async function openLoyalDoors(address: string): Promise<Doors> {
  const open = async (name: string): Promise<BBSServiceClient> => {
    const { ca, key, cert } = await tlsOf(name);
    const creds = credentials.createSsl(ca, key, cert, { checkServerIdentity: () => undefined });
    return new BBSServiceClient(targetOf([address]), creds, {
      "grpc.enable_retries": 0,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_reconnect_backoff_ms": 500,
      "grpc.ssl_target_name_override": "localhost",
    });
  };
  return doors(open, 15_000);
}

async function doors(open: (commonName: string) => Promise<BBSServiceClient>, deadlineMs: number): Promise<Doors> {
  const operator = await open("operator");
  const cells = { "cell-1": await open("cell:cell-1"), "cell-2": await open("cell:cell-2") };
  return {
    operator,
    cells,
    deadlineMs,
    [Symbol.dispose]: () => {
      for (const client of [operator, ...Object.values(cells)]) client.close();
    },
  };
}

// --- what is called about

/** One process guid or task for some dozens of calls: histories stay short enough to be searched, and some outlive any fault. */
export interface Key {
  readonly kind: "lrp" | "task";
  readonly guid: string;
  readonly calls: Call<Op>[];
  callsLeft: number;
  lastInstance: string;
  lastCell: TaskCell;
}

/** So many calls of unknown outcome to one key; more would make its history hard to search. */
const maxUnknown = 5;
const lifetimes = [40, 120, 400] as const;

export class KeyRing {
  readonly all: Key[] = [];
  readonly #present: Key[];
  readonly #entropy: Entropy;

  constructor(count: number, entropy: Entropy) {
    this.#entropy = entropy;
    this.#present = Array.from({ length: count }, () => this.#fresh());
  }

  pick(): Key {
    const at = this.#entropy.below(this.#present.length);
    const present = this.#present[at];
    if (present !== undefined && present.callsLeft > 0 && unknownOf(present) < maxUnknown) return present;
    const fresh = this.#fresh();
    this.#present[at] = fresh;
    return fresh;
  }

  #fresh(): Key {
    const callsLeft = lifetimes[this.#entropy.below(lifetimes.length)] ?? lifetimes[0];
    // Every other one, so that each kind has half of the clients.
    const kind = this.all.length % 2 === 0 ? "lrp" : "task";
    const guid = `${kind}-${this.all.length}`;
    const key: Key = { kind, guid, calls: [], callsLeft, lastInstance: "nobody", lastCell: cell };
    this.all.push(key);
    return key;
  }
}

const unknownOf = (key: Key): number => key.calls.filter((call) => call.answer === undefined).length;

// --- clients

export interface Tally {
  /** Calls that did what was asked. */
  done: number;
  /** Refused for a reason of the records: the model says whether rightly. */
  refused: number;
  /** Never sent, or refused with the word that nothing was admitted: held to it. */
  notAdmitted: number;
  /** No answer, or one that says so. */
  unknown: number;
  acknowledgedWrites: number;
  reads: number;
  /** The longest time in which nothing at all was done. */
  longestGapMs: number;
  lastDoneMs: number;
}

export const newTally = (nowMs: number): Tally => ({
  done: 0,
  refused: 0,
  notAdmitted: 0,
  unknown: 0,
  acknowledgedWrites: 0,
  reads: 0,
  longestGapMs: 0,
  lastDoneMs: nowMs,
});

export const nowMs = (): number => systemClock.elapsedMs();

/** Calls in a loop until told to stop; the last call is waited for. */
export async function runClient(
  client: number,
  open: Doors,
  ring: KeyRing,
  tally: Tally,
  entropy: Entropy,
  stop: AbortSignal,
): Promise<void> {
  for (let n = 0; !stop.aborted; n += 1) {
    const key = ring.pick();
    const heard = await callOnce(client, open, key, drawOp(key, `c${client}n${n}`, entropy), tally);
    // Two cores are shared with the servers: a client thinks a little.
    await sleep(typeof heard === "string" ? 30 : entropy.below(12));
  }
}

/** Asks once and records it. */
export async function callOnce(client: number, open: Doors, key: Key, op: Op, tally: Tally): Promise<Heard> {
  const invokedMs = nowMs();
  const heard = await ask(open, key.guid, op);
  const atMs = nowMs();
  if (heard === "not-admitted") {
    tally.notAdmitted += 1;
    return heard;
  }
  key.callsLeft -= 1;
  if (heard === "unknown") {
    tally.unknown += 1;
    if (!isRead(op)) key.calls.push({ client, op, invokedMs, answer: undefined });
    return heard;
  }
  key.calls.push({ client, op, invokedMs, answer: { atMs, result: heard.result } });
  if (!isRead(op) && heard.result !== "ok") tally.refused += 1;
  else {
    tally.done += 1;
    tally.longestGapMs = Math.max(tally.longestGapMs, atMs - tally.lastDoneMs);
    tally.lastDoneMs = atMs;
    if (isRead(op)) tally.reads += 1;
    else tally.acknowledgedWrites += 1;
  }
  return heard;
}

/** One in twenty has the weight 5. */
const weights: Weighted<LRPOp["do"]> = [
  ["desire", 14],
  ["update", 18],
  ["remove", 9],
  ["read", 22],
  ["claim", 9],
  ["start", 9],
  ["retire", 3],
  ["removeInstance", 5],
  ["readRows", 11],
];

function drawOp(key: Key, unique: string, entropy: Entropy): Op {
  if (key.kind === "task") return drawTaskOp(key, unique, entropy);
  const kind = drawWeighted(weights, entropy);
  switch (kind) {
    case "desire":
      return { do: kind, instances: 1 + entropy.below(2), annotation: unique };
    case "update":
      return { do: kind, instances: entropy.below(2) === 0 ? undefined : entropy.below(3), annotation: unique };
    case "claim":
      key.lastInstance = unique;
      return { do: kind, instance: unique };
    case "start":
      return { do: kind, instance: entropy.below(4) === 0 ? unique : key.lastInstance };
    case "removeInstance":
      return { do: kind, instance: key.lastInstance };
    default:
      return { do: kind };
  }
}

// --- one call

export type Heard = { readonly result: string } | "not-admitted" | "unknown";

async function ask(open: Doors, guid: string, op: Op): Promise<Heard> {
  try {
    return { result: await call(open, guid, op) };
  } catch (error) {
    if (!(error instanceof BbsError)) throw error;
    const said = (error.cause as Partial<ServiceError> | undefined)?.metadata?.get("muster-error-type")[0];
    // grpc-js says so of a call that never left: there was no connection to send it on.
    if (said === undefined && error.message.startsWith("No connection established")) return "not-admitted";
    // Without the server's own word nobody knows how far the call came.
    if (said === undefined || error.code === "OutcomeUnknown") return "unknown";
    return error.code === "Unavailable" || error.code === "ResourceExhausted" ? "not-admitted" : { result: error.code };
  }
}

async function call(open: Doors, processGuid: string, op: Op): Promise<string> {
  if (isTaskOp(op)) return callTask(open, processGuid, op);
  const { operator, cells, deadlineMs } = open;
  const ofCell = cells[cell];
  const bounds = { deadlineMs };
  const keyOfRow = keyOf(processGuid);
  switch (op.do) {
    case "desire": {
      const desiredLrp = desired(processGuid, { instances: op.instances, annotation: op.annotation });
      await unary(operator.desireDesiredLrp.bind(operator), { desiredLrp }, bounds);
      return "ok";
    }
    case "update": {
      const update = updateOf({
        optionalAnnotation: { $case: "annotation", value: op.annotation },
        ...(op.instances === undefined ? {} : { optionalInstances: { $case: "instances", value: op.instances } }),
      });
      await unary(operator.updateDesiredLrp.bind(operator), { processGuid, update }, bounds);
      return "ok";
    }
    case "remove":
      await unary(operator.removeDesiredLrp.bind(operator), { processGuid }, bounds);
      return "ok";
    case "read": {
      const { desiredLrp } = await unary(operator.desiredLrpByProcessGuid.bind(operator), { processGuid }, bounds);
      return desireText(desiredLrp?.instances ?? -1, desiredLrp?.annotation ?? "");
    }
    case "claim":
      await unary(
        ofCell.claimActualLrp.bind(ofCell),
        { processGuid, index: 0, actualLrpInstanceKey: instance(op.instance, cell) },
        bounds,
      );
      return "ok";
    case "start":
      await unary(ofCell.startActualLrp.bind(ofCell), startOf(keyOfRow, instance(op.instance, cell)), bounds);
      return "ok";
    case "retire":
      await unary(operator.retireActualLrp.bind(operator), { actualLrpKey: keyOfRow }, bounds);
      return "ok";
    case "removeInstance":
      await unary(
        ofCell.removeActualLrp.bind(ofCell),
        { processGuid, index: 0, actualLrpInstanceKey: instance(op.instance, cell) },
        bounds,
      );
      return "ok";
    case "readRows":
      return readRows(operator, processGuid, deadlineMs);
  }
}

async function readRows(operator: BBSServiceClient, processGuid: string, deadlineMs: number): Promise<string> {
  const request = { domain: "", cellId: "", processGuid, optionalIndex: undefined };
  const rows = await collect(
    serverStream(operator.actualLrPs.bind(operator), request, { deadlineMs }),
    (chunk) => chunk.actualLrps,
  );
  const first = rows.find((row) => row.actualLrpKey?.index === 0);
  const second = rows.some((row) => row.actualLrpKey?.index === 1);
  if (first === undefined) return rowsText(undefined, second);
  const held = first.actualLrpInstanceKey?.instanceGuid ?? "";
  return rowsText({ state: first.state as "RUNNING", instance: held === "" ? undefined : held }, second);
}
