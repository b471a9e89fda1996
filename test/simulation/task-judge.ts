// What must hold of tasks: invariants I34-I38 of convergence.md section 11, change by change, and every task's life from its desire
// to its end.
import type { Change, Tables, Task, TaskState } from "@muster/shared/model";

const where = (task: Task): string =>
  `${task.taskGuid} (${task.state}, on ${task.cellId ?? "no cell"}, rejected ${task.rejectionCount} times)`;

type TaskChange = Extract<Change, { kind: "task" }>;

/** I34; `gone` is the record's end. */
const moves: Readonly<Record<TaskState, readonly (TaskState | "gone")[]>> = {
  PENDING: ["PENDING", "RUNNING", "COMPLETED"],
  RUNNING: ["PENDING", "COMPLETED"],
  COMPLETED: ["RESOLVING", "gone"],
  RESOLVING: ["COMPLETED", "gone"],
};
/** Source: convergence.md 0.1. */
const maxRetries = 3;
const keptAfterEndNs = 120_000_000_000n;

const isDocker = (task: Task): boolean => task.rootFs.startsWith("docker:");

/** One change of a task as the BBS decided it; `tables` hold it and nothing later, `atNs` is the time of its commit. */
export function taskFaults({ before, after }: TaskChange, tables: Tables, atNs: bigint): string[] {
  if (before === undefined)
    return after === undefined || after.state === "PENDING" ? [] : [`I34 a task began as ${where(after)}`];
  const to = after?.state ?? "gone";
  if (!moves[before.state].includes(to)) return [`I34 ${where(before)} became ${to}`];
  if (after === undefined) {
    const early = before.state === "COMPLETED" && atNs - before.firstCompletedAtNs < keptAfterEndNs;
    return early ? [`I36 completed, and gone before its time: ${where(before)}`] : [];
  }
  return [...rejectionFaults(before, after), ...endFaults(before, after), ...placeFaults(before, after, tables)];
}

/** I38, and I34: back to PENDING by a counted rejection alone. */
function rejectionFaults(before: Task, after: Task): string[] {
  const more = after.rejectionCount - before.rejectionCount;
  const faults: string[] = [];
  if (after.state === "PENDING" && more !== 1) faults.push(`I34 PENDING again without a rejection: ${where(after)}`);
  if (after.rejectionCount > maxRetries + 1) faults.push(`I38 rejected too often: ${where(after)}`);
  if (after.rejectionCount === maxRetries + 1 && !after.failed)
    faults.push(`I38 not failed by its last rejection: ${where(after)}`);
  return faults;
}

/** I36: the time of the first completion is set once; an outcome never changes. */
function endFaults(before: Task, after: Task): string[] {
  const faults: string[] = [];
  const ended = after.state === "COMPLETED" || after.state === "RESOLVING";
  if (ended !== after.firstCompletedAtNs > 0n) faults.push(`I36 first completed at ${after.firstCompletedAtNs}: ${where(after)}`);
  if (before.firstCompletedAtNs === 0n) return faults;
  if (after.firstCompletedAtNs !== before.firstCompletedAtNs) faults.push(`I36 completed twice: ${where(after)}`);
  const same = after.failed === before.failed && after.failureReason === before.failureReason && after.result === before.result;
  return same ? faults : [...faults, `a task's outcome changed after its end: ${where(after)}`];
}

/** A task runs where it was given to, and a Docker task is given to nobody while the flag is off. */
function placeFaults(before: Task, after: Task, tables: Tables): string[] {
  if (after.state !== "RUNNING") return [];
  const faults = after.cellId === undefined ? [`a task runs nowhere: ${where(after)}`] : [];
  const allowed = !isDocker(after) || tables.flag("diego_docker") === true;
  if (before.state === "PENDING" && !allowed) faults.push(`a Docker task was started while the flag is off: ${where(after)}`);
  return faults;
}

export interface TaskLife {
  /** Times it went from PENDING or RUNNING to its end. */
  ends: number;
  gone: boolean;
}

/** Every task that was ever stored. */
export class TaskLives {
  readonly #lives = new Map<string, TaskLife>();
  readonly #begun = new Set<string>();
  readonly #ranToEnd = new Set<string>();

  of(taskGuid: string): TaskLife | undefined {
    return this.#lives.get(taskGuid);
  }

  /** I35: a task's process was started, or came to its own end. Returns what is wrong with that. */
  runs(taskGuid: string, what: "begun" | "ended"): string[] {
    if (what === "begun") {
      const again = this.#begun.has(taskGuid) ? [`I35 ${taskGuid} was started twice`] : [];
      this.#begun.add(taskGuid);
      return again;
    }
    const faults = this.#ranToEnd.has(taskGuid) ? [`I35 ${taskGuid} was carried out twice`] : [];
    this.#ranToEnd.add(taskGuid);
    return faults;
  }

  /** Takes in a durable change. Returns what is wrong with the task's life. */
  see({ key, before, after }: TaskChange): string[] {
    const life = this.#lives.get(key) ?? { ends: 0, gone: false };
    this.#lives.set(key, life);
    const over = (task: Task | undefined): boolean => task?.state === "COMPLETED" || task?.state === "RESOLVING";
    const faults = life.gone ? [`${key} was gone, and is stored again`] : [];
    if (!over(before) && (over(after) || after === undefined)) life.ends += 1;
    if (after === undefined) life.gone = true;
    return life.ends > 1 ? [...faults, `${key} has ended ${life.ends} times`] : faults;
  }
}
