// What users and operators see when a cell goes away under load: emptied in order, or pulled without warning. For the cluster test and the
// bench alike.
import { loadavg } from "node:os";
import { systemClock } from "@muster/shared/clock";
import { type ActualLRP, rowKeyOf } from "@muster/shared/model";
import { type Spread, spreadOf } from "../bench/spread.js";
import type { Platform } from "./platform.js";
import { ProcessWatch } from "./processes.js";
import { type LoadResult, type Outcome, RequestLoad, type Router } from "./router.js";

/** Requests as a user of the app counts them. */
export interface RequestFigures {
  readonly sent: number;
  /** Failed, by what the user saw. */
  readonly failed: Partial<Record<Outcome, number>>;
  /** Of these, the ones whose instance was on the cell that went. */
  readonly failed_on_that_cell: number;
  /** Instances refused the connection, and another was asked. */
  readonly redialled: number;
}

export interface Departure {
  readonly cell_id: string;
  readonly instances: number;
  /** From the order, or the pull, to the replacement's CLAIMED and RUNNING, by instance. What lies between is starting a container. */
  readonly claimed_ms: Spread;
  readonly replaced_ms: Spread;
  readonly requests: RequestFigures;
  readonly load_average: number;
}

export interface Emptying extends Departure {
  /** From the order to the end of the last process on the cell. */
  readonly empty_ms: number;
  /** Until `muster evacuate --wait` said so. */
  readonly told_ms: number;
  /** Indices that had an instance to be sent to when there were fewest. */
  readonly fewest_routable: number;
  /** Instances whose process had ended when their replacement began to run, or that have none. */
  readonly stopped_too_early: readonly number[];
  /** From the replacement's RUNNING to the end of the old process. */
  readonly overlap_ms: Spread;
}

export type Pull = Departure;

export interface DepartureOptions {
  readonly requestsPerSecond: number;
  readonly patienceMs: number;
}

/** The load runs so long before anything is done. */
const warmUpRequests = 50;

function figuresOf({ requests, redialled, failures }: LoadResult, cellId: string): RequestFigures {
  const failed: Partial<Record<Outcome, number>> = {};
  for (const { outcome } of failures) failed[outcome] = (failed[outcome] ?? 0) + 1;
  return {
    sent: requests,
    failed,
    failed_on_that_cell: failures.filter((failure) => failure.cellId === cellId).length,
    redialled,
  };
}

/** What a departure is measured by, from before it to after it. */
class Scene implements Disposable {
  readonly cellId: string;
  readonly processes: ProcessWatch;
  readonly load: RequestLoad;
  readonly #router: Router;
  /** Those on the cell, by instance guid. */
  readonly #doomed: readonly ActualLRP[];
  /** The last claim of an index, by its row's key. */
  readonly #claimedAtMs = new Map<string, number>();
  readonly #unfollow: () => void;
  #begunMs: number = systemClock.nowMs();

