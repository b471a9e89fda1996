// What holds after every command on one process's rows, whatever came before (convergence.md 11; races.md W1, S1, S2, E1): long random
// lives of two indices on three cells, with scaling, retirement, cell loss, convergence, reports and evacuations in any order.
import { BbsError } from "@muster/shared/errors";
import { type ActualLRP, asCellId, asDomainName, asEpochMs, put, sameInstance, type Write } from "@muster/shared/model";
import { isWanted, planConvergence } from "@muster/shared/rules";
import { cell, desiredLRP } from "@muster/shared/testing";
import fc from "fast-check";
import { it } from "vitest";
import { claimActualLRP, crashActualLRP, removeActualLRP, reportRemoved, retireActualLRP, startActualLRP } from "./actual-lrp.js";
import type { Command, CoreState } from "./decision.js";
import {
  cancelEvacuation,
  type EvacuationReply,
  evacuateClaimedActualLRP,
  evacuateCrashedActualLRP,
  evacuateRunningActualLRP,
  evacuateStoppedActualLRP,
  removeEvacuatingActualLRP,
} from "./evacuation.js";
import { decideInventoryKey } from "./inventory.js";
import { applyRepair } from "./repairs.js";
import { contextAt, domain, fresh, instance, netInfo, processGuid, stateWith, t0 } from "./rows.test-support.js";

const cells = ["cell-1", "cell-2", "cell-3"];

/** One thing that happens; indices pick the key, the cell and one of two instances there. */
interface Step {
  readonly what: (typeof happenings)[number];
  readonly index: number;
  readonly cell: number;
  readonly copy: number;
}
const happenings = [
  "claim",
  "start",
  "crash",
  "removed",
  "remove",
  "retire",
  "evacuate-running",
  "evacuate-claimed",
  "evacuate-crashed",
  "evacuate-stopped",
  "remove-evacuating",
  "cancel-evacuation",
  "inventory-with",
  "inventory-without",
  "scale",
  "lose-cell",
  "return-cell",
  "converge",
] as const;

const steps = fc.array(
  fc.record<Step>({ what: fc.constantFrom(...happenings), index: fc.nat(1), cell: fc.nat(2), copy: fc.nat(1) }),
  { maxLength: 60 },
);

function commandOf({ what, index, cell: at, copy }: Step): Command<unknown> | undefined {
  const instanceKey = instance(`i${index}-${at}-${copy}`, cells[at] ?? "");
  const key = { processGuid, index, domain };
  const started = {
    key,
    instanceKey,
    netInfo,
    internalRoutes: [],
    metricTags: new Map<string, string>(),
    routable: true,
    availabilityZone: "z1",
  };
  const named = { processGuid, index, instanceKey };
  const container = { instanceGuid: instanceKey.instanceGuid, state: "RUNNING" as const, started };
  const inventory = { cellId: instanceKey.cellId, processGuid, index };
  switch (what) {
    case "claim":
      return claimActualLRP(named);
    case "start":
      return startActualLRP(started);
    case "crash":
      return crashActualLRP({ ...started, reason: "exited" });
    case "removed":
      return reportRemoved(named);
    case "remove":
      return removeActualLRP(named);
    case "retire":
      return retireActualLRP(key);
    case "evacuate-running":
      return evacuateRunningActualLRP(started);
    case "evacuate-claimed":
      return evacuateClaimedActualLRP(started);
    case "evacuate-crashed":
      return evacuateCrashedActualLRP({ ...started, reason: "exited" });
    case "evacuate-stopped":
      return evacuateStoppedActualLRP(started);
    case "remove-evacuating":
      return removeEvacuatingActualLRP(started);
    case "cancel-evacuation":
      return cancelEvacuation(started);
    case "inventory-with":
      return decideInventoryKey({ ...inventory, containers: [container] });
    case "inventory-without":
      return decideInventoryKey({ ...inventory, containers: [] });
    default:
      return undefined;
  }
}

const allRows = (state: CoreState): ActualLRP[] => [...state.tables.actualLRPs.values()];

/** `expect` for what is asked a hundred thousand times. */
function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** Every row is one that can be. */
function checkRows(state: CoreState): void {
  const instances = new Set<string>();
  for (const row of allRows(state)) {
    const placed = row.state === "CLAIMED" || row.state === "RUNNING";
    must((row.instanceKey !== undefined) === placed, "I2, I3: the instance key is there exactly in CLAIMED and RUNNING");
    must((row.netInfo !== undefined) === (row.state === "RUNNING"), "I2, I3: the address is there exactly in RUNNING");
    must(row.presence !== "EVACUATING" || row.state === "RUNNING", "I4: an Evacuating row is RUNNING");
    must(row.presence !== "SUSPECT" || placed, "I4: a Suspect row is CLAIMED or RUNNING");
    must(row.state !== "CRASHED" || row.crashCount >= 3, "I11: CRASHED from the third crash on");
    must(placed || !(row.stopMarked || row.updateMarked), "marks are about an instance");
    if (row.instanceKey === undefined) continue;
    must(!instances.has(row.instanceKey.instanceGuid), "I5: an instance is in one row");
    instances.add(row.instanceKey.instanceGuid);
  }
}

