// Tasks and LRPs given to a platform by its BBS, as a controller gives them, and what became of them: records, and the lines cells keep.
import { Action, type RunAction } from "@muster/proto/models/actions";
import type { ActualLRP } from "@muster/proto/models/actual_lrp";
import { ActualLRPsRequest } from "@muster/proto/models/actual_lrp_requests";
import { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { type Task, TaskDefinition } from "@muster/proto/models/task";
import { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import { RepServiceClient } from "@muster/proto/muster/v1/rep";
import { collect, dial, serverStream, unary } from "@muster/shared/rpc";
import type { TlsMaterial } from "@muster/shared/tls";
import type { Platform } from "./platform.js";
import { clientOf } from "./platform-records.js";

export type LRPWish = Parameters<typeof DesiredLRP.fromPartial>[0];
export type TaskWish = Parameters<typeof TaskDefinition.fromPartial>[0];

/** Machines under test are busy. */
const bounds = { deadlineMs: 20_000 };
/** `Task.State.Completed`; what follows it has ended too. */
const completed = 3;

/** A run action of a shell script, as root, under the source TASK. */
export const shell = (script: string, over: Partial<RunAction> = {}): Action =>
  Action.fromPartial({ runAction: { path: "/bin/sh", args: ["-c", script], user: "root", logSource: "TASK", ...over } });

export class Work implements Disposable {
  readonly bbs: BBSServiceClient;
  readonly #platform: Platform;
  readonly #rootFs: string;
  readonly #tls: TlsMaterial;

  /** `rootFs`: of what names none of its own. */
  constructor(platform: Platform, rootFs: string) {
    this.#platform = platform;
    this.#rootFs = rootFs;
    const { addresses, tls } = clientOf(platform.home);
    this.#tls = tls;
    this.bbs = dial(BBSServiceClient, addresses, tls);
  }

  async desireTask(taskGuid: string, definition: TaskWish): Promise<void> {
    const taskDefinition = TaskDefinition.fromPartial({
      rootFs: this.#rootFs,
      memoryMb: 64,
      diskMb: 64,
      logSource: "TASK",
      ...definition,
    });
    await unary(this.bbs.desireTask.bind(this.bbs), { taskGuid, domain: "jobs", taskDefinition }, bounds);
  }

  async task(taskGuid: string): Promise<Task | undefined> {
    return (await unary(this.bbs.taskByGuid.bind(this.bbs), { taskGuid }, bounds)).task;
  }

  async cancelTask(taskGuid: string): Promise<void> {
    await unary(this.bbs.cancelTask.bind(this.bbs), { taskGuid }, bounds);
  }

  /** A task that found no cell at its first try, since that was silent for a moment, is tried again after 30 s (rule P3). */
  async ended(taskGuid: string, ms = 90_000): Promise<Task> {
    let task: Task | undefined;
    await this.#platform.eventually(
      `task ${taskGuid} ends`,
      async () => {
        task = await this.task(taskGuid);
        return (task?.state ?? 0) >= completed;
      },
      ms,
    );
    if (task === undefined) throw new Error("no such task");
    return task;
  }

  async desireLRP(processGuid: string, over: LRPWish): Promise<void> {
    const desiredLrp = DesiredLRP.fromPartial({
      processGuid,
      domain: "old",
      rootFs: this.#rootFs,
      instances: 1,
      memoryMb: 64,
      diskMb: 64,
      metricTags: { source_id: { static: processGuid } },
      ...over,
    });
    await unary(this.bbs.desireDesiredLrp.bind(this.bbs), { desiredLrp }, bounds);
  }

  async removeLRP(processGuid: string): Promise<void> {
    await unary(this.bbs.removeDesiredLrp.bind(this.bbs), { processGuid }, bounds);
  }

  rows(processGuid: string): Promise<ActualLRP[]> {
    const request = ActualLRPsRequest.fromPartial({ processGuid });
    return collect(serverStream(this.bbs.actualLrPs.bind(this.bbs), request), ({ actualLrps }) => actualLrps);
  }

  /** The first row once `holds` says so. */
  async row(processGuid: string, what: string, holds: (row: ActualLRP) => boolean, ms = 60_000): Promise<ActualLRP> {
    let found: ActualLRP | undefined;
    const look = async (): Promise<boolean> => {
      [found] = await this.rows(processGuid);
      return found !== undefined && holds(found);
    };
    await this.#platform.eventually(`${processGuid}: ${what}`, look, ms);
    if (found === undefined) throw new Error("no such row");
    return found;
  }

  /** What all cells keep of a process, or of a task by its guid: `SOURCE OUT text`, in order of time. */
  async lines(guid: string): Promise<string[]> {
    const kept = await Promise.all((await this.#cells()).map((cell) => this.#linesOf(cell, guid)));
    return kept
      .flat()
      .sort((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0))
      .map(({ source, stream, line }) => `${source} ${stream === stderr ? "ERR" : "OUT"} ${Buffer.from(line).toString("utf8")}`);
  }

  [Symbol.dispose](): void {
    this.bbs.close();
  }

  #asked: Promise<Cell[]> | undefined;
  #cells(): Promise<Cell[]> {
    this.#asked ??= this.#platform.json<Cell[]>("cells");
    return this.#asked;
  }

  async #linesOf({ cell_id: id, rep_address: address }: Cell, processGuid: string) {
    const rep = dial(RepServiceClient, [address], this.#tls, `cell:${id}`);
    try {
      const request = { instanceGuid: "", processGuid, follow: false };
      return await collect(serverStream(rep.logs.bind(rep), request, bounds), (line) => [line]);
    } finally {
      rep.close();
    }
  }
}

interface Cell {
  readonly cell_id: string;
  readonly rep_address: string;
}

/** LOG_STREAM_STDERR of rep.proto. */
const stderr = 2;
