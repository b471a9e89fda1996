// The shapes of `app` and `apps` (cli.md), from the records. Pure.
import { type ActualLRP, ActualLRP_Presence } from "@muster/proto/models/actual_lrp";
import { appsDomain } from "./annotation.js";
import type { AppVersion } from "./versions.js";

const presenceNames = {
  [ActualLRP_Presence.ORDINARY]: "ORDINARY",
  [ActualLRP_Presence.EVACUATING]: "EVACUATING",
  [ActualLRP_Presence.SUSPECT]: "SUSPECT",
} as const;

export interface InstanceShape {
  readonly index: number;
  readonly state: string;
  readonly presence: string;
  readonly instance_guid: string;
  readonly cell_id: string;
  readonly zone: string;
  readonly address: string;
  readonly ports: readonly { readonly container_port: number; readonly host_port: number }[];
  readonly routable: boolean;
  /** ISO time. */
  readonly since: string;
  readonly crash_count: number;
  readonly crash_reason: string;
  readonly placement_error: string;
}

export interface AppSummary {
  readonly name: string;
  readonly process_guid: string;
  readonly domain: string;
  readonly docker_image: string;
  readonly docker_digest: string;
  readonly requested_state: string;
  readonly instances_wanted: number;
}

export type AppShape = AppSummary & { readonly instances: readonly InstanceShape[] };
export type AppListShape = AppSummary & { readonly instances_running: number };

const isoOfNs = (ns: bigint): string => (ns <= 0n ? "" : new Date(Number(ns / 1_000_000n)).toISOString());

/** @param zones the zone of each live cell, for rows that do not carry one yet. */
export function instanceShape(row: ActualLRP, zones: ReadonlyMap<string, string>): InstanceShape {
  const cellId = row.actualLrpInstanceKey?.cellId ?? "";
  return {
    index: row.actualLrpKey?.index ?? 0,
    state: row.state,
    presence: presenceNames[row.presence] ?? "ORDINARY",
    instance_guid: row.actualLrpInstanceKey?.instanceGuid ?? "",
    cell_id: cellId,
    zone: cellId === "" ? "" : row.availabilityZone || (zones.get(cellId) ?? ""),
    address: row.actualLrpNetInfo?.address ?? "",
    ports: (row.actualLrpNetInfo?.ports ?? []).map((port) => ({ container_port: port.containerPort, host_port: port.hostPort })),
    routable: row.optionalRoutable?.value ?? false,
    since: isoOfNs(row.since),
    crash_count: row.crashCount,
    crash_reason: row.crashReason,
    placement_error: row.placementError,
  };
}

const byIndexThenPresence = (a: ActualLRP, b: ActualLRP): number =>
  (a.actualLrpKey?.index ?? 0) - (b.actualLrpKey?.index ?? 0) || a.presence - b.presence;

function summaryOf({ annotation, processGuid, instances }: AppVersion): AppSummary {
  return {
    name: annotation.name,
    process_guid: processGuid,
    domain: appsDomain,
    docker_image: annotation.image,
    docker_digest: annotation.digest,
    requested_state: annotation.requested_state,
    instances_wanted: annotation.requested_state === "STARTED" ? instances : annotation.wanted,
  };
}

export const appShape = (version: AppVersion, rows: readonly ActualLRP[], zones: ReadonlyMap<string, string>): AppShape => ({
  ...summaryOf(version),
  instances: [...rows].sort(byIndexThenPresence).map((row) => instanceShape(row, zones)),
});

export const appListShape = (version: AppVersion, running: number): AppListShape => ({
  ...summaryOf(version),
  instances_running: running,
});

/** How many of the first `instances` indices have a running instance, of whatever presence. */
export function countRunning(rows: readonly ActualLRP[], instances: number): number {
  const indices = new Set<number>();
  for (const row of rows) {
    const index = row.actualLrpKey?.index ?? 0;
    if (row.state === "RUNNING" && index < instances) indices.add(index);
  }
  return indices.size;
}
