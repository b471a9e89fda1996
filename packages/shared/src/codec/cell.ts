// Cell: our record <-> Diego's CellPresence <-> stored bytes.
import type { CellPresence } from "@muster/proto/models/cells";
import { Cell as StoredCell } from "@muster/proto/muster/store/v1/records";
import { asCellId, asEpochMs, type Cell } from "../model/index.js";
import { corrupt, mapToRecord } from "./support.js";

export const cellPresenceToWire = (cell: Cell): CellPresence => ({
  cellId: cell.cellId,
  repAddress: cell.repAddress,
  zone: cell.zone,
  capacity: { memoryMb: cell.memoryMb, diskMb: cell.diskMb, containers: cell.containers },
  rootfsProviders: cell.rootfsProviders.map((provider) => ({ name: provider.name, properties: [...provider.properties] })),
  placementTags: [...cell.placementTags],
  optionalPlacementTags: [...cell.optionalPlacementTags],
  repUrl: cell.repUrl,
  annotations: mapToRecord(cell.annotations),
});

/** What a presence says, without who holds it. */
export type PresenceContent = Omit<Cell, "owner" | "ttlMs" | "evacuating" | "lostAtMs">;

export const cellPresenceFromWire = (presence: CellPresence): PresenceContent => ({
  cellId: asCellId(presence.cellId),
  repAddress: presence.repAddress,
  repUrl: presence.repUrl,
  zone: presence.zone,
  memoryMb: presence.capacity?.memoryMb ?? 0,
  diskMb: presence.capacity?.diskMb ?? 0,
  containers: presence.capacity?.containers ?? 0,
  rootfsProviders: presence.rootfsProviders,
  placementTags: presence.placementTags,
  optionalPlacementTags: presence.optionalPlacementTags,
  annotations: new Map(Object.entries(presence.annotations)),
});

export const encodeCell = (cell: Cell): Uint8Array =>
  StoredCell.encode({
    presence: cellPresenceToWire(cell),
    owner: cell.owner,
    ttlMs: cell.ttlMs,
    evacuating: cell.evacuating,
    lostAtMs: cell.lostAtMs === undefined ? undefined : BigInt(Math.round(cell.lostAtMs)),
  }).finish();

export function decodeCell(bytes: Uint8Array): Cell {
  const stored = StoredCell.decode(bytes);
  if (stored.presence === undefined) throw corrupt("Cell");
  return {
    ...cellPresenceFromWire(stored.presence),
    owner: stored.owner,
    ttlMs: stored.ttlMs,
    evacuating: stored.evacuating,
    lostAtMs: stored.lostAtMs === undefined ? undefined : asEpochMs(Number(stored.lostAtMs)),
  };
}
