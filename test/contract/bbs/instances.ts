// The life of an instance: by Diego's unary calls, and by a rep's session. What is decided must be the same.
import { unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import {
  claim,
  desire,
  desired,
  eventually,
  fresh,
  instance,
  item,
  keyOf,
  netInfo,
  outcome,
  Rep,
  refusal,
  rowsOf,
  type Subject,
  start,
  startOf,
  statesOf,
} from "./fixtures.js";

const started = {
  $case: "started" as const,
  value: { actualLrpNetInfo: netInfo, actualLrpInternalRoutes: [], metricTags: {}, routable: true, availabilityZone: "z1" },
};
const claimed = { $case: "claimed" as const, value: {} };
const removed = { $case: "removed" as const, value: {} };
const crashed = { $case: "crashed" as const, value: { errorMessage: "exit status 1" } };

export function describeInstances(subject: () => Subject): void {
  const as = () => subject().as;
  const newLRP = async (instances = 1): Promise<string> => {
    const processGuid = fresh("process");
    await desire(as().controller, desired(processGuid, { instances }));
    return processGuid;
  };

  describe("by unary calls", () => {
    it("claimed, started, crashed, removed", async () => {
      const guid = await newLRP();
      const { cell1, controller } = as();
      await claim(cell1, guid, 0, instance("a"));
      expect(await statesOf(controller, guid)).toEqual(["CLAIMED"]);
      await start(cell1, startOf(keyOf(guid), instance("a")));
      expect((await rowsOf(controller, guid))[0]).toMatchObject({
        state: "RUNNING",
        actualLrpInstanceKey: instance("a"),
        actualLrpNetInfo: netInfo,
        availabilityZone: "z1",
        modificationTag: { index: 2 },
      });
      const crash = { actualLrpKey: keyOf(guid), actualLrpInstanceKey: instance("a"), errorMessage: "exit status 7" };
      await unary(cell1.bbs.crashActualLrp.bind(cell1.bbs), crash);
      expect((await rowsOf(controller, guid))[0]).toMatchObject({
        state: "UNCLAIMED",
        crashCount: 1,
        crashReason: "exit status 7",
      });
      await claim(cell1, guid, 0, instance("b"));
      const removal = { processGuid: guid, index: 0, actualLrpInstanceKey: instance("b") };
      await unary(cell1.bbs.removeActualLrp.bind(cell1.bbs), removal);
      // W4: the index is still wanted, so a fresh row waits.
      expect((await rowsOf(controller, guid))[0]).toMatchObject({ state: "UNCLAIMED", crashCount: 0 });
    });

    it("the third crash waits", async () => {
      const guid = await newLRP();
      const { cell1, controller } = as();
      for (const one of ["a", "b", "c"]) {
        await claim(cell1, guid, 0, instance(one));
        const crash = { actualLrpKey: keyOf(guid), actualLrpInstanceKey: instance(one), errorMessage: "" };
        await unary(cell1.bbs.crashActualLrp.bind(cell1.bbs), crash);
      }
      expect((await rowsOf(controller, guid))[0]).toMatchObject({ state: "CRASHED", crashCount: 3 });
    });

    it("what does not fit the row is refused by name", async () => {
      const guid = await newLRP();
      const { cell1, cell2, controller } = as();
      await claim(cell1, guid, 0, instance("a"));
      const otherClaim = claim(cell2, guid, 0, instance("b", "cell-2"));
      expect(await refusal(otherClaim)).toMatchObject({ type: "ActualLRPCannotBeClaimed", status: "FAILED_PRECONDITION" });
      await start(cell1, startOf(keyOf(guid), instance("a")));
      expect(await outcome(start(cell2, startOf(keyOf(guid), instance("b", "cell-2"))))).toBe("ActualLRPCannotBeStarted");
      const crash = { actualLrpKey: keyOf(guid), actualLrpInstanceKey: instance("z"), errorMessage: "" };
      expect(await outcome(unary(cell1.bbs.crashActualLrp.bind(cell1.bbs), crash))).toBe("ActualLRPCannotBeCrashed");
      expect(await outcome(claim(cell1, guid, 7, instance("a")))).toBe("ResourceNotFound");
      expect(await statesOf(controller, guid)).toEqual(["RUNNING"]);
    });

    it("a call made again changes nothing", async () => {
      const guid = await newLRP();
      const { cell1, controller } = as();
      for (let times = 0; times < 2; times += 1) {
        await claim(cell1, guid, 0, instance("a"));
        await start(cell1, startOf(keyOf(guid), instance("a")));
      }
      // The second claim is Diego's RUNNING -> CLAIMED of the same instance, the second start undoes it: no other instance came in.
      expect((await rowsOf(controller, guid))[0]).toMatchObject({ state: "RUNNING", actualLrpInstanceKey: instance("a") });
      const before = (await rowsOf(controller, guid))[0]?.modificationTag;
      await start(cell1, startOf(keyOf(guid), instance("a")));
      expect((await rowsOf(controller, guid))[0]?.modificationTag).toEqual(before);
    });

    it("the auctioneer's failure is told, and the failure of an older row is not", async () => {
      const guid = await newLRP();
      const { auctioneer, controller } = as();
      const [row] = await rowsOf(controller, guid);
      const fail = (errorMessage: string, auctionId: string): Promise<unknown> =>
        unary(
          auctioneer.bbs.failActualLrp.bind(auctioneer.bbs),
          { actualLrpKey: keyOf(guid), errorMessage },
          { metadata: { "muster-auction-id": auctionId } },
        );
      await fail("insufficient resources: memory", `${row?.modificationTag?.epoch}.0`);
      expect((await rowsOf(controller, guid))[0]?.placementError).toBe("insufficient resources: memory");
      await fail("of an older row", `${row?.modificationTag?.epoch}.0`);
      expect((await rowsOf(controller, guid))[0]?.placementError).toBe("insufficient resources: memory");
    });

    it("retiring a waiting row takes it away; a running one is marked for its cell", async () => {
      const guid = await newLRP(2);
      const { cell1, controller } = as();
      const retire = (index: number): Promise<unknown> =>
        unary(controller.bbs.retireActualLrp.bind(controller.bbs), { actualLrpKey: keyOf(guid, index) });
      await claim(cell1, guid, 1, instance("a"));
      await retire(0);
      await retire(1);
      expect((await rowsOf(controller, guid)).map((row) => row.actualLrpKey?.index)).toContain(1);
      const removal = { processGuid: guid, index: 1, actualLrpInstanceKey: instance("a") };
      await unary(cell1.bbs.removeActualLrp.bind(cell1.bbs), removal);
      // S2: a marked row goes for good; the missing rule makes the fresh one.
      expect((await rowsOf(controller, guid)).map((row) => row.actualLrpKey?.index)).not.toContain(1);
    });
  });

  describe("by a rep's session", () => {
    it("claims, starts, crashes and removals are decided in order and answered one by one", async () => {
      const guid = await newLRP(4);
      const { cell1, controller } = as();
      using rep = new Rep(cell1, "cell-1");
      await rep.open();
      const replies = await rep.report(
        item(guid, 0, instance("a"), claimed),
        item(guid, 0, instance("a"), started),
        item(guid, 1, instance("b"), claimed),
        item(guid, 1, instance("b"), crashed),
        item(guid, 2, instance("c"), started),
        item(guid, 2, instance("c"), removed),
        item(guid, 9, instance("d"), claimed),
        item(guid, 3, instance("e", "cell-2"), claimed),
      );
      expect(replies.map((reply) => reply.errorType)).toEqual(["", "", "", "", "", "", "ResourceNotFound", "PermissionDenied"]);
      const rows = await rowsOf(controller, guid);
      expect(rows.map((row) => [row.state, row.crashCount])).toEqual([
        ["RUNNING", 0],
        ["UNCLAIMED", 1],
        ["UNCLAIMED", 0],
        ["UNCLAIMED", 0],
      ]);
    });

    it("a batch that comes twice does no harm", async () => {
      const guid = await newLRP();
      const { cell1, controller } = as();
      using rep = new Rep(cell1, "cell-1");
      await rep.open();
      const batch = [item(guid, 0, instance("a"), claimed), item(guid, 0, instance("a"), started)];
      for (let times = 0; times < 2; times += 1) {
        expect((await rep.report(...batch)).map((reply) => reply.errorType)).toEqual(["", ""]);
      }
      expect(await statesOf(controller, guid)).toEqual(["RUNNING"]);
    });

    it("an instance that the next inventory lacks is given back", async () => {
      const guid = await newLRP();
      const { cell1, controller } = as();
      using first = new Rep(cell1, "cell-1");
      await first.open();
      await first.report(item(guid, 0, instance("a"), started));
      using second = new Rep(cell1, "cell-1");
      await second.open();
      expect(await first.ended).toBeUndefined();
      expect(await statesOf(controller, guid)).toEqual(["UNCLAIMED"]);
    });

    it("what comes right behind an inventory is decided after it", async () => {
      const guid = await newLRP();
      const { cell1, controller } = as();
      await claim(cell1, guid, 0, instance("a"));
      using rep = new Rep(cell1, "cell-1");
      rep.hello(30_000);
      await rep.next("welcome");
      rep.send({ $case: "inventory", value: { containers: [], last: true } });
      // The inventory gives the first instance back; the second is claimed after it and stays.
      const replies = await rep.report(item(guid, 0, instance("a"), removed), item(guid, 0, instance("b"), claimed));
      expect(replies.map((reply) => reply.errorType)).toEqual(["ResourceNotFound", ""]);
      expect((await rowsOf(controller, guid))[0]).toMatchObject({ state: "CLAIMED", actualLrpInstanceKey: instance("b") });
    });

    it("before its hello a session is told nothing but no", async () => {
      using rep = new Rep(as().cell1, "cell-1");
      rep.send({ $case: "heartbeat", value: { number: 1n, presence: undefined, evacuating: undefined } });
      expect((await rep.ended)?.code).toBe("InvalidRequest");
    });
  });

  describe("a presence", () => {
    const cellsOf = async (): Promise<string[]> =>
      (await unary(as().operator.bbs.cells.bind(as().operator.bbs), {})).cells.map((cell) => cell.cellId);

    it("is there while its heartbeats come, gone when they stop, and costs no write to keep", async () => {
      const rep = new Rep(as().cell2, "cell-2");
      await rep.open(600);
      const { count } = subject().bbs.commits;
      for (let number = 1n; number <= 8n; number += 1n) {
        rep.send({ $case: "heartbeat", value: { number, presence: undefined, evacuating: undefined } });
        expect((await rep.next("heartbeat")).number).toBe(number);
        await new Promise((resolve) => setTimeout(resolve, 120));
      }
      expect(subject().bbs.commits.count).toBe(count);
      expect(await cellsOf()).toContain("cell-2");
      await eventually("cell-2 is gone", async () => ((await cellsOf()).includes("cell-2") ? undefined : true));
      expect((await rep.ended)?.code).toBe("Unavailable");
    });

    it("another owner collides while it lives; a goodbye gives it up at once", async () => {
      using rep = new Rep(as().cell2, "cell-2", "owner-a");
      await rep.open();
      using thief = new Rep(as().cell2, "cell-2", "owner-b");
      thief.hello(30_000);
      expect((await thief.ended)?.code).toBe("LockCollision");
      rep.send({ $case: "goodbye", value: {} });
      expect(await rep.ended).toBeUndefined();
      expect(await cellsOf()).not.toContain("cell-2");
      using heir = new Rep(as().cell2, "cell-2", "owner-b");
      await heir.open();
      heir.send({ $case: "goodbye", value: {} });
      await heir.ended;
    });
  });
}
