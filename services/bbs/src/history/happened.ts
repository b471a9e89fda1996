// What one committed change means to a person: an instance got a place, started, crashed; a task ended. Pure.
import type { ActualLRP, Change, Task } from "@muster/shared/model";

export type HappeningKind =
  | "waiting"
  | "not-placed"
  | "claimed"
  | "started"
  | "crashed"
  | "stopping"
  | "evacuating"
  | "suspect"
  | "returned"
  | "removed"
  | "task-created"
  | "task-rejected"
  | "task-started"
  | "task-completed"
  | "task-failed"
  | "task-removed";

/** About an instance (`processGuid` set) or a task (`taskGuid` set). Empty where there is nothing to say. */
export interface Happening {
  readonly kind: HappeningKind;
  readonly processGuid: string;
  readonly index: number;
  readonly taskGuid: string;
  readonly instanceGuid: string;
  readonly cellId: string;
  /** The crash reason, the placement error, a task's failure. */
  readonly reason: string;
  readonly crashCount: number;
}

/** The changes that came with a cell's crash report. */
export type CrashReports = Pick<WeakSet<Change>, "has">;

/** `undefined`: nothing a person would ask for. */
export function happened(change: Change, crashReports: CrashReports): Happening | undefined {
  if (change.kind === "actualLRP") return ofInstance(change, crashReports);
  return change.kind === "task" ? ofTask(change.before, change.after) : undefined;
}

const aboutRow = (kind: HappeningKind, row: ActualLRP, of: ActualLRP = row, reason = ""): Happening => ({
  kind,
  processGuid: row.processGuid,
  index: row.index,
  taskGuid: "",
  instanceGuid: of.instanceKey?.instanceGuid ?? "",
  cellId: of.instanceKey?.cellId ?? "",
  reason,
  crashCount: row.crashCount,
});

function ofInstance(change: Change & { readonly kind: "actualLRP" }, crashReports: CrashReports): Happening | undefined {
  const { before, after } = change;
  if (after === undefined) return before === undefined ? undefined : aboutRow("removed", before);
  if (after.presence !== "ORDINARY") return ofOtherPresence(before, after);
  const lost = before?.instanceKey !== undefined && after.instanceKey === undefined;
  // An instance that ran for long counts its crashes from 1 again, so that the count alone may not tell.
  if (lost && (after.crashCount > before.crashCount || crashReports.has(change)))
    return aboutRow("crashed", after, before, after.crashReason);
  const moved = before?.state !== after.state || before.instanceKey?.instanceGuid !== after.instanceKey?.instanceGuid;
  if (moved) return ofMove(before, after);
  if (after.placementError !== "" && after.placementError !== before.placementError)
    return aboutRow("not-placed", after, after, after.placementError);
  return after.stopMarked && !before.stopMarked ? aboutRow("stopping", after) : undefined;
}

/** A copy on a cell that is being emptied, or that is lost. */
function ofOtherPresence(before: ActualLRP | undefined, after: ActualLRP): Happening | undefined {
  if (before === undefined || before.instanceKey?.instanceGuid !== after.instanceKey?.instanceGuid)
    return aboutRow(after.presence === "EVACUATING" ? "evacuating" : "suspect", after);
  return after.stopMarked && !before.stopMarked ? aboutRow("stopping", after) : undefined;
}

function ofMove(before: ActualLRP | undefined, after: ActualLRP): Happening | undefined {
  switch (after.state) {
    case "UNCLAIMED":
      return aboutRow("waiting", after);
    case "CLAIMED":
      return aboutRow("claimed", after);
    case "RUNNING": {
      // Another row's instance in this place: its cell is back, or its evacuation was taken back.
      const returned = before !== undefined && before.modificationTag.epoch !== after.modificationTag.epoch;
      return aboutRow(returned ? "returned" : "started", after);
    }
    default:
      return undefined;
  }
}

const aboutTask = (kind: HappeningKind, task: Task, reason = "", cellId = task.cellId ?? ""): Happening => ({
  kind,
  processGuid: "",
  index: 0,
  taskGuid: task.taskGuid,
  instanceGuid: "",
  cellId,
  reason,
  crashCount: 0,
});

function ofTask(before: Task | undefined, after: Task | undefined): Happening | undefined {
  if (after === undefined) return before === undefined ? undefined : aboutTask("task-removed", before);
  if (before === undefined) return aboutTask("task-created", after);
  // Who held it until now is what a person asks for.
  const cellId = before.cellId ?? "";
  if (after.state === "COMPLETED" && before.state !== "COMPLETED" && before.state !== "RESOLVING")
    return aboutTask(after.failed ? "task-failed" : "task-completed", after, after.failureReason, cellId);
  if (after.rejectionCount > before.rejectionCount) return aboutTask("task-rejected", after, after.rejectionReason, cellId);
  return after.state === "RUNNING" && before.state !== "RUNNING" ? aboutTask("task-started", after) : undefined;
}
