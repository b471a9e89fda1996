// One run from one seed: hurt the world, let it heal, and tell what happened.
import { type Faults, manyFaults } from "./faults.js";
import { SimWorld } from "./world.js";

export interface RunReport {
  readonly seed: number;
  readonly ok: boolean;
  /** Why not, with the last lines of what happened. */
  readonly failure: string | undefined;
  /** Of everything that happened: two runs of one seed have the same. */
  readonly traceHash: string;
  readonly simulatedMs: number;
  readonly commits: string;
  readonly faults: Readonly<Record<string, number>>;
  /** Changes of rows by what they mean. */
  readonly events: Readonly<Record<string, number>>;
  /** From the last fault to the first moment with nothing left to do. */
  readonly healedMs: number;
  /** The longest time for which a key had two running containers on cells that were heard of. */
  readonly longestDoubleMs: number;
  readonly client: Readonly<Record<string, number>>;
}

export interface ScenarioOptions {
  readonly seed: number;
  readonly cells?: number;
  readonly hurtTicks?: number;
  readonly faults?: Partial<Faults>;
  readonly echo?: (line: string) => void;
  /** Looks at the world while it is hurt; what it adds to `wrongs` fails the run. */
  readonly afterEachTick?: (world: SimWorld) => void;
}

/**
 * After the last fault: a leader's election, the grace of its term, a full cycle of the converger and of the auctioneer, and a second
 * try of a task, which comes 30 s after one that failed.
 */
const healsWithinMs = 90_000;
/** Every so many seeds one process is large: its commands need continuations, and its run more of our time. */
const manyEvery = 8;
/** Every so many the docker flag is off in the end, and nothing that needs it is left. */
const flagOffEvery = 7;

/** @see RunReport. Errors have their stacks only when somebody listens (`echo`): they are a tenth of a run's time. */
export async function simulate(options: ScenarioOptions): Promise<RunReport> {
  const { stackTraceLimit } = Error;
  if (options.echo === undefined) Error.stackTraceLimit = 0;
  try {
    return await run(options);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

async function run(options: ScenarioOptions): Promise<RunReport> {
  const { seed, cells = 4, hurtTicks = 1_200, faults = manyFaults, echo } = options;
  const many = seed % manyEvery === 0;
  const flagAtEnd = seed % flagOffEvery !== 0;
  const world = new SimWorld({ seed, cells, faults, many, flagAtEnd, ...(echo === undefined ? {} : { echo }) });
  let failure: string | undefined;
  let healedMs = 0;
  try {
    await world.run({ ticks: hurtTicks, ...(options.afterEachTick && { afterEachTick: options.afterEachTick }) });
    world.stopFaults();
    healedMs = await world.settle(healsWithinMs);
  } catch (error) {
    failure =
      error instanceof Error
        ? error.name === "SimulationFailure"
          ? error.message
          : (error.stack ?? error.message)
        : String(error);
  }
  return {
    seed,
    ok: failure === undefined,
    failure,
    traceHash: world.trace.digest(),
    simulatedMs: world.clock.elapsedMs(),
    commits: (world.truth.head?.sequence ?? 0n).toString(),
    faults: world.dice.counts,
    healedMs,
    events: world.events.counts,
    longestDoubleMs: world.events.longestDoubleMs,
    client: world.client.counts,
  };
}
