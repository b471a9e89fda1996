// What the suites of the BBS contract share: messages, refusals as the wire tells them, a rep's session, waiting with a bound.
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { ActualLRP, ActualLRPInstanceKey, ActualLRPKey, ActualLRPNetInfo } from "@muster/proto/models/actual_lrp";
import type { StartActualLRPRequest } from "@muster/proto/models/actual_lrp_requests";
import { DesiredLRP, DesiredLRPUpdate } from "@muster/proto/models/desired_lrp";
import type { ReportItem, ReportReply, ReportRequest, ReportResponse } from "@muster/proto/muster/v1/report";
import { BbsError } from "@muster/shared/errors";
import { collect, fromServiceError, serverStream, unary } from "@muster/shared/rpc";
import { type BbsClients, clientsOf, type InProcessBbs, type StoreHome } from "../../support/bbs.js";

/** One BBS with clients of every role; the suites share it and keep to names of their own. */
export interface Subject {
  readonly home: StoreHome;
  readonly bbs: InProcessBbs;
  readonly as: Readonly<Record<"operator" | "controller" | "auctioneer" | "converger" | "cell1" | "cell2", BbsClients>>;
}

export async function subjectOf(home: StoreHome, bbs: InProcessBbs): Promise<Subject> {
  const client = (commonName: string): Promise<BbsClients> => clientsOf([bbs.address], commonName);
  const as = {
    operator: await client("operator"),
    controller: await client("controller"),
    auctioneer: await client("auctioneer"),
    converger: await client("converger"),
    cell1: await client("cell:cell-1"),
    cell2: await client("cell:cell-2"),
  };
  return { home, bbs, as };
}

let names = 0;
/** A name nobody else in this file uses. */
export const fresh = (what: string): string => {
  names += 1;
  return `${what}-${names}`;
};

// --- messages

export const desired = (processGuid: string, fields: Partial<DesiredLRP> = {}): DesiredLRP =>
  DesiredLRP.fromPartial({
    processGuid,
    domain: "apps",
    rootFs: "preloaded:busybox",
    instances: 1,
    memoryMb: 64,
    diskMb: 64,
    action: { runAction: { path: "/bin/server", user: "vcap" } },
    metricTags: { source_id: { static: "app" } },
    ...fields,
  } as never);

export const updateOf = (fields: Partial<DesiredLRPUpdate>): DesiredLRPUpdate => DesiredLRPUpdate.fromPartial(fields as never);

export const keyOf = (processGuid: string, index = 0): ActualLRPKey => ({ processGuid, index, domain: "apps" });
export const instance = (instanceGuid: string, cellId = "cell-1"): ActualLRPInstanceKey => ({ instanceGuid, cellId });
export const netInfo: ActualLRPNetInfo = {
  address: "127.0.0.1",
  ports: [{ containerPort: 8080, hostPort: 61001, containerTlsProxyPort: 0, hostTlsProxyPort: 0 }],
  instanceAddress: "10.1.0.2",
  preferredAddress: 2,
  instanceIpv6Address: "",
};

export const startOf = (key: ActualLRPKey, instanceKey: ActualLRPInstanceKey): StartActualLRPRequest => ({
  actualLrpKey: key,
  actualLrpInstanceKey: instanceKey,
  actualLrpNetInfo: netInfo,
  actualLrpInternalRoutes: [],
  metricTags: { instance_id: "0" },
  optionalRoutable: { $case: "Routable", value: true },
  availabilityZone: "z1",
});

// --- calls

export const desire = (clients: BbsClients, desiredLrp: DesiredLRP): Promise<unknown> =>
  unary(clients.bbs.desireDesiredLrp.bind(clients.bbs), { desiredLrp });

export const claim = (clients: BbsClients, processGuid: string, index: number, key: ActualLRPInstanceKey): Promise<unknown> =>
  unary(clients.bbs.claimActualLrp.bind(clients.bbs), { processGuid, index, actualLrpInstanceKey: key });

export const start = (clients: BbsClients, request: StartActualLRPRequest): Promise<unknown> =>
  unary(clients.bbs.startActualLrp.bind(clients.bbs), request);

/** The rows of a process, by index. */
export async function rowsOf(clients: BbsClients, processGuid: string): Promise<ActualLRP[]> {
  const request = { domain: "", cellId: "", processGuid, optionalIndex: undefined };
  const rows = await collect(serverStream(clients.bbs.actualLrPs.bind(clients.bbs), request), (chunk) => chunk.actualLrps);
  return rows.sort((a, b) => (a.actualLrpKey?.index ?? 0) - (b.actualLrpKey?.index ?? 0));
}

export const statesOf = async (clients: BbsClients, processGuid: string): Promise<string[]> =>
  (await rowsOf(clients, processGuid)).map((row) => row.state);

// --- refusals

