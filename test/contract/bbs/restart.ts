// What outlives a BBS: every acknowledged record, and the places where watches stand.
import { unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import { clientsOf, type StoreHome, startBbs } from "../../support/bbs.js";
import { claim, desire, desired, instance, keyOf, Rep, rowsOf, start, startOf } from "./fixtures.js";
import { follow, tokenOf } from "./watch.js";

export function describeRestart(openHome: () => Promise<StoreHome>): void {
  describe("after a restart", () => {
    it("the records are there, run information opens, flags and cluster time go on", async () => {
      await using home = await openHome();
      let before = 0n;
      {
        await using bbs = await startBbs(home);
        using operator = await clientsOf([bbs.address], "operator");
        using cell = await clientsOf([bbs.address], "cell:cell-1");
        await unary(operator.flags.setFeatureFlag.bind(operator.flags), { name: "diego_docker", enabled: true });
        const environmentVariables = [{ name: "A", value: "secret" }];
        await desire(
          operator,
          desired("p", { instances: 2, rootFs: "docker:///library/busybox", environmentVariables } as never),
        );
        await claim(cell, "p", 0, instance("a"));
        await start(cell, startOf(keyOf("p"), instance("a")));
        before = (await rowsOf(operator, "p"))[0]?.since ?? 0n;
      }
      await using bbs = await startBbs(home);
      using operator = await clientsOf([bbs.address], "operator");
      using cell = await clientsOf([bbs.address], "cell:cell-1");
      const { desiredLrp } = await unary(operator.bbs.desiredLrpByProcessGuid.bind(operator.bbs), { processGuid: "p" });
      expect(desiredLrp?.environmentVariables).toEqual([{ name: "A", value: "secret" }]);
      const { featureFlags } = await unary(operator.flags.listFeatureFlags.bind(operator.flags), {});
      expect(featureFlags).toEqual([{ name: "diego_docker", enabled: true }]);
      expect((await rowsOf(operator, "p")).map((row) => row.state)).toEqual(["RUNNING", "UNCLAIMED"]);
      await claim(cell, "p", 1, instance("b"));
      expect((await rowsOf(operator, "p"))[1]?.since).toBeGreaterThan(before);
    });

    it("who stood at the end resumes; whose place is lost starts anew and gets everything", async () => {
      await using home = await openHome();
      let tokens: NonNullable<ReturnType<typeof tokenOf>>[] = [];
      {
        await using bbs = await startBbs(home);
        using operator = await clientsOf([bbs.address], "operator");
        await desire(operator, desired("one"));
        let more: Promise<unknown> | undefined;
        const said = await follow(operator, {}, (message) => {
          if (message.$case === "synced") more = desire(operator, desired("two"));
          return message.$case === "commit";
        });
        await more;
        tokens = said.map(tokenOf).filter((token) => token !== undefined);
      }
      await using bbs = await startBbs(home);
      using operator = await clientsOf([bbs.address], "operator");
      const [earlier, last] = tokens;
      const resumed = await follow(operator, { after: last }, () => true);
      expect(resumed.map((message) => message.$case)).toEqual(["progress"]);
      const anew = await follow(operator, { after: earlier }, (message) => message.$case === "synced");
      expect(anew.map((message) => message.$case)).toEqual(["reset", "snapshot", "synced"]);
      const keys = anew.flatMap((message) =>
        message.$case === "snapshot" ? message.value.changes.map((change) => change.key) : [],
      );
      expect(keys).toEqual(expect.arrayContaining(["one", "two", "one/0/ORDINARY", "two/0/ORDINARY"]));
      // Resumed, one sees what comes now.
      let more: Promise<unknown> | undefined;
      const goesOn = await follow(operator, { after: last }, (message) => {
        more ??= desire(operator, desired("three"));
        return message.$case === "commit";
      });
      await more;
      expect(goesOn.at(-1)?.$case).toBe("commit");
    });

    it("presences and locks live on until their holders had time to come back", async () => {
      await using home = await openHome();
      const lock = {
        resource: { key: "auctioneer", owner: "one", value: "", type: "lock", typeCode: 1 as const },
        ttlInSeconds: 1n,
      };
      {
        await using bbs = await startBbs(home);
        using cell = await clientsOf([bbs.address], "cell:cell-1");
        using auctioneer = await clientsOf([bbs.address], "auctioneer");
        await unary(auctioneer.locket.lock.bind(auctioneer.locket), lock);
        using rep = new Rep(cell, "cell-1");
        await rep.open(600);
      }
      await using bbs = await startBbs(home, { presenceTtlMs: 600 });
      using operator = await clientsOf([bbs.address], "operator");
      // Both TTLs over: still theirs, since nobody could have renewed here before.
      await new Promise((resolve) => setTimeout(resolve, 1_300));
      const { cells } = await unary(operator.bbs.cells.bind(operator.bbs), {});
      expect(cells.map((cell) => cell.cellId)).toEqual(["cell-1"]);
      const { resource } = await unary(operator.locket.fetch.bind(operator.locket), { key: "auctioneer" });
      expect(resource?.owner).toBe("one");
    });
  });
}
