// Diego's calls about tasks over the active BBS.
import { TaskDefinition as TaskDefinitionCodec, type Task as WireTask } from "@muster/proto/models/task";
import type * as task from "@muster/proto/models/task_requests";
import { taskToWire } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import { asCellId, asTaskGuid, type Task, type TaskGuid } from "@muster/shared/model";
import type { ActiveBbs } from "../active/active-bbs.js";
import type { CoreState } from "../core/decision.js";
import {
  cancelTask,
  completeTask,
  deleteTask,
  desireTask,
  failTask,
  rejectTask,
  resolvingTask,
  startTask,
} from "../core/task.js";
import * as validation from "../core/validation/index.js";
import { type CallContext, listed, readable } from "./support.js";

const done = { error: undefined };

export class TaskCalls {
  readonly #active: ActiveBbs;

  constructor(active: ActiveBbs) {
    this.#active = active;
  }

  async tasks(request: task.TasksRequest): Promise<Iterable<WireTask>> {
    const picked = await this.#active.journal.read((state) =>
      pickTasks(state, request).map((record) => ({ record, sealed: sealedDefinition(state, record.taskGuid) })),
    );
    return listed(picked, ({ record, sealed }) => this.#openedTask(record, sealed));
  }

  /** A cell may read the definition of a task that runs there, and of no other. */
  async taskByGuid(request: task.TaskByGuidRequest, { peer }: CallContext): Promise<task.TaskResponse> {
    validation.validateTaskByGuid(request);
    const taskGuid = asTaskGuid(request.taskGuid);
    const { record, sealed } = await this.#active.journal.read((state) => {
      const found = state.tables.task(taskGuid);
      if (found === undefined) throw new BbsError("ResourceNotFound");
      if (peer.role === "cell") requireRunning(found, peer.cellId);
      return { record: found, sealed: sealedDefinition(state, taskGuid) };
    });
    return { error: undefined, task: this.#openedTask(record, sealed) };
  }

  #openedTask(record: Task, sealed: Uint8Array | undefined): WireTask {
    return readable("definition of task", record.taskGuid, sealed, (bytes) =>
      taskToWire(record, TaskDefinitionCodec.decode(this.#active.secrets.open(bytes))),
    );
  }

  async desireTask(request: task.DesireTaskRequest): Promise<task.TaskLifecycleResponse> {
    validation.validateDesireTask(request);
    const { taskGuid, domain, taskDefinition: definition } = request;
    if (definition === undefined) throw new BbsError("InvalidRequest");
    await this.#active.journal.submit(desireTask({ taskGuid, domain, definition }));
    return done;
  }

  async startTask(request: task.StartTaskRequest): Promise<task.StartTaskResponse> {
    validation.validateStartTask(request);
    const { shouldStart } = await this.#active.journal.submit(startTask(taskOnCell(request)));
    return { error: undefined, shouldStart };
  }

  async cancelTask(request: task.TaskGuidRequest): Promise<task.TaskLifecycleResponse> {
    validation.validateTaskGuid(request);
    await this.#active.journal.submit(cancelTask(asTaskGuid(request.taskGuid)));
    return done;
  }

  async failTask(request: task.FailTaskRequest): Promise<task.TaskLifecycleResponse> {
    validation.validateFailTask(request);
    await this.#active.journal.submit(failTask(asTaskGuid(request.taskGuid), request.failureReason));
    return done;
  }

  async rejectTask(request: task.RejectTaskRequest, context: CallContext): Promise<task.TaskLifecycleResponse> {
    validation.validateRejectTask(request);
    const { maxTaskRetries: maxRetries } = this.#active;
    const rejection = { taskGuid: asTaskGuid(request.taskGuid), reason: request.rejectionReason, maxRetries };
    await this.#active.journal.submit(rejectTask({ ...rejection, auctionId: context.auctionId }));
    return done;
  }

  async completeTask(request: task.CompleteTaskRequest): Promise<task.TaskLifecycleResponse> {
    validation.validateCompleteTask(request);
    const { failed, failureReason, result } = request;
    await this.#active.journal.submit(completeTask({ ...taskOnCell(request), failed, failureReason, result }));
    return done;
  }

  async resolvingTask(request: task.TaskGuidRequest): Promise<task.TaskLifecycleResponse> {
    validation.validateTaskGuid(request);
    await this.#active.journal.submit(resolvingTask(asTaskGuid(request.taskGuid)));
    return done;
  }

  async deleteTask(request: task.TaskGuidRequest): Promise<task.TaskLifecycleResponse> {
    validation.validateTaskGuid(request);
    await this.#active.journal.submit(deleteTask(asTaskGuid(request.taskGuid)));
    return done;
  }
}

const sealedDefinition = (state: CoreState, taskGuid: TaskGuid): Uint8Array | undefined =>
  state.tables.taskDefinitions.get(taskGuid)?.sealed;

const pickTasks = (state: CoreState, { domain, cellId }: task.TasksRequest): Task[] =>
  [...(cellId === "" ? state.tables.tasks.values() : state.tables.tasksOnCell(asCellId(cellId)))].filter(
    (record) => domain === "" || record.domain === domain,
  );

const taskOnCell = ({ taskGuid, cellId }: Pick<task.StartTaskRequest, "taskGuid" | "cellId">) => ({
  taskGuid: asTaskGuid(taskGuid),
  cellId: asCellId(cellId),
});

function requireRunning(record: Task, cellId: string): void {
  if (record.state === "RUNNING" && record.cellId === cellId) return;
  throw new BbsError("PermissionDenied", `cell ${cellId} does not run this task`, { task_guid: record.taskGuid });
}