export interface Refusal {
  /** The trailer `muster-error-type`; `undefined` when the server never said a word. */
  readonly type: string | undefined;
  readonly status: string | undefined;
  readonly message: string;
}

/** How a call was refused, from the raw trailer. @throws when it was not. */
export async function refusal(call: Promise<unknown>): Promise<Refusal> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof BbsError)) throw error;
    const cause = error.cause as Partial<ServiceError> | undefined;
    const type = cause?.metadata?.get("muster-error-type")[0];
    return {
      type: typeof type === "string" ? type : undefined,
      status: cause?.code === undefined ? undefined : status[cause.code],
      message: error.message,
    };
  }
  throw new Error("the call was not refused");
}

/** The type a call was refused with, or `ok`. */
export const outcome = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "ok",
    (error: unknown) => (error instanceof BbsError ? error.code : String(error)),
  );

// --- waiting

/** Asks until the answer is there. @throws saying what was waited for */
export async function eventually<Answer>(
  what: string,
  ask: () => Promise<Answer | undefined> | Answer | undefined,
  withinMs = 10_000,
): Promise<Answer> {
  for (const deadline = performance.now() + withinMs; performance.now() < deadline; ) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited ${withinMs} ms in vain: ${what}`);
}

// --- a rep's session

type Message = NonNullable<ReportRequest["message"]>;
type Said = NonNullable<ReportResponse["message"]>;
type SaidValue<Case extends Said["$case"]> = Extract<Said, { $case: Case }>["value"];

export class Rep implements Disposable {
  readonly cellId: string;
  readonly owner: string;
  /** Resolves with the error that ended the session, or `undefined` for an orderly end. */
  readonly ended: Promise<BbsError | undefined>;
  readonly #stream: ClientDuplexStream<ReportRequest, ReportResponse>;
  readonly #said: Said[] = [];
  #over = false;
  #ids = 0n;

  constructor(clients: BbsClients, cellId: string, owner = "owner-1") {
    this.cellId = cellId;
    this.owner = owner;
    this.#stream = clients.report.report();
    this.#stream.on("data", (response: ReportResponse) => {
      if (response.message !== undefined) this.#said.push(response.message);
    });
    this.ended = new Promise((resolve) => {
      this.#stream.on("error", (error) => resolve(fromServiceError(error)));
      this.#stream.on("end", () => resolve(undefined));
    });
    void this.ended.then(() => {
      this.#over = true;
    });
  }

  send(message: Message): void {
    this.#stream.write({ message });
  }

  /** Says hello and shows an empty inventory; resolves when the session is open. */
  async open(ttlMs = 30_000): Promise<void> {
    this.hello(ttlMs);
    await this.next("welcome");
    this.send({ $case: "inventory", value: { containers: [], last: true } });
    await this.next("inventoryDecided");
  }

  hello(ttlMs: number): void {
    const presence = {
      cellId: this.cellId,
      repAddress: "127.0.0.1:1801",
      zone: "z1",
      capacity: { memoryMb: 1_024, diskMb: 1_024, containers: 10 },
      rootfsProviders: [],
      placementTags: [],
      optionalPlacementTags: [],
      repUrl: "",
      annotations: {},
    };
    this.send({ $case: "hello", value: { presence, owner: this.owner, ttlMs, evacuating: false } });
  }

  /** Takes the next message of this kind out of what was said. */
  next<Case extends Said["$case"]>($case: Case): Promise<SaidValue<Case>> {
    return eventually<SaidValue<Case>>(`the bbs says ${$case} to ${this.cellId}`, async () => {
      const at = this.#said.findIndex((said) => said.$case === $case);
      const found = at < 0 ? undefined : this.#said.splice(at, 1)[0];
      if (found === undefined && this.#over) throw (await this.ended) ?? new Error(`the session ended before ${$case}`);
      return found?.value as SaidValue<Case> | undefined;
    });
  }

  /** Sends one batch and waits for its replies, in the order of the items. */
  async report(...items: Omit<ReportItem, "id">[]): Promise<readonly ReportReply[]> {
    const numbered = items.map((item) => {
      this.#ids += 1n;
      return { ...item, id: this.#ids };
    });
    this.send({ $case: "batch", value: { items: numbered } });
    const { replies } = await this.next("replies");
    return numbered.map(({ id }) => {
      const reply = replies.find((one) => one.id === id);
      if (reply === undefined) throw new Error(`item ${id} was not answered`);
      return reply;
    });
  }

  [Symbol.dispose](): void {
    this.#stream.cancel();
  }
}

export const item = (
  processGuid: string,
  index: number,
  instanceKey: ActualLRPInstanceKey,
  report: NonNullable<ReportItem["report"]>,
): Omit<ReportItem, "id"> => ({ actualLrpKey: keyOf(processGuid, index), actualLrpInstanceKey: instanceKey, report });
