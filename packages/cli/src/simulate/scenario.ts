// A scenario file: a fleet, what runs on it, and what is asked of it. Read strictly, expanded into the auction's own terms. Pure.
import type { AuctionOptions, CellState, WaitingLRP, WaitingTask, Work } from "@muster/auctioneer/plan";
import { defaultAuctionOptions, lrpWorkKey, taskWorkKey } from "@muster/auctioneer/plan";
import { asCellId, asDomainName, asProcessGuid, asTaskGuid } from "@muster/shared/model";
import { parse } from "yaml";
import { z } from "zod";
import { UsageError } from "../exit.js";
import { parseSizeMb } from "../flags.js";

/** What one file may describe: a fleet larger than the largest that Muster is built for. */
const maxCells = 10_000;
const maxWork = 1_000_000;

const size = z.string();
const count = z.number().int().min(0);
const names = z.array(z.string().min(1)).max(64);

/** What an instance or task asks of a cell. */
const asking = {
  memory: size.default("256M"),
  disk: size.default("1G"),
  /** As in a DesiredLRP: `docker:///nginx`, `preloaded:stack`. */
  rootfs: z.string().min(1).default("docker:///image"),
  placement_tags: names.default([]),
  volume_drivers: names.default([]),
};

const processSchema = z.strictObject({
  process: z.string().min(1),
  instances: count.default(1),
  /** So many processes of this kind, called PROCESS-0, PROCESS-1, … */
  processes: count.optional(),
  ...asking,
});
const tasksSchema = z.strictObject({ tasks: count, ...asking });

const runningSchema = z.strictObject({
  process: z.string().min(1),
  /** Instances on each of these cells. */
  instances: count.default(1),
  /** Each instance of a process of its own; else all of the same one. */
  distinct: z.boolean().default(false),
  memory: size.default("256M"),
  disk: size.default("1G"),
});

const cellsSchema = z.strictObject({
  count: z.number().int().min(1).max(maxCells).default(1),
  /** Cells are called NAME-1, NAME-2, …; numbering goes on where the same name comes again. */
  name: z.string().min(1).default("cell"),
  /** Dealt out in turn. */
  zones: z.array(z.string()).min(1).default(["z1"]),
  memory: size.default("16G"),
  disk: size.default("128G"),
  containers: z.number().int().min(1).max(100_000).default(250),
  state: z.enum(["healthy", "unhealthy", "evacuating", "silent"]).default("healthy"),
  /** A scheme takes any rootfs of it (`docker`); `scheme:name` that one alone (`preloaded:stack`). */
  rootfs: z.array(z.string().min(1)).default(["docker"]),
  placement_tags: names.default([]),
  optional_placement_tags: names.default([]),
  volume_drivers: names.default([]),
  /** Memory that each instance costs on top. */
  proxy_memory: size.optional(),
  running: z.array(runningSchema).default([]),
});

const scenarioSchema = z.strictObject({
  name: z.string().min(1),
  about: z.string().default(""),
  options: z
    .strictObject({
      starting_container_weight: z.number().min(0).optional(),
      starting_container_count_maximum: z.number().int().min(0).optional(),
      bin_pack_first_fit_weight: z.number().min(0).optional(),
    })
    .default({}),
  cells: z.array(cellsSchema).min(1),
  work: z.array(z.union([processSchema, tasksSchema])).min(1),
});

export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly cells: readonly CellState[];
  readonly work: readonly Work[];
  readonly options: AuctionOptions;
}

