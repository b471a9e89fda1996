// Rows, tasks and events as one line of text each, so that a table reads as sentences and a difference shows at once.
import type { Reply } from "../../support/diego-client.js";
import type { Message } from "../../support/diego-codec.js";
import type { StreamEvent } from "../../support/diego-events.js";
import { presences, taskStates } from "../../support/diego-schema.js";

// --- replies

export const replyText = ({ error, message }: Reply): string => {
  if (error !== undefined) return refused(error.type, error.message) + (message.keep_container === true ? " keep" : "");
  return ["ok", ...Object.entries(message).flatMap(([name, value]) => (value === true ? [name] : []))].join(" ");
};

export const refused = (type: string, message: string): string => `${type}: ${message}`;

export const notFound = refused("ResourceNotFound", "the requested resource could not be found");
export const exists = refused("ResourceExists", "the requested resource already exists");
export const cannot = (what: "claim" | "start" | "crash" | "fail" | "remove" | "unclaim"): string => {
  const past = { claim: "Claimed", start: "Started", crash: "Crashed", fail: "Failed", remove: "Removed", unclaim: "Unclaimed" };
  return refused(`ActualLRPCannotBe${past[what]}`, `cannot ${what} actual LRP`);
};
export const invalid = (...texts: string[]): string => refused("InvalidRequest", texts.join(", "));
export const invalidField = (...fields: string[]): string => invalid(...fields.map((field) => `Invalid field: ${field}`));
export const undecodable = invalid("the request received is invalid");
export const noTransition = (from: string, to: string): string =>
  refused("InvalidStateTransition", `Cannot transition from ${from} to ${to}`);

/** Muster's own refusals travel over HTTP as the nearest of Diego's types. */
export const overHttp = (text: string): string =>
  text.replace(/^(FeatureDisabled|PermissionDenied|Unimplemented):/, "InvalidRequest:");

// --- actual LRPs

const presenceText = (lrp: Message): string => (lrp.presence ? `${presences[lrp.presence]} ` : "");
const keyText = (key: Message | undefined): string => key?.instance_guid ?? "";
const indexText = (key: Message): string => (key.index ? `#${key.index} ` : "");

/** `RUNNING a`, `SUSPECT RUNNING a`, `UNCLAIMED`, with the index in front when it is not 0. */
export const lrpText = (lrp: Message): string =>
  `${indexText(lrp.actual_lrp_key)}${presenceText(lrp)}${lrp.state} ${keyText(lrp.actual_lrp_instance_key)}`.trimEnd();

const sameEpoch = (one: Message, other: Message): boolean => one.modification_tag.epoch === other.modification_tag.epoch;

/**
 * A row against what was there before the call: `+n` is how far its modification tag moved, `new` a new row with a new epoch. `since`
 * moves with the tag; where it does not, that is said. Crash count, crash reason and placement error show when they are there.
 */
export function rowText(row: Message, before: readonly Message[]): string {
  const old = before.find((one) => sameEpoch(one, row));
  const { epoch, index = 0 } = row.modification_tag;
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(epoch)) throw new Error(`no epoch: ${epoch}`);
  const moved = old === undefined ? undefined : index - (old.modification_tag.index ?? 0);
  const parts = [lrpText(row), moved === undefined ? "new" : `+${moved}`];
  if (moved === undefined && index !== 0) parts.push(`at tag ${index}`);
  const later = old !== undefined && row.since > old.since;
  if (old !== undefined && later !== (moved !== 0)) parts.push(later ? "later" : "same since");
  if (row.crash_count) parts.push(`crashes=${row.crash_count}`);
  if (row.crash_reason) parts.push(`"${row.crash_reason}"`);
  if (row.placement_error) parts.push(`placement="${row.placement_error}"`);
  if ((row.state === "RUNNING") !== (row.actual_lrp_net_info.address !== undefined)) parts.push("net info does not fit");
  return parts.join(" ");
}

// --- events

const groupText = (group: Message): string =>
  [
    ...(group.instance === undefined ? [] : [`instance ${lrpText(group.instance)}`]),
    ...(group.evacuating === undefined ? [] : [`evacuating ${lrpText(group.evacuating)}`]),
  ].join(", ");

const infoText = (info: Message): string => `${presenceText(info)}${info.state}`;

/** Whose event it is; `undefined` where it is nobody's of the tables. */
export function guidOf({ message }: StreamEvent): string | undefined {
  const lrp = message.actual_lrp ?? message;
  const group = message.actual_lrp_group ?? message.after ?? message.before;
  const member = group?.instance ?? group?.evacuating;
  const desired = message.desired_lrp ?? message.after;
  const task = message.task ?? message.after;
  return (
    lrp.actual_lrp_key?.process_guid ??
    member?.actual_lrp_key.process_guid ??
    desired?.process_guid ??
    task?.task_guid ??
    undefined
  );
}

export function eventText({ name, message }: StreamEvent): string {
  switch (name) {
    case "actual_lrp_instance_created":
      return `created ${lrpText(message.actual_lrp)}`;
    case "actual_lrp_instance_removed":
      return `removed ${lrpText(message.actual_lrp)}`;
    case "actual_lrp_instance_changed": {
      const { before, after, actual_lrp_key: key, actual_lrp_instance_key: of } = message;
      return `changed ${indexText(key)}${keyText(of)}: ${infoText(before)} → ${infoText(after)}`.replace(
        "changed : ",
        "changed: ",
      );
    }
    case "actual_lrp_crashed":
      return `crashed ${keyText(message.actual_lrp_instance_key)} ${message.crash_count} "${message.crash_reason ?? ""}"`;
    case "actual_lrp_created":
      return `created ${groupText(message.actual_lrp_group)}`;
    case "actual_lrp_removed":
      return `removed ${groupText(message.actual_lrp_group)}`;
    case "actual_lrp_changed":
      return `changed ${groupText(message.before)} → ${groupText(message.after)}`;
    case "task_changed":
      return `changed ${taskText(message.before)} → ${taskText(message.after)}`;
    case "task_created":
    case "task_removed":
      return `${name.slice("task_".length)} ${taskText(message.task)}`;
    default:
      return name.replace("desired_lrp_", "desired ");
  }
}

// --- tasks

/** `Running cell-1`, `Completed failed "reason"`, with result and rejections when they are there. */
export function taskText(task: Message): string {
  const parts: string[] = [taskStates[task.state ?? 0] ?? String(task.state)];
  if (task.cell_id) parts.push(task.cell_id);
  if (task.failed) parts.push("failed");
  if (task.failure_reason) parts.push(`"${task.failure_reason}"`);
  if (task.result) parts.push(`result="${task.result}"`);
  if (task.rejection_count) parts.push(`rejections=${task.rejection_count} "${task.rejection_reason ?? ""}"`);
  return parts.join(" ");
}
