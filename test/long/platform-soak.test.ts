// Five hundred starts and stops through every service: what the machine has of the cell, and what the services hold, is the same before and
// after. The garden by itself is put through the same in test/cluster/garden.test.ts.
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leftovers } from "../support/garden.js";
import { type SoakCounts, soakCounts } from "../support/garden-soak.js";
import { pushPinned } from "../support/images.js";
import { initPid, untilGone } from "../support/machine.js";
import { Platform } from "../support/platform.js";
import { handleOf, isRunning, PlatformRecords, sleeper } from "../support/platform-records.js";
import { startRegistry, type TestRegistry } from "../support/registry.js";

const cellId = "cell-1";
const cycles = 500;
/** Code that is compiled, pools that are filled, connections that are made: not what is looked for. */
const warmUp = 50;
const patienceMs = 120_000;
const roles = ["rep", "bbs", "auctioneer", "converger"] as const;

interface ServiceCounts {
  readonly pid: number;
  readonly files: number;
  readonly threads: number;
  /** Resident, in MiB. */
  readonly memoryMb: number;
}

interface Counts {
  readonly cell: SoakCounts;
  /** Records of containers that the rep keeps for its successor. */
  readonly records: number;
  readonly services: Record<string, ServiceCounts>;
}

let registry: TestRegistry;
let platform: Platform;
let records: PlatformRecords;
let rootFs = "";

beforeAll(async () => {
  registry = await startRegistry();
  rootFs = (await pushPinned(registry.host, { name: "soak/app" })).rootFs;
  platform = await Platform.start(["--cells", "1", "--insecure-registry", registry.host]);
  await platform.muster("enable-feature-flag", "diego_docker");
  records = await PlatformRecords.open(platform.home);
});

afterAll(async () => {
  try {
    await records?.[Symbol.asyncDispose]();
    await platform?.[Symbol.asyncDispose]();
  } finally {
    await registry.stop();
  }
  if (platform !== undefined) expect(await leftovers(platform.home, cellId)).toEqual([]);
});

async function serviceCounts(pid: number): Promise<ServiceCounts> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const numberOf = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  const files = (await readdir(`/proc/${pid}/fd`)).length;
  return { pid, files, threads: numberOf("Threads"), memoryMb: Math.round(numberOf("VmRSS") / 1_024) };
}

const pidsOf = (): Promise<(readonly [string, number])[]> =>
  Promise.all(roles.map(async (role) => [role, (await platform.service(role)).pid] as const));

async function counts(pids: readonly (readonly [string, number])[]): Promise<Counts> {
  const services = await Promise.all(pids.map(async ([role, pid]) => [role, await serviceCounts(pid)] as const));
  const files = await readdir(platform.home, { recursive: true });
  return {
    cell: await soakCounts(platform.home, cellId, pids[0]?.[1] ?? 0),
    records: files.filter((file) => /cells\/.*\/containers\/[^/]+\.json$/.test(file)).length,
    services: Object.fromEntries(services),
  };
}

/** Everything but memory, which is never the same twice, as text. */
const lasting = ({ cell, records: kept, services }: Counts): string =>
  JSON.stringify({ cell, kept, files: Object.entries(services).map(([role, { files }]) => [role, files]) }, undefined, 1);

/** Counts that were the same twice in a row: what was on its way out, a tool or a connection of the command line, is out. */
async function settled(pids: readonly (readonly [string, number])[]): Promise<Counts> {
  let last = await counts(pids);
  const same = async (): Promise<boolean> => {
    const before = last;
    last = await counts(pids);
    return lasting(before) === lasting(last);
  };
  // Reading does not change them; a second is longer than any of that takes to end.
  for (let seconds = 0; seconds < 60; seconds += 1) {
    await sleep(1_000);
    if (await same()) break;
  }
  return last;
}

/** Every seventh is killed first, so that the container is made twice. */
async function cycle(n: number): Promise<void> {
  const guid = `soak-${n}`;
  await records.desire(sleeper(guid, rootFs));
  const [first] = await records.until(guid, ([row]) => row !== undefined && isRunning(row), patienceMs);
  const handles = [handleOf(first)];
  if (n % 7 === 0) {
    process.kill(await initPid(platform.home, cellId, handleOf(first)), "SIGKILL");
    const again = ([row]: readonly Parameters<typeof isRunning>[0][]): boolean =>
      row !== undefined && isRunning(row) && handleOf(row) !== handles[0];
    handles.push(handleOf((await records.until(guid, again, patienceMs))[0]));
  }
  await records.remove(guid);
  await records.until(guid, (rows) => rows.length === 0, patienceMs);
  await untilGone(platform.home, cellId, handles, patienceMs);
}

describe("five hundred starts and stops", () => {
  it("leave the cell and every service as they were", { timeout: 3_600_000 }, async () => {
    for (let n = 0; n < warmUp; n += 1) await cycle(n);
    const pids = await pidsOf();
    const before = await settled(pids);
    const begunMs = performance.now();
    for (let n = 0; n < cycles; n += 1) await cycle(warmUp + n);
    const seconds = Math.round((performance.now() - begunMs) / 1_000);
    const after = await settled(pids);
    process.stderr.write(`${JSON.stringify({ cycles, seconds, before, after })}\n`);
    expect(lasting(after)).toBe(lasting(before));
    expect(await pidsOf(), "no service was started again").toEqual(pids);
    const grown = (after.services.rep?.memoryMb ?? 0) - (before.services.rep?.memoryMb ?? 0);
    // 100 KiB kept of each container would be noticed; what Node holds in reserve comes and goes.
    expect(grown).toBeLessThan(50);
  });
});