  private constructor(cellId: string, router: Router, doomed: readonly ActualLRP[], processes: ProcessWatch, rate: number) {
    this.cellId = cellId;
    this.#router = router;
    this.#doomed = doomed;
    this.processes = processes;
    this.load = new RequestLoad(router, rate);
    this.#unfollow = router.mirror.onChanges((changes) => {
      for (const { kind, key, after } of changes)
        if (kind === "actualLRP" && after?.state === "CLAIMED") this.#claimedAtMs.set(key, Number(after.sinceNs) / 1e6);
    });
  }

  static async set(platform: Platform, router: Router, cellId: string, options: DepartureOptions): Promise<Scene> {
    const doomed = [...router.mirror.tables.actualLRPs.values()].filter(
      (row) => row.state === "RUNNING" && row.instanceKey?.cellId === cellId,
    );
    const guids = doomed.map(({ instanceKey }) => instanceKey?.instanceGuid ?? "");
    const scene = new Scene(cellId, router, doomed, await ProcessWatch.of(guids), options.requestsPerSecond);
    router.fewestRoutable();
    await platform.eventually("the load runs", async () => scene.load.requests >= warmUpRequests, options.patienceMs);
    return scene;
  }

  begin(): void {
    this.#begunMs = systemClock.nowMs();
  }

  sinceBegunMs(wallMs: number = systemClock.nowMs()): number {
    return Math.round(wallMs - this.#begunMs);
  }

  /** When each doomed instance's index ran elsewhere, as the BBS dates it. */
  replacements(): { readonly row: ActualLRP; readonly atMs: number | undefined; readonly endedAtMs: number | undefined }[] {
    return this.#doomed.map((row) => {
      const now = this.#router.mirror.tables.rows(row.processGuid, row.index).ORDINARY;
      const elsewhere = now?.state === "RUNNING" && now.instanceKey?.cellId !== this.cellId;
      const endedAtMs = this.processes.endedAtMs.get(row.instanceKey?.instanceGuid ?? "");
      return { row, atMs: elsewhere ? Number(now.sinceNs) / 1e6 : undefined, endedAtMs };
    });
  }

  allReplaced(): boolean {
    return this.replacements().every(({ atMs }) => atMs !== undefined);
  }

  #claims(): number[] {
    return this.#doomed.flatMap((row) => this.#claimedAtMs.get(rowKeyOf(row)) ?? []);
  }

  async departure(): Promise<Departure> {
    const load = await this.load.stop();
    return {
      cell_id: this.cellId,
      instances: this.#doomed.length,
      claimed_ms: spreadOf(this.#claims().map((atMs) => atMs - this.#begunMs)),
      replaced_ms: spreadOf(this.replacements().flatMap(({ atMs }) => (atMs === undefined ? [] : [atMs - this.#begunMs]))),
      requests: figuresOf(load, this.cellId),
      load_average: Number((loadavg()[0] ?? 0).toFixed(1)),
    };
  }

  [Symbol.dispose](): void {
    this.#unfollow();
    this.processes[Symbol.dispose]();
  }
}

/** `muster evacuate CELL --wait` while requests come in. @throws when the cell is not empty in time. */
export async function emptyCell(
  platform: Platform,
  router: Router,
  cellId: string,
  options: DepartureOptions,
): Promise<Emptying> {
  using scene = await Scene.set(platform, router, cellId, options);
  try {
    scene.begin();
    await platform.muster("evacuate", cellId, "--wait");
    const toldMs = scene.sinceBegunMs();
    const gone = async (): Promise<boolean> => scene.processes.left === 0 && scene.allReplaced();
    await platform.eventually(`${cellId} is empty`, gone, options.patienceMs, 20);
    const all = scene.replacements();
    const overlaps = all.map(({ atMs = Infinity, endedAtMs = 0 }) => endedAtMs - atMs);
    return {
      ...(await scene.departure()),
      empty_ms: scene.sinceBegunMs(Math.max(...scene.processes.endedAtMs.values())),
      told_ms: toldMs,
      fewest_routable: router.fewestRoutable(),
      stopped_too_early: all.filter((_, at) => !((overlaps[at] ?? -1) >= 0)).map(({ row }) => row.index),
      overlap_ms: spreadOf(overlaps),
    };
  } finally {
    await scene.load.stop();
  }
}

/**
 * A machine that loses its power: its rep stands still and its containers are killed, without a word to anybody. The rep is let go on when
 * the figures are taken, as a machine that comes back.
 */
export async function pullCell(platform: Platform, router: Router, cellId: string, options: DepartureOptions): Promise<Pull> {
  using scene = await Scene.set(platform, router, cellId, options);
  const { pid } = await platform.service("rep", cellId);
  try {
    scene.begin();
    process.kill(pid, "SIGSTOP");
    for (const each of scene.processes.pids) killed(each);
    await platform.eventually("everything runs elsewhere", async () => scene.allReplaced(), options.patienceMs, 20);
    return await scene.departure();
  } finally {
    process.kill(pid, "SIGCONT");
    await scene.load.stop();
  }
}

/** It may have ended by itself: a health check's process does. */
function killed(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
