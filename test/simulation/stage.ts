// What every simulated service stands on, and the seat it is restarted in.
import type { Entropy, FakeClock } from "@muster/shared/clock";
import { isBbsError, OperatorError } from "@muster/shared/errors";
import { LostLeadershipError } from "@muster/shared/lifecycle";
import { type Log, silentLog } from "@muster/shared/log";
import type { MemoryStore } from "@muster/store/memory";
import type { BbsDoor } from "./bbs-door.js";
import type { FaultDice } from "./faults.js";
import type { SimNetwork } from "./network.js";
import { type Death, SimProcess } from "./process.js";
import type { Trace } from "./trace.js";
import type { Truth } from "./truth.js";

export interface Stage {
  readonly clock: FakeClock;
  readonly dice: FaultDice;
  readonly trace: Trace;
  readonly network: SimNetwork;
  readonly store: MemoryStore;
  readonly truth: Truth;
  readonly door: BbsDoor;
  /** Something that must not happen has happened. */
  readonly wrong: (what: string) => void;
  /** A process of a task was started, or came to its own end. */
  readonly taskRuns: (taskGuid: string, what: "begun" | "ended") => void;
  /** A service's log line: for people who replay a seed, never part of what a run does. Nobody listens otherwise. */
  readonly heard: ((line: string) => void) | undefined;
}

const silent = silentLog();

/** Before a supervisor starts a dead service again. */
const restartMs = { least: 300, most: 3_000 };

/** The place of one service: at most one process at a time, and a new one a while after the last has died. */
export abstract class Seat {
  readonly name: string;
  readonly machine: string;
  readonly stage: Stage;
  #generation = 0;
  #process: SimProcess | undefined;
  #awaitsMachine = false;

  constructor(stage: Stage, name: string, machine: string) {
    this.stage = stage;
    this.name = name;
    this.machine = machine;
  }

  /** The process in the seat, while it lives. */
  get process(): SimProcess | undefined {
    return this.#process?.alive ? this.#process : undefined;
  }

  /** What the service does; its end, however it comes, is the process's end. */
  protected abstract main(process: SimProcess, log: Log): Promise<void>;

  /** Whether a fault of ours is what this error line is about. */
  protected expects(_line: string): boolean {
    return false;
  }

  start(): void {
    if (this.process !== undefined || this.#awaitsMachine) return;
    this.#generation += 1;
    const process = new SimProcess(this.stage.clock, `${this.name}.${this.#generation}`, this.machine);
    this.#process = process;
    process.onDeath(() => this.#startAgain());
    this.stage.trace.say("start", process.name);
    this.main(process, this.#log(process)).then(
      () => this.#exit(process, undefined),
      (error: unknown) => this.#exit(process, error),
    );
  }

  /** Whether there was a process to kill. */
  crash(): boolean {
    const { process } = this;
    if (process === undefined) return false;
    this.stage.trace.say("crash", process.name);
    process.kill();
    return true;
  }

  /** The machine is gone, with everything that ran on it; `bringBack` ends that. Returns whether it was there. */
  loseMachine(): boolean {
    const wasThere = !this.#awaitsMachine;
    this.#awaitsMachine = true;
    this.process?.kill("machine-lost" satisfies Death);
    return wasThere;
  }

  bringBack(): void {
    this.#awaitsMachine = false;
    this.start();
  }

  entropy(process: SimProcess): Entropy {
    return this.stage.dice.stream(process.name);
  }

  #exit(process: SimProcess, error: unknown): void {
    if (!process.alive) return;
    const expected =
      error === undefined || isBbsError(error) || error instanceof LostLeadershipError || error instanceof OperatorError;
    const words = error instanceof Error ? `${error.name}: ${error.message}` : "";
    this.stage.trace.say("exit", `${process.name} ${words}`);
    if (!expected) this.stage.wrong(`${process.name} failed: ${error instanceof Error ? error.stack : String(error)}`);
    process.kill();
  }

  #startAgain(): void {
    const waitMs = this.stage.dice.between("restart", restartMs.least, restartMs.most);
    this.stage.clock.after(waitMs, () => this.start());
  }

  /** A service that logs an error says that a person must look: in a simulation that person is whoever reads the report. */
  #log(process: SimProcess): Log {
    const { stage } = this;
    const said = (level: string, fields: unknown, message: unknown): void => {
      if (!process.alive || (level !== "error" && stage.heard === undefined)) return;
      const line = typeof fields === "string" ? fields : `${String(message)} ${detailOf(fields)}`;
      if (level === "error" && !this.expects(line)) stage.wrong(`${process.name} logged an error: ${line}`);
      else stage.heard?.(`${process.name} ${level}: ${line}`);
    };
    const at = (level: string) => (fields: unknown, message?: unknown) => said(level, fields, message);
    const heard = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error"), fatal: at("error") };
    return Object.assign(Object.create(silent) as Log, heard, { child: () => this.#log(process), isLevelEnabled: () => true });
  }
}

/** The fields of a log line; an error is its chain of messages. */
function detailOf(fields: unknown): string {
  return JSON.stringify(fields, (_key, value: unknown) => {
    if (value instanceof Error) return [value.message, value.cause instanceof Error ? value.cause.message : ""].join(" < ");
    return typeof value === "bigint" ? value.toString() : value;
  });
}
