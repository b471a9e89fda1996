// Getting into a guarded etcd: client certificates, user and password. What is wrong is said in one line, and the process ends.
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "@muster/shared/clock";
import { type Authority, createAuthority } from "@muster/shared/tls";
import { openEtcdStore } from "@muster/store/etcd";
import { afterAll, beforeAll, expect, it } from "vitest";
import { clientsOf, type StoreHome, spawnBbs } from "../../support/bbs.js";
import { startEtcd } from "../../support/etcd.js";
import { type GuardedEtcd, issued, type KeyPair, startGuardedEtcd } from "../../support/guarded-etcd.js";
import { desire, desired, eventually, outcome } from "../bbs/fixtures.js";

const dayMs = 86_400_000;
const prefix = "/guarded/";
let etcd: GuardedEtcd;
beforeAll(async () => {
  etcd = await startGuardedEtcd(prefix);
});
afterAll(() => etcd[Symbol.asyncDispose]());

const home = (endpoints: readonly string[], settings: object): StoreHome => ({
  name: "etcd",
  open: () => Promise.reject(new Error("only a process opens it")),
  settings: { driver: "etcd", endpoints, prefix, ...settings },
  faults: { hang: () => undefined, goOn: () => undefined },
  [Symbol.asyncDispose]: async () => undefined,
});

const authorityFile = (authority: Authority): Promise<string> => etcd.file(authority.certificatePem);
const stranger = (): Promise<Authority> => createAuthority("another", systemClock.nowMs());
const pairFiles = async ({ cert, key }: KeyPair) => ({ cert_file: await etcd.file(cert), key_file: await etcd.file(key) });

/** The settings of one who may come in. */
const credentials = async (): Promise<Record<string, string>> => ({
  ca_file: await authorityFile(etcd.authority),
  ...(await pairFiles(await issued(etcd.authority, "bbs"))),
  username: etcd.user,
  password_file: await etcd.file(`${etcd.password}\nwhatever else\n`),
});

it("a BBS with certificate, user and password serves, also after etcd has forgotten who was logged in", async () => {
  await using bbs = await spawnBbs(home(etcd.endpoints, await credentials()), { leadershipTtlMs: 30_000 });
  await bbs.until("active");
  using operator = await clientsOf([bbs.address], "operator");
  await desire(operator, desired("before"));
  await etcd.etcd.kill9();
  await etcd.etcd.start();
  await eventually("the store is back", async () =>
    // One that heard `outcome unknown` before may have been written.
    ["ok", "ResourceExists"].includes(await outcome(desire(operator, desired("after")))) ? true : undefined,
  );
  expect(await outcome(desire(operator, desired("before")))).toBe("ResourceExists");
  // Size and quota are told to this user too.
  expect(await bbs.metric("bbs_store_used_bytes")).toBeGreaterThan(0);
  expect(await bbs.metric("bbs_store_usage_failures_total")).toBe(0);
  expect(bbs.log()).not.toContain(etcd.password);
});

it("housekeeping needs no more rights than that: size, quota and compaction", async () => {
  const { cert, key } = await issued(etcd.authority, "bbs");
  await using store = await openEtcdStore({
    endpoints: etcd.endpoints,
    prefix: `${prefix}kept/`,
    clock: systemClock,
    tls: { ca: Buffer.from(etcd.authority.certificatePem), cert, key },
    auth: { username: etcd.user, password: etcd.password },
    timing: { compactEveryMs: 50, keepHistoryMs: 50 },
  });
  const never = new AbortController().signal;
  await store.campaign("bbs", "x", 10_000, never);
  await expect.poll(async () => (await store.usage(never)).compactions.done, { timeout: 10_000 }).toBeGreaterThan(0);
  const { usedBytes, fileBytes, compactions, closed } = await store.usage(never);
  expect(usedBytes).toBeGreaterThan(0);
  expect(fileBytes).toBeGreaterThanOrEqual(usedBytes);
  expect({ failed: compactions.failed, closed }).toEqual({ failed: 0, closed: false });
});

it.each<[what: string, wrong: () => Promise<Record<string, string | undefined>>, says: string, hint: string]>([
  [
    "a wrong password",
    async () => ({ password_file: await etcd.file("wrong\n") }),
    "etcd does not accept this client",
    "check user, password",
  ],
  ["no user", async () => ({ username: undefined }), "etcd does not accept this client", "check user, password"],
  [
    "the authority of somebody else",
    async () => ({ ca_file: await authorityFile(await stranger()) }),
    "etcd's certificate is not to be trusted",
    "check that ca_file",
  ],
  [
    "a certificate of somebody else",
    async () => pairFiles(await issued(await stranger(), "bbs")),
    "etcd does not take our certificate",
    "check cert_file",
  ],
  [
    "a certificate past its last day",
    async () => pairFiles(await issued(etcd.authority, "bbs", 400 * dayMs)),
    "etcd does not take our certificate",
    "its last day",
  ],
  [
    "no certificate",
    async () => ({ cert_file: undefined, key_file: undefined }),
    "etcd does not take our certificate",
    "check cert_file",
  ],
  [
    "a file that is not there",
    async () => ({ ca_file: "/nowhere/ca.pem" }),
    "/nowhere/ca.pem cannot be read",
    "ca_file names it",
  ],
])("%s: the BBS says so once, with what to do, and ends as one that needs a person", async (_, wrong, says, hint) => {
  await expectRefused(home(etcd.endpoints, { ...(await credentials()), ...(await wrong()) }), says, hint);
});

it("an etcd whose certificate is past its last day is not trusted", async () => {
  await using old = await startEtcd({ tls: await issued(etcd.authority, "etcd", 400 * dayMs) });
  const settings = { ca_file: await authorityFile(etcd.authority) };
  await expectRefused(home(old.endpoints, settings), "certificate has expired", "check that ca_file");
});

async function expectRefused(at: StoreHome, says: string, hint: string): Promise<void> {
  await using bbs = await spawnBbs(at);
  const status = await Promise.race([bbs.exited, sleep(20_000, "it runs on")]);
  expect(status, bbs.log().slice(-2_000)).toBe(78);
  const lines = bbs
    .log()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as { msg: string; hint?: string; err?: { message: string } });
  const last = lines.at(-1);
  expect(last?.err?.message).toContain(says);
  expect(last?.hint).toContain(hint);
  expect(lines.filter((line) => line.hint !== undefined)).toHaveLength(1);
}
