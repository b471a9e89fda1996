// What depends on time: crash counts, back-off, domains that run out (bbs-semantics.md 4.4, 8). The clock leaps, so nothing else may
// run meanwhile.
import { expect } from "vitest";
import type { Call, Entry, Given } from "../entry.js";
import type { Stage } from "../stage.js";
import { cannot } from "../texts.js";
import * as is from "./givens.js";
import { crashCall as crash, start, steps } from "./givens.js";

const reason = '"exit status 1"';
const seconds = 1_000;
const minutes = 60 * seconds;

const leap = (ms: number) => (stage: Stage) => stage.leap(ms);
const then = (name: string, given: Given, ...more: readonly ((stage: Stage) => Promise<unknown>)[]): Given => ({
  name: `${given.name}, ${name}`,
  reach: steps(given.reach, ...more),
});
const repair = (rule: string): Call => ({ name: `the rule ${rule}`, make: (stage) => stage.judged(rule) });
const runningC = then("RUNNING c", is.crashedTwice, (stage) => stage.start("c"));
const crashedFourTimes = then(
  "and once more",
  is.crashed,
  leap(31 * seconds),
  (stage) => stage.repair("restart"),
  (stage) => stage.claim("a"),
  (stage) => stage.crash("a"),
);
const startTask = (stage: Stage) => stage.ok("cell-1", "StartTask", { task_guid: stage.guid, cell_id: "cell-1" });
const failTask = (stage: Stage) => stage.ok("operator", "FailTask", { task_guid: stage.guid, failure_reason: "because" });
const resolving = (stage: Stage) => stage.ok("controller", "ResolvingTask", { task_guid: stage.guid });
const listed = async (stage: Stage): Promise<boolean> =>
  ((await stage.ok("controller", "Domains", {})).domains ?? []).includes(stage.domain);
const upsert = (ttl: number) => (stage: Stage) => stage.ok("controller", "UpsertDomain", { domain: stage.domain, ttl });
const upsertCall = (ttl: number): Call => ({
  name: `upsert for ${ttl} s`,
  make: (stage) => stage.call("controller", "UpsertDomain", { domain: stage.domain, ttl }),
});
const isListed = (expected: boolean) => async (stage: Stage) => expect(await listed(stage)).toBe(expected);

export const times: readonly Entry[] = [
  {
    given: then("for 5 minutes and more", runningC, leap(5 * minutes + seconds)),
    call: crash("c"),
    reply: "ok",
    rows: [`UNCLAIMED +1 crashes=1 ${reason}`],
    instance: [`crashed c 1 ${reason}`, "created UNCLAIMED", "removed RUNNING c"],
  },
  {
    given: then("for less than 5 minutes", runningC, leap(4 * minutes)),
    call: crash("c"),
    reply: "ok",
    rows: [`CRASHED +1 crashes=3 ${reason}`],
  },
  // Only what RUNS for long counts anew.
  {
    given: then("for 10 minutes", is.crashedTwice, leap(10 * minutes)),
    call: crash("c"),
    reply: "ok",
    rows: [`CRASHED +1 crashes=3 ${reason}`],
  },

  {
    given: then("for 29 s", is.crashed, leap(29 * seconds)),
    call: repair("restart"),
    reply: "ok",
    rows: [`CRASHED +0 crashes=3 ${reason}`],
  },
  {
    given: then("for 31 s", is.crashed, leap(31 * seconds)),
    call: repair("restart"),
    reply: "ok held",
    rows: [`UNCLAIMED +1 crashes=3 ${reason}`],
    instance: ["created UNCLAIMED", "removed CRASHED"],
    group: ["changed instance CRASHED → instance UNCLAIMED"],
  },
  {
    given: then("for 31 s", crashedFourTimes, leap(31 * seconds)),
    call: repair("restart"),
    reply: "ok",
    rows: [`CRASHED +0 crashes=4 ${reason}`],
  },
  {
    given: then("for 61 s", crashedFourTimes, leap(61 * seconds)),
    call: repair("restart"),
    reply: "ok held",
    rows: [`UNCLAIMED +1 crashes=4 ${reason}`],
  },

  {
    given: then("vouched for 2 s, at once", is.nothing, upsert(2)),
    call: start("a"),
    reply: cannot("start"),
    rows: [],
    after: isListed(true),
  },
  // W2: nobody vouches any more.
  {
    given: then("vouched for 2 s, 3 s later", is.nothing, upsert(2), leap(3 * seconds)),
    call: start("a"),
    reply: "ok",
    rows: ["RUNNING a new"],
    after: isListed(false),
  },
  {
    given: then("vouched for ever, years later", is.nothing, upsert(0), leap(1_000 * 24 * 60 * minutes)),
    call: start("a"),
    reply: cannot("start"),
    rows: [],
    after: isListed(true),
  },
  // A finite time may end an infinite one, and the other way round.
  {
    given: then("vouched for ever", is.nothing, upsert(0)),
    call: upsertCall(2),
    reply: "ok",
    after: async (stage) => {
      await leap(3 * seconds)(stage);
      await isListed(false)(stage);
    },
  },
  {
    given: then("vouched for 2 s", is.nothing, upsert(2)),
    call: upsertCall(0),
    reply: "ok",
    after: async (stage) => {
      await leap(3 * seconds)(stage);
      await isListed(true)(stage);
    },
  },

  // Tasks. As in Diego, one that convergence fails goes on naming its cell.
  {
    given: { name: "a task Pending for 29 minutes", reach: steps((stage) => stage.desireTask(), leap(29 * minutes)) },
    call: repair("task-expired"),
    reply: "ok",
    task: "Pending",
    tasks: [],
  },
  {
    given: { name: "a task Pending for 31 minutes", reach: steps((stage) => stage.desireTask(), leap(31 * minutes)) },
    call: repair("task-expired"),
    reply: "ok held",
    task: 'Completed failed "not started within time limit"',
    tasks: ['changed Pending → Completed failed "not started within time limit"'],
  },
  {
    given: { name: "a task Running on a lost cell", reach: steps((stage) => stage.desireTask(), startTask) },
    call: repair("task-cell-lost"),
    reply: "ok held",
    task: 'Completed cell-1 failed "cell disappeared before completion"',
    tasks: ['changed Running cell-1 → Completed cell-1 failed "cell disappeared before completion"'],
  },
  {
    given: {
      name: "a task Resolving for 31 s",
      reach: steps((stage) => stage.desireTask(), failTask, resolving, leap(31 * seconds)),
    },
    call: repair("task-unresolved"),
    reply: "ok held",
    task: 'Completed failed "because"',
    tasks: ['changed Resolving failed "because" → Completed failed "because"'],
  },
  {
    given: { name: "a task Completed for a minute", reach: steps((stage) => stage.desireTask(), failTask, leap(minutes)) },
    call: repair("task-over"),
    reply: "ok",
    task: 'Completed failed "because"',
    tasks: [],
  },
  {
    given: {
      name: "a task Completed for 2 minutes and more",
      reach: steps((stage) => stage.desireTask(), failTask, leap(121 * seconds)),
    },
    call: repair("task-over"),
    reply: "ok held",
    task: "gone",
    tasks: ['removed Completed failed "because"'],
  },
];
