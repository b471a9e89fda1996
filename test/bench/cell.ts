// A cached image on one real cell, through every service as a process of its own: from an LRP's desire to its row's RUNNING, one at a time
// and fifty at once; from a crash to running again; from a scale to 0 to the container's proven end. Beside, in the same rounds, runc by
// itself on the same bundle, and a Docker engine with the same image.
import { availableParallelism } from "node:os";
import { Turnstile } from "@muster/shared/flight";
import { type DockerContainer, DockerEngine } from "../support/docker.js";
import { startEtcd } from "../support/etcd.js";
import { leftovers, never } from "../support/garden.js";
import { pushPinned, webCommand } from "../support/images.js";
import { initPid, untilGone } from "../support/machine.js";
import { Platform } from "../support/platform.js";
import { handleOf, isRunning, PlatformRecords, sleeper } from "../support/platform-records.js";
import { startRegistry } from "../support/registry.js";
import { bareRun, bareStop } from "./bare-runc.js";
import { type Spread, spreadOf, timed } from "./spread.js";

export interface CellBenchOptions {
  readonly stores: readonly ("lmdb" | "etcd")[];
  /** Starts one at a time. */
  readonly rounds: number;
  /** Instances desired at once. */
  readonly burst: number;
  readonly bursts: number;
  /** LRPs that crash twice each. */
  readonly crashes: number;
}

export const cellBenchDefaults: CellBenchOptions = { stores: ["lmdb", "etcd"], rounds: 20, burst: 50, bursts: 3, crashes: 5 };

const cellId = "cell-1";
const patienceMs = 60_000;
const memoryMb = 32;
const maxPids = 32;
const port = 8080;
const command = ["sleep", "1000"];
/** Both images' name: the registry's for Muster, the engine's own for Docker. */
const imageName = "bench/app";

const tell = (what: string): void => {
  process.stderr.write(`bench cell: ${what}\n`);
};

interface Burst {
  readonly first_ms: number;
  readonly p50_ms: number;
  readonly last_ms: number;
  readonly containers_per_second: number;
}

/** When each of many was there, in milliseconds since all were asked for. */
function burstOf(times: readonly number[]): Burst {
  const { min, p50, max } = spreadOf(times);
  return { first_ms: min, p50_ms: p50, last_ms: max, containers_per_second: Math.round((times.length / max) * 10_000) / 10 };
}

/** One platform with one cell, and what is measured on it. */
class CellUnderTest {
  readonly #home: string;
  readonly #records: PlatformRecords;
  readonly #rootFs: string;
  #made = 0;

  constructor(home: string, records: PlatformRecords, rootFs: string) {
    this.#home = home;
    this.#records = records;
    this.#rootFs = rootFs;
  }

