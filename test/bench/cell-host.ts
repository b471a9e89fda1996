// A process full of cells for `pnpm bench fleet`: each the real rep with its own certificate, gRPC interface and connections to the
// BBS, over a simulated garden. Told what to run, and asked how it goes, over the channel of its parent.
import { setMaxListeners } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { openSimulatedGarden } from "@muster/garden/simulated";
import type { ReportResponse } from "@muster/proto/muster/v1/report";
import { dialBBS, memoryContainerStore, Rep, type RepIO, type ReportConnection, serveRep } from "@muster/rep";
import { systemClock, systemEntropy } from "@muster/shared/clock";
import { createLog } from "@muster/shared/log";
import type { TlsMaterial } from "@muster/shared/tls";
import { freePort } from "../support/ports.js";
import { cellIdOf } from "./messages.js";

/** What a host is told once, and answers when every cell of it runs. */
export interface HostFacts {
  readonly bbsAddresses: readonly string[];
  readonly ca: string;
  readonly cells: readonly CellFacts[];
  readonly capacity: { readonly memoryMb: number; readonly diskMb: number; readonly containers: number };
  readonly presenceTtlMs: number;
}

export interface CellFacts {
  readonly number: number;
  readonly cert: string;
  readonly key: string;
}

/** Asks how it goes. */
export interface HostQuestion {
  /** Of a leader before this one, a decided inventory does not count. */
  readonly sinceEpoch: string;
}

export interface HostAnswer {
  readonly cells: number;
  /** Cells whose inventory the leader has decided. */
  readonly decided: number;
  readonly containers: number;
  readonly running: number;
  /** Since the start: containers that were reserved, and sessions with the BBS that were opened. */
  readonly reserved: number;
  readonly sessions: number;
  /** Since the last question. */
  readonly eventLoopDelayMaxMs: number;
}

/** Cells that open their sessions and servers at once. */
const startingAtOnce = 20;
/** A port may be taken between its choice and its use. */
const portTries = 5;

const log = createLog("cells", "warn");
const stop = new AbortController();
setMaxListeners(0, stop.signal);
const delay = monitorEventLoopDelay({ resolution: 10 });
const reps: Rep[] = [];
const tally = { reserved: 0, running: 0, sessions: 0 };
/** By cell: the leader that decided its inventory in the session it has now. */
const decidedBy = new Map<number, bigint>();

/** Reads the cell's session over its shoulder. */
function overheard(number: number, open: RepIO["openReport"]): RepIO["openReport"] {
  return (signal): ReportConnection => {
    tally.sessions += 1;
    const { send, close, messages } = open(signal);
    return { send, close, messages: noted(number, messages) };
  };
}

async function* noted(number: number, messages: AsyncIterable<ReportResponse>): AsyncGenerator<ReportResponse, void, undefined> {
  let epoch = 0n;
  try {
    for await (const response of messages) {
      if (response.message?.$case === "welcome") epoch = response.message.value.leaderEpoch;
      if (response.message?.$case === "inventoryDecided") decidedBy.set(number, epoch);
      yield response;
    }
  } finally {
    decidedBy.delete(number);
  }
}

async function startCell(facts: HostFacts, { number, cert, key }: CellFacts): Promise<void> {
  const tls: TlsMaterial = { ca: Buffer.from(facts.ca), cert: Buffer.from(cert), key: Buffer.from(key) };
  const { io } = dialBBS(facts.bbsAddresses, tls);
  for (let tries = 1; ; tries += 1) {
    const repAddress = `127.0.0.1:${await freePort()}`;
    const rep = repOf(facts, number, repAddress, { ...io, openReport: overheard(number, io.openReport) });
    try {
      await serveRep(repAddress, tls, rep, { log, elapsedMs: () => systemClock.elapsedMs() });
    } catch (error) {
      if (tries === portTries) throw error;
      continue;
    }
    rep.registry.onChange((_guid, now, before) => {
      if (before === undefined) tally.reserved += 1;
      tally.running += Number(now?.state === "running") - Number(before?.state === "running");
    });
    reps.push(rep);
    rep.run(stop.signal).catch((err: unknown) => log.error({ err, cell_id: cellIdOf(number) }, "cell broke"));
    return;
  }
}

function repOf(facts: HostFacts, number: number, repAddress: string, io: RepIO): Rep {
  const { capacity, presenceTtlMs } = facts;
  const garden = openSimulatedGarden({
    clock: systemClock,
    entropy: systemEntropy,
    capacity,
    hostAddress: "127.0.0.1",
    portRange: { first: 61_001, last: 61_000 + capacity.containers },
  });
  return new Rep({
    clock: systemClock,
    entropy: systemEntropy,
    log,
    garden,
    io,
    store: memoryContainerStore(),
    owner: systemEntropy.guid(),
    evacuating: false,
    settings: {
      cellId: cellIdOf(number),
      cellIndex: number,
      zone: `z${1 + (number % 3)}`,
      repAddress,
      rootFSSchemes: ["docker"],
      stacks: ["busybox"],
      placementTags: [],
      optionalPlacementTags: [],
      capacity,
      presenceTtlMs,
      pollingMs: 30_000,
      gracefulShutdownMs: 10_000,
      adoptionTimeoutMs: 50_000,
      evacuationTimeoutMs: 600_000,
      containerCheckMs: 0,
    },
    probeHttp: async () => undefined,
  });
}

async function start(facts: HostFacts): Promise<void> {
  const left = [...facts.cells];
  const startSome = async (): Promise<void> => {
    for (let cell = left.shift(); cell !== undefined; cell = left.shift()) await startCell(facts, cell);
  };
  await Promise.all(Array.from({ length: startingAtOnce }, startSome));
  delay.enable();
}

function answer({ sinceEpoch }: HostQuestion): HostAnswer {
  const eventLoopDelayMaxMs = Math.max(0, Math.round(delay.max / 1e6));
  delay.reset();
  return {
    ...tally,
    cells: reps.length,
    decided: [...decidedBy.values()].filter((epoch) => epoch >= BigInt(sinceEpoch)).length,
    containers: reps.reduce((sum, { registry }) => sum + registry.size, 0),
    eventLoopDelayMaxMs,
  };
}

process.on("message", (message: HostFacts | HostQuestion) => {
  const ready = "cells" in message ? start(message).then(() => answer({ sinceEpoch: "0" })) : Promise.resolve(answer(message));
  ready.then(
    (said) => process.send?.(said),
    (err: unknown) => {
      log.error({ err }, "cells could not be started");
      process.exit(1);
    },
  );
});
// With the parent gone, and when it says so, all cells lose their power at once.
process.once("disconnect", () => process.exit(0));
