// A cell: its machine with containers and data folder, and the rep that comes and goes on it.

import { type Container, type ContainerSpec, GardenError } from "@muster/garden";
import { openSimulatedGarden, type SimulatedGarden } from "@muster/garden/simulated";
import { memoryContainerStore, Rep } from "@muster/rep";
import type { Log } from "@muster/shared/log";
import { asCellId, type CellId } from "@muster/shared/model";
import { crashing } from "./client.js";
import { heldBy, type SimProcess } from "./process.js";
import { Seat, type Stage } from "./stage.js";
import { stack, taskEnd } from "./task-script.js";

/** A container as its machine has it. */
export interface FoundContainer {
  readonly handle: string;
  /** Of an instance; empty for a task's. */
  readonly processGuid: string;
  readonly index: number;
  readonly taskGuid: string;
  /** `processGuid/index`. */
  readonly key: string;
  readonly running: boolean;
}

/** One whose making was begun, as it is told of while it runs and while it does not, and whether it was seen to be there. */
interface Made {
  readonly running: FoundContainer;
  readonly idle: FoundContainer;
  seen: boolean;
}

const never = new AbortController().signal;

/** What a cell's data folder holds. */
const newFolder = (owner: string) => ({ owner, containers: memoryContainerStore(), evacuating: false });

const longestCreateMs = 12_000;
const evacuationTimeoutsMs = [20_000, 600_000, 600_000];

export class CellSeat extends Seat {
  readonly cellId: CellId;
  readonly number: number;
  rep: Rep | undefined;
  #garden: SimulatedGarden;
  #gardens = 0;
  #folder: ReturnType<typeof newFolder>;
  readonly #evacuationTimeoutMs: number;
  readonly #made = new Map<string, Made>();

  constructor(stage: Stage, number: number) {
    super(stage, `cell-${number}`, `cell-${number}`);
    this.cellId = asCellId(this.name);
    this.number = number;
    this.#garden = this.#openGarden();
    this.#folder = newFolder(stage.dice.stream("owner").guid());
    this.#evacuationTimeoutMs = stage.dice.pick("evacuation timeout", evacuationTimeoutsMs) ?? 0;
  }

  /** Whether its data folder says that it is to be empty. */
  get evacuating(): boolean {
    return this.#folder.evacuating;
  }

  get address(): string {
    return `10.0.0.${this.number}:1800`;
  }

  get garden(): SimulatedGarden {
    return this.#garden;
  }

