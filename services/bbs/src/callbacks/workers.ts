// The completion callbacks of tasks: fed by commits and by convergence, carried out by a bounded number of workers. Each takes its task
// to RESOLVING first, so that no two tell of it at once; what fails is left there, and convergence brings it up again.
import type { Clock } from "@muster/shared/clock";
import type { Log } from "@muster/shared/log";
import type { Change, Task, TaskGuid } from "@muster/shared/model";
import { deleteTask, resolvingTask } from "../core/task.js";
import type { Journal } from "../journal/journal.js";
import { type Attempt, callbackAttempts, callbackBody, callbackUrl, failureOf, judgeAttempt } from "./message.js";
import type { PostCallback } from "./post.js";

export interface CallbackSettings {
  readonly post: PostCallback;
  /** So many callbacks are under way at once. */
  readonly workers: number;
  /** What one attempt may take. */
  readonly timeoutMs: number;
}

export interface CallbackOptions extends CallbackSettings {
  readonly journal: Pick<Journal, "submit">;
  readonly clock: Clock;
  readonly log: Log;
}

/** So many wait for a worker; those beyond come again with convergence, after 30 s. */
const maxWaiting = 10_000;

export class CallbackWorkers {
  readonly #options: CallbackOptions;
  readonly #waiting = new Set<TaskGuid>();
  /** One for each attempt under way. */
  readonly #attempts = new Set<AbortController>();
  #working = 0;
  #closed = false;

  constructor(options: CallbackOptions) {
    this.#options = options;
  }

  /** Takes up what has just completed, and what was demoted. */
  committed(changes: Iterable<{ readonly change: Change }>): void {
    for (const { change } of changes) {
      if (change.kind === "task" && change.after?.state === "COMPLETED" && change.before?.state !== "COMPLETED")
        this.offer(change.after);
    }
  }

  /** Asks for a task's callback to be made, if it has one; a task already waiting waits once. */
  offer(task: Task): void {
    if (task.state !== "COMPLETED" || task.completionCallbackUrl === "") return;
    if (callbackUrl(task) === undefined) {
      this.#options.log.warn({ task_guid: task.taskGuid }, "task's callback url is neither http nor https");
      return;
    }
    if (this.#closed || this.#waiting.size >= maxWaiting) return;
    this.#waiting.add(task.taskGuid);
    void this.#work();
  }

  /** Ends every callback under way; the next leader's convergence makes them again. */
  close(): void {
    this.#closed = true;
    this.#waiting.clear();
    for (const attempt of this.#attempts) attempt.abort();
  }

  async #work(): Promise<void> {
    if (this.#working >= this.#options.workers) return;
    this.#working += 1;
    try {
      for (const taskGuid of this.#waiting) {
        this.#waiting.delete(taskGuid);
        await this.#callBack(taskGuid);
      }
    } finally {
      this.#working -= 1;
    }
  }

  async #callBack(taskGuid: TaskGuid): Promise<void> {
    const { journal, log } = this.#options;
    try {
      const task = await journal.submit(resolvingTask(taskGuid));
      if (await this.#delivered(task)) await journal.submit(deleteTask(taskGuid));
    } catch (err) {
      // Somebody else has it, it is gone, or the store is away: all of it is seen again by convergence.
      log.debug({ err, task_guid: taskGuid }, "task's callback left to convergence");
    }
  }

  async #delivered(task: Task): Promise<boolean> {
    const { log } = this.#options;
    const url = callbackUrl(task);
    if (url === undefined) return false;
    const body = callbackBody(task);
    for (let attempt = 1; attempt <= callbackAttempts && !this.#closed; attempt += 1) {
      const outcome = await this.#attempt(url, body);
      const verdict = judgeAttempt(outcome);
      const fields = { task_guid: task.taskGuid, attempt, ...outcome };
      if (verdict === "delivered") {
        log.debug(fields, "task's callback delivered");
        return true;
      }
      log.warn(fields, "task's callback failed");
      if (verdict === "given-up") return false;
    }
    return false;
  }

  async #attempt(url: URL, body: string): Promise<Attempt> {
    const { clock, post, timeoutMs } = this.#options;
    const attempt = new AbortController();
    let late = false;
    const cancel = clock.after(timeoutMs, () => {
      late = true;
      attempt.abort();
    });
    this.#attempts.add(attempt);
    try {
      return { status: await post(url, body, attempt.signal) };
    } catch (error) {
      return late ? { failure: "timeout" } : failureOf(error);
    } finally {
      cancel();
      this.#attempts.delete(attempt);
    }
  }
}
