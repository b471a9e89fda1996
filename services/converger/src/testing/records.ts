// Small records for tests.
import {
  type ActualLRP,
  type ActualLRPInstanceKey,
  asCellId,
  asDomainName,
  asEpochMs,
  asEpochNs,
  asInstanceGuid,
  asProcessGuid,
  asTaskGuid,
  type Cell,
  type DesiredLRP,
  type Domain,
  epochMsToNs,
  type Task,
} from "@muster/shared/model";
import * as plain from "@muster/shared/testing";

export const domainName = asDomainName("apps");

export const desiredLRP = (name: string, fields: Partial<DesiredLRP> = {}): DesiredLRP =>
  plain.desiredLRP({ processGuid: asProcessGuid(name), domain: domainName, ...fields });

export const actualLRP = (fields: Partial<ActualLRP>): ActualLRP =>
  plain.actualLRP({ domain: domainName, sinceNs: asEpochNs(0n), ...fields });

const instanceKey = (cellId: string): ActualLRPInstanceKey => ({ instanceGuid: asInstanceGuid("i"), cellId: asCellId(cellId) });

/** A CLAIMED row of `name` at `index` on a cell. */
export const claimed = (name: string, index: number, cellId: string): ActualLRP =>
  actualLRP({ processGuid: asProcessGuid(name), index, state: "CLAIMED", instanceKey: instanceKey(cellId) });

/** A PENDING task, desired and last changed at `sinceMs`. */
export const task = (name: string, sinceMs: number, fields: Partial<Task> = {}): Task => {
  const sinceNs = epochMsToNs(asEpochMs(sinceMs));
  return plain.task({ taskGuid: asTaskGuid(name), domain: domainName, createdAtNs: sinceNs, updatedAtNs: sinceNs, ...fields });
};

export const cell = (cellId: string, lostAtMs?: number): Cell =>
  plain.cell({ cellId: asCellId(cellId), lostAtMs: lostAtMs === undefined ? undefined : asEpochMs(lostAtMs) });

export const domain = (expiresAtMs?: number): Domain => ({
  name: domainName,
  expiresAtMs: expiresAtMs === undefined ? undefined : asEpochMs(expiresAtMs),
});