/** What one command may have done to rows. */
function checkStep(state: CoreState, before: readonly ActualLRP[]): void {
  const after = allRows(state);
  for (const old of before) {
    const sameRow = after.find((row) => row.modificationTag.epoch === old.modificationTag.epoch);
    must(sameRow === undefined || sameRow.modificationTag.index >= old.modificationTag.index, "I7: a tag never goes back");
    if (!old.stopMarked) continue;
    const held = after.find((row) => sameInstance(row.instanceKey, old.instanceKey));
    must(held === undefined || held.stopMarked, "S2: a mark is never taken back");
  }
  for (const row of after) {
    if (row.instanceKey === undefined || before.some((old) => sameInstance(old.instanceKey, row.instanceKey))) continue;
    const wanted = isWanted(state.tables, state.tables.desiredLRP(row.processGuid), row.index);
    must(wanted, "W1: nothing starts where nothing is wanted");
  }
}

function carryOut(state: CoreState, command: Command<unknown>): unknown {
  const before = allRows(state);
  let decision: ReturnType<typeof command>;
  try {
    decision = command(state, context);
  } catch (error) {
    if (error instanceof BbsError) return undefined;
    throw error;
  }
  state.tables.applyAll(decision.writes);
  checkRows(state);
  checkStep(state, before);
  return decision.reply;
}

/** Every row ever made has an epoch of its own, over all commands of a life. */
let epochs = 0;
const context = {
  ...contextAt(),
  guid: () => {
    epochs += 1;
    return `epoch-${epochs}`;
  },
};

const isEvacuation = (what: Step["what"]): boolean => what.startsWith("evacuate") || what === "cancel-evacuation";

/** The answer to an evacuation is what the records say: the cell keeps exactly what a row still names. */
function checkAnswer(state: CoreState, step: Step, reply: EvacuationReply): void {
  if (reply.refusal !== undefined) return;
  const guid = `i${step.index}-${step.cell}-${step.copy}`;
  const named = allRows(state).some((row) => row.instanceKey?.instanceGuid === guid);
  must(named === reply.keepContainer, `the cell keeps what a row names: ${step.what}`);
}

const runningRows = (state: CoreState, index: number): number => {
  const rows = state.tables.rows(processGuid, index);
  return [rows.ORDINARY, rows.EVACUATING, rows.SUSPECT].filter((row) => row?.state === "RUNNING").length;
};

function live(strategy: "ROLLING" | "RECREATE", life: readonly Step[]): void {
  const present = (at: number): Write => put("cell", cell({ cellId: asCellId(cells[at] ?? "") }));
  const desire = (instances: number): Write =>
    put("desiredLRP", desiredLRP({ instances, updateStrategy: strategy, domain: asDomainName("d") }));
  const state = stateWith(fresh, desire(2), ...cells.map((_name, at) => present(at)));
  const converge = (): void => {
    const time = { nowMs: t0, graceUntilMs: asEpochMs(0), leaderSinceMs: asEpochMs(0) };
    for (const repair of planConvergence(state.tables, time).repairs) carryOut(state, applyRepair(repair));
  };
  converge();
  for (const step of life) {
    const ran = runningRows(state, step.index);
    const wantedBefore = isWanted(state.tables, state.tables.desiredLRP(processGuid), step.index);
    const marked = allRows(state).some((row) => row.index === step.index && row.stopMarked);
    const command = commandOf(step);
    if (step.what === "scale") state.tables.apply(desire(step.cell));
    else if (step.what === "lose-cell")
      state.tables.apply(put("cell", cell({ cellId: asCellId(cells[step.cell] ?? ""), lostAtMs: asEpochMs(t0 - 60_000) })));
    else if (step.what === "return-cell") state.tables.apply(present(step.cell));
    else if (command === undefined) converge();
    else {
      const reply = carryOut(state, command);
      if (reply !== undefined && isEvacuation(step.what)) checkAnswer(state, step, reply as EvacuationReply);
      // I29: while its replacement does not run, a drained copy that nobody told to stop goes on running.
      const ordinary = state.tables.rows(processGuid, step.index).ORDINARY;
      const replaced = ordinary === undefined || ordinary.state === "CRASHED";
      if (strategy === "ROLLING" && step.what === "evacuate-running" && wantedBefore && !marked && !replaced && ran > 0)
        must(runningRows(state, step.index) > 0, "I29: some copy goes on running");
    }
  }
}

it.each(["ROLLING", "RECREATE"] as const)(
  "hold through every life of a %s process",
  (strategy) => {
    fc.assert(
      fc.property(steps, (life) => live(strategy, life)),
      { numRuns: 500 },
    );
  },
  30_000,
);
