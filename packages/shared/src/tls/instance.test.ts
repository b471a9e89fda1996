// What an instance's certificate says, who believes it, and keys that are there before they are asked for.
import { createPrivateKey, KeyObject, webcrypto, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer, type PeerCertificate, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "../clock/index.js";
import { loadX509 } from "./authority.js";
import { createAuthority, InstanceAuthority, type InstanceAuthorityFiles, issueCertificate } from "./index.js";
import { type InstanceKeys, KeyReserve } from "./key-reserve.js";

const nowMs = Math.floor(systemClock.nowMs() / 1_000) * 1_000;
const dayMs = 86_400_000;
let folder = "";
let files: InstanceAuthorityFiles;
let caPem = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "muster-instance-"));
  const authority = await createAuthority("instances of a test", nowMs);
  caPem = authority.certificatePem;
  files = write("ca", caPem, authority.keyPem);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, cert: string, key: string): InstanceAuthorityFiles {
  const made = { cert_file: join(folder, `${name}.crt`), key_file: join(folder, `${name}.key`) };
  writeFileSync(made.cert_file, cert);
  writeFileSync(made.key_file, key);
  return made;
}

const subject = {
  guid: "a1b2c3d4-0000-4000-8000-0001",
  organizationalUnits: ["organization:o-1", "space:s-1", "app:a-1, or so"],
  ipAddress: "10.254.3.7",
  serial: "f3b2c1d0-1111-4222-8333-444455556666",
};

describe("an instance's certificate", () => {
  it("names the instance, its units and its address, for a day, and is believed by whoever trusts the authority", async () => {
    using authority = await InstanceAuthority.open(files, "ec", nowMs);
    const issued = await authority.issue(subject, nowMs, dayMs);
    const leaf = new X509Certificate(issued.certificate);
    const ca = new X509Certificate(caPem);
    expect(leaf.subject.split("\n")).toEqual([
      "OU=organization:o-1",
      "OU=space:s-1",
      "OU=app:a-1\\, or so",
      "CN=a1b2c3d4-0000-4000-8000-0001",
    ]);
    expect(leaf.subjectAltName).toBe("DNS:a1b2c3d4-0000-4000-8000-0001, IP Address:10.254.3.7");
    expect(leaf.serialNumber).toBe("F3B2C1D0111142228333444455556666");
    expect([Date.parse(leaf.validFrom), Date.parse(leaf.validTo)]).toEqual([nowMs, nowMs + dayMs]);
    expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    expect([leaf.ca, leaf.checkIssued(ca), leaf.verify(ca.publicKey)]).toEqual([false, true, true]);
    expect(leaf.checkPrivateKey(createPrivateKey(issued.key))).toBe(true);
    // The authority follows, so that those who know only its root find the way.
    expect(issued.certificate.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(issued.certificate.endsWith(`\n${caPem.trim()}\n`)).toBe(true);
  });

  it("lets two instances know each other over TLS", async () => {
    using authority = await InstanceAuthority.open(files, "ec", nowMs);
    const [one, other] = [
      await authority.issue({ ...subject, guid: "one", ipAddress: "127.0.0.1" }, nowMs, dayMs),
      await authority.issue({ ...subject, guid: "other" }, nowMs, dayMs),
    ];
    const seen: string[] = [];
    const server = createServer(
      { cert: one.certificate, key: one.key, ca: caPem, requestCert: true, rejectUnauthorized: true },
      (socket: TLSSocket) => {
        seen.push((socket.getPeerCertificate() as PeerCertificate).subject.CN);
        socket.end();
      },
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const client = connect({ host: "127.0.0.1", port, ca: caPem, cert: other.certificate, key: other.key });
    await new Promise((resolve, reject) => client.on("close", resolve).on("error", reject).resume());
    server.close();
    expect([client.authorized, seen]).toEqual([true, ["other"]]);
  });

  it("comes with keys in the forms Diego's users know", async () => {
    using ec = await InstanceAuthority.open(files, "ec", nowMs);
    expect((await ec.issue(subject, nowMs, dayMs)).key).toMatch(/^-----BEGIN EC PRIVATE KEY-----\n/);
    using rsa = await InstanceAuthority.open(files, "rsa", nowMs);
    const { key } = await rsa.issue(subject, nowMs, dayMs);
    expect(key).toMatch(/^-----BEGIN RSA PRIVATE KEY-----\n/);
    expect(createPrivateKey(key).asymmetricKeyDetails?.modulusLength).toBe(3_072);
  });

  it("may be signed by an authority with an EC key", async () => {
    const x509 = await loadX509();
    const algorithm = { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" };
    const keys = (await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
    const ca = await x509.X509CertificateGenerator.createSelfSigned({
      name: "CN=ec",
      notAfter: new Date(nowMs + dayMs),
      signingAlgorithm: algorithm,
      keys,
      extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
    });
    const key = KeyObject.from(keys.privateKey).export({ type: "sec1", format: "pem" }).toString();
    using authority = await InstanceAuthority.open(write("ec", ca.toString("pem"), key), "ec", nowMs);
    const leaf = new X509Certificate((await authority.issue(subject, nowMs, dayMs)).certificate);
    expect(leaf.verify(KeyObject.from(keys.publicKey))).toBe(true);
  });
});

describe("an authority", () => {
  it("that cannot sign is refused at the start, with what to mend", async () => {
    const other = await createAuthority("another", nowMs);
    const role = await issueCertificate(other, "cell:c", { nowMs });
    const open = (made: InstanceAuthorityFiles, atMs = nowMs) => InstanceAuthority.open(made, "ec", atMs);
    await expect(open({ ...files, key_file: join(folder, "none") })).rejects.toMatchObject({
      message: expect.stringMatching(/^cannot read /),
      hint: expect.stringContaining("instance_identity"),
    });
    await expect(open(write("mixed", caPem, other.keyPem))).rejects.toThrow("or not that of");
    await expect(open(write("role", role.certificatePem, role.keyPem))).rejects.toThrow("is no authority's certificate");
    await expect(open(write("text", "hello", "hello"))).rejects.toThrow("is no PEM");
    await expect(open(files, nowMs + 3_651 * dayMs)).rejects.toThrow("has expired");
  });
});

describe("keys made ahead", () => {
  it("are given once each, without waiting while there are any, and made again", async () => {
    let made = 0;
    let broken = false;
    const reserve = new KeyReserve("ec", async () => {
      if (broken) throw new Error("no entropy");
      made += 1;
      return { number: made } as unknown as InstanceKeys;
    });
    await reserve.fill();
    expect(made).toBe(16);
    expect([await reserve.take(), await reserve.take()]).toEqual([{ number: 1 }, { number: 2 }]);
    await reserve.fill();
    await Promise.resolve();
    expect(made).toBe(18);
    broken = true;
    for (let n = 0; n < 16; n += 1) await reserve.take();
    await expect(reserve.take()).rejects.toThrow("no entropy");
    broken = false;
    expect(await reserve.take()).toEqual({ number: 19 });
  });
});
