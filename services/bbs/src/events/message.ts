// Events as Diego's messages, by name, as bytes (bbs-wire.md A.5).
import type { ActualLRPInstanceKey as WireInstanceKey } from "@muster/proto/models/actual_lrp";
import type { DesiredLRP as WireDesiredLRP } from "@muster/proto/models/desired_lrp";
import * as wire from "@muster/proto/models/events";
import { TaskDefinition, type Task as WireTask } from "@muster/proto/models/task";
import { actualLRPKeyToWire, actualLRPToWire, desiredLRPToWire, instanceKeyToWire, taskToWire } from "@muster/shared/codec";
import type { ActualLRP, ActualLRPInstanceKey, DesiredLRP, SealedBytes, Task } from "@muster/shared/model";
import { type CrashedEvent, type DerivedEvent, type DesiredEvent, keyOfChange, type TaskEvent } from "./derive.js";
import { groupToWire } from "./group.js";
import type { Sealed } from "./note.js";
import { redactedDesiredLRP, redactedTaskDefinition } from "./redact.js";

/** How the definitions of DesiredLRPs and tasks are shown: opened and, for the r0 streams, made old. */
export interface Showing {
  readonly open: (sealed: SealedBytes) => Uint8Array;
  readonly desired: (desired: WireDesiredLRP) => WireDesiredLRP;
  readonly task: (task: WireTask) => WireTask;
}

export interface EventMessage {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const emptyKey: WireInstanceKey = { instanceGuid: "", cellId: "" };
const keyToWire = (key: ActualLRPInstanceKey | undefined): WireInstanceKey =>
  key === undefined ? emptyKey : instanceKeyToWire(key);

function infoOf(row: ActualLRP): wire.ActualLRPInfo {
  const shown = actualLRPToWire(row);
  return {
    actualLrpNetInfo: shown.actualLrpNetInfo,
    crashCount: shown.crashCount,
    crashReason: shown.crashReason,
    state: shown.state,
    placementError: shown.placementError,
    since: shown.since,
    modificationTag: shown.modificationTag,
    presence: shown.presence,
    optionalRoutable: { $case: "Routable", value: row.routable },
    availabilityZone: shown.availabilityZone,
  };
}

const crashed = ({ before, after }: CrashedEvent): EventMessage => ({
  name: "actual_lrp_crashed",
  bytes: wire.ActualLRPCrashedEvent.encode({
    actualLrpKey: actualLRPKeyToWire(after),
    actualLrpInstanceKey: keyToWire(before.instanceKey),
    crashCount: after.crashCount,
    crashReason: after.crashReason,
    since: after.sinceNs,
  }).finish(),
});

function desiredMessage(event: DesiredEvent, showing: Showing): EventMessage {
  const shown = ({ record, sealed }: Sealed<DesiredLRP>): WireDesiredLRP =>
    showing.desired(redactedDesiredLRP(desiredLRPToWire(record, sealed === undefined ? new Uint8Array() : showing.open(sealed))));
  const { traceId } = event;
  const name = `desired_lrp_${event.kind}`;
  if (event.kind === "changed") {
    const message = { before: shown(event.before), after: shown(event.after), traceId };
    return { name, bytes: wire.DesiredLRPChangedEvent.encode(message).finish() };
  }
  const codec = event.kind === "created" ? wire.DesiredLRPCreatedEvent : wire.DesiredLRPRemovedEvent;
  return { name, bytes: codec.encode({ desiredLrp: shown(event.desired), traceId }).finish() };
}

function taskMessage(event: TaskEvent, showing: Showing): EventMessage {
  const shown = ({ record, sealed }: Sealed<Task>): WireTask => {
    const definition = sealed === undefined ? undefined : redactedTaskDefinition(TaskDefinition.decode(showing.open(sealed)));
    return showing.task(taskToWire(record, definition));
  };
  const name = `task_${event.kind}`;
  if (event.kind === "changed") {
    return { name, bytes: wire.TaskChangedEvent.encode({ before: shown(event.before), after: shown(event.after) }).finish() };
  }
  const codec = event.kind === "created" ? wire.TaskCreatedEvent : wire.TaskRemovedEvent;
  return { name, bytes: codec.encode({ task: shown(event.task) }).finish() };
}

/** @throws BbsError when a definition cannot be opened, or a protobuf error. */
export function eventMessage(derived: DerivedEvent, showing: Showing): EventMessage {
  switch (derived.hub) {
    case "desired":
      return desiredMessage(derived.event, showing);
    case "task":
      return taskMessage(derived.event, showing);
    case "instance": {
      const { event } = derived;
      if (event.kind === "crashed") return crashed(event);
      const name = `actual_lrp_instance_${event.kind}`;
      if (event.kind === "changed") {
        const { before, after, traceId } = event;
        const message = {
          actualLrpKey: actualLRPKeyToWire(after),
          actualLrpInstanceKey: keyToWire(keyOfChange(event)),
          before: infoOf(before),
          after: infoOf(after),
          traceId,
        };
        return { name, bytes: wire.ActualLRPInstanceChangedEvent.encode(message).finish() };
      }
      const codec = event.kind === "created" ? wire.ActualLRPInstanceCreatedEvent : wire.ActualLRPInstanceRemovedEvent;
      return { name, bytes: codec.encode({ actualLrp: actualLRPToWire(event.row), traceId: event.traceId }).finish() };
    }
    case "group": {
      const { event } = derived;
      if (event.kind === "crashed") return crashed(event);
      const name = `actual_lrp_${event.kind}`;
      if (event.kind === "changed") {
        const message = { before: groupToWire(event.before), after: groupToWire(event.after) };
        return { name, bytes: wire.ActualLRPChangedEvent.encode(message).finish() };
      }
      const codec = event.kind === "created" ? wire.ActualLRPCreatedEvent : wire.ActualLRPRemovedEvent;
      return { name, bytes: codec.encode({ actualLrpGroup: groupToWire(event.group) }).finish() };
    }
  }
}
