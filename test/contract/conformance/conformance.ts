// The conformance suite: tables of "given, call, reply, records, events" from the reference, each entry over Diego's HTTP API and over
// gRPC. Entries keep to names of their own, so they run side by side on one BBS.
import { afterAll, beforeAll, describe, it } from "vitest";
import type { StoreHome } from "../../support/bbs.js";
import { cellsAreListed } from "./cells.js";
import { type Entry, entryName, play } from "./entry.js";
import { claims, claimsAndStartsWhileEvacuating, starts } from "./tables/claim-start.js";
import { convergence } from "./tables/convergence.js";
import { crashes, failures, removals, retirements } from "./tables/crash-remove.js";
import * as desired from "./tables/desired.js";
import * as details from "./tables/details.js";
import { dockerFlag } from "./tables/docker-flag.js";
import * as evacuation from "./tables/evacuation.js";
import * as reads from "./tables/reads.js";
import { replays } from "./tables/replays.js";
import { reports } from "./tables/reports.js";
import { taskRequests } from "./tables/task-validation.js";
import * as tasks from "./tables/tasks.js";
import { times } from "./tables/times.js";
import * as validation from "./tables/validation.js";
import { type Transport, transports, World } from "./world.js";

const tables: Readonly<Record<string, readonly Entry[]>> = {
  "a claim": claims,
  "a start": starts,
  "a crash": crashes,
  "a failed placement": failures,
  "a removal": removals,
  "a retirement": retirements,
  "a desire": desired.desires,
  "an update": desired.updates,
  "a desire's end": desired.removals,
  "a claim or start while evacuating": claimsAndStartsWhileEvacuating,
  "an evacuation": evacuation.evacuations,
  "an evacuation of what runs": evacuation.ofRunning,
  "an evacuation not understood": evacuation.notUnderstood,
  "a task": tasks.tasks,
  "a rule of convergence": convergence,
  "a call made again": replays,
  "what is written": details.fields,
  "a long reason": details.reasons,
  "a trace id": details.traceIds,
  "a secret": details.secretsInEvents,
  "a domain": details.domainCalls,
  "a list of rows": reads.actualLRPs,
  "a group": reads.actualLRPGroups,
  "a list of desires": reads.desiredLRPs,
  "a list of tasks": reads.taskLists,
  "an older version of a call": reads.olderVersions,
  "a faulty request": validation.requests,
  "a faulty task": taskRequests,
  "a faulty DesiredLRP": validation.desiredLRPs,
};

/**
 * `openHome` gives an empty store; one BBS on it plays every entry. What a door does is the same on every store, and what a store
 * keeps the same behind either door: on memory every entry is played `over` both, elsewhere over one, which halves the suite's time.
 */
export function describeConformance(
  name: string,
  openHome: () => Promise<StoreHome>,
  over: readonly Transport[] = transports,
): void {
  describe(`Diego's BBS on ${name}`, () => {
    let world: World;
    beforeAll(async () => {
      world = await World.open(await openHome());
    });
    afterAll(() => world[Symbol.asyncDispose]());

    const playAll = (transport: Transport, entries: readonly Entry[]): void => {
      const served = entries.filter((entry) => transport === "http" || !entry.call.httpOnly);
      for (const entry of served) it(entryName(entry), () => play(world, transport, entry));
    };
    describe.concurrent.each(over)("over %s", (transport) => {
      for (const [title, entries] of Object.entries(tables)) describe(title, () => playAll(transport, entries));
    });
    it.each(over)("cells are listed while they live, over %s", (transport) => cellsAreListed(world, transport));
    // One after the other: the clock leaps.
    describe.each(over)("in time, over %s", (transport) => playAll(transport, times));
    describe.each(over)("the Docker flag, over %s", (transport) => playAll(transport, dockerFlag));
    describe.each(over)("a cell's report, over %s", (transport) => playAll(transport, reports));
  });
}