  /** Desires an LRP; resolves when all its instances were seen RUNNING, with the milliseconds each took. */
  async start(instances = 1, serves = false): Promise<{ guid: string; handles: readonly string[]; times: readonly number[] }> {
    this.#made += 1;
    const guid = `bench-${this.#made}`;
    const [path = "", ...args] = webCommand;
    const web = {
      action: { runAction: { path, args, user: "root", logSource: "APP" } },
      checkDefinition: { checks: [{ tcpCheck: { port } }], logSource: "HEALTH", readinessChecks: [] },
    };
    const lrp = sleeper(guid, this.#rootFs, {
      instances,
      memoryMb,
      diskMb: memoryMb,
      maxPids,
      ports: [port],
      ...(serves ? web : {}),
    });
    const seen = new Map<number, number>();
    const begun = performance.now();
    const desired = this.#records.desire(lrp);
    const all = this.#records.until(
      guid,
      (rows) => {
        for (const { index } of rows.filter(isRunning)) if (!seen.has(index)) seen.set(index, performance.now() - begun);
        return seen.size === instances;
      },
      patienceMs,
    );
    const [rows] = await Promise.all([all, desired]);
    return { guid, handles: rows.map(handleOf), times: [...seen.values()] };
  }

  /** Milliseconds from a scale to 0 until nothing on this machine is left of any of its containers. */
  async stop(guid: string, handles: readonly string[]): Promise<number> {
    const ms = await timed(async () => {
      await this.#records.scale(guid, 0);
      await untilGone(this.#home, cellId, handles, patienceMs);
    });
    // Proven, not assumed.
    for (const handle of handles) {
      const left = await leftovers(this.#home, cellId, handle);
      if (left.length > 0) throw new Error(`${guid} is gone, but not ${left.join(", ")}`);
    }
    await this.#records.remove(guid);
    return ms;
  }

  /** Milliseconds from kill -9 of the instance's process until its row shows another instance RUNNING. */
  async crash(guid: string): Promise<number> {
    const before = handleOf(this.#records.rows(guid)[0]);
    const pid = await initPid(this.#home, cellId, before);
    return timed(async () => {
      process.kill(pid, "SIGKILL");
      await this.#records.until(guid, ([row]) => row !== undefined && isRunning(row) && handleOf(row) !== before, patienceMs);
    });
  }

  bareRun = (handle: string): Promise<number> => bareRun(this.#home, cellId, handle);
  bareStop = (handle: string): Promise<number> => bareStop(this.#home, cellId, handle);
}

class Series {
  readonly #values = new Map<string, number[]>();

  add(name: string, ms: number): void {
    this.#values.set(name, [...(this.#values.get(name) ?? []), ms]);
  }

  p50(name: string): number {
    return spreadOf(this.#values.get(name) ?? []).p50;
  }

  spreads(): Record<string, Spread> {
    return Object.fromEntries([...this.#values].map(([name, values]) => [name, spreadOf(values)]));
  }
}

const ratio = (above: number, below: number): number => Math.round((above / below) * 100) / 100;

/** The same limits and the same published port as the LRP's; Docker's own network, without a user namespace and without a disk limit. */
const dockerContainer: DockerContainer = { image: `${imageName}:v1`, command, memoryMb, maxPids, port };

async function oneByOne(cell: CellUnderTest, docker: DockerEngine | undefined, rounds: number): Promise<object> {
  const series = new Series();
  for (let round = 0; round <= rounds; round += 1) {
    // The first, for which the image is pulled, does not count.
    const add = (name: string, ms: number): void => (round === 0 ? undefined : series.add(name, ms));
    const plain = await cell.start();
    const [handle = ""] = plain.handles;
    add("muster_running_ms", plain.times[0] ?? 0);
    add("bare_runc_run_ms", await cell.bareRun(handle));
    add("bare_runc_stop_ms", await cell.bareStop(handle));
    add("muster_stopped_ms", await cell.stop(plain.guid, plain.handles));
    const serving = await cell.start(1, true);
    add("muster_running_with_port_check_ms", serving.times[0] ?? 0);
    await cell.stop(serving.guid, serving.handles);
    if (docker === undefined) continue;
    for (const [name, make] of [
      ["docker_run_ms", () => docker.runDetached(dockerContainer)],
      ["docker_api_ms", () => docker.createAndStart(dockerContainer)],
    ] as const) {
      let id = "";
      const ms = await timed(async () => {
        id = await make();
      });
      add(name, ms);
      const removed = await timed(() => docker.remove(id));
      if (name === "docker_api_ms") add("docker_api_remove_ms", removed);
    }
  }
  const running = series.p50("muster_running_ms");
  return {
    ...series.spreads(),
    // Medians; the target is at most 4.
    muster_over_bare: ratio(running, series.p50("bare_runc_run_ms")),
    ...(docker === undefined
      ? {}
      : {
          muster_over_docker_run: ratio(running, series.p50("docker_run_ms")),
          muster_over_docker_api: ratio(running, series.p50("docker_api_ms")),
        }),
  };
}

async function atOnce(
  cell: CellUnderTest,
  docker: DockerEngine | undefined,
  { burst, bursts }: CellBenchOptions,
): Promise<object[]> {
  const results: object[] = [];
  for (let n = 0; n < bursts; n += 1) {
    const { guid, handles, times } = await cell.start(burst);
    // As many at a time as the garden allows itself.
    const turnstile = new Turnstile(Math.max(3, availableParallelism()));
    const bare = await allAtOnce(handles, (handle) => turnstile.run(never, () => cell.bareRun(handle)));
    const stopped = await cell.stop(guid, handles);
    results.push({
      muster: burstOf(times),
      bare_runc_run: bare,
      ...(docker === undefined ? {} : { docker_api: await dockerBurst(docker, burst) }),
      muster_all_stopped_ms: Math.round(stopped),
    });
  }
  return results;
}

async function allAtOnce<Item>(items: readonly Item[], make: (item: Item) => Promise<unknown>): Promise<Burst> {
  const begun = performance.now();
  return burstOf(await Promise.all(items.map((item) => make(item).then(() => performance.now() - begun))));
}

async function dockerBurst(docker: DockerEngine, count: number): Promise<Burst> {
  const ids: string[] = [];
  const figures = await allAtOnce(Array.from({ length: count }), async () =>
    ids.push(await docker.createAndStart(dockerContainer)),
  );
  await Promise.all(ids.map((id) => docker.remove(id)));
  return figures;
}

/** The first two crashes of an instance, which are restarted at once. */
async function crashes(cell: CellUnderTest, count: number): Promise<Record<string, Spread>> {
  const series = new Series();
  for (let n = 0; n < count; n += 1) {
    const { guid } = await cell.start();
    series.add("first_ms", await cell.crash(guid));
    series.add("second_ms", await cell.crash(guid));
    await cell.stop(guid, []);
  }
  return series.spreads();
}

async function onStore(
  store: "lmdb" | "etcd",
  host: string,
  rootFs: string,
  docker: DockerEngine | undefined,
  options: CellBenchOptions,
): Promise<object> {
  tell(`${store}: up`);
  await using etcd = store === "etcd" ? await startEtcd() : undefined;
  const where = etcd === undefined ? [] : ["--store", "etcd", "--etcd", etcd.endpoints.join(",")];
  const size = ["--cells", "1", "--cell-memory", "16G", "--cell-disk", "16G"];
  await using platform = await Platform.start([...size, "--insecure-registry", host, ...where]);
  await platform.muster("enable-feature-flag", "diego_docker");
  await using records = await PlatformRecords.open(platform.home);
  const cell = new CellUnderTest(platform.home, records, rootFs);
  tell(`${store}: ${options.rounds} one at a time`);
  const one_at_a_time = await oneByOne(cell, docker, options.rounds);
  tell(`${store}: ${options.bursts} times ${options.burst} at once`);
  const at_once = await atOnce(cell, docker, options);
  tell(`${store}: crashes`);
  const crash_to_running = await crashes(cell, options.crashes);
  return { one_at_a_time, at_once: { instances: options.burst, bursts: at_once }, crash_to_running };
}

/** Returns JSON-able figures; leaves nothing behind. Root, real tools. */
export async function benchCell(options: Partial<CellBenchOptions> = {}): Promise<object> {
  const settings = { ...cellBenchDefaults, ...options };
  await using registry = await startRegistry();
  const { reference, rootFs } = await pushPinned(registry.host, { name: imageName });
  tell("docker");
  const started = await DockerEngine.start();
  await using engine = started instanceof DockerEngine ? started : undefined;
  await engine?.load(reference, dockerContainer.image);
  const docker = engine === undefined ? started : await engine.facts();
  const stores: Record<string, object> = {};
  for (const store of settings.stores) stores[store] = await onStore(store, registry.host, rootFs, engine, settings);
  return { docker, ...stores };
}
