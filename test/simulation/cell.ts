// A cell: its machine with containers and data folder, and the rep that comes and goes on it.

import { type Container, GardenError } from "@muster/garden";
import { openSimulatedGarden, type SimulatedGarden } from "@muster/garden/simulated";
import { memoryContainerStore, Rep } from "@muster/rep";
import type { Log } from "@muster/shared/log";
import { asCellId, type CellId } from "@muster/shared/model";
import { crashing } from "./client.js";
import { heldBy, type SimProcess } from "./process.js";
import { Seat, type Stage } from "./stage.js";

/** A container as its machine has it. */
export interface FoundContainer {
  readonly handle: string;
  readonly processGuid: string;
  readonly index: number;
  readonly running: boolean;
}

const never = new AbortController().signal;

/** What a cell's data folder holds. */
const newFolder = (owner: string) => ({ owner, containers: memoryContainerStore() });

export class CellSeat extends Seat {
  readonly cellId: CellId;
  readonly number: number;
  rep: Rep | undefined;
  #garden: SimulatedGarden;
  #gardens = 0;
  #folder: ReturnType<typeof newFolder>;
  readonly #handles = new Set<string>();

  constructor(stage: Stage, number: number) {
    super(stage, `cell-${number}`, `cell-${number}`);
    this.cellId = asCellId(this.name);
    this.number = number;
    this.#garden = this.#openGarden();
    this.#folder = newFolder(stage.dice.stream("owner").guid());
  }

  get address(): string {
    return `10.0.0.${this.number}:1800`;
  }

  get garden(): SimulatedGarden {
    return this.#garden;
  }

  protected async main(process: SimProcess, log: Log): Promise<void> {
    const { door } = this.stage;
    const { owner, containers } = this.#folder;
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
      evacuating: false,
      settings: {
        cellId: this.name,
        cellIndex: this.number,
        zone: `z${1 + (this.number % 2)}`,
        repAddress: this.address,
        rootFSSchemes: ["docker"],
        placementTags: [],
        optionalPlacementTags: [],
        capacity: { memoryMb: 0, diskMb: 0, containers: 0 },
        presenceTtlMs: 5_000,
        pollingMs: 30_000,
        gracefulShutdownMs: 10_000,
        adoptionTimeoutMs: 50_000,
        evacuationTimeoutMs: 600_000,
        containerCheckMs: 0,
      },
      probeHttp: async () => undefined,
    });
    this.rep = rep;
    await rep.run(never);
  }

  /** Everything that runs or lies on the machine is gone; with `disk`, its data folder too. */
  losePower(disk: boolean): void {
    this.loseMachine();
    this.#garden.losePower();
    this.#garden = this.#openGarden();
    this.#handles.clear();
    if (disk) this.#folder = newFolder(this.stage.dice.stream("owner").guid());
  }

  /** Every container that is there now. */
  containers(): FoundContainer[] {
    const found: FoundContainer[] = [];
    for (const handle of this.#handles) {
      const container = this.#garden.lookup(handle);
      if (container !== undefined) found.push(foundContainer(container));
    }
    return found;
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
      behaviour: (spec) =>
        spec.properties.process_guid === crashing
          ? { afterMs: dice.between("crash loop", 500, 5_000), exit: { exitStatus: 1, signal: undefined, outOfMemory: false } }
          : undefined,
      get createFailuresPerThousand() {
        return dice.faults.failCreate;
      },
    });
    const create = garden.create.bind(garden);
    garden.create = (spec, signal) => {
      this.#handles.add(spec.handle);
      return create(spec, signal);
    };
    return garden;
  }
}

function foundContainer(container: Container): FoundContainer {
  const { handle, properties, state } = container.info();
  return {
    handle,
    processGuid: properties.process_guid ?? "",
    index: Number(properties.index),
    running: state === "active",
  };
}
