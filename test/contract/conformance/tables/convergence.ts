// What convergence does, and what the streams say of it (bbs-semantics.md section 6; races.md C1, W3, S3). Each rule is asked for by name,
// as the converger asks; the BBS judges it over its own records.
import type { Call, Entry, Given } from "../entry.js";
import type { Stage } from "../stage.js";
import * as is from "./givens.js";
import { steps } from "./givens.js";

const none: readonly string[] = [];
const unmoved = { instance: none, group: none };
const held = "ok held";
/** The rule does not hold: nothing is done. */
const not = "ok";

const presences = { ordinary: 0, evacuating: 1, suspect: 2 };
const rule = (name: string, presence: keyof typeof presences = "ordinary"): Call => ({
  name: `the rule ${name}${presence === "ordinary" ? "" : `, ${presence}`}`,
  make: (stage) => stage.judged(name, presences[presence]),
});
const vouched = (given: Given): Given => ({
  name: `${given.name}, domain fresh`,
  reach: steps(given.reach, (stage) => stage.vouch()),
});
const crashedUndesired: Given = {
  name: "UNCLAIMED, not desired",
  reach: steps(is.unwantedRunning.reach, (stage: Stage) => stage.crash("a")),
};
export const convergence: readonly Entry[] = [
  {
    given: is.runningA,
    call: rule("cell-lost"),
    reply: held,
    rows: ["UNCLAIMED new", "SUSPECT RUNNING a +0"],
    instance: ["changed a: RUNNING → SUSPECT RUNNING", "created UNCLAIMED"],
    group: none,
  },
  {
    given: is.claimedA,
    call: rule("cell-lost"),
    reply: held,
    rows: ["UNCLAIMED new", "SUSPECT CLAIMED a +0"],
    instance: ["changed a: CLAIMED → SUSPECT CLAIMED", "created UNCLAIMED"],
    group: none,
  },
  { given: is.unclaimed, call: rule("cell-lost"), reply: not, rows: ["UNCLAIMED +0"], ...unmoved },
  { given: is.crashed, call: rule("cell-lost"), reply: not, rows: ['CRASHED +0 crashes=3 "exit status 1"'], ...unmoved },
  // Nobody desires it: it waits for the rule surplus.
  { given: is.unwantedRunning, call: rule("cell-lost"), reply: not, rows: ["RUNNING a +0"], ...unmoved },
  // There is one suspect of an index: a replacement that is lost in its turn is taken back.
  {
    given: is.suspectAndClaimed,
    call: rule("cell-lost"),
    reply: held,
    rows: ["UNCLAIMED +1", "SUSPECT RUNNING a +0"],
    instance: ["created UNCLAIMED", "removed CLAIMED b"],
    group: none,
  },
  // S3: the mark goes with the row; W1: no replacement where nothing is wanted.
  {
    given: is.surplusRunning,
    call: rule("cell-lost"),
    reply: held,
    rows: ["SUSPECT RUNNING a +0"],
    instance: ["changed a: RUNNING → SUSPECT RUNNING"],
    group: none,
  },

  {
    given: is.noRow,
    call: rule("missing"),
    reply: held,
    rows: ["UNCLAIMED new"],
    instance: ["created UNCLAIMED"],
    group: ["created instance UNCLAIMED"],
  },
  { given: is.unclaimed, call: rule("missing"), reply: not, rows: ["UNCLAIMED +0"], ...unmoved },
  { given: is.suspectMarked, call: rule("missing"), reply: not, rows: ["UNCLAIMED +0", "SUSPECT RUNNING a +0"], ...unmoved },
  { given: is.nothing, call: rule("missing"), reply: not, rows: [], ...unmoved },

  {
    given: is.evacuating,
    call: rule("evacuating-lost", "evacuating"),
    reply: held,
    rows: ["UNCLAIMED +0"],
    instance: ["removed EVACUATING RUNNING a"],
    group: ["removed evacuating EVACUATING RUNNING a"],
  },
  { given: is.runningA, call: rule("evacuating-lost", "evacuating"), reply: not, rows: ["RUNNING a +0"], ...unmoved },

  // Nobody vouches for the domain: what is not desired may stay.
  { given: is.unwantedRunning, call: rule("surplus"), reply: not, rows: ["RUNNING a +0"], ...unmoved },
  // W3: what runs is stop-marked.
  { given: vouched(is.unwantedRunning), call: rule("surplus"), reply: held, rows: ["RUNNING a +0"], ...unmoved },
  {
    given: vouched(crashedUndesired),
    call: rule("surplus"),
    reply: held,
    rows: [],
    instance: ["removed UNCLAIMED"],
    group: ["removed instance UNCLAIMED"],
  },
  { given: vouched(is.runningA), call: rule("surplus"), reply: not, rows: ["RUNNING a +0"], ...unmoved },
];
