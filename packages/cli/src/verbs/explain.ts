// `explain` and `plan`: the auctioneer's verdicts in words.
import { rootFSOfImage } from "@muster/garden/image-ref";
import { asEpochMs } from "@muster/shared/model";
import { unary } from "@muster/shared/rpc";
import { restartAtMs } from "@muster/shared/rules";
import { appsDomain } from "../apps/annotation.js";
import { isDockerEnabled } from "../apps/docker-flag.js";
import { findApp } from "../apps/records.js";
import { instanceShape } from "../apps/shapes.js";
import { parseInstances } from "../apps/wishes.js";
import { type AuctioneerClient, dialAuctioneer } from "../client/peers.js";
import type { Platform } from "../client/platform.js";
import { type Context, openSession } from "../context.js";
import { explain, RefusedError, UsageError } from "../exit.js";
import { parseCount, parseSizeMb } from "../flags.js";
import { readReference } from "../image/inspect.js";
import { verdictHeader, verdictRow, verdictShape } from "./verdicts.js";

const askMs = 5_000;

async function withAuctioneer<Result>(
  platform: Platform,
  ask: (auctioneer: AuctioneerClient) => Promise<Result>,
): Promise<Result> {
  const auctioneer = await dialAuctioneer(platform);
  try {
    return await ask(auctioneer);
  } finally {
    auctioneer.close();
  }
}

/** `NAME` or `NAME/INDEX`. */
export function parseTarget(target: string): { readonly name: string; readonly index: number | undefined } {
  const slash = target.indexOf("/");
  if (slash < 0) return { name: target, index: undefined };
  return { name: target.slice(0, slash), index: parseCount(target.slice(slash + 1), "INDEX", { min: 0, max: 1_000_000 }) };
}

export async function explainApp(context: Context, target: string): Promise<void> {
  const { name, index } = parseTarget(target);
  using session = openSession(context);
  const { platform } = session;
  const { current, view } = await findApp(platform, name);
  const enabled = await isDockerEnabled(platform);
  const rows = (view.rows.get(current.processGuid) ?? []).filter(
    (row) => index === undefined || row.actualLrpKey?.index === index,
  );
  if (index !== undefined && rows.length === 0 && index >= current.instances) {
    throw new RefusedError(`app ${name} wants ${current.instances} instances: there is no instance ${index}`);
  }
  const instances: (ReturnType<typeof instanceShape> & { why: string; cells: ReturnType<typeof verdictShape>[] })[] = [];
  for (const row of rows) {
    const shape = instanceShape(row, new Map());
    const waits = shape.state === "UNCLAIMED";
    const verdicts = waits && enabled ? await verdictsOf(context, platform, current.processGuid, shape.index) : [];
    instances.push({ ...shape, why: whyOf(shape, enabled), cells: verdicts });
  }
  const shape = { name, process_guid: current.processGuid, diego_docker: enabled, instances };
  context.out.show(shape, () => {
    const { out } = context;
    if (!enabled) out.line("the feature flag diego_docker is off: every Docker app wants 0 instances until it is enabled");
    if (current.annotation.requested_state === "STOPPED") out.line(`${name} is stopped; start it with: muster start ${name}`);
    for (const each of instances) {
      out.line(`${name}/${each.index}: ${each.why}`);
      if (each.cells.length > 0) out.table(verdictHeader, each.cells.map(verdictRow));
    }
  });
}

async function verdictsOf({ out }: Context, platform: Platform, processGuid: string, index: number) {
  const bounds = { deadlineMs: askMs, signal: platform.signal };
  const request = { processGuid, index, taskGuid: "" };
  try {
    const { cells } = await withAuctioneer(platform, (client) => unary(client.explain.bind(client), request, bounds));
    return cells.map(verdictShape);
  } catch (error) {
    // That nobody places work is part of the explanation.
    platform.signal.throwIfAborted();
    out.note(`muster: ${explain(error).message}`);
    return [];
  }
}

/** Pure: a row's state in a sentence. */
export function whyOf(row: ReturnType<typeof instanceShape>, dockerEnabled: boolean): string {
  switch (row.state) {
    case "RUNNING":
      return `running on ${row.cell_id} since ${row.since}`;
    case "CLAIMED":
      return `starting on ${row.cell_id} since ${row.since}`;
    case "CRASHED":
      return `crashed ${row.crash_count} times, last at ${row.since}: ${row.crash_reason}; ${nextTry(row.crash_count, row.since)}`;
    default:
      if (!dockerEnabled) return "stopped, since the feature flag diego_docker is off";
      return row.placement_error === "" ? "waiting for a place" : `has no place: ${row.placement_error}`;
  }
}

function nextTry(crashCount: number, since: string): string {
  const atMs = restartAtMs(crashCount, asEpochMs(Date.parse(since)));
  return atMs === undefined ? "it is not tried again" : `the next try is due at ${new Date(atMs).toISOString()}`;
}

export interface PlanOptions {
  readonly dockerImage?: string;
  readonly instances?: string;
  readonly memory?: string;
  readonly disk?: string;
}

const defaultMemory = "256M";
const defaultDisk = "1G";

export async function plan(context: Context, options: PlanOptions): Promise<void> {
  if (options.dockerImage === undefined) throw new UsageError("which image? Give it with --docker-image REF");
  readReference(options.dockerImage);
  const instances = parseInstances(options.instances ?? "1");
  const ask = {
    processGuid: "muster-plan",
    indices: Array.from({ length: instances }, (_, index) => index),
    domain: appsDomain,
    rootFs: rootFSOfImage(options.dockerImage),
    memoryMb: parseSizeMb(options.memory ?? defaultMemory, "-m"),
    diskMb: parseSizeMb(options.disk ?? defaultDisk, "-k"),
    maxPids: 0,
    placementTags: [],
    volumeDrivers: [],
  };
  using session = openSession(context);
  const { platform } = session;
  const bounds = { deadlineMs: askMs, signal: platform.signal };
  const response = await withAuctioneer(platform, (client) => unary(client.plan.bind(client), { ask }, bounds));
  const placements = response.placements.map(({ index, cellId, placementError }) => ({
    index,
    cell_id: cellId,
    placement_error: placementError,
  }));
  const shape = { fits: placements.every((each) => each.cell_id !== ""), placements, cells: response.cells.map(verdictShape) };
  context.out.show(shape, () => {
    context.out.table(
      ["INDEX", "CELL", "DETAILS"],
      placements.map((each) => [`#${each.index}`, each.cell_id || "-", each.placement_error]),
    );
    if (shape.cells.length > 0) context.out.table(verdictHeader, shape.cells.map(verdictRow));
  });
}
