// Crash, fail, remove and retire against every state of the row (bbs-semantics.md 4.3-4.5; races.md W4, S1, S2).
import type { Entry } from "../entry.js";
import { cannot, notFound } from "../texts.js";
import * as is from "./givens.js";
import { crashCall as crash, fail, remove, retire } from "./givens.js";

const none: readonly string[] = [];
const unmoved = { instance: none, group: none };
const reason = '"exit status 1"';

export const crashes: readonly Entry[] = [
  { given: is.nothing, call: crash("a"), reply: notFound, rows: [], ...unmoved },
  { given: is.unclaimed, call: crash("a"), reply: cannot("crash"), rows: ["UNCLAIMED +0"], ...unmoved },
  {
    given: is.claimedA,
    call: crash("a"),
    reply: "ok",
    rows: [`UNCLAIMED +1 crashes=1 ${reason}`],
    instance: [`crashed a 1 ${reason}`, "created UNCLAIMED", "removed CLAIMED a"],
    group: [`crashed a 1 ${reason}`, "changed instance CLAIMED a → instance UNCLAIMED"],
  },
  { given: is.claimedA, call: crash("b"), reply: cannot("crash"), rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.claimedA, call: crash("c"), reply: cannot("crash"), rows: ["CLAIMED a +0"], ...unmoved },
  {
    given: is.runningA,
    call: crash("a"),
    reply: "ok",
    rows: [`UNCLAIMED +1 crashes=1 ${reason}`],
    instance: [`crashed a 1 ${reason}`, "created UNCLAIMED", "removed RUNNING a"],
    group: [`crashed a 1 ${reason}`, "changed instance RUNNING a → instance UNCLAIMED"],
  },
  { given: is.runningA, call: crash("b"), reply: cannot("crash"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.runningA, call: crash("c"), reply: cannot("crash"), rows: ["RUNNING a +0"], ...unmoved },
  {
    given: is.runningA,
    call: { ...crash("a", ""), name: "crash a without a reason" },
    reply: "ok",
    rows: ["UNCLAIMED +1 crashes=1"],
    instance: ['crashed a 1 ""', "created UNCLAIMED", "removed RUNNING a"],
  },
  // The third crash waits for its back-off.
  {
    given: is.crashedTwice,
    call: crash("c"),
    reply: "ok",
    rows: [`CRASHED +1 crashes=3 ${reason}`],
    instance: [`crashed c 3 ${reason}`, "changed c: CLAIMED → CRASHED"],
    group: [`crashed c 3 ${reason}`, "changed instance CLAIMED c → instance CRASHED"],
  },
  { given: is.crashed, call: crash("c"), reply: cannot("crash"), rows: [`CRASHED +0 crashes=3 ${reason}`], ...unmoved },
  {
    given: is.suspect,
    call: crash("a"),
    reply: "ok",
    rows: ["UNCLAIMED +0"],
    instance: ["removed SUSPECT RUNNING a"],
    group: ["changed instance SUSPECT RUNNING a → instance UNCLAIMED"],
  },
  {
    given: is.suspectAndClaimed,
    call: crash("a"),
    reply: "ok",
    rows: ["CLAIMED b +0"],
    instance: ["removed SUSPECT RUNNING a"],
    group: ["created instance CLAIMED b", "removed instance SUSPECT RUNNING a"],
  },
  // The replacement's crash leaves the suspect as it is.
  {
    given: is.suspectAndClaimed,
    call: crash("b"),
    reply: "ok",
    rows: [`UNCLAIMED +1 crashes=1 ${reason}`, "SUSPECT RUNNING a +0"],
    instance: [`crashed b 1 ${reason}`, "created UNCLAIMED", "removed CLAIMED b"],
  },
  // S2: a stop-marked instance does not crash, it is gone.
  { given: is.retiredRunning, call: crash("a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },
  { given: is.surplusRunning, call: crash("a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },
  { given: is.retiredRunning, call: crash("b"), reply: cannot("crash"), rows: ["RUNNING a +0"], ...unmoved },
  // Diego writes and then answers ResourceNotFound; the crash was recorded, so ours is a success.
  { given: is.unwantedRunning, call: crash("a"), reply: "ok", rows: [`UNCLAIMED +1 crashes=1 ${reason}`] },
];

const placement = 'placement="insufficient resources: disk"';

export const failures: readonly Entry[] = [
  { given: is.nothing, call: fail(), reply: "ok", rows: [], ...unmoved },
  {
    given: is.unclaimed,
    call: fail(),
    reply: "ok",
    rows: [`UNCLAIMED +1 ${placement}`],
    instance: ["changed: UNCLAIMED → UNCLAIMED"],
    group: ["changed instance UNCLAIMED → instance UNCLAIMED"],
  },
  { given: is.placementFailed, call: fail(), reply: "ok", rows: [`UNCLAIMED +1 ${placement}`] },
  { given: is.claimedA, call: fail(), reply: cannot("fail"), rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.runningA, call: fail(), reply: cannot("fail"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.crashed, call: fail(), reply: cannot("fail"), rows: [`CRASHED +0 crashes=3 ${reason}`], ...unmoved },
  {
    given: is.suspect,
    call: fail(),
    reply: "ok",
    rows: [`UNCLAIMED +1 ${placement}`, "SUSPECT RUNNING a +0"],
    instance: ["changed: UNCLAIMED → UNCLAIMED"],
    group: none,
  },
];

/** W4: a removal of an index that is still wanted leaves a fresh UNCLAIMED row. */
export const removals: readonly Entry[] = [
  { given: is.nothing, call: remove("a"), reply: notFound, rows: [], ...unmoved },
  { given: is.unclaimed, call: remove("a"), reply: notFound, rows: ["UNCLAIMED +0"], ...unmoved },
  {
    given: is.claimedA,
    call: remove("a"),
    reply: "ok",
    rows: ["UNCLAIMED new"],
    instance: ["created UNCLAIMED", "removed CLAIMED a"],
    group: ["changed instance CLAIMED a → instance UNCLAIMED"],
  },
  { given: is.claimedA, call: remove("b"), reply: notFound, rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.claimedA, call: remove("c"), reply: notFound, rows: ["CLAIMED a +0"], ...unmoved },
  {
    given: is.runningA,
    call: remove("a"),
    reply: "ok",
    rows: ["UNCLAIMED new"],
    instance: ["created UNCLAIMED", "removed RUNNING a"],
    group: ["changed instance RUNNING a → instance UNCLAIMED"],
  },
  { given: is.runningA, call: remove("c"), reply: notFound, rows: ["RUNNING a +0"], ...unmoved },
  { given: is.crashed, call: remove("c"), reply: notFound, rows: [`CRASHED +0 crashes=3 ${reason}`], ...unmoved },
  // Only the ordinary row is looked at.
  { given: is.suspect, call: remove("a"), reply: notFound, rows: ["UNCLAIMED +0", "SUSPECT RUNNING a +0"], ...unmoved },
  {
    given: is.unwantedRunning,
    call: remove("a"),
    reply: "ok",
    rows: [],
    instance: ["removed RUNNING a"],
    group: ["removed instance RUNNING a"],
  },
  // S2: what was stop-marked leaves nothing behind.
  {
    given: is.retiredRunning,
    call: remove("a"),
    reply: "ok",
    rows: [],
    instance: ["removed RUNNING a"],
    group: ["removed instance RUNNING a"],
  },
  { given: is.surplusClaimed, call: remove("a"), reply: "ok", rows: [], instance: ["removed CLAIMED a"] },
  { given: is.surplusRunning, call: remove("a"), reply: "ok", rows: [], instance: ["removed RUNNING a"] },
];

/** S1: what runs is stop-marked, and the mark is nobody's business but the cell's; what does not run goes at once. */
export const retirements: readonly Entry[] = [
  { given: is.nothing, call: retire, reply: notFound, rows: [], ...unmoved },
  { given: is.noRow, call: retire, reply: notFound, rows: [], ...unmoved },
  {
    given: is.unclaimed,
    call: retire,
    reply: "ok",
    rows: ["UNCLAIMED new"],
    // Two rows without an instance: the new one comes last, or a reader would lose it.
    instance: ["removed UNCLAIMED", "created UNCLAIMED"],
  },
  {
    given: is.crashed,
    call: retire,
    reply: "ok",
    rows: ["UNCLAIMED new"],
    instance: ["removed CRASHED", "created UNCLAIMED"],
    group: ["changed instance CRASHED → instance UNCLAIMED"],
  },
  { given: is.claimedA, call: retire, reply: "ok", rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.runningA, call: retire, reply: "ok", rows: ["RUNNING a +0"], ...unmoved },
  { given: is.retiredRunning, call: retire, reply: "ok", rows: ["RUNNING a +0"], ...unmoved },
  { given: is.suspect, call: retire, reply: "ok", rows: ["UNCLAIMED new", "SUSPECT RUNNING a +0"] },
  { given: is.suspectAndClaimed, call: retire, reply: "ok", rows: ["CLAIMED b +0", "SUSPECT RUNNING a +0"], ...unmoved },
  { given: is.unwantedRunning, call: retire, reply: "ok", rows: ["RUNNING a +0"], ...unmoved },
];
