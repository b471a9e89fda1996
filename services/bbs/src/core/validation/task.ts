// Requests about tasks (bbs-semantics.md 2.1 and 2.3).
import type { Action } from "@muster/proto/models/actions";
import type { SecurityGroupRule } from "@muster/proto/models/security_group";
import type { TaskDefinition } from "@muster/proto/models/task";
import type {
  CompleteTaskRequest,
  DesireTaskRequest,
  FailTaskRequest,
  RejectTaskRequest,
  StartTaskRequest,
  TaskByGuidRequest,
  TaskGuidRequest,
} from "@muster/proto/models/task_requests";
import { isDockerRootFs } from "@muster/shared/rules";
import { checkAction, checkFilled } from "./actions.js";
import { checkAnnotation, checkImages, checkResources, guidPattern, isLogRateLimit } from "./definition.js";
import { checkEgressRule } from "./egress.js";
import { Faults, validate } from "./faults.js";
import { checkLength } from "./limits.js";

/** @throws BbsError InvalidRequest with every fault. */
export const validateDesireTask = (request: DesireTaskRequest): void =>
  validate((faults) => {
    checkFilled(faults, { domain: request.domain });
    checkTaskGuid(faults, request.taskGuid);
    checkLength(faults, "task_guid", request.taskGuid);
    checkLength(faults, "domain", request.domain);
    if (request.taskDefinition === undefined) faults.field("task_definition");
    else checkDefinition(faults, request.taskDefinition);
  });

/** @throws BbsError InvalidRequest */
export const validateStartTask = (request: StartTaskRequest): void =>
  validate((faults) => checkTaskOnCell(faults, request.taskGuid, request.cellId));

/** @throws BbsError InvalidRequest */
export const validateCompleteTask = (request: CompleteTaskRequest): void =>
  validate((faults) => checkTaskOnCell(faults, request.taskGuid, request.cellId));

/** @throws BbsError InvalidRequest */
export const validateFailTask = (request: FailTaskRequest): void =>
  validate((faults) => {
    checkTaskGuid(faults, request.taskGuid);
    checkFilled(faults, { failure_reason: request.failureReason });
  });

/** Diego reports a missing rejection reason under the name of the older call's field. @throws BbsError InvalidRequest */
export const validateRejectTask = (request: RejectTaskRequest): void =>
  validate((faults) => {
    checkTaskGuid(faults, request.taskGuid);
    checkFilled(faults, { failure_reason: request.rejectionReason });
  });

/** For cancel, resolving and delete; no pattern. @throws BbsError InvalidRequest */
export const validateTaskGuid = (request: TaskGuidRequest): void =>
  validate((faults) => checkFilled(faults, { task_guid: request.taskGuid }));

/** @throws BbsError InvalidRequest */
export const validateTaskByGuid = (request: TaskByGuidRequest): void =>
  validate((faults) => checkFilled(faults, { task_guid: request.taskGuid }));

function checkTaskGuid(faults: Faults, taskGuid: string): void {
  if (!guidPattern.test(taskGuid)) faults.field("task_guid");
}

function checkTaskOnCell(faults: Faults, taskGuid: string, cellId: string): void {
  checkTaskGuid(faults, taskGuid);
  checkFilled(faults, { cell_id: cellId });
  checkLength(faults, "cell_id", cellId);
}

/** Environment names, volume mounts, mounted files, metric tags, callback URL and tags of a task are not validated, as in Diego. */
function checkDefinition(faults: Faults, definition: TaskDefinition): void {
  checkResources(faults, definition);
  checkTaskAction(faults, definition.action);
  if (!isLogRateLimit(definition.logRateLimit)) faults.field("log_rate_limit");
  checkAnnotation(faults, definition.annotation);
  checkImages(faults, definition);
  if (!definition.egressRules.every(isEgressRule)) faults.field("egress_rules");
}

/** Muster's own `inspect_image` may be a task's whole action, and nothing else's part. */
function checkTaskAction(faults: Faults, action: Action | undefined): void {
  const inspect = action?.inspectImageAction;
  if (inspect === undefined) checkAction(faults, "action", action);
  else if (!isDockerRootFs(inspect.imageUrl)) faults.field("image_url");
}

/** Of a task's egress rules Diego says only that one is wrong. */
function isEgressRule(rule: SecurityGroupRule): boolean {
  const found = new Faults();
  checkEgressRule(found, rule);
  return found.none;
}
