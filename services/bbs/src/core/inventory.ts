// A cell's inventory, decided key by key, one command a key (races.md C5): the only place where a Suspect row is resolved.
import { BbsError } from "@muster/shared/errors";
import { type ActualLRP, type CellId, drop, type ProcessGuid, put, sameInstance, type Write } from "@muster/shared/model";
import { removed, type StartRequest, startActualLRP } from "./actual-lrp.js";
import { type Command, type CoreState, type DecisionContext, unchanged } from "./decision.js";

/** A container as the inventory has it; `started` is set for a running one. */
export interface InventoryContainer {
  readonly instanceGuid: string;
  readonly state: "CLAIMED" | "RUNNING" | "COMPLETED";
  readonly started: StartRequest | undefined;
}

export interface InventoryKey {
  readonly cellId: CellId;
  readonly processGuid: ProcessGuid;
  readonly index: number;
  /** All containers of this key on the cell. */
  readonly containers: readonly InventoryContainer[];
}

/** Brings the rows of one key that name this cell in line with what the cell holds. */
export const decideInventoryKey =
  (key: InventoryKey): Command<void> =>
  (state, context) => {
    const rows = state.tables.rows(key.processGuid, key.index);
    const held = (row: ActualLRP): InventoryContainer | undefined =>
      key.containers.find((container) => container.instanceGuid === row.instanceKey?.instanceGuid);
    const here = (row: ActualLRP | undefined): row is ActualLRP => row?.instanceKey?.cellId === key.cellId;
    const writes: Write[] = [];
    if (here(rows.EVACUATING) && held(rows.EVACUATING) === undefined) writes.push(drop("actualLRP", rows.EVACUATING));
    if (here(rows.SUSPECT)) {
      writes.push(...resolvedSuspect(rows.SUSPECT, rows.ORDINARY, held(rows.SUSPECT)));
      // An ordinary row on this very cell beside the suspect is judged by the next inventory or report: one decision at a time.
      return { writes, reply: undefined };
    }
    if (here(rows.ORDINARY)) writes.push(...ordinary(state, rows.ORDINARY, held(rows.ORDINARY), context));
    return writes.length === 0 ? unchanged(undefined) : { writes, reply: undefined };
  };

/**
 * Gone, or ended: the row goes. A running replacement has won. Otherwise the instance is back: it becomes Ordinary with its own tag
 * and `since`, in place of the replacement, whose container goes when its next claim or start is refused. A marked one (rule S3) is
 * never promoted; while its container is there the row stays, so that the cell sees the mark and stops it.
 */
function resolvedSuspect(
  suspect: ActualLRP,
  replacement: ActualLRP | undefined,
  container: InventoryContainer | undefined,
): Write[] {
  if (container === undefined || container.state === "COMPLETED") return [drop("actualLRP", suspect)];
  if (suspect.stopMarked) return [];
  if (replacement?.state === "RUNNING") return [drop("actualLRP", suspect)];
  return [drop("actualLRP", suspect), put("actualLRP", { ...suspect, presence: "ORDINARY" })];
}

function ordinary(
  state: CoreState,
  row: ActualLRP,
  container: InventoryContainer | undefined,
  context: DecisionContext,
): readonly Write[] {
  if (container === undefined) return [removed(state, row, context)];
  const { started } = container;
  if (started === undefined || row.state !== "CLAIMED" || !sameInstance(row.instanceKey, started.instanceKey)) return [];
  try {
    return startActualLRP(started)(state, context).writes;
  } catch (error) {
    // Refused here means that the cell's own report of the start is refused too, with its reason.
    if (error instanceof BbsError) return [];
    throw error;
  }
}
