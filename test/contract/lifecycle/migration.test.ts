// Migrating the stored records: interrupted at every commit and gone on with, each record is migrated exactly once; who knows less keeps off.
import { type Migration, type Schema, schemaVersion } from "@muster/bbs";
import { Domain } from "@muster/proto/muster/store/v1/records";
import { OperatorError } from "@muster/shared/errors";
import { unary } from "@muster/shared/rpc";
import { describe, expect, it } from "vitest";
import { clientsOf, etcdHome, lmdbHome, memoryHome, type StoreHome, spawnBbs, startBbs } from "../../support/bbs.js";
import { startEtcd } from "../../support/etcd.js";
import { contentsOf, read, withCommit } from "./records.js";

/** Makes every domain's name end in one more `+`: done twice, it shows. Deletes those that are called `old…`. */
const addPlus: Migration = {
  from: schemaVersion,
  about: "a plus to every domain",
  migrate: ({ key, value }) => {
    if (!key.startsWith("domain/")) return [];
    if (key.startsWith("domain/old")) return [{ key, value: undefined }];
    const domain = Domain.decode(value);
    return [{ key, value: Domain.encode({ ...domain, name: `${domain.name}+` }).finish() }];
  },
};
const next: Schema = { version: schemaVersion + 1, migrations: [addPlus] };

async function withDomains(home: StoreHome, domains = 300): Promise<void> {
  await using bbs = await startBbs(home);
  using operator = await clientsOf([bbs.address], "operator");
  const names = Array.from({ length: domains }, (_, number) => `${number % 3 === 0 ? "old" : "new"}-${number}`);
  await Promise.all(names.map((domain) => unary(operator.bbs.upsertDomain.bind(operator.bbs), { domain, ttl: 0 })));
  await unary(operator.flags.setFeatureFlag.bind(operator.flags), { name: "diego_docker", enabled: true });
}

async function expectMigrated(home: StoreHome, domains = 300): Promise<void> {
  const { head, records } = await contentsOf(home);
  expect(head?.schemaVersion).toBe(next.version);
  const names = [...records].filter(([key]) => key.startsWith("domain/")).map(([, bytes]) => nameIn(bytes));
  expect(names).toHaveLength((domains * 2) / 3);
  expect(names.filter((name) => !/^new-\d+\+$/.test(name))).toEqual([]);
  // Nothing is left of how far it came.
  expect([...records.keys()].filter((key) => !key.includes("/"))).toEqual([]);
}

const nameIn = (hex: string): string => Domain.decode(Buffer.from(hex, "hex")).name;

/** The store, until `commits` more have been written: then whoever uses it is gone, before or after the last one arrived. */
function dyingAfter(home: StoreHome, commits: number, arrives: boolean): StoreHome {
  let left = commits;
  return withCommit(home, async (commit) => {
    left -= 1;
    if (left > 0) return commit();
    if (arrives) await commit();
    throw new Error("killed");
  });
}

describe("a migration", () => {
  it.each([1, 2, 3, 4].flatMap((commit) => [true, false].map((arrives) => ({ commit, arrives }))))(
    "killed at commit $commit (which arrives: $arrives) is gone on with; every record is migrated once",
    async ({ commit, arrives }) => {
      await using home = await memoryHome();
      await withDomains(home);
      await expect(startBbs(dyingAfter(home, commit, arrives), { schema: next })).rejects.toThrow("killed");
      const { head } = await contentsOf(home);
      // Commit 1 says that it began, the last one raises the version; meanwhile an older program keeps off.
      const begun = commit > 1 || arrives;
      const done = commit === 4 && arrives;
      expect(head?.schemaVersion).toBe(done ? next.version : begun ? 0x8000_0000 + schemaVersion : schemaVersion);
      if (begun) await expect(startBbs(home)).rejects.toThrow(/newer Muster \(records of version 2, this one knows 1\)/);
      const told: string[] = [];
      const lifecycle = {
        migrating: () => void told.push("migrating"),
        migrated: (durationMs: number) => void told.push(durationMs >= 0 ? "migrated" : "?"),
        sealedAnew: () => void told.push("sealed"),
      };
      await (await startBbs(home, { schema: next, lifecycle }))[Symbol.asyncDispose]();
      expect(told).toEqual(done ? [] : ["migrating", "migrated"]);
      await expectMigrated(home);
    },
  );

  it("on LMDB and etcd: serves the migrated records, with the epoch one higher and time not back", async () => {
    await using etcd = await startEtcd();
    for (const open of [lmdbHome, () => etcdHome(etcd)]) {
      await using home = await open();
      await withDomains(home, 900);
      const before = (await contentsOf(home)).head;
      await expect(startBbs(dyingAfter(home, 2, true), { schema: next })).rejects.toThrow("killed");
      {
        await using bbs = await startBbs(home, { schema: next });
        using operator = await clientsOf([bbs.address], "operator");
        const { domains: names } = await unary(operator.bbs.domains.bind(operator.bbs), {});
        expect(names.every((name) => name.endsWith("+"))).toBe(true);
        expect(bbs.head.leaderEpoch).toBe((before?.leaderEpoch ?? 0n) + 1n);
        expect(bbs.head.clusterTimeMs).toBeGreaterThanOrEqual(before?.clusterTimeMs ?? 0);
        expect(bbs.head.incarnation).toBe(before?.incarnation);
      }
      await expectMigrated(home, 900);
    }
  });

  it("goes through every version in turn", async () => {
    await using home = await memoryHome();
    await withDomains(home);
    const twoOn: Schema = { version: 3, migrations: [{ ...addPlus, from: 2, about: "another plus" }, addPlus] };
    await (await startBbs(home, { schema: twoOn }))[Symbol.asyncDispose]();
    const { head, records } = await contentsOf(home);
    expect(head?.schemaVersion).toBe(3);
    const names = [...records].filter(([key]) => key.startsWith("domain/")).map(([, bytes]) => nameIn(bytes));
    expect(names.filter((name) => !/^new-\d+\+\+$/.test(name))).toEqual([]);
  });

  it("a store of a newer version is left alone", async () => {
    await using home = await memoryHome();
    await withDomains(home);
    await (await startBbs(home, { schema: next }))[Symbol.asyncDispose]();
    const before = await contentsOf(home);
    const refused = await startBbs(home).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(OperatorError);
    expect(await contentsOf(home)).toEqual(before);
  });
});

it("the program refuses a newer store with status 78 and says what to do", async () => {
  await using home = await lmdbHome();
  await withDomains(home);
  await (await startBbs(home, { schema: next }))[Symbol.asyncDispose]();
  await using bbs = await spawnBbs(home);
  expect(await bbs.exited).toBe(78);
  expect(bbs.log()).toContain("records of version 2, this one knows 1");
  expect(bbs.log()).toContain("start the newer version");
  await using store = await home.open();
  expect((await read(store)).head?.schemaVersion).toBe(2);
});
