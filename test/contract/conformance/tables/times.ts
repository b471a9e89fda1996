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

const leap = (ms: number) => async (stage: Stage) => stage.world.clock.leap(ms);
const then = (name: string, given: Given, ...more: readonly ((stage: Stage) => Promise<unknown>)[]): Given => ({
  name: `${given.name}, ${name}`,
  reach: steps(given.reach, ...more),
});
/** The converger's word that this rule holds; refused where it does not. */
const repair = (rule: string): Call => ({
  name: `the rule ${rule}`,
  make: async (stage) => {
    const held = await stage.repair(rule).then(
      () => true,
      () => false,
    );
    return { error: undefined, message: { held } };
  },
});
const runningC = then("RUNNING c", is.crashedTwice, (stage) => stage.start("c"));
const crashedFourTimes = then(
  "and once more",
  is.crashed,
  leap(31 * seconds),
  (stage) => stage.repair("restart"),
  (stage) => stage.claim("a"),
  (stage) => stage.crash("a"),
);
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
];
