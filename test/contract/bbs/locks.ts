// Locks, feature flags and repairs: Muster's own calls.
import { RepairOutcome } from "@muster/proto/muster/v1/repair";
import { unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import type { BbsClients } from "../../support/bbs.js";
import {
  claim,
  desire,
  desired,
  eventually,
  fresh,
  instance,
  keyOf,
  outcome,
  refusal,
  rowsOf,
  type Subject,
  statesOf,
} from "./fixtures.js";

export function describeLocks(subject: () => Subject): void {
  const { auctioneer, operator } = {
    auctioneer: () => subject().as.auctioneer.locket,
    operator: () => subject().as.operator.locket,
  };
  const resource = (owner: string) => ({ key: "auctioneer", owner, value: `at ${owner}`, type: "lock", typeCode: 1 as const });
  const lock = (owner: string, ttlInSeconds = 60n): Promise<unknown> =>
    unary(auctioneer().lock.bind(auctioneer()), { resource: resource(owner), ttlInSeconds });
  const release = (owner: string): Promise<unknown> =>
    unary(auctioneer().release.bind(auctioneer()), { resource: resource(owner) });
  const holder = async (): Promise<string | undefined> =>
    (await unary(operator().fetch.bind(operator()), { key: "auctioneer" })).resource?.owner;

  describe("a lock", () => {
    it("has one holder; renewing it writes nothing; released it is free", async () => {
      await lock("one");
      expect(await refusal(lock("two"))).toMatchObject({ type: "LockCollision", status: "ALREADY_EXISTS" });
      const { count } = subject().bbs.commits;
      for (let times = 0; times < 5; times += 1) await lock("one");
      expect(subject().bbs.commits.count).toBe(count);
      expect(await holder()).toBe("one");
      await release("two");
      expect(await holder()).toBe("one");
      await release("one");
      expect(await refusal(holder())).toMatchObject({ type: "ResourceNotFound" });
    });

    it("expires when its TTL has passed without renewal, not before", async () => {
      await lock("sleeper", 1n);
      const takenAt = performance.now();
      // Renewed once half-way: the TTL counts from there.
      await new Promise((resolve) => setTimeout(resolve, 500));
      await lock("sleeper", 1n);
      await eventually("the lock is free", async () => ((await outcome(lock("heir"))) === "ok" ? true : undefined));
      expect(performance.now() - takenAt).toBeGreaterThan(1_450);
      await release("heir");
    });

    it("without key, owner or a sensible TTL is refused", async () => {
      const nameless = { resource: { ...resource(""), owner: "" }, ttlInSeconds: 5n };
      expect(await refusal(unary(auctioneer().lock.bind(auctioneer()), nameless))).toMatchObject({
        type: "InvalidRequest",
        message: "Invalid field: owner",
      });
      expect(await refusal(lock("eternal", 0n))).toMatchObject({ type: "InvalidRequest" });
    });
  });
}

export function describeFlags(subject: () => Subject): void {
  const flags = (): BbsClients["flags"] => subject().as.operator.flags;
  const set = (name: string, enabled: boolean): Promise<unknown> =>
    unary(flags().setFeatureFlag.bind(flags()), { name, enabled });
  const list = async () => (await unary(flags().listFeatureFlags.bind(flags()), {})).featureFlags;

  describe("a feature flag", () => {
    it("is off by default, opens the door to Docker when on, and closes it again", async () => {
      const docker = { rootFs: "docker:///library/busybox" };
      expect(await list()).toEqual([{ name: "diego_docker", enabled: false }]);
      await set("diego_docker", true);
      expect(await list()).toEqual([{ name: "diego_docker", enabled: true }]);
      expect(await outcome(desire(subject().as.controller, desired(fresh("docker"), docker)))).toBe("ok");
      await set("diego_docker", false);
      expect(await outcome(desire(subject().as.controller, desired(fresh("docker"), docker)))).toBe("FeatureDisabled");
    });

    it("of an unknown name is refused with the names that are known", async () => {
      expect(await refusal(set("diego_dokcer", true))).toMatchObject({
        type: "ResourceNotFound",
        message: expect.stringContaining("diego_docker"),
      });
    });
  });
}

export function describeRepairs(subject: () => Subject): void {
  const converger = (): BbsClients["repair"] => subject().as.converger.repair;
  const repair = async (...items: { rule: string; processGuid: string; index?: number }[]) => {
    const request = { items: items.map((one) => ({ index: 0, presence: 0, name: "", ...one })) };
    return (await unary(converger().repair.bind(converger()), request)).results;
  };

  describe("a repair is judged by the truth", () => {
    it("done, and stale the second time", async () => {
      const { cell1, controller } = subject().as;
      const guid = fresh("lacking");
      await desire(controller, desired(guid, { instances: 2 }));
      // A marked row that its cell removes leaves nothing behind (rule S2): the missing rule's case.
      await claim(cell1, guid, 1, instance("a"));
      await unary(controller.bbs.retireActualLrp.bind(controller.bbs), { actualLrpKey: keyOf(guid, 1) });
      const removal = { processGuid: guid, index: 1, actualLrpInstanceKey: instance("a") };
      await unary(cell1.bbs.removeActualLrp.bind(cell1.bbs), removal);
      expect(await statesOf(controller, guid)).toEqual(["UNCLAIMED"]);
      const missing = { rule: "missing", processGuid: guid, index: 1 };
      const outcomes = (await repair(missing, missing, { ...missing, index: 0 })).map((result) => result.outcome);
      expect(outcomes).toEqual([
        RepairOutcome.REPAIR_OUTCOME_DONE,
        RepairOutcome.REPAIR_OUTCOME_STALE,
        RepairOutcome.REPAIR_OUTCOME_STALE,
      ]);
      expect(await statesOf(controller, guid)).toEqual(["UNCLAIMED", "UNCLAIMED"]);
    });

    it("not due yet, with the time that is left", async () => {
      const { cell1, controller } = subject().as;
      const guid = fresh("crashing");
      await desire(controller, desired(guid));
      for (const one of ["a", "b", "c"]) {
        await claim(cell1, guid, 0, instance(one));
        const crash = { actualLrpKey: keyOf(guid), actualLrpInstanceKey: instance(one), errorMessage: "" };
        await unary(cell1.bbs.crashActualLrp.bind(cell1.bbs), crash);
      }
      const [result] = await repair({ rule: "restart", processGuid: guid });
      expect(result?.outcome).toBe(RepairOutcome.REPAIR_OUTCOME_NOT_DUE);
      // The third crash waits 30 s.
      expect(Number(result?.dueInMs)).toBeGreaterThan(25_000);
      expect(Number(result?.dueInMs)).toBeLessThanOrEqual(30_000);
      expect((await rowsOf(controller, guid))[0]?.state).toBe("CRASHED");
    });

    it("a rule nobody knows is refused, and so are too many at once", async () => {
      expect(await refusal(repair({ rule: "guess", processGuid: "p" }))).toMatchObject({ type: "InvalidRequest" });
      const many = Array.from({ length: 1_001 }, () => ({ rule: "missing", processGuid: "p" }));
      expect(await refusal(repair(...many))).toMatchObject({ type: "InvalidRequest", message: expect.stringContaining("1000") });
    });
  });
}
