// Desire, update and remove a DesiredLRP (bbs-semantics.md section 3; races.md W1, W3, S1, S4).
import type { DesiredLRPUpdate, DesiredLRP as WireDesiredLRP } from "@muster/proto/models/desired_lrp";
import { DesiredLRP as WireDesiredLRPCodec } from "@muster/proto/models/desired_lrp";
import { desiredLRPFromWire, metricTagsFromWire, routesFromWire, runInfoBytes } from "@muster/shared/codec";
import { BbsError } from "@muster/shared/errors";
import {
  type ActualLRP,
  type Continuation,
  type DesiredLRP,
  type DomainName,
  drop,
  epochMsToNs,
  keyOf,
  type ProcessGuid,
  put,
  type SealedBytes,
  type Write,
} from "@muster/shared/model";
import { flagEnabled, isDockerRootFs, isWanted, resolvedInternalRoutes, wantedInstances } from "@muster/shared/rules";
import { stopped } from "./actual-lrp.js";
import { type Command, type CoreState, type DecisionContext, maxCommandRecords, newUnclaimedRow } from "./decision.js";

/** Room for the DesiredLRP, its run information and the continuations in the same command. */
const rowsPerCommand = maxCommandRecords - 5;

/** What a desire is refused with, and a PENDING task fails with, while the flag is off. */
export const dockerDisabled = "Feature Disabled: diego_docker";

/** @throws BbsError FeatureDisabled naming the flag: refused before anything is written. */
export function requireDockerFlag(state: CoreState, rootFs: string): void {
  if (isDockerRootFs(rootFs) && !flagEnabled(state.tables, "diego_docker")) {
    throw new BbsError("FeatureDisabled", dockerDisabled, { flag: "diego_docker" });
  }
}

/** Desires a validated LRP; `message.routes` are compact JSON by now. @throws BbsError FeatureDisabled, ResourceExists */
export const desireLRP =
  (message: WireDesiredLRP): Command<void> =>
  (state, context) => {
    requireDockerFlag(state, message.rootFs);
    if (state.tables.desiredLRP(message.processGuid as ProcessGuid) !== undefined) throw new BbsError("ResourceExists");
    const desired = desiredLRPFromWire(message, { epoch: context.guid(), index: 0 }, epochMsToNs(context.nowMs));
    return {
      writes: [
        put("desiredLRP", desired),
        put("runInfo", { processGuid: desired.processGuid, sealed: context.seal(runInfoBytes(message)) }),
        ...createRows(state, desired, 0, context),
      ],
      reply: undefined,
    };
  };

/** Creates the missing rows from `fromIndex` on, and a continuation for what exceeds one command. */
function createRows(state: CoreState, desired: DesiredLRP, fromIndex: number, context: DecisionContext): Write[] {
  const toIndex = wantedInstances(state.tables, desired);
  const writes: Write[] = [];
  let index = fromIndex;
  for (; index < toIndex && writes.length < rowsPerCommand; index += 1) {
    if (state.tables.rows(desired.processGuid, index).ORDINARY !== undefined) continue;
    writes.push(put("actualLRP", newUnclaimedRow({ processGuid: desired.processGuid, index, domain: desired.domain }, context)));
  }
  if (index < toIndex) writes.push(put("continuation", continuation(desired, "CREATE", index)));
  return writes;
}

const continuation = (
  of: { readonly processGuid: ProcessGuid; readonly domain: DomainName },
  work: Continuation["work"],
  fromIndex: number,
): Continuation => ({ processGuid: of.processGuid, domain: of.domain, work, fromIndex });

/** After a gap of so many indices without a row, what lies beyond is looked for among all of the process. */
const longestGap = 1_000;

/**
 * A process's indices that have rows, from one on, in order. Made as they are taken: a step takes some hundred of them, and to look at
 * all of 100,000 instances at each step would hold up the event loop.
 */
