// The conformance suite: tables of "given, call, reply, records, events" from the reference, each entry over Diego's HTTP API and over
// gRPC, on one store. Entries keep to names of their own, so they run side by side on one BBS.
import { afterAll, beforeAll, describe, it } from "vitest";
import type { StoreHome } from "../../support/bbs.js";
import { type Entry, entryName, play } from "./entry.js";
import { claims, claimsAndStartsWhileEvacuating, starts } from "./tables/claim-start.js";
import { crashes, failures, removals, retirements } from "./tables/crash-remove.js";
import * as desired from "./tables/desired.js";
import * as evacuation from "./tables/evacuation.js";
import * as tasks from "./tables/tasks.js";
import * as validation from "./tables/validation.js";
import { transports, World } from "./world.js";

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
  "a faulty request": validation.requests,
  "a faulty DesiredLRP": validation.desiredLRPs,
};

/** `openHome` gives an empty store; one BBS on it plays every entry. */
export function describeConformance(name: string, openHome: () => Promise<StoreHome>): void {
  describe(`Diego's BBS on ${name}`, () => {
    let world: World;
    beforeAll(async () => {
      world = await World.open(await openHome());
    });
    afterAll(() => world[Symbol.asyncDispose]());

    describe.concurrent.each(transports)("over %s", (transport) => {
      for (const [title, entries] of Object.entries(tables)) {
        describe(title, () => {
          for (const entry of entries)
            if (transport === "http" || !entry.call.httpOnly) it(entryName(entry), () => play(world, transport, entry));
        });
      }
    });
  });
}
