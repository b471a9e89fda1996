// The client's part with tasks: it desires them, cancels some, resolves and deletes others, and holds what it was told against what
// the store holds. One call at a time for each task; every guid is used once.
import { isBbsError } from "@muster/shared/errors";
import { domain, outcomeOf } from "./client.js";
import type { Outcome } from "./ledger.js";
import type { SimProcess } from "./process.js";
import type { Stage } from "./stage.js";
import type { TaskLives } from "./task-judge.js";
import { drawKind, kindOf, taskGuidOf, taskRequest } from "./task-script.js";

interface Known {
  readonly taskGuid: string;
  /** Whether a call about it is under way. */
  busy: boolean;
  /** What the client knows of it. */
  desired: Outcome | undefined;
  /** It ended, by the word of the BBS. */
  ended: boolean;
}

type Verb = "desire-task" | "cancel-task" | "resolving-task" | "delete-task";

export interface TaskClientOptions {
  /** Chance of one thing to do at each tick. */
  readonly busy: number;
  readonly counts: Record<string, number>;
}

export class TaskClient {
  readonly #stage: Stage;
  readonly #process: SimProcess;
  readonly #lives: TaskLives;
  readonly #options: TaskClientOptions;
  readonly #tasks: Known[] = [];
  #quiet = false;

  constructor(stage: Stage, process: SimProcess, lives: TaskLives, options: TaskClientOptions) {
    this.#stage = stage;
    this.#process = process;
    this.#lives = lives;
    this.#options = options;
  }

  /** Desires no more, and cancels what would run for ever. */
  quieten(): void {
    this.#quiet = true;
  }

  get idle(): boolean {
    return this.#quiet && this.#tasks.every((task) => !task.busy && (task.ended || kindOf(task.taskGuid) !== "endless"));
  }

  tick(): void {
    if (this.#quiet) {
      for (const task of this.#tasks) if (kindOf(task.taskGuid) === "endless" && !task.ended) this.#ask("cancel-task", task);
      return;
    }
    const { dice } = this.#stage;
    if (dice.stream("tasks").below(1_000) >= this.#options.busy * 1_000) return;
    const drawn = dice.stream("task verb").below(100);
    if (drawn < 55) this.#desireNew();
    else this.#touch(drawn, dice.pick("task", this.#tasks));
  }

  #desireNew(): void {
    const taskGuid = taskGuidOf(this.#tasks.length, drawKind(this.#stage.dice));
    const task: Known = { taskGuid, busy: false, desired: undefined, ended: false };
    this.#tasks.push(task);
    this.#ask("desire-task", task);
  }

  #touch(drawn: number, task: Known | undefined): void {
    if (task === undefined) return;
    if (drawn < 60 && task.desired === "unknown" && !task.ended) this.#ask("desire-task", task);
    else if (drawn < 80) this.#ask("cancel-task", task);
    else this.#ask(drawn < 90 ? "resolving-task" : "delete-task", task);
  }

  #ask(verb: Verb, task: Known): void {
    if (task.busy) return;
    task.busy = true;
    const { taskGuid } = task;
    const ended = (outcome: Outcome): void => {
      task.busy = false;
      const { counts } = this.#options;
      counts[`${verb}:${outcome}`] = (counts[`${verb}:${outcome}`] ?? 0) + 1;
      this.#stage.trace.say("client", `${verb} ${taskGuid} ${outcome}`);
      const wrong = this.#answered(verb, task, outcome);
      if (wrong !== undefined) this.#stage.wrong(`${verb} of ${taskGuid} was answered "${outcome}", and ${wrong}`);
    };
    this.#stage.door
      .call(this.#process, verb, async ({ calls }): Promise<void> => {
        if (verb === "desire-task") await calls.desireTask(taskRequest(taskGuid, domain));
        else if (verb === "cancel-task") await calls.cancelTask({ taskGuid });
        else if (verb === "resolving-task") await calls.resolvingTask({ taskGuid });
        else await calls.deleteTask({ taskGuid });
      })
      .then(
        () => ended("done"),
        (error: unknown) => {
          if (isBbsError(error, "InvalidRequest")) this.#stage.wrong(`the client's own ${verb} was invalid: ${error.message}`);
          ended(isBbsError(error, "InvalidStateTransition") ? "conflict" : outcomeOf(error));
        },
      );
  }

  /** What contradicts the answer, if anything does. */
  #answered(verb: Verb, task: Known, outcome: Outcome): string | undefined {
    const life = this.#lives.of(task.taskGuid);
    if (outcome === "unknown") {
      if (verb === "desire-task") task.desired ??= "unknown";
      return undefined;
    }
    if (verb === "desire-task") {
      if (outcome === "refused") {
        task.ended ||= task.desired !== "unknown";
        return undefined;
      }
      task.desired = "done";
      return life === undefined ? "it was never stored" : undefined;
    }
    if (outcome === "not-found") {
      const acknowledged = task.desired === "done";
      task.ended = true;
      return acknowledged && life?.gone !== true ? "it is there" : undefined;
    }
    if (life === undefined) return "it was never stored";
    if (verb === "cancel-task") {
      task.ended = true;
      return life.ends === 0 ? "it has not ended" : undefined;
    }
    if (verb === "delete-task" && outcome === "done") return life.gone ? undefined : "it is there";
    return verb === "resolving-task" && outcome === "done" && life.ends === 0 ? "it has not ended" : undefined;
  }
}
