// Backup and restore: one state whatever goes on meanwhile, whole or refused, from any store into any other, and everybody who follows
// starts anew.
import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { createSealer, type Schema, schemaVersion } from "@muster/bbs";
import { readBackup } from "@muster/shared/backup";
import { systemClock } from "@muster/shared/clock";
import { parseStoreKey } from "@muster/shared/codec";
import { OperatorError } from "@muster/shared/errors";
import { silentLog } from "@muster/shared/log";
import { Mirror } from "@muster/shared/mirror";
import { asProcessGuid } from "@muster/shared/model";
import { serverStream, unary } from "@muster/shared/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clientsOf, etcdHome, lmdbHome, memoryHome, type StoreHome, spawnBbs, startBbs } from "../../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { desire, desired, eventually, instance, keyOf, Rep, refusal, rowsOf, startOf, statesOf } from "../bbs/fixtures.js";
import { follow, tokenOf as resumeTokenOf } from "../bbs/watch.js";
import { backUp, type Contents, contentsOf, desireMany, restoreTo, scratch, secretOf, tokenOf, withCommit } from "./records.js";

let etcd: EtcdCluster;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd[Symbol.asyncDispose]());

async function contentsOfFile(file: string): Promise<Map<string, string>> {
  const records = new Map<string, string>();
  for await (const { message } of readBackup(file)) {
    if (message?.$case === "records") for (const { key, value } of message.value.records) records.set(key, value.toString("hex"));
  }
  return records;
}

const isLock = (key: string): boolean => parseStoreKey(key)?.kind === "lock";
/** Locks are not put back: whoever holds them says so again. */
const lasting = (records: ReadonlyMap<string, string>): Map<string, string> =>
  new Map([...records].filter(([key]) => !isLock(key)));

async function filled(home: StoreHome, file: string, count = 150): Promise<Contents> {
  {
    await using bbs = await startBbs(home);
    using operator = await clientsOf([bbs.address], "operator");
    await desireMany(operator, "p", count);
    await unary(operator.flags.setFeatureFlag.bind(operator.flags), { name: "diego_docker", enabled: true });
    await unary(operator.bbs.upsertDomain.bind(operator.bbs), { domain: "für immer 🌲", ttl: 0 });
    const resource = { key: "auctioneer", owner: "one", value: "", type: "lock", typeCode: 1 as const };
    using auctioneer = await clientsOf([bbs.address], "auctioneer");
    await unary(auctioneer.locket.lock.bind(auctioneer.locket), { resource, ttlInSeconds: 60n });
    await backUp(bbs.address, file);
  }
  return contentsOf(home);
}

