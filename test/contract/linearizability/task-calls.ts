// What clients ask of a task, drawn and made.

import { type Task, TaskDefinition } from "@muster/proto/models/task";
import type { BBSServiceClient } from "@muster/proto/muster/v1/bbs";
import type { Entropy } from "@muster/shared/clock";
import { collect, serverStream, unary } from "@muster/shared/rpc";
import { taskStates } from "../../support/diego-schema.js";
import { drawWeighted, type Weighted } from "./draw.js";
import { alreadyStarted, type TaskCell, type TaskOp, type TaskView, taskCells, taskText } from "./task-model.js";

const weights: Weighted<TaskOp["do"]> = [
  ["desireTask", 14],
  ["startTask", 16],
  ["completeTask", 14],
  ["cancelTask", 6],
  ["resolveTask", 14],
  ["deleteTask", 14],
  ["readTask", 14],
  ["listTask", 8],
];

/** `lastCell`: where it was started last, as far as its clients know. */
export function drawTaskOp(key: { lastCell: TaskCell }, unique: string, entropy: Entropy): TaskOp {
  const kind = drawWeighted(weights, entropy);
  const anyCell = (): TaskCell => taskCells[entropy.below(taskCells.length)] ?? taskCells[0];
  switch (kind) {
    case "desireTask":
      return { do: kind, annotation: unique };
    case "startTask":
      key.lastCell = anyCell();
      return { do: kind, cell: key.lastCell };
    case "completeTask":
      return { do: kind, cell: entropy.below(4) === 0 ? anyCell() : key.lastCell, result: unique };
    default:
      return { do: kind };
  }
}

export interface TaskDoors {
  readonly operator: BBSServiceClient;
  readonly cells: Readonly<Record<TaskCell, BBSServiceClient>>;
  readonly deadlineMs: number;
}

/** Asks once. A domain of its own for each task, so that a list holds nothing else. @throws BbsError */
export async function callTask({ operator, cells, deadlineMs }: TaskDoors, taskGuid: string, op: TaskOp): Promise<string> {
  const bounds = { deadlineMs };
  switch (op.do) {
    case "desireTask": {
      const taskDefinition = TaskDefinition.fromPartial({
        rootFs: "preloaded:busybox",
        action: { runAction: { path: "/bin/true", user: "vcap" } },
        annotation: op.annotation,
      });
      await unary(operator.desireTask.bind(operator), { taskGuid, domain: taskGuid, taskDefinition }, bounds);
      return "ok";
    }
    case "startTask": {
      const client = cells[op.cell];
      const { shouldStart } = await unary(client.startTask.bind(client), { taskGuid, cellId: op.cell }, bounds);
      return shouldStart ? "ok" : alreadyStarted;
    }
    case "completeTask": {
      const client = cells[op.cell];
      const outcome = { failed: false, failureReason: "", result: op.result };
      await unary(client.completeTask.bind(client), { taskGuid, cellId: op.cell, ...outcome }, bounds);
      return "ok";
    }
    case "cancelTask":
      await unary(operator.cancelTask.bind(operator), { taskGuid }, bounds);
      return "ok";
    case "resolveTask":
      await unary(operator.resolvingTask.bind(operator), { taskGuid }, bounds);
      return "ok";
    case "deleteTask":
      await unary(operator.deleteTask.bind(operator), { taskGuid }, bounds);
      return "ok";
    case "readTask":
      return textOf((await unary(operator.taskByGuid.bind(operator), { taskGuid }, bounds)).task);
    case "listTask": {
      const request = { domain: taskGuid, cellId: "" };
      return textOf((await collect(serverStream(operator.tasks.bind(operator), request, bounds), (chunk) => chunk.tasks))[0]);
    }
  }
}

/** An empty list says the same as the refusal of a single read. */
function textOf(task: Task | undefined): string {
  if (task === undefined) return "ResourceNotFound";
  const { cellId: cell, failureReason, result } = task;
  const state = taskStates[task.state] as TaskView["state"];
  return taskText({ state, annotation: task.taskDefinition?.annotation ?? "", cell, failureReason, result });
}
