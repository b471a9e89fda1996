// A platform's records, followed while it runs: LRPs are desired over one open connection, and their rows are seen as soon as a watch tells.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DesiredLRP, DesiredLRPUpdate } from "@muster/proto/models/desired_lrp";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { WatchServiceClient } from "@muster/proto/muster/v1/watch";
import { systemClock } from "@muster/shared/clock";
import { silentLog } from "@muster/shared/log";
import { Mirror } from "@muster/shared/mirror";
import { type ActualLRP, asProcessGuid } from "@muster/shared/model";
import { dial, serverStream, unary } from "@muster/shared/rpc";
import { readTls, type TlsMaterial } from "@muster/shared/tls";

interface ClientFile {
  readonly bbs_grpc: string[];
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** What the command line of a platform would dial, and with what. */
export function clientOf(home: string): { readonly addresses: readonly string[]; readonly tls: TlsMaterial } {
  const client = JSON.parse(readFileSync(join(home, "client.json"), "utf8")) as ClientFile;
  const at = (file: string): string => join(home, file);
  return {
    addresses: client.bbs_grpc,
    tls: readTls({ ca_file: at(client.ca), cert_file: at(client.cert), key_file: at(client.key) }),
  };
}

export function dialPlatform(home: string): BBSServiceClient {
  const { addresses, tls } = clientOf(home);
  return dial(BBSServiceClient, addresses, tls);
}

const callMs = 10_000;

type Desired = Parameters<typeof DesiredLRP.fromPartial>[0];

/** An LRP that sleeps: one port, a small disk, no check. It is RUNNING as soon as its process is. */
export const sleeper = (processGuid: string, rootFs: string, over: Desired = {}): Desired => ({
  processGuid,
  domain: "sleepers",
  rootFs,
  instances: 1,
  memoryMb: 32,
  diskMb: 32,
  maxPids: 32,
  ports: [8080],
  metricTags: { source_id: { static: "sleeper" } },
  action: { runAction: { path: "sleep", args: ["1000"], user: "root", logSource: "APP" } },
  ...over,
});

export const isRunning = (row: ActualLRP): boolean => row.state === "RUNNING" && row.presence === "ORDINARY";
/** The instance's container, as the cell's garden names it. */
export const handleOf = (row: ActualLRP | undefined): string => row?.instanceKey?.instanceGuid ?? "";

/** The rows of one process, in order of their index. */
type Rows = readonly ActualLRP[];

export class PlatformRecords implements AsyncDisposable {
  readonly #bbs: BBSServiceClient;
  readonly #watch: WatchServiceClient;
  readonly #mirror: Mirror;
  readonly #end = new AbortController();
  readonly #running: Promise<void>;

  private constructor(home: string) {
    const { addresses, tls } = clientOf(home);
    this.#bbs = dial(BBSServiceClient, addresses, tls);
    this.#watch = dial(WatchServiceClient, addresses, tls);
    this.#mirror = new Mirror({
      open: (request, signal) => serverStream(this.#watch.watch.bind(this.#watch), request, { signal }),
      kinds: ["actualLRP"],
      clock: systemClock,
      log: silentLog(),
    });
    this.#running = this.#mirror.run(this.#end.signal);
  }

  static async open(home: string): Promise<PlatformRecords> {
    const records = new PlatformRecords(home);
    await records.#mirror.whenSynced();
    return records;
  }

  /** Resolves once the BBS has acknowledged it. */
  async desire(desired: Desired): Promise<void> {
    const request = { desiredLrp: DesiredLRP.fromPartial(desired) };
    await unary(this.#bbs.desireDesiredLrp.bind(this.#bbs), request, { deadlineMs: callMs });
  }

  async scale(processGuid: string, instances: number): Promise<void> {
    const update = DesiredLRPUpdate.fromPartial({ optionalInstances: { $case: "instances", value: instances } });
    await unary(this.#bbs.updateDesiredLrp.bind(this.#bbs), { processGuid, update }, { deadlineMs: callMs });
  }

  async remove(processGuid: string): Promise<void> {
    await unary(this.#bbs.removeDesiredLrp.bind(this.#bbs), { processGuid }, { deadlineMs: callMs });
  }

  rows(processGuid: string): Rows {
    return [...this.#mirror.tables.rowsOfProcess(asProcessGuid(processGuid))].sort((a, b) => a.index - b.index);
  }

  /** Resolves with the rows as soon as `holds` of them. Looked at with every message of the watch. @throws Error after `ms`, with the rows */
  until(processGuid: string, holds: (rows: Rows) => boolean, ms: number): Promise<Rows> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const rows = this.rows(processGuid);
        if (!holds(rows)) return;
        stop();
        cancel();
        resolve(rows);
      };
      const cancel = systemClock.after(ms, () => {
        stop();
        const seen = this.rows(processGuid).map((row) => `${row.index} ${row.state} ${row.placementError}${row.crashReason}`);
        reject(new Error(`${processGuid}: not within ${ms} ms; rows: ${seen.join(", ") || "none"}`));
      });
      const stop = this.#mirror.onChanges(look);
      look();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort(new Error("done"));
    await this.#running.catch(() => undefined);
    this.#bbs.close();
    this.#watch.close();
  }
}