  protected async main(process: SimProcess, log: Log): Promise<void> {
    const { door } = this.stage;
    const folder = this.#folder;
    const { owner, containers } = folder;
    const peer = { role: "cell" as const, cellId: this.name };
    const rep = new Rep({
      clock: process.clock,
      entropy: this.entropy(process),
      log,
      garden: heldBy(process, this.#garden),
      store: heldBy(process, containers),
      io: {
        openReport: (signal) => door.report(process, this.name, signal),
        openWatch: (request, signal) => door.watch(process, request, signal),
        fetchDesiredLRP: async (processGuid, signal) => {
          const answer = await door.call(
            process,
            "DesiredLRPByProcessGuid",
            ({ calls }) => calls.desiredLRPByProcessGuid({ processGuid }, { peer, traceId: "" }),
            { signal },
          );
          if (answer.desiredLrp === undefined) throw new GardenError("timeout", "an answer without its record");
          return answer.desiredLrp;
        },
        fetchTask: async (taskGuid, signal) => {
          const answer = await door.call(
            process,
            "TaskByGuid",
            ({ calls }) => calls.taskByGuid({ taskGuid }, { peer, traceId: "" }),
            { signal },
          );
          if (answer.task === undefined) throw new GardenError("timeout", "an answer without its record");
          return answer.task;
        },
      },
      owner,
      evacuating: folder.evacuating,
      rememberEvacuating: (evacuating) => {
        folder.evacuating = evacuating;
      },
      settings: {
        cellId: this.name,
        cellIndex: this.number,
        zone: `z${1 + (this.number % 2)}`,
        repAddress: this.address,
        rootFSSchemes: ["docker"],
        stacks: [stack],
        placementTags: [],
        optionalPlacementTags: [],
        capacity: { memoryMb: 0, diskMb: 0, containers: 0 },
        presenceTtlMs: 5_000,
        pollingMs: 30_000,
        gracefulShutdownMs: 10_000,
        adoptionTimeoutMs: 50_000,
        evacuationTimeoutMs: this.#evacuationTimeoutMs,
        containerCheckMs: 0,
      },
      probeHttp: async () => undefined,
    });
    this.rep = rep;
    await rep.run(never);
  }

  /** Everything that runs or lies on the machine is gone; with `disk`, its data folder too. Returns whether it had power. */
  losePower(disk: boolean): boolean {
    const wasOn = this.loseMachine();
    this.#garden.losePower();
    this.#garden = this.#openGarden();
    this.#made.clear();
    if (disk) this.#folder = newFolder(this.stage.dice.stream("owner").guid());
    return wasOn;
  }

  container(handle: string): FoundContainer | undefined {
    const made = this.#made.get(handle);
    return made === undefined ? undefined : this.#found(made);
  }

  /** Every container that is there now. */
  containers(): FoundContainer[] {
    const found: FoundContainer[] = [];
    for (const made of this.#made.values()) {
      const container = this.#found(made);
      if (container !== undefined) found.push(container);
    }
    return found;
  }

  #found(made: Made): FoundContainer | undefined {
    const { running, idle } = made;
    const state = this.#garden.stateOf(idle.handle);
    // What was there and is not any more never comes back.
    if (state === undefined && made.seen) this.#made.delete(idle.handle);
    made.seen = state !== undefined;
    if (state === undefined) return undefined;
    return state === "active" ? running : idle;
  }

  #openGarden(): SimulatedGarden {
    const { clock, dice } = this.stage;
    this.#gardens += 1;
    const garden = openSimulatedGarden({
      clock,
      entropy: dice.stream(`garden ${this.name} ${this.#gardens}`),
      capacity: { memoryMb: 2_048, diskMb: 4_096, containers: 60 },
      hostAddress: `10.0.0.${this.number}`,
      portRange: { first: 61_001, last: 61_400 },
      behaviour: ({ properties: { process_guid, task_guid } }) => {
        if (task_guid !== undefined) return taskEnd(task_guid, dice);
        if (process_guid !== crashing) return undefined;
        const exit = { exitStatus: 1, signal: undefined, outOfMemory: false };
        return { afterMs: dice.between("crash loop", 500, 5_000), exit };
      },
      get createFailuresPerThousand() {
        return dice.faults.failCreate;
      },
    });
    const create = garden.create.bind(garden);
    garden.create = async (spec, signal) => {
      this.#made.set(spec.handle, madeFrom(spec));
      if (dice.strikes("slowCreate")) await clock.sleep(dice.between("slow create", 1_000, longestCreateMs), signal);
      const container = await create(spec, signal);
      const { task_guid: taskGuid } = spec.properties;
      if (taskGuid !== undefined) this.#tellEnds(container, taskGuid);
      return container;
    };
    return garden;
  }

  /** Tells of every process of a task, and of those that come to their own end. */
  #tellEnds(container: Container, taskGuid: string): void {
    const run = container.run.bind(container);
    container.run = async (spec, output) => {
      this.stage.taskRuns(taskGuid, "begun");
      const started = await run(spec, output);
      void started.exited.then(({ signal }) => (signal === undefined ? this.stage.taskRuns(taskGuid, "ended") : undefined));
      return started;
    };
  }
}

function madeFrom({ handle, properties }: ContainerSpec): Made {
  const { process_guid: processGuid = "", index = "0", task_guid: taskGuid = "" } = properties;
  const idle = { handle, processGuid, index: Number(index), taskGuid, key: `${processGuid}/${index}`, running: false };
  return { running: { ...idle, running: true }, idle, seen: false };
}
