// The evacuation calls (bbs-semantics.md section 5, the rules of EvacuateRunning by their numbers; races.md W1, W3, W4, S2, E1).
import { expect } from "vitest";
import type { Entry, Given } from "../entry.js";
import { netInfo, type Stage } from "../stage.js";
import { invalidField, notFound, undecodable } from "../texts.js";
import * as is from "./givens.js";
import { evacuate, evacuateCrashed, removeEvacuating, scaledTo, steps } from "./givens.js";

const none: readonly string[] = [];
const unmoved = { instance: none, group: none };
const reason = '"exit status 1"';
const kept = "ok keep_container";

const given = (name: string, ...reach: readonly ((stage: Stage) => Promise<unknown>)[]): Given => ({
  name,
  reach: steps(...reach),
});

export const evacuations: readonly Entry[] = [
  { given: is.nothing, call: removeEvacuating("a"), reply: notFound, rows: [], ...unmoved },
  { given: is.runningA, call: removeEvacuating("a"), reply: notFound, rows: ["RUNNING a +0"], ...unmoved },
  { given: is.suspect, call: removeEvacuating("a"), reply: notFound, rows: ["UNCLAIMED +0", "SUSPECT RUNNING a +0"], ...unmoved },
  {
    given: is.evacuating,
    call: removeEvacuating("a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed EVACUATING RUNNING a"],
    group: ["removed evacuating EVACUATING RUNNING a"],
  },
  {
    given: is.evacuating,
    call: removeEvacuating("b"),
    reply: notFound,
    rows: ["UNCLAIMED +0", "EVACUATING RUNNING a +0"],
    ...unmoved,
  },

  { given: is.nothing, call: evacuate("Claimed", "a"), reply: notFound, rows: [], ...unmoved },
  { given: is.unclaimed, call: evacuate("Claimed", "a"), reply: notFound, rows: ["UNCLAIMED +0"], ...unmoved },
  { given: is.claimedA, call: evacuate("Claimed", "b"), reply: notFound, rows: ["CLAIMED a +0"], ...unmoved },
  {
    given: is.claimedA,
    call: evacuate("Claimed", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +1"],
    instance: ["created UNCLAIMED", "removed CLAIMED a"],
    group: ["changed instance CLAIMED a → instance UNCLAIMED"],
  },
  {
    given: is.runningA,
    call: evacuate("Claimed", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +1"],
    instance: ["created UNCLAIMED", "removed RUNNING a"],
  },
  {
    given: is.suspectClaimed,
    call: evacuate("Claimed", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed SUSPECT CLAIMED a"],
  },
  {
    given: is.evacuating,
    call: evacuate("Claimed", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed EVACUATING RUNNING a"],
  },
  // S2: a stop-marked row does not go back to waiting, it is gone.
  { given: is.retiredClaimed, call: evacuate("Claimed", "a"), reply: "ok", rows: [], instance: ["removed CLAIMED a"] },
  { given: is.surplusClaimed, call: evacuate("Claimed", "a"), reply: "ok", rows: [], instance: ["removed CLAIMED a"] },

  { given: is.nothing, call: evacuateCrashed("a"), reply: notFound, rows: [], ...unmoved },
  { given: is.runningA, call: evacuateCrashed("b"), reply: notFound, rows: ["RUNNING a +0"], ...unmoved },
  // The crash policy, but without a crashed event where the row ends UNCLAIMED.
  {
    given: is.runningA,
    call: evacuateCrashed("a"),
    reply: "ok",
    rows: [`UNCLAIMED +1 crashes=1 ${reason}`],
    instance: ["created UNCLAIMED", "removed RUNNING a"],
    group: ["changed instance RUNNING a → instance UNCLAIMED"],
  },
  {
    given: is.crashedTwice,
    call: evacuateCrashed("c"),
    reply: "ok",
    rows: [`CRASHED +1 crashes=3 ${reason}`],
    instance: [`crashed c 3 ${reason}`, "changed c: CLAIMED → CRASHED"],
    group: [`crashed c 3 ${reason}`, "changed instance CLAIMED c → instance CRASHED"],
  },
  { given: is.suspect, call: evacuateCrashed("a"), reply: "ok", rows: ["UNCLAIMED +0"], instance: ["removed SUSPECT RUNNING a"] },
  {
    given: is.evacuating,
    call: evacuateCrashed("a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed EVACUATING RUNNING a"],
  },
  { given: is.retiredRunning, call: evacuateCrashed("a"), reply: "ok", rows: [] },

  { given: is.nothing, call: evacuate("Stopped", "a"), reply: notFound, rows: [], ...unmoved },
  { given: is.claimedA, call: evacuate("Stopped", "b"), reply: notFound, rows: ["CLAIMED a +0"], ...unmoved },
  // W4: the index is still wanted.
  {
    given: is.runningA,
    call: evacuate("Stopped", "a"),
    reply: "ok",
    rows: ["UNCLAIMED new"],
    instance: ["created UNCLAIMED", "removed RUNNING a"],
  },
  { given: is.unwantedRunning, call: evacuate("Stopped", "a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },
  {
    given: is.suspect,
    call: evacuate("Stopped", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed SUSPECT RUNNING a"],
  },
  {
    given: is.evacuatingAndClaimed,
    call: evacuate("Stopped", "a"),
    reply: "ok",
    rows: ["CLAIMED b +0"],
    instance: ["removed EVACUATING RUNNING a"],
    group: ["removed evacuating EVACUATING RUNNING a"],
  },
  { given: is.retiredRunning, call: evacuate("Stopped", "a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },
];

const recreate = (instances: number) => (stage: Stage) => stage.desire({ update_strategy: 1, instances });
const replacementRuns = is.evacuatingAndRunning("EVACUATING a replaced by RUNNING b", (stage) => stage.start("b"));
/** Marked while its index was surplus; a marked copy outlives the start of its replacement (decision 0005). */
const markedBesideRunning = is.evacuatingAndRunning(
  "EVACUATING RUNNING a stop-marked, RUNNING b",
  steps(scaledTo(0), scaledTo(1), (stage) => stage.start("b")),
);
const evacuatingSurplus = is.evacuatingAndRunning("EVACUATING RUNNING a, scaled to 0", scaledTo(0));

/** Another address: what a copy that says something new says. */
const moved = { actual_lrp_net_info: { ...netInfo, address: "10.0.0.2" } };

export const ofRunning: readonly Entry[] = [
  // 1: no row of this index.
  { given: is.nothing, call: evacuate("Running", "a"), reply: "ok", rows: [], ...unmoved },
  { given: is.noRow, call: evacuate("Running", "a"), reply: "ok", rows: [], ...unmoved },
  // 2: the index is somebody else's, or nobody's: the copy goes, and so does the container.
  { given: is.runningA, call: evacuate("Running", "b"), reply: "ok", rows: ["RUNNING a +0"], ...unmoved },
  { given: replacementRuns, call: evacuate("Running", "a"), reply: "ok", rows: ["RUNNING b +0"], ...unmoved },
  { given: is.crashed, call: evacuate("Running", "a"), reply: "ok", rows: [`CRASHED +0 crashes=3 ${reason}`], ...unmoved },
  {
    given: markedBesideRunning,
    call: evacuate("Running", "a"),
    reply: "ok",
    rows: ["RUNNING b +0"],
    instance: ["removed EVACUATING RUNNING a"],
    group: ["removed evacuating EVACUATING RUNNING a"],
  },
  { given: evacuatingSurplus, call: evacuate("Running", "a"), reply: "ok", rows: [], instance: ["removed EVACUATING RUNNING a"] },
  // Diego leaves a row that is neither evacuating nor wanted to convergence; here it goes with its container.
  { given: is.unwantedRunning, call: evacuate("Running", "a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },
  {
    given: given(
      "SUSPECT RUNNING a, CRASHED",
      is.suspect.reach,
      ...(["b", "c", "d"] as const).map((letter) =>
        steps(
          (stage) => stage.claim(letter),
          (stage) => stage.crash(letter),
        ),
      ),
    ),
    call: evacuate("Running", "a"),
    reply: "ok",
    rows: [`CRASHED +0 crashes=3 ${reason}`],
    instance: ["removed SUSPECT RUNNING a"],
  },
  // 3 (and W1): nothing is wanted; a stop-marked row goes with its container (S2).
  { given: is.surplusRunning, call: evacuate("Running", "a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },
  { given: is.retiredRunning, call: evacuate("Running", "a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },

  // 5-9: RECREATE makes no copy.
  {
    given: given("RECREATE, UNCLAIMED", recreate(1)),
    call: evacuate("Running", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    ...unmoved,
  },
  {
    given: given("RECREATE, CLAIMED b", recreate(1), (stage) => stage.claim("b")),
    call: evacuate("Running", "a"),
    reply: "ok",
    rows: ["CLAIMED b +0"],
    ...unmoved,
  },
  {
    given: given(
      "RECREATE, EVACUATING RUNNING a of an earlier ROLLING desire",
      is.evacuating.reach,
      (stage) => stage.ok("controller", "RemoveDesiredLRP", { process_guid: stage.guid }),
      recreate(1),
    ),
    call: evacuate("Running", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed EVACUATING RUNNING a"],
  },
  {
    given: given(
      "RECREATE, SUSPECT RUNNING a, UNCLAIMED",
      recreate(1),
      (stage) => stage.start("a"),
      (stage) => stage.cellLost(),
    ),
    call: evacuate("Running", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed SUSPECT RUNNING a"],
  },
  {
    given: given("RECREATE, RUNNING a, all run", recreate(1), (stage) => stage.start("a")),
    call: evacuate("Running", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +1"],
    instance: ["created UNCLAIMED", "removed RUNNING a"],
    group: ["changed instance RUNNING a → instance UNCLAIMED"],
  },
  // One at a time: while another is not back, this one stays.
  {
    given: given("RECREATE, RUNNING a, another does not run", recreate(2), (stage) => stage.start("a")),
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["RUNNING a +0", "#1 UNCLAIMED +0"],
    ...unmoved,
  },
  // Diego waits until the row says RUNNING too; the cell's word that the container runs is enough here.
  {
    given: given("RECREATE, CLAIMED a", recreate(1), (stage) => stage.claim("a")),
    call: evacuate("Running", "a"),
    reply: "ok",
    rows: ["UNCLAIMED +1"],
    instance: ["created UNCLAIMED", "removed CLAIMED a"],
  },

  // 10: another copy is there already.
  {
    given: is.evacuating,
    call: evacuate("Running", "b"),
    reply: "ok",
    rows: ["UNCLAIMED +0", "EVACUATING RUNNING a +0"],
    ...unmoved,
  },
  // 11: the copy, made from what the cell says.
  {
    given: is.unclaimed,
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["UNCLAIMED +0", "EVACUATING RUNNING a new"],
    instance: ["created EVACUATING RUNNING a"],
    group: ["created evacuating EVACUATING RUNNING a"],
    after: async (stage) => {
      const copy = (await stage.rows()).at(-1);
      expect(copy).toMatchObject({
        actual_lrp_net_info: netInfo,
        actual_lrp_internal_routes: [{ hostname: "app.internal" }],
        metric_tags: { source_id: "app" },
        routable: true,
        availability_zone: "z1",
      });
      expect(copy?.crash_count).toBeUndefined();
    },
  },
  {
    given: given("CLAIMED b", is.unclaimed.reach, (stage) => stage.claim("b")),
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["CLAIMED b +0", "EVACUATING RUNNING a new"],
    instance: ["created EVACUATING RUNNING a"],
  },
  {
    given: is.evacuating,
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["UNCLAIMED +0", "EVACUATING RUNNING a +0"],
    ...unmoved,
  },
  {
    given: is.evacuating,
    call: evacuate("Running", "a", " with another address", moved),
    reply: kept,
    rows: ["UNCLAIMED +0", "EVACUATING RUNNING a +1"],
    // Diego says created, though the row was there.
    instance: ["changed a: EVACUATING RUNNING → EVACUATING RUNNING"],
  },
  {
    given: is.evacuatingAndClaimed,
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["CLAIMED b +0", "EVACUATING RUNNING a +0"],
    ...unmoved,
  },
  // 12: the row's own instance becomes the copy, the row waits for a place (E1: in one command).
  {
    given: is.runningA,
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["UNCLAIMED +1", "EVACUATING RUNNING a new"],
    instance: ["changed a: RUNNING → EVACUATING RUNNING", "created UNCLAIMED"],
    group: ["created evacuating EVACUATING RUNNING a", "changed instance RUNNING a → instance UNCLAIMED"],
    after: async (stage, _reply, [before]) => {
      // The copy counts its crashes anew; the row keeps what is its own.
      const [row, copy] = await stage.rows();
      expect(copy?.since).toBeGreaterThan(before?.since);
      expect(row?.actual_lrp_instance_key).toEqual({});
    },
  },
  {
    given: is.claimedA,
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["UNCLAIMED +1", "EVACUATING RUNNING a new"],
    instance: ["changed a: CLAIMED → EVACUATING RUNNING", "created UNCLAIMED"],
  },
  // 13: a suspect instance speaks up.
  {
    given: is.suspect,
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["UNCLAIMED +0", "EVACUATING RUNNING a new"],
    instance: ["changed a: SUSPECT RUNNING → EVACUATING RUNNING"],
    group: ["created evacuating EVACUATING RUNNING a", "changed instance SUSPECT RUNNING a → instance UNCLAIMED"],
  },
  {
    given: is.suspectAndClaimed,
    call: evacuate("Running", "a"),
    reply: kept,
    rows: ["CLAIMED b +0", "EVACUATING RUNNING a new"],
    instance: ["changed a: SUSPECT RUNNING → EVACUATING RUNNING"],
  },
  {
    given: is.runningA,
    call: {
      name: "evacuate a running, the deprecated way",
      httpOnly: true,
      make: (stage) => stage.call("cell-1", "EvacuateRunningActualLRP.r0", stage.started("a")),
    },
    reply: kept,
    rows: ["UNCLAIMED +1", "EVACUATING RUNNING a new"],
  },
  {
    given: is.unclaimed,
    call: {
      name: "evacuate a running, the deprecated way",
      httpOnly: true,
      make: (stage) => stage.call("cell-1", "EvacuateRunningActualLRP.r0", stage.started("a")),
    },
    reply: kept,
    rows: ["UNCLAIMED +0", "EVACUATING RUNNING a new"],
    // Internal routes and metric tags came later than this version of the call.
    after: async (stage) => {
      const copy = (await stage.rows()).at(-1);
      expect([copy?.actual_lrp_internal_routes, copy?.metric_tags]).toEqual([undefined, undefined]);
    },
  },
];

const kinds = [
  ["Claimed", " keep"],
  ["Running", " keep"],
  ["Crashed", ""],
  ["Stopped", ""],
] as const;

/** What cannot be understood: claimed and running containers stay, crashed and stopped ones go. */
export const notUnderstood: readonly Entry[] = kinds.flatMap(([kind, keep]): Entry[] => [
  {
    given: is.nothing,
    call: {
      name: `evacuate ${kind.toLowerCase()} without a key`,
      make: (stage) => stage.call("cell-1", `Evacuate${kind}ActualLRP`, { actual_lrp_instance_key: stage.instance("a") }),
    },
    reply:
      (kind === "Running"
        ? invalidField("actual_lrp_key", "actual_lrp_net_info")
        : kind === "Crashed"
          ? invalidField("actual_lrp_key", "error_message")
          : invalidField("actual_lrp_key")) + keep,
    rows: [],
  },
  {
    given: is.nothing,
    call: {
      name: `evacuate ${kind.toLowerCase()} with a body that is no protobuf`,
      httpOnly: true,
      make: (stage) => stage.call("cell-1", `Evacuate${kind}ActualLRP`, Buffer.from("0aff", "hex")),
    },
    reply: undecodable + keep,
    rows: [],
  },
]);