/** @throws UsageError naming every fault of the file and where it is. */
export function readScenario(text: string, file: string): Scenario {
  const parsed = scenarioSchema.safeParse(parseYaml(text, file));
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join(".") || "(top)"}: ${issue.message}`);
    throw new UsageError(`${file}: ${faults.join("; ")}`, "packages/cli/scenarios holds files to begin with");
  }
  const { name, about, options, cells, work } = parsed.data;
  return {
    name,
    about,
    cells: fleetOf(cells, file),
    work: workOf(work, file),
    options: {
      ...defaultAuctionOptions,
      startingContainerWeight: options.starting_container_weight ?? defaultAuctionOptions.startingContainerWeight,
      startingContainerCountMaximum:
        options.starting_container_count_maximum ?? defaultAuctionOptions.startingContainerCountMaximum,
      binPackFirstFitWeight: options.bin_pack_first_fit_weight ?? defaultAuctionOptions.binPackFirstFitWeight,
    },
  };
}

function parseYaml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    throw new UsageError(`${file} is not YAML: ${cause instanceof Error ? cause.message.split("\n")[0] : String(cause)}`);
  }
}

type CellsOf = z.infer<typeof cellsSchema>;

function fleetOf(groups: readonly CellsOf[], file: string): CellState[] {
  const fleet: CellState[] = [];
  const numbers = new Map<string, number>();
  for (const group of groups) {
    for (let n = 0; n < group.count; n += 1) {
      const number = (numbers.get(group.name) ?? 0) + 1;
      numbers.set(group.name, number);
      fleet.push(cellOf(group, `${group.name}-${number}`, group.zones[n % group.zones.length] ?? "", fleet.length, file));
    }
  }
  if (fleet.length > maxCells) throw new UsageError(`${file}: ${fleet.length} cells, where ${maxCells} are allowed`);
  return fleet;
}

function cellOf(group: CellsOf, cellId: string, zone: string, cellIndex: number, file: string): CellState {
  const total = {
    memoryMb: parseSizeMb(group.memory, `${file}: memory of ${cellId}`),
    diskMb: parseSizeMb(group.disk, `${file}: disk of ${cellId}`),
    containers: group.containers,
  };
  const proxyMemoryMb = group.proxy_memory === undefined ? 0 : parseSizeMb(group.proxy_memory, `${file}: proxy_memory`);
  const available = { ...total };
  const lrpsByProcess = new Map<string, number>();
  for (const run of group.running) {
    for (let i = 0; i < run.instances; i += 1) {
      const process = run.distinct ? `${run.process}-${cellId}-${i}` : run.process;
      lrpsByProcess.set(process, (lrpsByProcess.get(process) ?? 0) + 1);
    }
    available.memoryMb -= run.instances * (parseSizeMb(run.memory, `${file}: memory of ${run.process}`) + proxyMemoryMb);
    available.diskMb -= run.instances * parseSizeMb(run.disk, `${file}: disk of ${run.process}`);
    available.containers -= run.instances;
  }
  if (available.memoryMb < 0 || available.diskMb < 0 || available.containers < 0) {
    throw new UsageError(`${file}: what runs on ${cellId} is more than it holds`);
  }
  return {
    cellId: asCellId(cellId),
    zone,
    cellIndex,
    status: group.state,
    statusReason: group.state === "healthy" ? "" : group.state,
    total,
    available,
    startingContainerCount: 0,
    rootFSProviders: providersOf(group.rootfs),
    volumeDrivers: group.volume_drivers,
    placementTags: group.placement_tags,
    optionalPlacementTags: group.optional_placement_tags,
    proxyMemoryMb,
    lrpsByProcess,
    taskCount: 0,
  };
}

/** `docker` takes any image; `preloaded:a` and `preloaded:b` make one provider of two names. */
function providersOf(rootfs: readonly string[]): CellState["rootFSProviders"] {
  const fixed = new Map<string, string[]>();
  const any: string[] = [];
  for (const each of rootfs) {
    const colon = each.indexOf(":");
    if (colon < 0) any.push(each.toLowerCase());
    else {
      const scheme = each.slice(0, colon).toLowerCase();
      fixed.set(scheme, [...(fixed.get(scheme) ?? []), each.slice(colon + 1)]);
    }
  }
  return [
    ...any.map((scheme) => ({ scheme, fixedSet: false, names: [] })),
    ...[...fixed].map(([scheme, of]) => ({ scheme, fixedSet: true, names: of })),
  ];
}

type WorkOf = z.infer<typeof processSchema> | z.infer<typeof tasksSchema>;

function workOf(groups: readonly WorkOf[], file: string): Work[] {
  const work: Work[] = [];
  const domain = asDomainName("simulation");
  const room = (more: number): void => {
    if (work.length + more > maxWork) throw new UsageError(`${file}: more than ${maxWork} instances and tasks`);
  };
  for (const group of groups) {
    const ask = {
      rootFs: group.rootfs,
      memoryMb: parseSizeMb(group.memory, `${file}: memory`),
      diskMb: parseSizeMb(group.disk, `${file}: disk`),
      maxPids: 0,
      placementTags: group.placement_tags,
      volumeDrivers: group.volume_drivers,
    };
    if ("tasks" in group) {
      room(group.tasks);
      for (let n = 0; n < group.tasks; n += 1) {
        const taskGuid = asTaskGuid(`task-${work.length}`);
        const task: WaitingTask = { kind: "task", key: taskWorkKey(taskGuid), taskGuid, domain, auctionId: "", ask };
        work.push(task);
      }
      continue;
    }
    const guids =
      group.processes === undefined
        ? [group.process]
        : Array.from({ length: group.processes }, (_, n) => `${group.process}-${n}`);
    room(guids.length * group.instances);
    for (const guid of guids) {
      const processGuid = asProcessGuid(guid);
      for (let index = 0; index < group.instances; index += 1) {
        const lrp: WaitingLRP = { kind: "lrp", key: lrpWorkKey(guid, index), processGuid, index, domain, auctionId: "", ask };
        work.push(lrp);
      }
    }
  }
  return work;
}