describe("a backup", () => {
  it("is every record at one commit, while desires go on; the file is for its owner alone", async () => {
    await using home = await lmdbHome();
    await using files = await scratch();
    await using bbs = await startBbs(home);
    using operator = await clientsOf([bbs.address], "operator");
    await desireMany(operator, "early", 200);
    let over = false;
    let wrote = 0;
    const busy = Array.from({ length: 8 }, async (_, loop) => {
      for (let number = 0; !over; number += 1) {
        await desire(operator, desired(`late-${loop}-${number}`, { instances: 3 }));
        wrote += 1;
      }
    });
    await eventually("the loops write", () => (wrote > 50 ? true : undefined));
    const facts = await backUp(bbs.address, files.at("one"));
    over = true;
    await Promise.all(busy);
    const records = await contentsOfFile(files.at("one"));
    expect(records.size).toBe(facts.records);
    // A command is in it whole or not at all: each DesiredLRP with its run information and all of its rows.
    const guids = [...records.keys()].filter((key) => key.startsWith("desired/")).map((key) => key.slice("desired/".length));
    expect(guids.length).toBeGreaterThanOrEqual(250);
    for (const guid of guids) {
      expect(records.has(`runinfo/${guid}`)).toBe(true);
      const rows = guid.startsWith("late") ? 3 : 2;
      for (let index = 0; index < rows; index += 1) expect(records.has(`actual/${guid}/${index}/ORDINARY`)).toBe(true);
    }
    expect(facts.byPrefix.desired).toBe(guids.length);
    expect(facts.byPrefix.actual).toBe(guids.reduce((sum, guid) => sum + (guid.startsWith("late") ? 3 : 2), 0));
    expect(facts.header.keyLabels).toEqual(["k1"]);
    expect((await stat(files.at("one"))).mode & 0o777).toBe(0o600);
    const text = (await readFile(files.at("one"))).toString("latin1");
    expect(text).not.toContain(secretOf("early-0"));
  });

  it("is taken by operators alone, one at a time, and ends with a reader who goes away", async () => {
    await using home = await memoryHome();
    await using files = await scratch();
    await using bbs = await startBbs(home);
    using operator = await clientsOf([bbs.address], "operator");
    using controller = await clientsOf([bbs.address], "controller");
    await desire(operator, desired("fat", { annotation: "x".repeat(10_000) }));
    const take = (clients: typeof operator) => serverStream(clients.backup.backup.bind(clients.backup), {});
    expect((await refusal(take(controller).next())).type).toBe("PermissionDenied");
    const one = take(operator);
    const slot = bbs.active.backups;
    slot.holder = { lastReadMs: systemClock.elapsedMs() };
    expect((await refusal(take(operator).next())).type).toBe("ResourceExhausted");
    // One that nobody has read from for long makes room.
    slot.holder = { lastReadMs: systemClock.elapsedMs() - 60_000 };
    await one.next();
    await one.return();
    await eventually("the place is free", () => (slot.holder === undefined ? true : undefined));
    expect((await backUp(bbs.address, files.at("two"))).byPrefix.desired).toBe(1);
  });

  it("leaves no file behind when the BBS ends in the middle", async () => {
    await using home = await memoryHome();
    await using files = await scratch();
    const bbs = await startBbs(home);
    const { address } = bbs;
    await bbs[Symbol.asyncDispose]();
    await expect(backUp(address, files.at("none"))).rejects.toThrow();
    await expect(stat(files.at("none"))).rejects.toThrow();
    await expect(stat(files.at("none.partial"))).rejects.toThrow();
  });
});

