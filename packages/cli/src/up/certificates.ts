// The development authority of a home and the certificates of its roles, made once and renewed before they run out.
import { X509Certificate } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { TlsFiles } from "@muster/shared/config";
import { type Authority, createAuthority, issueCertificate, openAuthority } from "@muster/shared/tls";

/** Certificates last a year; a platform that stays up this long without a restart has other worries first. */
const renewBeforeMs = 60 * 86_400_000;

export interface Certificates {
  /** The files of a role: `bbs`, `operator`, `cell:cell-1`. */
  filesOf(role: string): TlsFiles;
}

const fileNameOf = (role: string): string => role.replace(":", "-");

/** Makes what is missing or near its end in `dir`. `nowMs` is wall-clock time, since certificates are judged by it. */
export async function prepareCertificates(dir: string, roles: readonly string[], nowMs: number): Promise<Certificates> {
  const authority = await authorityIn(dir, nowMs);
  const filesOf = (role: string): TlsFiles => ({
    ca_file: path.join(dir, "ca.crt"),
    cert_file: path.join(dir, `${fileNameOf(role)}.crt`),
    key_file: path.join(dir, `${fileNameOf(role)}.key`),
  });
  await Promise.all(
    roles.map(async (role) => {
      const { cert_file, key_file } = filesOf(role);
      if (existsSync(key_file) && isGood(cert_file, nowMs, authority)) return;
      const issued = await issueCertificate(authority, role, { nowMs });
      writeFileSync(key_file, issued.keyPem, { mode: 0o600 });
      writeFileSync(cert_file, issued.certificatePem);
    }),
  );
  return { filesOf };
}

/** What cells sign instances' certificates with, and the folder of what containers are to trust: nothing but its certificate. */
export interface InstanceTrust {
  readonly authority: { readonly cert_file: string; readonly key_file: string };
  readonly trustedDir: string;
}

/** Not the authority of the roles: whoever holds an instance's key may call nothing of the platform. */
export async function prepareInstanceTrust(dir: string, nowMs: number): Promise<InstanceTrust> {
  const name = "muster instance identity authority";
  const { certificatePem } = await keptAuthority(dir, "instance-ca", nowMs, () => createAuthority(name, nowMs, "ec"));
  const trustedDir = path.join(dir, "trusted");
  const trustedFile = path.join(trustedDir, "instance-identity-ca.crt");
  mkdirSync(trustedDir, { recursive: true });
  // Apps join such files one behind the other.
  writeFileSync(trustedFile, `${certificatePem.trim()}\n`);
  // Whatever the umask is: a container's user is nobody on this machine.
  chmodSync(trustedDir, 0o755);
  chmodSync(trustedFile, 0o644);
  return {
    authority: { cert_file: path.join(dir, "instance-ca.crt"), key_file: path.join(dir, "instance-ca.key") },
    trustedDir,
  };
}

async function authorityIn(dir: string, nowMs: number): Promise<Authority> {
  const { certificatePem, keyPem } = await keptAuthority(dir, "ca", nowMs, () =>
    createAuthority("muster development authority", nowMs),
  );
  return openAuthority(certificatePem, keyPem);
}

/** The PEM of an authority that is kept in two files; made anew when there is none, or it is near its end. */
async function keptAuthority(
  dir: string,
  stem: string,
  nowMs: number,
  create: () => Promise<Authority>,
): Promise<Pick<Authority, "certificatePem" | "keyPem">> {
  const certFile = path.join(dir, `${stem}.crt`);
  const keyFile = path.join(dir, `${stem}.key`);
  if (existsSync(keyFile) && isFresh(certFile, nowMs)) {
    return { certificatePem: readFileSync(certFile, "utf8"), keyPem: readFileSync(keyFile, "utf8") };
  }
  const authority = await create();
  writeFileSync(keyFile, authority.keyPem, { mode: 0o600 });
  writeFileSync(certFile, authority.certificatePem);
  return authority;
}

const read = (file: string): X509Certificate | undefined => {
  try {
    return new X509Certificate(readFileSync(file));
  } catch {
    return undefined;
  }
};

function isFresh(file: string, nowMs: number): boolean {
  const certificate = read(file);
  return certificate !== undefined && Date.parse(certificate.validTo) - nowMs > renewBeforeMs;
}

const isGood = (file: string, nowMs: number, authority: Authority): boolean =>
  isFresh(file, nowMs) && read(file)?.verify(new X509Certificate(authority.certificatePem).publicKey) === true;
