// A store that fills up under a real BBS: first new desires are refused, then, if somebody else fills it, all writes; both end by themselves.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DesiredLRP } from "@muster/proto/models/desired_lrp";
import { unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import { type BbsClients, type BbsProcess, clientsOf, etcdHome, lmdbHome, type StoreHome, spawnBbs } from "../../support/bbs.js";
import { startEtcd } from "../../support/etcd.js";
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
  start,
  startOf,
  statesOf,
  updateOf,
} from "../bbs/fixtures.js";
import { makeRoom, withEtcd } from "../store/raw-etcd.js";

const quotaMb = 16;
const withSettings = (home: StoreHome, more: object): StoreHome => ({ ...home, settings: { ...home.settings, ...more } });

/** An LRP whose environment takes about 200 KB. */
const heavy = (processGuid: string): DesiredLRP =>
  desired(processGuid, {
    environmentVariables: Array.from({ length: 20 }, (_, n) => ({ name: `V${n}`, value: "x".repeat(10_000) })),
  });

const remove = ({ bbs }: BbsClients, processGuid: string): Promise<unknown> =>
  unary(bbs.removeDesiredLrp.bind(bbs), { processGuid });
const update = ({ bbs }: BbsClients, processGuid: string, fields: Parameters<typeof updateOf>[0]): Promise<unknown> =>
  unary(bbs.updateDesiredLrp.bind(bbs), { processGuid, update: updateOf(fields) });
const scaleTo = (value: number) => ({ optionalInstances: { $case: "instances" as const, value } });
const annotated = (value: string) => ({ optionalAnnotation: { $case: "annotation" as const, value } });

const heavyBytes = 200_000;

/** Desires heavy LRPs until one is refused; returns how many were taken. */
async function fill(operator: BbsClients): Promise<number> {
  for (let n = 0; n < 500; n += 1) {
    // In the end slowly enough for the BBS, which looks every two seconds, to see each level.
    if (n * heavyBytes > 0.55 * quotaMb * 1024 ** 2) await new Promise((resolve) => setTimeout(resolve, 300));
    const said = await outcome(desire(operator, heavy(`heavy-${n}`)));
    if (said === "ResourceExhausted") return n;
    expect(said).toBe("ok");
  }
  throw new Error("the store did not fill up");
}

/** What goes on while new desires are refused. */
async function expectOnlyDesiresRefused(bbs: BbsProcess, operator: BbsClients, filled: number): Promise<void> {
  using cell = await clientsOf([bbs.address], "cell:cell-1");
  const refused = await refusal(desire(operator, desired("one-more")));
  expect(refused).toMatchObject({ type: "ResourceExhausted", status: "RESOURCE_EXHAUSTED" });
  expect(refused.message).toMatch(/^the store is \d\d % full, new desires are refused: .+; what is desired already goes on/);
  expect(await outcome(update(operator, "heavy-0", scaleTo(2)))).toBe("ResourceExhausted");
  expect(await bbs.health()).toMatchObject({
    ok: true,
    state: "active",
    detail: expect.stringContaining("new desires are refused"),
  });
  await claim(cell, "heavy-0", 0, instance("i"));
  await start(cell, startOf(keyOf("heavy-0"), instance("i")));
  expect(await statesOf(operator, "heavy-0")).toEqual(["RUNNING"]);
  await unary(cell.bbs.crashActualLrp.bind(cell.bbs), {
    actualLrpKey: keyOf("heavy-0"),
    actualLrpInstanceKey: instance("i"),
    errorMessage: "it ended",
  });
  await update(operator, "heavy-0", annotated("still"));
  await update(operator, "heavy-0", scaleTo(0));
  for (let n = 0; n < filled; n += 1) await remove(operator, `heavy-${n}`);
  expect(await bbs.metric("bbs_desires_refused_total")).toBeGreaterThanOrEqual(3);
  expect(await bbs.metric("bbs_store_quota_bytes")).toBe(quotaMb * 1024 ** 2);
}

const desiredAgain = (operator: BbsClients): Promise<true> =>
  eventually("new desires are taken", async () =>
    (await outcome(desire(operator, desired("again")))) === "ok" ? true : undefined,
  );

const said = (bbs: BbsProcess, message: string): number => bbs.log().split(`"msg":"${message}"`).length - 1;