describe("a restore", () => {
  it.each([
    { from: "lmdb", to: "etcd" },
    { from: "etcd", to: "lmdb" },
    { from: "etcd", to: "memory" },
  ])("brings every record from $from to $to, as another incarnation, with time not back", async ({ from, to }) => {
    const open = { lmdb: lmdbHome, memory: memoryHome, etcd: () => etcdHome(etcd) };
    await using source = await open[from as keyof typeof open]();
    await using target = await open[to as keyof typeof open]();
    await using files = await scratch();
    const before = await filled(source, files.at("b"));
    const { facts, head, restored, replaced } = await restoreTo(target, files.at("b"));
    expect(replaced).toBe(0);
    expect(facts.records).toBe(before.records.size);
    expect(restored).toBe(before.records.size - 1);
    const after = await contentsOf(target);
    expect(after.records).toEqual(lasting(before.records));
    expect(after.head).toEqual(head);
    expect(after.head?.schemaVersion).toBe(schemaVersion);
    expect(after.head?.incarnation).not.toBe(before.head?.incarnation);
    expect(after.head?.clusterTimeMs).toBeGreaterThanOrEqual(Number(facts.header.head?.clusterTimeMs));
    await using bbs = await startBbs(target);
    using operator = await clientsOf([bbs.address], "operator");
    expect(await tokenOf(operator, "p-149")).toBe(secretOf("p-149"));
    expect(await statesOf(operator, "p-7")).toEqual(["UNCLAIMED", "UNCLAIMED"]);
    expect((await unary(operator.bbs.domains.bind(operator.bbs), {})).domains).toEqual(["für immer 🌲"]);
  });

  it("replaces what is there only when told to, all of it, and never goes back in time", async () => {
    await using home = await lmdbHome();
    await using files = await scratch();
    await filled(home, files.at("b"), 5);
    {
      await using bbs = await startBbs(home);
      using operator = await clientsOf([bbs.address], "operator");
      await desireMany(operator, "newer", 300);
      await unary(operator.bbs.removeDesiredLrp.bind(operator.bbs), { processGuid: "p-0" });
    }
    const before = await contentsOf(home);
    await expect(restoreTo(home, files.at("b"))).rejects.toThrow(/the store holds \d+ records already/);
    expect(await contentsOf(home)).toEqual(before);
    const { replaced, head } = await restoreTo(home, files.at("b"), { force: true });
    expect(replaced).toBe(before.records.size);
    expect(head.clusterTimeMs).toBeGreaterThanOrEqual(before.head?.clusterTimeMs ?? 0);
    expect(head.leaderEpoch).toBeGreaterThan(before.head?.leaderEpoch ?? 0n);
    expect((await contentsOf(home)).records).toEqual(lasting(await contentsOfFile(files.at("b"))));
  });

  it("killed at any commit leaves a store that no BBS serves, and that the next restore makes whole", async () => {
    await using files = await scratch();
    {
      await using source = await memoryHome();
      await filled(source, files.at("b"), 400);
    }
    const whole = lasting(await contentsOfFile(files.at("b")));
    await using home = await lmdbHome();
    await filled(home, files.at("unused"), 300);
    let commits = 0;
    for (let last = 1; ; last += 1) {
      commits = 0;
      const dying = withCommit(home, async (commit) => {
        commits += 1;
        const result = await commit();
        if (commits === last) throw new Error("killed");
        return result;
      });
      // The first time there is something to replace; then only what the killed ones left, which needs no force.
      const outcome = await restoreTo(dying, files.at("b"), { force: last === 1 }).catch((error: unknown) => error);
      const { head, records } = await contentsOf(home);
      if (!(outcome instanceof Error) || head?.schemaVersion === schemaVersion) {
        expect(records).toEqual(whole);
        break;
      }
      expect(outcome.message).toBe("killed");
      const refused = await startBbs(home).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(OperatorError);
      expect((refused as OperatorError).hint).toContain("run `muster restore FILE` again");
    }
    expect(commits).toBeGreaterThan(5);
    await using bbs = await startBbs(home);
    using operator = await clientsOf([bbs.address], "operator");
    expect(await tokenOf(operator, "p-399")).toBe(secretOf("p-399"));
  });

  it("reads the whole file first: cut, altered, foreign or continued files change nothing", async () => {
    await using home = await memoryHome();
    await using files = await scratch();
    await filled(home, files.at("b"), 20);
    const good = await readFile(files.at("b"));
    const before = await contentsOf(home);
    const altered = (at: number): Buffer => {
      const bytes = Buffer.from(good);
      bytes[at] = (bytes[at] ?? 0) ^ 0x20;
      return bytes;
    };
    const bad: Record<string, Buffer> = {
      empty: Buffer.alloc(0),
      foreign: Buffer.from("SQLite format 3\0 and more of it, much more"),
      "cut in the middle": good.subarray(0, good.length / 2),
      "without its last byte": good.subarray(0, -1),
      "without its end": good.subarray(0, good.length - 42),
      "with something behind its end": Buffer.concat([good, good.subarray(16)]),
      "altered in a value": altered(Math.floor(good.length * 0.6)),
      "altered in its checksum": altered(good.length - 3),
    };
    for (const [what, bytes] of Object.entries(bad)) {
      await writeFile(files.at("bad"), bytes);
      const refused = await restoreTo(home, files.at("bad"), { force: true }).catch((error: unknown) => error);
      expect(refused, what).toBeInstanceOf(OperatorError);
    }
    await writeFile(files.at("bad"), good.subarray(0, 100));
    await chmod(files.at("bad"), 0o600);
    expect(await contentsOf(home)).toEqual(before);
  });

  it("says before it writes that the keys are not here, or are others of the same name", async () => {
    await using home = await memoryHome();
    await using files = await scratch();
    await filled(home, files.at("b"), 3);
    await using target = await memoryHome();
    const ring = (label: string) =>
      createSealer({ keys: [{ label, passphrase: "quite another passphrase" }], activeLabel: label });
    await expect(restoreTo(target, files.at("b"), { ring: ring("mine") })).rejects.toThrow('sealed under "k1"');
    await expect(restoreTo(target, files.at("b"), { ring: ring("k1") })).rejects.toThrow('key "k1" does not open');
    expect(await contentsOf(target)).toEqual({ head: undefined, records: new Map() });
  });

  it("is refused while a BBS leads the store", async () => {
    await using home = await etcdHome(etcd);
    await using files = await scratch();
    await filled(home, files.at("b"), 3);
    await using bbs = await startBbs(home);
    const refused = await restoreTo(home, files.at("b"), { force: true, waitMs: 500 }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(OperatorError);
    expect(String(refused)).toContain("a BBS leads this store");
    using operator = await clientsOf([bbs.address], "operator");
    expect(await tokenOf(operator, "p-2")).toBe(secretOf("p-2"));
  });

  it("of a newer version is refused, of an older one is migrated when it is first served", async () => {
    await using home = await memoryHome();
    await using files = await scratch();
    await filled(home, files.at("b"), 3);
    const newer: Schema = {
      version: schemaVersion + 1,
      migrations: [{ from: schemaVersion, about: "nothing", migrate: () => [] }],
    };
    await using target = await memoryHome();
    await restoreTo(target, files.at("b"), { schema: newer });
    expect((await contentsOf(target)).head?.schemaVersion).toBe(schemaVersion);
    {
      await using bbs = await startBbs(target, { schema: newer });
      await backUp(bbs.address, files.at("newer"));
    }
    await expect(restoreTo(home, files.at("newer"), { force: true })).rejects.toThrow("was taken by a newer Muster");
  });
});

describe("those who follow, after a restore", () => {
  it("are reset to what was restored; a cell's containers are judged by it", async () => {
    await using home = await lmdbHome();
    await using files = await scratch();
    const options = { leadershipTtlMs: 2_000, presenceTtlMs: 30_000 };
    await using first = await spawnBbs(home, options);
    await first.until("active");
    const port = Number(first.address.split(":")[1]);
    using operator = await clientsOf([first.address], "operator");
    using cell = await clientsOf([first.address], "cell:cell-1");
    await desire(operator, desired("kept", { instances: 1 }));
    using rep = new Rep(cell, "cell-1");
    await rep.open();
    await unary(cell.bbs.startActualLrp.bind(cell.bbs), startOf(keyOf("kept"), instance("one")));
    await backUp(first.address, files.at("b"));
    await desire(operator, desired("after", { instances: 1 }));
    await unary(cell.bbs.startActualLrp.bind(cell.bbs), startOf(keyOf("after"), instance("two")));
    const end = new AbortController();
    const open: ConstructorParameters<typeof Mirror>[0]["open"] = (request, signal) =>
      serverStream(operator.watch.watch.bind(operator.watch), request, { signal });
    const mirror = new Mirror({ open, kinds: ["desiredLRP"], clock: systemClock, log: silentLog() });
    const following = mirror.run(end.signal).catch(() => undefined);
    await eventually("the mirror has both", () => (mirror.tables.desiredLRPs.size === 2 ? true : undefined));
    const said = await follow(operator, {}, (message) => message.$case === "synced");
    const after = said.map(resumeTokenOf).find((token) => token !== undefined);
    first.kill("SIGTERM");
    expect(await first.exited).toBe(0);
    await restoreTo(home, files.at("b"), { force: true });

    await using second = await spawnBbs(home, { ...options, port });
    await second.until("active");
    using operatorNow = await clientsOf([second.address], "operator");
    // A watch from before the restore starts anew, also though its sequence may well exist here.
    const anew = await follow(operatorNow, { after }, (message) => message.$case === "synced");
    expect(anew[0]).toMatchObject({ $case: "reset", value: { reason: "the store is another incarnation" } });
    await eventually("the mirror follows the restored store", () =>
      [...mirror.tables.desiredLRPs.keys()].join() === asProcessGuid("kept") ? true : undefined,
    );
    end.abort();
    await following;
    // The restored presence holds for the same rep at once; its inventory is decided against the restored rows.
    using cellAgain = await clientsOf([second.address], "cell:cell-1");
    using again = new Rep(cellAgain, "cell-1");
    await again.open();
    expect((await rowsOf(operatorNow, "kept")).map((row) => row.state)).toEqual(["UNCLAIMED"]);
    // A container that the restored state does not know: its domain is stale, so its start is taken as news (W2).
    await unary(cellAgain.bbs.startActualLrp.bind(cellAgain.bbs), startOf(keyOf("after"), instance("two")));
    expect(await statesOf(operatorNow, "after")).toEqual(["RUNNING"]);
    await unary(operatorNow.bbs.upsertDomain.bind(operatorNow.bbs), { domain: "apps", ttl: 0 });
    // Vouched for, it is not wanted (W2): its cell is told so and stops it.
    const unwanted = startOf(keyOf("other"), instance("three"));
    expect((await refusal(unary(cellAgain.bbs.startActualLrp.bind(cellAgain.bbs), unwanted))).type).toBe(
      "ActualLRPCannotBeStarted",
    );
  });
});
