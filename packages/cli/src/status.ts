// How a platform is: its processes, who of them is active, and whether all of it is ready. Used by `status` and by `up`.
import type { Clock } from "@muster/shared/clock";
import { addressIn } from "./client/peers.js";
import type { Platform } from "./client/platform.js";
import { readHealth, type ServiceHealth } from "./health.js";
import type { ServiceRecord } from "./services-file.js";

export interface ServiceStatus {
  readonly name: string;
  readonly role: string;
  readonly pid: number;
  readonly address: string;
  readonly active: boolean;
  readonly healthy: boolean;
}

export interface PlatformStatus {
  readonly ready: boolean;
  readonly services: readonly ServiceStatus[];
}

/** What the BBS knows of who is there; `undefined` when no BBS answers. */
export interface Presence {
  readonly lockValues: readonly string[];
  readonly cells: ReadonlyMap<string, string>;
}

const askMs = 3_000;

export async function readPresence(platform: Platform): Promise<Presence | undefined> {
  try {
    await platform.ping(askMs);
    const [locks, cells] = await Promise.all([platform.locks(), platform.cells()]);
    return {
      lockValues: locks.flatMap((lock) => [lock.value, addressIn(lock.value) ?? "", lock.owner]),
      cells: new Map(cells.map((cell) => [cell.cellId, addressIn(cell.repAddress) ?? cell.repUrl])),
    };
  } catch {
    platform.signal.throwIfAborted();
    return undefined;
  }
}

/** The status of the processes a supervisor runs. */
export async function readStatus(records: readonly ServiceRecord[], platform: Platform, clock: Clock): Promise<PlatformStatus> {
  const [presence, healths] = await Promise.all([
    readPresence(platform),
    Promise.all(records.map((each) => (each.metrics_address === "" ? undefined : readHealth(each.metrics_address, clock)))),
  ]);
  return judgeStatus(records, healths, presence);
}

/** Pure. Ready: a BBS answers, each role has its active one, every cell is present, and no process is unwell. */
export function judgeStatus(
  records: readonly ServiceRecord[],
  healths: readonly (ServiceHealth | undefined)[],
  presence: Presence | undefined,
): PlatformStatus {
  const services = records.map((record, n): ServiceStatus => {
    const health = healths[n];
    return {
      name: record.name,
      role: record.role,
      pid: record.pid,
      address: record.address,
      active: isActive(record, health, presence),
      healthy: record.role === "registry" ? record.pid > 0 : (health?.ok ?? false),
    };
  });
  const hasActive = (role: string): boolean =>
    !services.some((each) => each.role === role) || services.some((each) => each.role === role && each.active);
  const ready =
    presence !== undefined &&
    ["bbs", "auctioneer", "converger"].every(hasActive) &&
    services.every((each) => each.healthy && (each.role !== "rep" || each.active));
  return { ready, services };
}

function isActive(record: ServiceRecord, health: ServiceHealth | undefined, presence: Presence | undefined): boolean {
  switch (record.role) {
    case "bbs":
      return health?.state === "active";
    case "auctioneer":
    case "converger":
      return health?.state === "active" && presence !== undefined;
    case "rep":
      return presence?.cells.has(record.name) ?? false;
    case "registry":
      return record.pid > 0;
  }
}
