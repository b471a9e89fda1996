// Getting into a guarded etcd: client certificates, user and password. What is wrong is said in one line, and the process ends.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "@muster/shared/clock";
import { type Authority, createAuthority, issueCertificate } from "@muster/shared/tls";
import { Etcd3, Range } from "etcd3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { clientsOf, type StoreHome, spawnBbs } from "../../support/bbs.js";
import { type EtcdCluster, startEtcd } from "../../support/etcd.js";
import { desire, desired, eventually, fresh, outcome } from "../bbs/fixtures.js";

const dayMs = 86_400_000;
const prefix = "/guarded/";
let dir: string;
let authority: Authority;
let etcd: EtcdCluster;

interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

async function issued(by: Authority, commonName: string, agoMs = 0): Promise<Pair> {
  const { certificatePem, keyPem } = await issueCertificate(by, commonName, { nowMs: systemClock.nowMs() - agoMs });
  return { cert: Buffer.from(certificatePem), key: Buffer.from(keyPem) };
}

function file(content: Buffer | string): string {
  const path = join(dir, fresh("file"));
  writeFileSync(path, content, { mode: 0o600 });
  return path;
}

const home = (endpoints: readonly string[], settings: object): StoreHome => ({
  name: "etcd",
  open: () => Promise.reject(new Error("only a process opens it")),
  settings: { driver: "etcd", endpoints, prefix, ...settings },
  faults: { hang: () => undefined, goOn: () => undefined },
  [Symbol.asyncDispose]: async () => undefined,
});

/** The settings of one who may come in. */
async function credentials(): Promise<Record<string, string>> {
  const { cert, key } = await issued(authority, "bbs");
  return {
    ca_file: file(authority.certificatePem),
    cert_file: file(cert),
    key_file: file(key),
    username: "muster",
    password_file: file("right\nwhatever else\n"),
  };
}

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "muster-access-"));
  authority = await createAuthority("etcd's own", systemClock.nowMs());
  const server = await issued(authority, "etcd");
  etcd = await startEtcd({ tls: { ...server, trustedCa: Buffer.from(authority.certificatePem) } });
  const admin = await issued(authority, "admin");
  const credentials = { rootCertificate: Buffer.from(authority.certificatePem), certChain: admin.cert, privateKey: admin.key };
  const client = new Etcd3({ hosts: etcd.endpoints, credentials });
  await client.role("root").create();
  await (await client.user("root").create("root's")).addRole("root");
  const role = await client.role("muster").create();
  await role.grant({ permission: "Readwrite", range: Range.prefix(prefix) });
  await (await client.user("muster").create("right")).addRole("muster");
  await client.auth.authEnable();
  client.close();
});
afterAll(async () => {
  await etcd[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

it("a BBS with certificate, user and password serves, also after etcd has forgotten who was logged in", async () => {
  await using bbs = await spawnBbs(home(etcd.endpoints, await credentials()), { leadershipTtlMs: 10_000 });
  await bbs.until("active");
  using operator = await clientsOf([bbs.address], "operator");
  await desire(operator, desired("before"));
  await etcd.kill9();
  await etcd.start();
  await eventually("the store is back", async () =>
    (await outcome(desire(operator, desired("after")))) === "ok" ? true : undefined,
  );
  expect(await outcome(desire(operator, desired("before")))).toBe("ResourceExists");
  // Size and quota are told to this user too.
  expect(await bbs.metric("bbs_store_used_bytes")).toBeGreaterThan(0);
  expect(await bbs.metric("bbs_store_usage_failures_total")).toBe(0);
  expect(bbs.log()).not.toContain("right");
});

it.each<[what: string, wrong: () => Promise<Record<string, string | undefined>>, says: string, hint: string]>([
  [
    "a wrong password",
    async () => ({ password_file: file("wrong\n") }),
    "etcd does not accept this client",
    "check user, password",
  ],
  ["no user", async () => ({ username: undefined }), "etcd does not accept this client", "check user, password"],
  [
    "the authority of somebody else",
    async () => ({ ca_file: file((await createAuthority("another", systemClock.nowMs())).certificatePem) }),
    "etcd's certificate is not to be trusted",
    "check that ca_file",
  ],
  [
    "a certificate of somebody else",
    async () => pairFiles(await issued(await createAuthority("another", systemClock.nowMs()), "bbs")),
    "etcd does not take our certificate",
    "check cert_file",
  ],
  [
    "a certificate past its last day",
    async () => pairFiles(await issued(authority, "bbs", 400 * dayMs)),
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
  await using old = await startEtcd({ tls: await issued(authority, "etcd", 400 * dayMs) });
  const settings = { ca_file: file(authority.certificatePem) };
  await expectRefused(home(old.endpoints, settings), "certificate has expired", "check that ca_file");
});

const pairFiles = ({ cert, key }: Pair) => ({ cert_file: file(cert), key_file: file(key) });

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
