// The way of every other process to the BBS: picks one that listens, over the faulty network, with messages as they are on the wire.
import { type ActiveBbs, Calls, OwnCalls, type ReportSession, watch } from "@muster/bbs";
import { type Resource, TypeCode } from "@muster/proto/models/locket";
import { ReportRequest, ReportResponse } from "@muster/proto/muster/v1/report";
import { type WatchRequest, WatchResponse } from "@muster/proto/muster/v1/watch";
import type { ReportConnection } from "@muster/rep";
import { BbsError } from "@muster/shared/errors";
import type { LocketIO } from "@muster/shared/locket-lock";
import { asCellId, type CellId } from "@muster/shared/model";
import type { FaultDice } from "./faults.js";
import { Inbox, type SimNetwork } from "./network.js";
import type { SimProcess } from "./process.js";
import { judgeRepairs, type RepairEvents } from "./repair-judge.js";

/** An active BBS's open port. */
export interface BbsPort {
  readonly process: SimProcess;
  readonly active: ActiveBbs;
  readonly calls: Calls;
  readonly own: OwnCalls;
}

interface OpenSession {
  readonly session: ReportSession;
  readonly port: BbsPort;
  open: boolean;
}

const callDeadlineMs = 5_000;

export class BbsDoor {
  readonly #network: SimNetwork;
  readonly #dice: FaultDice;
  readonly #repairs: RepairEvents;
  readonly #ports = new Set<BbsPort>();
  readonly #sessions = new Map<CellId, OpenSession>();

  constructor(network: SimNetwork, dice: FaultDice, repairs: RepairEvents) {
    this.#network = network;
    this.#dice = dice;
    this.#repairs = repairs;
  }

  /** Opens a BBS's port, until its process dies. */
  open(process: SimProcess, active: ActiveBbs): void {
    const own = new OwnCalls(active);
    judgeRepairs(own, active, this.#repairs);
    const port: BbsPort = { process, active, calls: new Calls(active), own };
    this.#ports.add(port);
    process.onDeath(() => this.#ports.delete(port));
  }

  /** The newest of the active BBSs; a deposed one may still have its port open. */
  get leader(): BbsPort | undefined {
    const epoch = (port: BbsPort): bigint => port.active.journal.head.leaderEpoch;
    return [...this.#ports].reduce<BbsPort | undefined>(
      (best, port) => (best === undefined || epoch(port) > epoch(best) ? port : best),
      undefined,
    );
  }

  /** Whether the leading BBS has decided this cell's inventory, and still hears it. */
  hears(cellId: CellId): boolean {
    const known = this.#sessions.get(cellId);
    return known?.open === true && known.session.inventoryDone && known.port === this.leader && !known.port.process.frozen;
  }

  /** Makes a unary call. @throws BbsError */
  call<Answer>(
    from: SimProcess,
    name: string,
    make: (port: BbsPort) => Promise<Answer>,
    options: { readonly signal?: AbortSignal; readonly deadlineMs?: number } = {},
  ): Promise<Answer> {
    const port = this.#dial();
    const handle = (): Promise<Answer> => (port === undefined ? Promise.reject(new BbsError("Unavailable")) : make(port));
    const { deadlineMs = callDeadlineMs, signal } = options;
    return this.#network.call(from, port?.process, name, handle, { deadlineMs, signal });
  }

  watch(from: SimProcess, request: WatchRequest, signal: AbortSignal): AsyncIterable<WatchResponse> {
    const port = this.#dial();
    const serve = (cancelled: AbortSignal): AsyncIterable<WatchResponse> =>
      port === undefined
        ? new Inbox<WatchResponse>()
        : onWire(watch(port.active, request, { audience: "scheduler", signal: cancelled }));
    return this.#network.stream(from, port?.process, serve, signal);
  }

  /** Opens a cell's report session. */
  report(from: SimProcess, cell: string, signal: AbortSignal): ReportConnection {
    const inbox = new Inbox<ReportResponse>();
    const port = this.#dial();
    if (port === undefined) {
      void this.#network
        .call(from, undefined, "Report", () => Promise.reject(new Error()), { deadlineMs: callDeadlineMs, signal })
        .catch((error: unknown) => inbox.fail(error));
      return { send: () => undefined, messages: inbox, close: () => undefined };
    }
    const link = this.#network.link(from, port.process);
    let open: OpenSession | undefined;
    const accept = (): ReportSession => {
      open ??= { session: this.#accept(port, cell, link, inbox, () => open), port, open: true };
      this.#sessions.set(asCellId(cell), open);
      return open.session;
    };
    link.onBreak(from, (why) => inbox.fail(why));
    link.onBreak(port.process, () => open?.session.cut("the rep went away"));
    const close = (): void => {
      signal.removeEventListener("abort", close);
      link.close();
    };
    signal.addEventListener("abort", close, { once: true });
    return {
      send: (request) => {
        const bytes = ReportRequest.encode(request).finish();
        link.send(from, () => void accept().receive(ReportRequest.decode(bytes)));
      },
      messages: inbox,
      close,
    };
  }

  locket(from: SimProcess): LocketIO {
    const resource = ({ key, owner, value }: Pick<Resource, "key" | "owner" | "value">): Resource => ({
      key,
      owner,
      value,
      type: "lock",
      typeCode: TypeCode.LOCK,
    });
    return {
      lock: (ask, signal) =>
        this.call(from, "Lock", ({ own }) => own.lock(resource(ask), BigInt(Math.ceil(ask.ttlMs / 1_000))), { signal }),
      release: (ask, signal) => this.call(from, "Release", ({ own }) => own.release(resource({ ...ask, value: "" })), { signal }),
    };
  }

  #accept(
    port: BbsPort,
    cell: string,
    link: ReturnType<SimNetwork["link"]>,
    inbox: Inbox<ReportResponse>,
    known: () => OpenSession | undefined,
  ): ReportSession {
    return port.active.openSession(
      asCellId(cell),
      (response) => {
        const bytes = ReportResponse.encode(response).finish();
        link.send(port.process, () => inbox.take(ReportResponse.decode(bytes)));
      },
      (end) => {
        const open = known();
        if (open !== undefined) open.open = false;
        link.send(port.process, () => {
          inbox.fail(end.error);
          link.close();
        });
      },
    );
  }

  /** The first address that answers, as seen by a client that knows none of them to be better. */
  #dial(): BbsPort | undefined {
    return this.#dice.pick("dial", [...this.#ports]);
  }
}

async function* onWire(messages: AsyncIterable<WatchResponse>): AsyncGenerator<WatchResponse, void, undefined> {
  for await (const message of messages) yield WatchResponse.decode(WatchResponse.encode(message).finish());
}
