// Whether two states of a record look the same to Diego's clients: Muster's own marks are on no message of theirs.
import { ActualLRP as ActualLRPCodec } from "@muster/proto/models/actual_lrp";
import { Task as TaskCodec } from "@muster/proto/models/task";
import { actualLRPToWire, taskToWire } from "@muster/shared/codec";
import type { ActualLRP, Task } from "@muster/shared/model";

const sameBytes = (a: { finish(): Uint8Array }, b: { finish(): Uint8Array }): boolean =>
  Buffer.compare(a.finish(), b.finish()) === 0;

/** The tag moves with nearly every change, so bytes are seldom compared. */
export const sameOnWire = (a: ActualLRP, b: ActualLRP): boolean =>
  a === b ||
  (a.modificationTag.index === b.modificationTag.index &&
    a.modificationTag.epoch === b.modificationTag.epoch &&
    sameBytes(ActualLRPCodec.encode(actualLRPToWire(a)), ActualLRPCodec.encode(actualLRPToWire(b))));

export const sameButPresence = (a: ActualLRP, b: ActualLRP): boolean =>
  a === b || sameOnWire(a, a.presence === b.presence ? b : { ...b, presence: a.presence });

export const sameTaskOnWire = (a: Task, b: Task): boolean =>
  a === b || sameBytes(TaskCodec.encode(taskToWire(a, undefined)), TaskCodec.encode(taskToWire(b, undefined)));
