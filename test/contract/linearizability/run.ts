// One run: clients call, processes are hurt, then everything is quiet, all keys are read once more, and the histories are judged.
import { setTimeout as sleep } from "node:timers/promises";
import { type Entropy, seededEntropy } from "@muster/shared/clock";
import { countAnomalies } from "./anomalies.js";
import type { Verdict } from "./checker.js";
import { hurt, Pair } from "./cluster.js";
import { type Call, inOrder } from "./history.js";
import { isRead, judgeHistory, type Op } from "./ops.js";
import {
  callOnce,
  type Doors,
  type Key,
  KeyRing,
  newTally,
  nowMs,
  openDoors,
  openLoyalDoors,
  runClient,
  type Tally,
} from "./workload.js";

/** Enough for clients on both sides of a fault to have found the BBS that serves, and to have met each other at the keys. */
const callsBetweenFaults = 200;

export interface RunOptions {
  readonly seed: number;
  /** Of faults; starting, the last reads and the judgement come on top. */
  readonly seconds: number;
  /** Clients that know both addresses; two more for each address know that one alone. */
  readonly clients?: number;
  /** Process guids and tasks in use at a time, half of each. */
  readonly keys?: number;
  /** Members of etcd; 1 by default. */
  readonly members?: 1 | 3;
  /** Of the BBSs' leadership; 2 s by default. */
  readonly leadershipTtlMs?: number | undefined;
  readonly onProgress?: (line: string) => void;
}

export interface RunReport {
  readonly seed: number;
  readonly seconds: number;
  readonly clients: number;
  readonly etcd_members: number;
  readonly keys: number;
  /** Those of the keys that are tasks. */
  readonly task_keys: number;
  readonly calls: {
    readonly done: number;
    readonly refused: number;
    readonly not_admitted: number;
    readonly unknown: number;
    readonly acknowledged_writes: number;
    readonly reads: number;
  };
  readonly longest_gap_ms: number;
  readonly faults: Readonly<Record<string, number>>;
  /** Exit statuses of BBSs: 75 is a deposed one that ended as it must. */
  readonly bbs_exits: Readonly<Record<string, number>>;
  readonly linearizable_keys: number;
  /** Histories too tangled for the search. */
  readonly undecided_keys: number;
  readonly violations: readonly Violation[];
  readonly acknowledged_writes_lost: number;
  readonly stale_reads: number;
  readonly invented_reads: number;
  readonly checker_steps: number;
}

export interface Violation {
  readonly key: string;
  /** So many calls could be put in an order, then none of `stuck` could follow. */
  readonly ordered: number;
  readonly stuck: readonly string[];
  readonly last_calls: readonly string[];
}

/** Runs the whole of it and leaves nothing behind. @throws when the pair does not come up again after a fault. */
export async function runLinearizability(options: RunOptions): Promise<RunReport> {
  const { seed, clients = 8, keys = 4, onProgress = () => undefined } = options;
  await using pair = await Pair.start(options.members, options.leadershipTtlMs);
  const ring = new KeyRing(keys, chanceOf(seed, "keys"));
  const tally = newTally(nowMs());
  const doors = await openAll(pair.addresses, clients);
  try {
    const faults = await hurtUnder(pair, doors, ring, tally, options);
    const quietFromMs = nowMs();
    const [anyone] = doors;
    if (anyone !== undefined) await readAll(pair, anyone, ring.all, tally);
    onProgress("judging");
    return { ...judge(ring.all, quietFromMs), ...summary(options, doors.length, tally), faults, bbs_exits: pair.exits };
  } finally {
    for (const open of doors) open[Symbol.dispose]();
  }
}

/** A stream of chance for each purpose: one more client leaves the faults as they were. */
const chanceOf = (seed: number, purpose: string): Entropy => seededEntropy(`linearizability/${seed}/${purpose}`);

/** Clients call while the pair is hurt; resolves with the faults' counts once one of it serves and every client has stopped. */
async function hurtUnder(
  pair: Pair,
  doors: readonly Doors[],
  ring: KeyRing,
  tally: Tally,
  { seed, seconds, onProgress = () => undefined }: RunOptions,
): Promise<Record<string, number>> {
  const stop = new AbortController();
  const running = doors.map((open, n) => runClient(n, open, ring, tally, chanceOf(seed, `client-${n}`), stop.signal));
  const untilMs = nowMs() + seconds * 1_000;
  try {
    const faults = await hurt(pair, chanceOf(seed, "faults"), {
      until: () => nowMs() >= untilMs,
      atWork: () => moreDone(pair, tally, callsBetweenFaults),
      onFault: (name) => onProgress(`${tally.done} calls done, ${ring.all.length} keys: ${name}`),
    });
    await pair.active();
    return faults;
  } finally {
    stop.abort();
    await Promise.all(running);
  }
}

