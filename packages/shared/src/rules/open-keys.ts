// The open instances and tasks, kept as changes come, so that planning over everything costs what is open and not what there is.
import type { ClusterView, ProcessGuid, Task, TaskGuid } from "../model/index.js";
import type { CellTime } from "./cells.js";
import { eachOpenIndex, eachOpenInstance, eachOpenTask, isOpenInstance, isOpenTask } from "./open.js";
import { type Findings, planOver, planTouched, type Touched } from "./plan.js";

/**
 * Holds every open key of its view once `refresh` was told of all changes since `rebuild`, and perhaps some that no longer are: a
 * change can close keys without naming them (a cell that returns), so what is not open any more goes when a plan comes by it.
 */
export class OpenKeys {
  readonly #view: ClusterView;
  readonly #instances = new Map<ProcessGuid, Set<number>>();
  readonly #tasks = new Set<TaskGuid>();

  constructor(view: ClusterView) {
    this.#view = view;
  }

  get size(): number {
    let instances = 0;
    for (const indices of this.#instances.values()) instances += indices.size;
    return instances + this.#tasks.size;
  }

  /** Looks at everything there is. */
  rebuild(): void {
    this.#instances.clear();
    this.#tasks.clear();
    eachOpenInstance(this.#view, (processGuid, index) => this.#open(processGuid, index));
    eachOpenTask(this.#view, ({ taskGuid }) => this.#tasks.add(taskGuid));
  }

  /** Looks at what changes touched; to be called once the view holds them. */
  refresh(touched: Touched): void {
    if (touched.everything) {
      this.rebuild();
      return;
    }
    for (const { processGuid, index } of touched.instances.values()) this.#look(processGuid, index);
    for (const processGuid of touched.processes) {
      this.#instances.delete(processGuid);
      eachOpenIndex(this.#view, processGuid, (index) => this.#open(processGuid, index));
    }
    for (const taskGuid of touched.tasks) this.#lookAtTask(taskGuid, this.#view.task(taskGuid));
    for (const cellId of touched.cells) {
      for (const { processGuid, index } of this.#view.rowsOnCell(cellId)) this.#look(processGuid, index);
      for (const task of this.#view.tasksOnCell(cellId)) this.#lookAtTask(task.taskGuid, task);
    }
  }

  /** Finds what `planConvergence` finds. */
  plan(at: CellTime): Findings {
    return planOver(
      this.#view,
      (visit) => this.#eachInstance(visit),
      (visit) => this.#eachTask(visit),
      at,
    );
  }

  /** Refreshes, and plans over what was touched only; over everything where that may be anything. */
  planTouched(touched: Touched, at: CellTime): Findings {
    this.refresh(touched);
    return touched.everything || touched.domains.size > 0 ? this.plan(at) : planTouched(this.#view, touched, at);
  }

  #eachInstance(visit: (processGuid: ProcessGuid, index: number) => void): void {
    for (const [processGuid, indices] of this.#instances) {
      for (const index of indices) {
        if (isOpenInstance(this.#view, processGuid, index)) visit(processGuid, index);
        else this.#close(processGuid, index);
      }
    }
  }

  #eachTask(visit: (task: Task) => void): void {
    for (const taskGuid of this.#tasks) {
      const task = this.#view.task(taskGuid);
      if (task !== undefined && isOpenTask(this.#view, task)) visit(task);
      else this.#tasks.delete(taskGuid);
    }
  }

  #look(processGuid: ProcessGuid, index: number): void {
    if (isOpenInstance(this.#view, processGuid, index)) this.#open(processGuid, index);
    else this.#close(processGuid, index);
  }

  #lookAtTask(taskGuid: TaskGuid, task: Task | undefined): void {
    if (task !== undefined && isOpenTask(this.#view, task)) this.#tasks.add(taskGuid);
    else this.#tasks.delete(taskGuid);
  }

  #open(processGuid: ProcessGuid, index: number): void {
    const indices = this.#instances.get(processGuid);
    if (indices === undefined) this.#instances.set(processGuid, new Set([index]));
    else indices.add(index);
  }

  #close(processGuid: ProcessGuid, index: number): void {
    const indices = this.#instances.get(processGuid);
    indices?.delete(index);
    if (indices?.size === 0) this.#instances.delete(processGuid);
  }
}