function* indicesFrom(tables: CoreState["tables"], processGuid: ProcessGuid, fromIndex: number): Iterable<number> {
  const instances = tables.instancesOfProcess(processGuid);
  let index = fromIndex;
  for (let gap = 0; gap < longestGap; index += 1) {
    gap = instances.has(index) ? 0 : gap + 1;
    if (gap === 0) yield index;
  }
  const beyond: number[] = [];
  for (const at of instances.keys()) if (at >= index) beyond.push(at);
  yield* beyond.sort((a, b) => a - b);
}

function* rowsFrom(tables: CoreState["tables"], processGuid: ProcessGuid, fromIndex: number): Iterable<ActualLRP> {
  for (const index of indicesFrom(tables, processGuid, fromIndex)) {
    const { ORDINARY, EVACUATING, SUSPECT } = tables.rows(processGuid, index);
    if (ORDINARY !== undefined) yield ORDINARY;
    if (EVACUATING !== undefined) yield EVACUATING;
    if (SUSPECT !== undefined) yield SUSPECT;
  }
}

/** Stops every row at or above `fromIndex`, of every presence (rule W3), but those that are spared. */
function stopRows(
  state: CoreState,
  of: { readonly processGuid: ProcessGuid; readonly domain: DomainName },
  fromIndex: number,
  spared: (row: ActualLRP) => boolean = () => false,
): Write[] {
  const writes: Write[] = [];
  for (const row of rowsFrom(state.tables, of.processGuid, fromIndex)) {
    const write = spared(row) ? undefined : stopped(row);
    if (write === undefined) continue;
    if (writes.length >= rowsPerCommand) {
      writes.push(put("continuation", continuation(of, "STOP", row.index)));
      break;
    }
    writes.push(write);
  }
  return writes;
}

/** Applies a validated update. The tag moves on always, as Diego's does. @throws BbsError ResourceNotFound */
export const updateDesiredLRP =
  (processGuid: ProcessGuid, update: DesiredLRPUpdate): Command<void> =>
  (state, context) => {
    const before = state.tables.desiredLRP(processGuid);
    if (before === undefined) throw new BbsError("ResourceNotFound");
    const after = updatedRecord(before, update);
    const scaling = rescaled(state, before, after, context);
    const marks =
      toldInstances(before) !== toldInstances(after) ? markRows(state, after, 0, rowsPerCommand - scaling.length) : [];
    return {
      writes: [put("desiredLRP", after), ...updatedCredentials(state, processGuid, update, context), ...scaling, ...marks],
      reply: undefined,
    };
  };

/** What the instances of this LRP are told of routes and tags, in a form that can be compared. */
const toldInstances = (desired: DesiredLRP): string =>
  JSON.stringify([resolvedInternalRoutes(desired), [...desired.metricTags].sort(([a], [b]) => (a < b ? -1 : 1))]);

/**
 * Marks every instance from `fromIndex` on that stays, so that its cell fetches routes and tags anew; a continuation for what exceeds
 * `room`. Evacuating copies are left as they are, as in Diego.
 */
function markRows(state: CoreState, after: DesiredLRP, fromIndex: number, room: number): Write[] {
  const writes: Write[] = [];
  for (const row of rowsFrom(state.tables, after.processGuid, fromIndex)) {
    if (row.index >= after.instances) break;
    if (row.instanceKey === undefined || row.presence === "EVACUATING" || row.stopMarked || row.updateMarked) continue;
    if (writes.length >= room) {
      writes.push(put("continuation", continuation(after, "UPDATE", row.index)));
      break;
    }
    // The mark is Muster's own: neither tag nor `since` tells of it.
    writes.push(put("actualLRP", { ...row, updateMarked: true }));
  }
  return writes;
}

function updatedRecord(before: DesiredLRP, update: DesiredLRPUpdate): DesiredLRP {
  return {
    ...before,
    instances: update.optionalInstances?.value ?? before.instances,
    annotation: update.optionalAnnotation?.value ?? before.annotation,
    routes: update.routes === undefined ? before.routes : routesFromWire(update.routes),
    metricTags: Object.keys(update.metricTags).length === 0 ? before.metricTags : metricTagsFromWire(update.metricTags),
    modificationTag: { epoch: before.modificationTag.epoch, index: before.modificationTag.index + 1 },
  };
}

