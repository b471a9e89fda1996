// Claim and start against every state of the row and every relation of the keys (bbs-semantics.md 4.1, 4.3, 4.5; races.md W1, W2, S1, E1).
import type { Entry } from "../entry.js";
import { cannot, notFound } from "../texts.js";
import * as is from "./givens.js";
import { claim, start } from "./givens.js";

const none: readonly string[] = [];
const unmoved = { instance: none, group: none };

export const claims: readonly Entry[] = [
  { given: is.nothing, call: claim("a"), reply: notFound, rows: [], ...unmoved },
  { given: is.noRow, call: claim("a"), reply: notFound, rows: [], ...unmoved },
  {
    given: is.unclaimed,
    call: claim("a"),
    reply: "ok",
    rows: ["CLAIMED a +1"],
    instance: ["changed a: UNCLAIMED → CLAIMED"],
    group: ["changed instance UNCLAIMED → instance CLAIMED a"],
  },
  {
    given: is.placementFailed,
    call: claim("a"),
    reply: "ok",
    rows: ["CLAIMED a +1"],
    instance: ["changed a: UNCLAIMED → CLAIMED"],
  },
  { given: is.claimedA, call: claim("a"), reply: "ok", rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.claimedA, call: claim("b"), reply: cannot("claim"), rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.claimedA, call: claim("c"), reply: cannot("claim"), rows: ["CLAIMED a +0"], ...unmoved },
  {
    given: is.runningA,
    call: claim("a"),
    reply: "ok",
    rows: ["CLAIMED a +1"],
    instance: ["changed a: RUNNING → CLAIMED"],
    group: ["changed instance RUNNING a → instance CLAIMED a"],
  },
  { given: is.runningA, call: claim("b"), reply: cannot("claim"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.runningA, call: claim("c"), reply: cannot("claim"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.crashed, call: claim("c"), reply: cannot("claim"), rows: ['CRASHED +0 crashes=3 "exit status 1"'], ...unmoved },
  { given: is.crashed, call: claim("b"), reply: cannot("claim"), rows: ['CRASHED +0 crashes=3 "exit status 1"'], ...unmoved },

  { given: is.suspect, call: claim("a"), reply: "ok", rows: ["UNCLAIMED +0", "SUSPECT RUNNING a +0"], ...unmoved },
  {
    given: is.suspect,
    call: claim("b"),
    reply: "ok",
    rows: ["CLAIMED b +1", "SUSPECT RUNNING a +0"],
    instance: ["changed b: UNCLAIMED → CLAIMED"],
    // The group shows the suspect until its replacement runs.
    group: none,
  },
  { given: is.suspectClaimed, call: claim("a"), reply: "ok", rows: ["UNCLAIMED +0", "SUSPECT CLAIMED a +0"], ...unmoved },
  { given: is.suspectAndClaimed, call: claim("a"), reply: "ok", rows: ["CLAIMED b +0", "SUSPECT RUNNING a +0"], ...unmoved },
  {
    given: is.suspectAndClaimed,
    call: claim("d"),
    reply: cannot("claim"),
    rows: ["CLAIMED b +0", "SUSPECT RUNNING a +0"],
    ...unmoved,
  },

  // W1: nothing is claimed where nothing is wanted.
  { given: is.unwantedRunning, call: claim("a"), reply: cannot("claim"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.retiredClaimed, call: claim("a"), reply: "ok", rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.retiredClaimed, call: claim("b"), reply: cannot("claim"), rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.surplusClaimed, call: claim("a"), reply: cannot("claim"), rows: ["CLAIMED a +0"], ...unmoved },
];

const inAnotherZone = start("a", " in another zone", () => ({ availability_zone: "z2" }));
const unroutable = start("a", " not routable", () => ({ Routable: false }));
const otherDomain = start("a", " of another domain", (stage) => ({ actual_lrp_key: { ...stage.key(), domain: "elsewhere" } }));

export const starts: readonly Entry[] = [
  // W2: without a row a start inserts one where the index is wanted, or where nobody vouches for the domain.
  {
    given: is.nothing,
    call: start("a"),
    reply: "ok",
    rows: ["RUNNING a new"],
    instance: ["created RUNNING a"],
    group: ["created instance RUNNING a"],
  },
  { given: is.nothingFresh, call: start("a"), reply: cannot("start"), rows: [], ...unmoved },
  {
    given: is.noRow,
    call: start("b"),
    reply: "ok",
    rows: ["RUNNING b new"],
    instance: ["created RUNNING b"],
    group: ["created instance RUNNING b"],
  },
  {
    given: is.unclaimed,
    call: start("a"),
    reply: "ok",
    rows: ["RUNNING a +1"],
    instance: ["changed a: UNCLAIMED → RUNNING"],
    group: ["changed instance UNCLAIMED → instance RUNNING a"],
  },
  {
    given: is.placementFailed,
    call: start("a"),
    reply: "ok",
    rows: ["RUNNING a +1"],
    instance: ["changed a: UNCLAIMED → RUNNING"],
  },
  { given: is.unclaimed, call: otherDomain, reply: cannot("start"), rows: ["UNCLAIMED +0"], ...unmoved },
  {
    given: is.claimedA,
    call: start("a"),
    reply: "ok",
    rows: ["RUNNING a +1"],
    instance: ["changed a: CLAIMED → RUNNING"],
    group: ["changed instance CLAIMED a → instance RUNNING a"],
  },
  // From CLAIMED any instance may start.
  {
    given: is.claimedA,
    call: start("b"),
    reply: "ok",
    rows: ["RUNNING b +1"],
    instance: ["changed b: CLAIMED → RUNNING"],
    group: ["created instance RUNNING b", "removed instance CLAIMED a"],
  },
  { given: is.claimedA, call: start("c"), reply: "ok", rows: ["RUNNING c +1"], instance: ["changed c: CLAIMED → RUNNING"] },
  { given: is.claimedA, call: otherDomain, reply: cannot("start"), rows: ["CLAIMED a +0"], ...unmoved },
  // A start that says nothing new is a heartbeat.
  { given: is.runningA, call: start("a"), reply: "ok", rows: ["RUNNING a +0"], ...unmoved },
  {
    given: is.runningA,
    call: inAnotherZone,
    reply: "ok",
    rows: ["RUNNING a +1"],
    instance: ["changed a: RUNNING → RUNNING"],
    group: ["changed instance RUNNING a → instance RUNNING a"],
  },
  { given: is.runningA, call: unroutable, reply: "ok", rows: ["RUNNING a +1"], instance: ["changed a: RUNNING → RUNNING"] },
  { given: is.runningA, call: otherDomain, reply: cannot("start"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.runningA, call: start("b"), reply: cannot("start"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.runningA, call: start("c"), reply: cannot("start"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.crashed, call: start("c"), reply: cannot("start"), rows: ['CRASHED +0 crashes=3 "exit status 1"'], ...unmoved },

  { given: is.suspect, call: start("a"), reply: "ok", rows: ["UNCLAIMED +0", "SUSPECT RUNNING a +0"], ...unmoved },
  {
    given: is.suspect,
    call: start("b"),
    reply: "ok",
    rows: ["RUNNING b +1"],
    instance: ["changed b: UNCLAIMED → RUNNING", "removed SUSPECT RUNNING a"],
    group: ["created instance RUNNING b", "removed instance SUSPECT RUNNING a"],
  },
  {
    given: is.suspectAndClaimed,
    call: start("b"),
    reply: "ok",
    rows: ["RUNNING b +1"],
    instance: ["changed b: CLAIMED → RUNNING", "removed SUSPECT RUNNING a"],
    group: ["created instance RUNNING b", "removed instance SUSPECT RUNNING a"],
  },
  { given: is.suspectAndClaimed, call: start("a"), reply: "ok", rows: ["CLAIMED b +0", "SUSPECT RUNNING a +0"], ...unmoved },
  {
    given: is.suspectClaimed,
    call: start("b"),
    reply: "ok",
    rows: ["RUNNING b +1"],
    instance: ["changed b: UNCLAIMED → RUNNING", "removed SUSPECT CLAIMED a"],
  },
  // Decision 0005: a stop-marked copy waits for its container.
  {
    given: is.suspectMarked,
    call: start("b"),
    reply: "ok",
    rows: ["RUNNING b +1", "SUSPECT RUNNING a +0"],
    instance: ["changed b: UNCLAIMED → RUNNING"],
  },

  // W1: nothing is started where nothing is wanted; what the row holds RUNNING already may say so again.
  { given: is.unwantedRunning, call: start("a"), reply: "ok", rows: ["RUNNING a +0"], ...unmoved },
  { given: is.unwantedRunning, call: start("b"), reply: cannot("start"), rows: ["RUNNING a +0"], ...unmoved },
  { given: is.surplusClaimed, call: start("a"), reply: cannot("start"), rows: ["CLAIMED a +0"], ...unmoved },
  { given: is.surplusRunning, call: start("a"), reply: "ok", rows: ["RUNNING a +0"], ...unmoved },
  { given: is.retiredRunning, call: start("a"), reply: "ok", rows: ["RUNNING a +0"], ...unmoved },
];

/** With an evacuating copy beside the row. */
export const claimsAndStartsWhileEvacuating: readonly Entry[] = [
  {
    given: is.evacuating,
    call: claim("b"),
    reply: "ok",
    rows: ["CLAIMED b +1", "EVACUATING RUNNING a +0"],
    instance: ["changed b: UNCLAIMED → CLAIMED"],
    group: ["changed instance UNCLAIMED → instance CLAIMED b"],
  },
  // E1: the copy's own claim and start say nothing new.
  { given: is.evacuating, call: claim("a"), reply: "ok", rows: ["UNCLAIMED +0", "EVACUATING RUNNING a +0"], ...unmoved },
  { given: is.evacuating, call: start("a"), reply: "ok", rows: ["UNCLAIMED +0", "EVACUATING RUNNING a +0"], ...unmoved },
  {
    given: is.evacuatingAndClaimed,
    call: start("a"),
    reply: "ok",
    rows: ["CLAIMED b +0", "EVACUATING RUNNING a +0"],
    ...unmoved,
  },
  {
    given: is.evacuating,
    call: start("b"),
    reply: "ok",
    rows: ["RUNNING b +1"],
    instance: ["changed b: UNCLAIMED → RUNNING", "removed EVACUATING RUNNING a"],
    group: ["changed instance UNCLAIMED → instance RUNNING b", "removed evacuating EVACUATING RUNNING a"],
  },
  {
    given: is.evacuatingAndClaimed,
    call: start("b"),
    reply: "ok",
    rows: ["RUNNING b +1"],
    instance: ["changed b: CLAIMED → RUNNING", "removed EVACUATING RUNNING a"],
    group: ["changed instance CLAIMED b → instance RUNNING b", "removed evacuating EVACUATING RUNNING a"],
  },
];
