// Rows as the cell compares them with its containers.
import type { ActualLRP, ActualLRPNetInfo, Change, InstanceGuid } from "@muster/shared/model";

export type { ActualLRP, ActualLRPKey, ActualLRPNetInfo, InstanceGuid } from "@muster/shared/model";

export function sameNetInfo(a: ActualLRPNetInfo | undefined, b: ActualLRPNetInfo | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.address === b.address &&
    a.instanceAddress === b.instanceAddress &&
    a.ports.length === b.ports.length &&
    a.ports.every((port, at) => {
      const other = b.ports[at];
      return other !== undefined && port.containerPort === other.containerPort && port.hostPort === other.hostPort;
    })
  );
}

/** The instance that lost its row by this change, if any: the row went, or names another now. */
export function instanceThatLostItsRow(before: ActualLRP | undefined, after: ActualLRP | undefined): InstanceGuid | undefined {
  const held = before?.instanceKey?.instanceGuid;
  return held !== undefined && held !== after?.instanceKey?.instanceGuid ? held : undefined;
}

/** Every instance guid a change is about. */
export function instancesTouched(change: Change): readonly InstanceGuid[] {
  if (change.kind !== "actualLRP") return [];
  const guids = [change.before?.instanceKey?.instanceGuid, change.after?.instanceKey?.instanceGuid];
  return [...new Set(guids.filter((guid) => guid !== undefined))];
}
