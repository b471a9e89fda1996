// The BBS's contract with its callers, over real gRPC, the same on every store.
import { afterAll, beforeAll, describe } from "vitest";
import { type StoreHome, startBbs } from "../../support/bbs.js";
import { describeCalls } from "./calls.js";
import { type Subject, subjectOf } from "./fixtures.js";
import { describeInstances } from "./instances.js";
import { describeFlags, describeLocks, describeRepairs } from "./locks.js";
import { describeRestart } from "./restart.js";
import { describeRoles } from "./roles.js";
import { describeTasks } from "./tasks.js";
import { describeWatch } from "./watch.js";

/** `openHome` gives an empty store; one BBS on it serves most suites, those about restarts open homes of their own. */
export function describeBbsContract(name: string, openHome: () => Promise<StoreHome>): void {
  describe(`the BBS on ${name}`, () => {
    let subject: Subject;
    beforeAll(async () => {
      const home = await openHome();
      subject = await subjectOf(home, await startBbs(home));
    });
    afterAll(async () => {
      for (const clients of Object.values(subject.as)) clients[Symbol.dispose]();
      await subject.bbs[Symbol.asyncDispose]();
      await subject.home[Symbol.asyncDispose]();
    });
    const given = (): Subject => subject;
    describeRoles(given);
    describeCalls(given);
    describeInstances(given);
    describeTasks(given);
    describeLocks(given);
    describeFlags(given);
    describeRepairs(given);
    describeWatch(given);
    describeRestart(openHome);
  });
}
