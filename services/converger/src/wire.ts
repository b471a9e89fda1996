// Repairs as the BBS takes them.
import type { RepairItem } from "@muster/proto/muster/v1/repair";
import type { Presence } from "@muster/shared/model";
import type { Repair } from "@muster/shared/rules";

const presenceNumbers: Readonly<Record<Presence, number>> = { ORDINARY: 0, EVACUATING: 1, SUSPECT: 2 };

export const repairToWire = ({ rule, processGuid, index, presence, name }: Repair): RepairItem => ({
  rule,
  processGuid,
  index,
  presence: presenceNumbers[presence],
  name,
});