function updatedCredentials(
  state: CoreState,
  processGuid: ProcessGuid,
  update: DesiredLRPUpdate,
  context: DecisionContext,
): Write[] {
  const sealed = state.tables.runInfos.get(processGuid)?.sealed;
  if (update.optionalImageUsername === undefined || sealed === undefined) return [];
  return [put("runInfo", { processGuid, sealed: resealed(sealed, update, context) })];
}

function resealed(sealed: SealedBytes, update: DesiredLRPUpdate, context: DecisionContext): SealedBytes {
  const runInfo = openedRunInfo(sealed, context);
  const imageUsername = update.optionalImageUsername?.value ?? "";
  const imagePassword = update.optionalImagePassword?.value ?? "";
  return context.seal(WireDesiredLRPCodec.encode({ ...runInfo, imageUsername, imagePassword }).finish());
}

/** What no key opens any more, or no program reads, is not replaced by what an update alone knows. @throws BbsError Deserialize */
function openedRunInfo(sealed: SealedBytes, context: DecisionContext): WireDesiredLRP {
  try {
    return WireDesiredLRPCodec.decode(context.open(sealed));
  } catch (cause) {
    throw new BbsError("Deserialize", undefined, {}, cause);
  }
}

function rescaled(state: CoreState, before: DesiredLRP, after: DesiredLRP, context: DecisionContext): Write[] {
  if (after.instances > before.instances) return createRows(state, after, unmadeFrom(state, before), context);
  if (after.instances < before.instances) return stopRows(state, after, after.instances);
  return [];
}

/** Rows of an earlier desire or scale-up may still be to be made, and a process has one continuation of a kind: the new one takes it over. */
const unmadeFrom = (state: CoreState, { processGuid, instances }: DesiredLRP): number =>
  Math.min(instances, state.tables.get("continuation", `${processGuid}/CREATE`)?.fromIndex ?? instances);

/** Removes the desire and stops every instance. @throws BbsError ResourceNotFound */
export const removeDesiredLRP =
  (processGuid: ProcessGuid): Command<void> =>
  (state) => {
    const desired = state.tables.desiredLRP(processGuid);
    if (desired === undefined) throw new BbsError("ResourceNotFound");
    const moot = (["CREATE", "UPDATE"] as const)
      .map((work) => state.tables.get("continuation", `${processGuid}/${work}`))
      .filter((record) => record !== undefined);
    return {
      writes: [
        drop("desiredLRP", desired),
        { kind: "runInfo", key: processGuid, record: undefined },
        ...moot.map((record) => drop("continuation", record)),
        ...stopRows(state, desired, 0),
      ],
      reply: undefined,
    };
  };

/** S4: one more step of a continuation: up to 100 records, and the record itself moved on or deleted. */
export const workOff =
  (record: Continuation): Command<void> =>
  (state, context) => {
    const present = state.tables.get("continuation", keyOf.continuation(record));
    if (present === undefined) return { writes: [], reply: undefined };
    const writes = more[present.work](state, present, context);
    const goesOn = writes.some((write) => write.kind === "continuation");
    return { writes: goesOn ? writes : [...writes, drop("continuation", present)], reply: undefined };
  };

const more: Readonly<
  Record<Continuation["work"], (state: CoreState, record: Continuation, context: DecisionContext) => Write[]>
> = { CREATE: createMore, STOP: stopMore, UPDATE: markMore };

function markMore(state: CoreState, record: Continuation): Write[] {
  const desired = state.tables.desiredLRP(record.processGuid);
  return desired === undefined ? [] : markRows(state, desired, record.fromIndex, rowsPerCommand);
}

function createMore(state: CoreState, record: Continuation, context: DecisionContext): Write[] {
  const desired = state.tables.desiredLRP(record.processGuid);
  return desired === undefined ? [] : createRows(state, desired, record.fromIndex, context);
}

/** Whatever the freshness; spares only what a later desire or scale made wanted again. */
function stopMore(state: CoreState, record: Continuation): Write[] {
  const desired = state.tables.desiredLRP(record.processGuid);
  return stopRows(state, record, record.fromIndex, (row) => isWanted(state.tables, desired, row.index));
}