describe("etcd", () => {
  it("at 85 % new desires are refused and all else goes on; room made by removals and a compaction lets them in again", async () => {
    await using etcd = await startEtcd({ quotaBytes: quotaMb * 1024 ** 2 });
    await using bbs = await spawnBbs(withSettings(await etcdHome(etcd), { quota_mb: quotaMb }), { leadershipTtlMs: 10_000 });
    await bbs.until("active");
    using operator = await clientsOf([bbs.address], "operator");
    const filled = await fill(operator);
    expect(said(bbs, "store fills up")).toBe(1);
    expect(said(bbs, "store is nearly full, new desires are refused")).toBe(1);
    await expectOnlyDesiresRefused(bbs, operator, filled);
    // What the leader does by itself within minutes, and an operator's defragmentation.
    await withEtcd(etcd.endpoints, makeRoom);
    await desiredAgain(operator);
    expect(said(bbs, "store has room again")).toBe(1);
    expect(await bbs.health()).toEqual({ ok: true, state: "active" });
  });

  it("its alarm: reads go on, health says what to do, and writes come back by themselves once that is done", async () => {
    await using etcd = await startEtcd({ quotaBytes: quotaMb * 1024 ** 2 });
    const home = withSettings(await etcdHome(etcd), { quota_mb: quotaMb });
    await using bbs = await spawnBbs(home, { leadershipTtlMs: 10_000 });
    await bbs.until("active");
    using operator = await clientsOf([bbs.address], "operator");
    await desire(operator, desired("before"));
    // Somebody else's keys: etcd should be Muster's own, but is not always.
    await withEtcd(etcd.endpoints, async (client) => {
      for (let n = 0, full = false; n < 40 && !full; n += 1) {
        full = await client
          .put(`foreign-${n}`)
          .value(Buffer.alloc(1_000_000))
          .then(
            () => false,
            () => true,
          );
      }
    });
    expect(await outcome(desire(operator, desired("refused")))).toBe("Unavailable");
    const health = await eventually("health says what to do", async () => {
      const now = await bbs.health();
      return now?.state === "read-only" ? now : undefined;
    });
    expect(health).toMatchObject({ ok: false, detail: expect.stringContaining("no-space") });
    expect(health.detail).toContain("etcdctl defrag");
    expect(health.detail).toContain("etcdctl alarm disarm");
    // Reads go on once the records are loaded anew.
    const states = await eventually("reads go on", () => statesOf(operator, "before").catch(() => undefined));
    expect(states).toEqual(["UNCLAIMED"]);
    // A standby could not be elected now: it says so too.
    await using standby = await spawnBbs(home, { leadershipTtlMs: 10_000 });
    await eventually("the standby knows", async () => (await standby.health())?.detail?.includes("alarm disarm") || undefined);
    await withEtcd(etcd.endpoints, async (client) => {
      await client.delete().prefix("foreign-");
      await makeRoom(client);
    });
    await desiredAgain(operator);
    expect(await statesOf(operator, "before")).toEqual(["UNCLAIMED"]);
    expect(bbs.running).toBe(true);
  });
});

it("LMDB: at 85 % of its bound new desires are refused and all else goes on, until removals have made room", async () => {
  await using home = await lmdbHome();
  await using bbs = await spawnBbs(withSettings(home, { map_size_mb: quotaMb }));
  await bbs.until("active");
  using operator = await clientsOf([bbs.address], "operator");
  const filled = await fill(operator);
  await expectOnlyDesiresRefused(bbs, operator, filled);
  await desiredAgain(operator);
});

it("LMDB on a disk that somebody else fills: reads go on, health says where to make room, and writes come back by themselves", async () => {
  await using home = await lmdbHome();
  const disk = mkdtempSync(join(tmpdir(), "muster-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", disk]);
  try {
    await using bbs = await spawnBbs(withSettings(home, { path: join(disk, "store") }));
    await bbs.until("active");
    using operator = await clientsOf([bbs.address], "operator");
    await desire(operator, desired("before"));
    const foreign = join(disk, "foreign");
    spawnSync("dd", ["if=/dev/zero", `of=${foreign}`, "bs=4k"], { stdio: "ignore" });
    // Freed pages are written again before the file grows: a few may pass.
    await eventually("a write is refused for want of space", async () => {
      await outcome(desire(operator, heavy(fresh("too-much"))));
      return (await bbs.health())?.state === "read-only" || undefined;
    });
    expect((await bbs.health())?.detail).toContain(`make room on the disk of ${join(disk, "store")}`);
    expect(await statesOf(operator, "before")).toEqual(["UNCLAIMED"]);
    rmSync(foreign);
    await eventually("writes come back", async () => ((await bbs.health())?.state === "active" ? true : undefined));
    await update(operator, "before", annotated("after"));
    expect(bbs.running).toBe(true);
  } finally {
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true });
  }
});