async function openAll(addresses: readonly string[], clients: number): Promise<Doors[]> {
  const free = Array.from({ length: clients }, () => openDoors(addresses));
  const loyal = addresses.flatMap((address) => [openLoyalDoors(address), openLoyalDoors(address)]);
  return Promise.all([...free, ...loyal]);
}

/** A machine shared with other suites lets these clients get a few calls a second done. */
const wayBackMs = 120_000;

/** @throws when clients do not find their way back in time. */
async function moreDone(pair: Pair, tally: Tally, calls: number): Promise<void> {
  const target = tally.done + calls;
  for (const deadline = nowMs() + wayBackMs; tally.done < target; await sleep(10)) {
    await pair.supervise();
    if (nowMs() > deadline) throw new Error(`clients got ${tally.done - target + calls} calls done in ${wayBackMs} ms`);
  }
}

const lastReads = { lrp: [{ do: "read" }, { do: "readRows" }], task: [{ do: "readTask" }, { do: "listTask" }] } as const;

/** Everything is quiet: what is read now is what is left. Sixteen keys at a time. */
async function readAll(pair: Pair, open: Doors, keys: readonly Key[], tally: Tally): Promise<void> {
  const queue = [...keys];
  const reader = async (): Promise<void> => {
    for (let key = queue.shift(); key !== undefined; key = queue.shift()) {
      for (const op of lastReads[key.kind]) {
        for (let tries = 1; typeof (await callOnce(-1, open, key, op, tally)) === "string"; tries += 1) {
          await sleep(50);
          await pair.active();
          if (tries === 200) throw new Error(`${key.guid} cannot be read in the end`);
        }
      }
    }
  };
  await Promise.all(Array.from({ length: 16 }, reader));
}

const summary = ({ seed, seconds, members = 1 }: RunOptions, clients: number, tally: Tally) => ({
  seed,
  etcd_members: members,
  seconds,
  clients,
  calls: {
    done: tally.done,
    refused: tally.refused,
    not_admitted: tally.notAdmitted,
    unknown: tally.unknown,
    acknowledged_writes: tally.acknowledgedWrites,
    reads: tally.reads,
  },
  longest_gap_ms: Math.round(tally.longestGapMs),
});

function judge(keys: readonly Key[], quietFromMs: number) {
  const violations: Violation[] = [];
  let [linearizable, undecided, lost, stale, invented, steps] = [0, 0, 0, 0, 0, 0];
  for (const key of keys) {
    const history = inOrder(key.calls);
    const verdict = judgeHistory(key.kind, history);
    steps += verdict.steps;
    if (verdict.linearizable === true) linearizable += 1;
    else if (verdict.linearizable === undefined) undecided += 1;
    else {
      const { ordered, stuck } = verdict;
      const from = Math.min(...stuck.map((call) => history.indexOf(call)));
      const around = history.slice(Math.max(0, from - 12), from + 6);
      violations.push({ key: key.guid, ordered, stuck: stuck.map(lineOf), last_calls: around.map(lineOf) });
    }
    const anomalies = countAnomalies(history, quietFromMs);
    lost += anomalies.lostWrites;
    stale += Math.max(anomalies.staleReads, contradictedReads(verdict));
    invented += anomalies.inventedReads;
  }
  return {
    keys: keys.length,
    task_keys: keys.filter(({ kind }) => kind === "task").length,
    linearizable_keys: linearizable,
    undecided_keys: undecided,
    violations,
    acknowledged_writes_lost: lost,
    stale_reads: stale,
    invented_reads: invented,
    checker_steps: steps,
  };
}

/** 1 when the order ends at a read that the counts above did not see through: of rows, or of something removed meanwhile. */
const contradictedReads = (verdict: Verdict<Op>): number =>
  verdict.linearizable === false && verdict.stuck.some(({ op }) => isRead(op)) ? 1 : 0;

function lineOf({ client, op, invokedMs, answer }: Call<Op>): string {
  const asked = Object.values(op).join(" ");
  const until = answer === undefined ? "?" : answer.atMs.toFixed(1);
  return `client ${client}: ${invokedMs.toFixed(1)}..${until} ${asked} -> ${answer?.result ?? "unknown"}`;
}
