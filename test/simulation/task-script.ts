// What the simulated tasks are: each guid names a kind, and the kind says what becomes of it on a cell.

import type { SimulatedEnd } from "@muster/garden/simulated";
import { DesireTaskRequest } from "@muster/proto/models/task_requests";
import type { FaultDice } from "./faults.js";

/** Desired so often of a hundred. */
const shares = {
  /** Ends well after a while. */
  quick: 40,
  /** Ends with status 1. */
  failing: 15,
  /** Runs until it is cancelled. */
  endless: 20,
  /** Asks for a root file system that no cell offers: fails once it was rejected too often. */
  nowhere: 5,
  /** Needs no docker: the flag is nothing to it. */
  stack: 10,
  /** Looks at an image, and needs no container. */
  inspect: 10,
} as const;
export type TaskKind = keyof typeof shares;

/** A stack of every simulated cell. */
export const stack = "sim";
const longestMs = 6_000;

export function drawKind(dice: FaultDice): TaskKind {
  let drawn = dice.stream("task kind").below(100);
  for (const [kind, share] of Object.entries(shares)) {
    if (drawn < share) return kind as TaskKind;
    drawn -= share;
  }
  return "quick";
}

export const taskGuidOf = (number: number, kind: TaskKind): string => `t-${number}-${kind}`;
export const kindOf = (taskGuid: string): TaskKind => taskGuid.slice(taskGuid.lastIndexOf("-") + 1) as TaskKind;

const rootFsOf: Readonly<Record<TaskKind, string>> = {
  quick: "docker:///library/job#v1",
  failing: "docker:///library/job#v1",
  endless: "docker:///library/job#v1",
  inspect: "docker:///library/job#v1",
  nowhere: "preloaded:elsewhere",
  stack: `preloaded:${stack}`,
};

export function taskRequest(taskGuid: string, domain: string): DesireTaskRequest {
  const kind = kindOf(taskGuid);
  const imageUrl = "docker:///library/job#v1";
  const action = kind === "inspect" ? { inspectImageAction: { imageUrl } } : { runAction: { path: "/bin/job", user: "root" } };
  const taskDefinition = { rootFs: rootFsOf[kind], memoryMb: 16, diskMb: 16, logGuid: taskGuid, action };
  return DesireTaskRequest.fromPartial({ taskGuid, domain, taskDefinition });
}

/** What a task's process does of itself. */
export function taskEnd(taskGuid: string, dice: FaultDice): SimulatedEnd | undefined {
  const kind = kindOf(taskGuid);
  if (kind === "endless") return undefined;
  const exitStatus = kind === "failing" ? 1 : 0;
  return { afterMs: dice.between("task length", 100, longestMs), exit: { exitStatus, signal: undefined, outOfMemory: false } };
}
