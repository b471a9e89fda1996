// The authority of instances: kept in the home, and not mistaken for that of the roles.
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "@muster/shared/clock";
import { InstanceAuthority } from "@muster/shared/tls";
import { afterEach, beforeEach, expect, it } from "vitest";
import { prepareCertificates, prepareInstanceTrust } from "./certificates.js";

const nowMs = systemClock.nowMs();
let dir = "";
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "muster-certs-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const read = (file: string): X509Certificate => new X509Certificate(readFileSync(file));

it("of instances come from an authority that the platform does not trust, kept with a readable folder of its certificate alone", async () => {
  const { filesOf } = await prepareCertificates(dir, ["bbs"], nowMs);
  const trust = await prepareInstanceTrust(dir, nowMs);
  const again = await prepareInstanceTrust(dir, nowMs);
  expect(again).toEqual(trust);
  expect(readdirSync(trust.trustedDir)).toEqual(["instance-identity-ca.crt"]);
  const trusted = path.join(trust.trustedDir, "instance-identity-ca.crt");
  expect([trust.trustedDir, trusted, trust.authority.key_file].map((file) => statSync(file).mode & 0o777)).toEqual([
    0o755, 0o644, 0o600,
  ]);
  using authority = await InstanceAuthority.open(trust.authority, "ec", nowMs);
  const subject = { guid: "bbs", organizationalUnits: [], ipAddress: "127.0.0.1", serial: "1a" };
  const leaf = new X509Certificate((await authority.issue(subject, nowMs, 1_000)).certificate);
  expect(leaf.checkIssued(read(trusted))).toBe(true);
  expect(leaf.checkIssued(read(filesOf("bbs").ca_file))).toBe(false);
});
