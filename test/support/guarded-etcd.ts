// An etcd that lets nobody in without a certificate of its own authority, a user and a password.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@muster/shared/clock";
import { type Authority, createAuthority, issueCertificate } from "@muster/shared/tls";
import { Etcd3, Range } from "etcd3";
import { type EtcdCluster, startEtcd } from "./etcd.js";

export interface KeyPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

export class GuardedEtcd implements AsyncDisposable {
  readonly etcd: EtcdCluster;
  readonly authority: Authority;
  readonly user = "muster";
  readonly password = "open-sesame";
  readonly #dir: string;
  #files = 0;

  constructor(etcd: EtcdCluster, authority: Authority, dir: string) {
    this.etcd = etcd;
    this.authority = authority;
    this.#dir = dir;
  }

  get endpoints(): string[] {
    return this.etcd.endpoints;
  }

  /** Writes a file that goes with the etcd, and returns its path. */
  async file(content: Buffer | string): Promise<string> {
    this.#files += 1;
    const path = join(this.#dir, `file-${this.#files}`);
    await writeFile(path, content, { mode: 0o600 });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.etcd[Symbol.asyncDispose]();
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** A certificate, made `agoMs` ago; it is good for a year. */
export async function issued(by: Authority, commonName: string, agoMs = 0): Promise<KeyPair> {
  const { certificatePem, keyPem } = await issueCertificate(by, commonName, { nowMs: systemClock.nowMs() - agoMs });
  return { cert: Buffer.from(certificatePem), key: Buffer.from(keyPem) };
}

/** Its user may read and write under `prefix` and nothing else. */
export async function startGuardedEtcd(prefix: string): Promise<GuardedEtcd> {
  const authority = await createAuthority("etcd's own", systemClock.nowMs());
  const ca = Buffer.from(authority.certificatePem);
  const etcd = await startEtcd({ tls: { ...(await issued(authority, "etcd")), trustedCa: ca } });
  const guarded = new GuardedEtcd(etcd, authority, await mkdtemp(join(tmpdir(), "muster-guarded-etcd-")));
  const admin = await issued(authority, "admin");
  const client = new Etcd3({
    hosts: etcd.endpoints,
    credentials: { rootCertificate: ca, certChain: admin.cert, privateKey: admin.key },
  });
  await client.role("root").create();
  await (await client.user("root").create("root's")).addRole("root");
  await (await client.role("muster").create()).grant({ permission: "Readwrite", range: Range.prefix(prefix) });
  await (await client.user(guarded.user).create(guarded.password)).addRole("muster");
  await client.auth.authEnable();
  client.close();
  return guarded;
}
