// Cells that report: sessions with an inventory, then batches of claims and of starts, a few of them unanswered at a time.
import type { ActualLRPNetInfo } from "@muster/proto/models/actual_lrp";
import type { ReportItem, ReportRequest, ReportResponse } from "@muster/proto/muster/v1/report";
import { systemClock } from "@muster/shared/clock";
import { type BbsClients, clientsOf } from "../support/bbs.js";

const sessions = 16;
const itemsPerBatch = 100;
const unansweredBatches = 4;
/** One command writes at most 100 records; this many rows leave no continuation behind. */
const instancesPerProcess = 90;

export interface ReportFigures {
  readonly sessions: number;
  readonly items: number;
  readonly refused: number;
  readonly claims_per_second: number;
  readonly starts_per_second: number;
  readonly items_per_second: number;
}

export interface ReportWorld {
  readonly desire: (processGuid: string, instances: number) => Promise<unknown>;
  readonly netInfo: ActualLRPNetInfo;
}

interface Instance {
  readonly processGuid: string;
  readonly index: number;
  readonly guid: string;
}

/** Desires `instances` rows, has every session claim its share, then start it. A round that a stalled store broke is done anew. */
export async function reportItems(address: string, instances: number, world: ReportWorld): Promise<ReportFigures> {
  for (let round = 1; ; round += 1) {
    try {
      return await reportRound(address, `report-${round}`, instances, world);
    } catch (error) {
      if (round === 3) throw error;
      process.stderr.write(`bench bbs: round ${round} of reports broke (${String(error)}), once more\n`);
    }
  }
}

async function reportRound(address: string, name: string, instances: number, world: ReportWorld): Promise<ReportFigures> {
  const all: Instance[] = [];
  for (let number = 0; all.length < instances; number += 1) {
    const processGuid = `${name}-${number}`;
    await world.desire(processGuid, instancesPerProcess);
    for (let index = 0; index < instancesPerProcess; index += 1)
      all.push({ processGuid, index, guid: `${processGuid}-i${index}` });
  }
  const cells = await Promise.all(Array.from({ length: sessions }, (_, n) => ReportingCell.open(address, `report-cell-${n}`)));
  const shares = cells.map((_, n) => all.filter((_instance, at) => at % sessions === n));
  const claims = await timed(cells, (cell, n) => cell.report(shares[n] ?? [], () => ({ $case: "claimed", value: {} })));
  const started = {
    $case: "started" as const,
    value: {
      actualLrpNetInfo: world.netInfo,
      actualLrpInternalRoutes: [],
      metricTags: {},
      routable: true,
      availabilityZone: "z1",
    },
  };
  const starts = await timed(cells, (cell, n) => cell.report(shares[n] ?? [], () => started));
  let refused = 0;
  for (const cell of cells) {
    refused += cell.refused;
    cell.close();
  }
  return {
    sessions,
    items: all.length * 2,
    refused,
    claims_per_second: Math.round(all.length / claims),
    starts_per_second: Math.round(all.length / starts),
    items_per_second: Math.round((all.length * 2) / (claims + starts)),
  };
}

async function timed(cells: readonly ReportingCell[], run: (cell: ReportingCell, n: number) => Promise<void>): Promise<number> {
  const startMs = systemClock.elapsedMs();
  await Promise.all(cells.map(run));
  return (systemClock.elapsedMs() - startMs) / 1_000;
}

class ReportingCell {
  readonly #clients: BbsClients;
  readonly #cellId: string;
  readonly #stream;
  refused = 0;
  #said: (response: ReportResponse) => void = () => undefined;
  #failed: (error: Error) => void = () => undefined;

  static async open(address: string, cellId: string): Promise<ReportingCell> {
    const cell = new ReportingCell(await clientsOf([address], `cell:${cellId}`), cellId);
    await cell.#hello();
    return cell;
  }

  private constructor(clients: BbsClients, cellId: string) {
    this.#clients = clients;
    this.#cellId = cellId;
    this.#stream = clients.report.report();
    this.#stream.on("data", (response: ReportResponse) => this.#said(response));
    this.#stream.on("error", (error: Error) => this.#failed(error));
  }

  close(): void {
    this.#failed = () => undefined;
    this.#stream.cancel();
    this.#clients[Symbol.dispose]();
  }

  async #hello(): Promise<void> {
    const presence = {
      cellId: this.#cellId,
      repAddress: "127.0.0.1:1800",
      zone: "z1",
      capacity: { memoryMb: 1_000_000, diskMb: 1_000_000, containers: 10_000 },
      rootfsProviders: [],
      placementTags: [],
      optionalPlacementTags: [],
      repUrl: "",
      annotations: {},
    };
    await this.#until("welcome", { $case: "hello", value: { presence, owner: this.#cellId, ttlMs: 120_000, evacuating: false } });
    await this.#until("inventoryDecided", { $case: "inventory", value: { containers: [], last: true } });
  }

  #until($case: string, message: NonNullable<ReportRequest["message"]>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#failed = reject;
      this.#said = (response) => {
        if (response.message?.$case === $case) resolve();
      };
      this.#stream.write({ message });
    });
  }

  /** Reports every instance in batches; resolves when all are answered. */
  report(instances: readonly Instance[], say: () => NonNullable<ReportItem["report"]>): Promise<void> {
    let next = 0;
    let answered = 0;
    const send = (): void => {
      const items = instances.slice(next, next + itemsPerBatch).map(
        (instance, at): ReportItem => ({
          id: BigInt(next + at),
          actualLrpKey: { processGuid: instance.processGuid, index: instance.index, domain: "bench" },
          actualLrpInstanceKey: { instanceGuid: instance.guid, cellId: this.#cellId },
          report: say(),
        }),
      );
      next += items.length;
      if (items.length > 0) this.#stream.write({ message: { $case: "batch", value: { items } } });
    };
    return new Promise((resolve, reject) => {
      this.#failed = reject;
      this.#said = ({ message }) => {
        if (message?.$case !== "replies") return;
        answered += message.value.replies.length;
        for (const reply of message.value.replies) if (reply.errorType !== "") this.refused += 1;
        if (answered === instances.length) resolve();
        else send();
      };
      for (let batch = 0; batch < unansweredBatches; batch += 1) send();
    });
  }
}
